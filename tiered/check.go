package tiered

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered/manifest"
)

// Report is what Check found of one partition.
type Report struct {
	Version  uint64 // of the newest manifest, 0 if there is none
	Start    int64
	Next     int64
	Segments int
	Bytes    int64 // of the objects
	Pending  int
	Versions int // manifest versions in the bucket
	// Orphans are objects that the newest manifest does not name: left-overs of failed or
	// fenced uploads that no clean-up has removed yet. They harm nothing.
	Orphans []string
	// Faults are missing, damaged or impossible objects, each with its key.
	Faults []string
}

// OK says that every object that the manifest names is there as it should be.
func (r Report) OK() bool { return len(r.Faults) == 0 }

// Exact says that manifest and bucket match object for object.
func (r Report) Exact() bool { return r.OK() && len(r.Orphans) == 0 && r.Pending == 0 }

// CheckOptions say how deep a check goes.
type CheckOptions struct {
	// Deep reads every byte and compares checksums; otherwise sizes, the store's own
	// checksums and footers are compared.
	Deep bool
}

// Check compares the newest manifest of a partition with its bucket. It reads only. The
// error is for what kept it from looking; what it saw is in the report.
func Check(ctx context.Context, b objstore.Bucket, clusterID string, topicID kafka.UUID, partition int32, o CheckOptions) (Report, error) {
	cluster, err := kafka.ParseUUID(clusterID)
	if err != nil {
		return Report{}, err
	}
	c := &checker{b: b, o: o, id: manifest.ID{ClusterID: cluster, TopicID: topicID, Partition: partition}}
	err = c.run(ctx)
	return c.r, err
}

// checker is one Check under way.
type checker struct {
	b  objstore.Bucket
	o  CheckOptions
	id manifest.ID
	r  Report
}

func (c *checker) fault(format string, args ...any) {
	c.r.Faults = append(c.r.Faults, fmt.Sprintf(format, args...))
}

func (c *checker) run(ctx context.Context) error {
	newest, err := c.versions(ctx)
	if err != nil {
		return err
	}
	sizes, err := c.objects(ctx)
	if err != nil {
		return err
	}
	if newest == nil {
		for key := range sizes {
			c.r.Orphans = append(c.r.Orphans, key)
		}
		slices.Sort(c.r.Orphans)
		return nil
	}
	c.r.Version, c.r.Start, c.r.Next = newest.Version, newest.Start, newest.Next
	c.r.Segments, c.r.Pending = len(newest.Segments), len(newest.Pending)
	for _, s := range newest.Segments {
		key := c.id.SegmentKey(s)
		size, there := sizes[key]
		delete(sizes, key)
		switch {
		case !there:
			c.fault("%s: missing", key)
		case size != s.ObjectBytes():
			c.fault("%s: %d bytes, the manifest says %d", key, size, s.ObjectBytes())
		default:
			c.r.Bytes += size
			if err := c.segment(ctx, key, s); err != nil {
				return err
			}
		}
	}
	for _, p := range newest.Pending {
		delete(sizes, c.id.SegmentKey(p.Segment))
	}
	for key := range sizes {
		c.r.Orphans = append(c.r.Orphans, key)
	}
	slices.Sort(c.r.Orphans)
	return nil
}

// versions reads every manifest version and answers the newest.
func (c *checker) versions(ctx context.Context) (*manifest.Manifest, error) {
	var newest *manifest.Manifest
	prefix := c.id.ManifestPrefix()
	for a, err := range objstore.All(ctx, c.b, prefix, "") {
		if err != nil {
			return nil, err
		}
		v, ok := manifest.ParseVersion(prefix, a.Key)
		if !ok {
			c.fault("%s: no name of a manifest", a.Key)
			continue
		}
		c.r.Versions++
		m, err := getManifest(ctx, c.b, c.id, v, "")
		switch {
		case errors.Is(err, objstore.ErrNotFound):
			c.r.Versions-- // cleaned up since it was listed
		case errors.Is(err, kafka.ErrCorrupt):
			c.fault("%v", err)
		case err != nil:
			return nil, err
		default:
			if newest == nil || m.Version > newest.Version {
				newest = m
			}
		}
	}
	return newest, nil
}

// objects lists the segment objects with their sizes.
func (c *checker) objects(ctx context.Context) (map[string]int64, error) {
	sizes := map[string]int64{}
	for a, err := range objstore.All(ctx, c.b, c.id.SegmentPrefix(), "") {
		if err != nil {
			return nil, err
		}
		if _, ok := c.id.ParseSegmentKey(a.Key); !ok {
			c.fault("%s: no name of a segment", a.Key)
			continue
		}
		sizes[a.Key] = a.Size
	}
	return sizes, nil
}

// segment checks one object that has the right size.
func (c *checker) segment(ctx context.Context, key string, s manifest.Segment) error {
	a, err := c.b.Head(ctx, key)
	if err != nil {
		return err
	}
	if a.HasCRC && a.CRC32C != s.CRC32C {
		c.fault("%s: the store's CRC is %08x, the manifest's %08x", key, a.CRC32C, s.CRC32C)
		return nil
	}
	raw := make([]byte, s.FooterBytes)
	if _, err := c.b.GetRange(ctx, key, s.SizeBytes, raw, ""); err != nil && !errors.Is(err, objstore.ErrCorrupt) {
		return err
	}
	if _, err := newFooter(c.id, s, raw); err != nil {
		c.fault("%s: %v", key, err)
		return nil
	}
	if !c.o.Deep {
		return nil
	}
	r, _, err := c.b.Open(ctx, key, 0, -1, "")
	if err != nil {
		return err
	}
	defer r.Close()
	h := crc32.New(objstore.Castagnoli)
	if _, err := io.Copy(h, r); err != nil && !errors.Is(err, objstore.ErrCorrupt) {
		return err
	}
	if h.Sum32() != s.CRC32C {
		c.fault("%s: its bytes have CRC %08x, the manifest says %08x", key, h.Sum32(), s.CRC32C)
	}
	return nil
}

// Partitions lists the partitions of a cluster that have objects in the bucket.
func Partitions(ctx context.Context, b objstore.Bucket, clusterID string) ([]manifest.ID, error) {
	cluster, err := kafka.ParseUUID(clusterID)
	if err != nil {
		return nil, err
	}
	var out []manifest.ID
	for a, err := range objstore.All(ctx, b, manifest.TopicsPrefix(cluster), "") {
		if err != nil {
			return nil, err
		}
		if id, ok := manifest.ParseID(cluster, a.Key); ok && !slices.Contains(out[max(0, len(out)-1):], id) {
			out = append(out, id)
		}
	}
	return out, nil
}
