package tiered

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/fault"
	"github.com/varve-io/varve/objstore/mem"
	"github.com/varve-io/varve/tiered/manifest"
)

var (
	testCluster = kafka.UUID{0xc1}
	testTopic   = kafka.UUID{0x70}
	testTP      = kafka.TopicPartition{Topic: "orders", Partition: 3}
	testID      = manifest.ID{ClusterID: testCluster, TopicID: testTopic, Partition: 3}
)

// startMs is the time of the first record.
const startMs = 1_700_000_000_000

// rig is one broker's side of a partition over a bucket that tests can break.
type rig struct {
	t        *testing.T
	store    *mem.Bucket // what really is there
	bucket   *fault.Bucket
	fs       *memfs.FS
	nowMs    atomic.Int64
	log      *commitlog.Log
	cfg      *config.Topic
	urgent   bool // the disk fills
	epoch    int32
	stable   atomic.Int64 // -1: the log's end
	m        *Manager
	p        *Partition
	registry *prometheus.Registry
	want     []byte // every batch appended, as it lies in the log
	ends     []int64

	mu struct {
		sync.Mutex
		events []string
	}
}

func (r *rig) TopicPartition() kafka.TopicPartition { return testTP }
func (r *rig) TopicID() kafka.UUID                  { return testTopic }
func (r *rig) LeaderEpoch() int32                   { return r.epoch }
func (r *rig) Config() *config.Topic                { return r.cfg }
func (r *rig) Log() *commitlog.Log                  { return r.log }
func (r *rig) StableEnd() int64 {
	if s := r.stable.Load(); s >= 0 {
		return s
	}
	return r.log.Durable()
}

// newRig is a broker with an empty log and an empty bucket.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, store: mem.New(), epoch: 1, cfg: &config.Topic{RemoteStorageEnable: true, RemoteCopyLagBytes: -1, LocalRetentionMs: -2, RetentionMs: -1, LocalRetentionBytes: -2, RetentionBytes: -1}}
	r.bucket = fault.Wrap(r.store)
	r.nowMs.Store(time.Now().Add(time.Hour).UnixMilli())
	r.stable.Store(-1)
	r.freshDisk()
	r.start(kafka.UUID{0x11})
	return r
}

// freshDisk gives the broker an empty log.
func (r *rig) freshDisk() {
	r.fs = memfs.New()
	r.check(vfs.MkdirAllSync(r.fs, "/data", 0o755))
	r.openLog(nil)
}

func (r *rig) openLog(s *commitlog.State) {
	var err error
	r.log, err = commitlog.Open(commitlog.Options{FS: r.fs, Dir: "/data", TP: testTP, TopicID: testTopic, Files: commitlog.NewFileCache(r.fs, 8),
		Config: commitlog.Config{SegmentBytes: 1 << 14, SegmentMs: 1 << 40, SegmentIndexBytes: 1 << 20, IndexIntervalBytes: 1024, FileDeleteDelayMs: 0, FlushMessages: 1 << 62, FlushMs: 1 << 62},
		Now:    func() time.Time { return time.UnixMilli(r.nowMs.Load()) }, Logger: slog.New(slog.DiscardHandler), Fresh: s == nil, State: s, PowerLost: s != nil, ProducerIDExpirationMs: 1 << 40})
	r.check(err)
}

// options are the rig's: no grace, no windows, so that everything due is due now.
func (r *rig) options(inc kafka.UUID) Options {
	return Options{Bucket: r.bucket, ClusterID: testCluster.String(), Incarnation: inc, FS: r.fs, CacheDir: fmt.Sprintf("/cache-%x", inc[:2]), CacheBytes: 1 << 24,
		Now: func() time.Time { return time.UnixMilli(r.nowMs.Load()) }, Logger: slog.New(slog.DiscardHandler), Registerer: prometheus.NewRegistry(),
		KeepManifests: 2, ManifestWindow: -1, CleanInterval: -1, OrphanGrace: -1, ChunkBytes: manifest.BlockBytes,
		Events: Events{
			Uploaded: func(_ kafka.TopicPartition, s manifest.Segment) { r.event("uploaded %d", s.Base) },
			Deleted:  func(_ kafka.TopicPartition, n int) { r.event("deleted %d", n) },
			Fenced:   func(kafka.TopicPartition, error) { r.event("fenced") },
			Failed:   func(_ kafka.TopicPartition, _ string, err error) { r.event("failed") },
			Diverged: func(kafka.TopicPartition, int64, int64, error) { r.event("diverged") },
		}}
}

func (r *rig) event(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.events = append(r.mu.events, fmt.Sprintf(format, args...))
}

func (r *rig) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.mu.events...)
}

// start is a process start: a new incarnation leads the partition in r.epoch.
func (r *rig) start(inc kafka.UUID) {
	r.t.Helper()
	o := r.options(inc)
	r.registry = prometheus.NewRegistry()
	o.Registerer = r.registry
	m, err := New(o)
	r.check(err)
	r.t.Cleanup(func() { _ = m.Close() })
	r.m, r.p = m, m.Lead(r)
}

func (r *rig) check(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// produce appends batches of 8 records until n more segments are closed. Record times go
// up by one millisecond each.
func (r *rig) produce(segments int) {
	r.t.Helper()
	have := len(r.log.Segments())
	if have == 0 {
		have = 1
	}
	for len(r.log.Segments()) < have+segments {
		r.append()
	}
}

func (r *rig) append() {
	r.t.Helper()
	var b batch.Builder
	end := r.log.End()
	for i := range int64(8) {
		b.Append([]byte(fmt.Sprintf("key-%d", end+i)), bytes.Repeat([]byte{byte(end + i)}, 200), nil, startMs+end+i)
	}
	raw := b.Bytes()
	h, err := batch.ParseHeader(raw)
	r.check(err)
	if _, err = r.log.Append(raw, h, r.epoch); err != nil {
		r.t.Fatal(err)
	}
	r.want = append(r.want, raw...)
	r.ends = append(r.ends, r.log.End())
}

func (r *rig) tick() { r.t.Helper(); r.check(r.m.Tick(r.t.Context(), r.p)) }

// report is what Check says of the real bucket.
func (r *rig) report() Report {
	r.t.Helper()
	rep, err := Check(r.t.Context(), r.store, testCluster.String(), testTopic, 3, CheckOptions{Deep: true})
	r.check(err)
	return rep
}

// exact fails unless manifest and bucket match object for object.
func (r *rig) exact() Report {
	r.t.Helper()
	rep := r.report()
	if !rep.Exact() {
		r.t.Fatalf("bucket and manifest differ: %+v", rep)
	}
	return rep
}

// remote reads everything from the log start through the remote part, in small fetches.
func (r *rig) remote() []byte {
	r.t.Helper()
	var out []byte
	v := r.p.View()
	for off := v.Start; off < v.Next; {
		got, err := r.p.Read(r.t.Context(), off, 3000, true)
		r.check(err)
		if got.Next < v.Next {
			r.t.Fatalf("the manifest of a read ends at %d, the one before at %d", got.Next, v.Next)
		}
		raw := readAll(r.t, got)
		for len(raw) > 0 {
			h, err := batch.ParseHeader(raw)
			if err != nil || int64(len(raw)) < h.Size() {
				break // the last batch may be cut
			}
			r.check(batch.CheckCRC(raw[:h.Size()]))
			if h.LastOffset() >= got.UpperBound {
				r.t.Fatalf("offset %d is not below the bound %d", h.LastOffset(), got.UpperBound)
			}
			out = append(out, raw[:h.Size()]...)
			off, raw = h.LastOffset()+1, raw[h.Size():]
		}
	}
	return out
}

func readAll(t *testing.T, got Read) []byte {
	t.Helper()
	defer got.Release()
	var raw []byte
	for _, x := range got.Ranges {
		b, err := x.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, b...)
	}
	return raw
}

// keys are the objects whose name contains part.
func (r *rig) keys(part string) []string {
	r.t.Helper()
	var out []string
	for a, err := range objstore.All(r.t.Context(), r.store, "", "") {
		r.check(err)
		if bytes.Contains([]byte(a.Key), []byte(part)) {
			out = append(out, a.Key)
		}
	}
	return out
}

// damage flips a byte of an object in the real bucket.
func (r *rig) damage(key string, at int64) {
	r.t.Helper()
	raw, _, err := objstore.Get(r.t.Context(), r.store, key, 1<<30)
	r.check(err)
	raw = bytes.Clone(raw)
	raw[at] ^= 1
	_, err = r.store.Put(r.t.Context(), key, objstore.Source{R: bytes.NewReader(raw), Size: int64(len(raw))}, objstore.PutOpts{})
	r.check(err)
}

var _ io.ReaderAt = (*object)(nil)
