// Package manifest holds what a partition looks like in the bucket: the names of
// its objects and their byte formats.
//
// It owns the partition manifest (numbered immutable versions, each created once),
// the topic object, the segment object's footer, the frame that all of them share,
// and the rules that a manifest and its successor must keep. It does no I/O and
// decides nothing: the protocol that reads and writes these objects is package tiered.
// All types are plain values; a Manifest is never changed after it was read or
// written, so it may be shared between goroutines. Format pages:
// docs/formats/manifest.md and docs/formats/vseg.md.
package manifest

import (
	"slices"
	"sort"

	"github.com/varve-io/varve/broker/kafka"
)

// ID names one partition of one cluster for ever: topics that are deleted and
// created again under the same name have another topic id.
type ID struct {
	ClusterID kafka.UUID
	TopicID   kafka.UUID
	Partition int32
}

// Manifest is one version of the list of remote segments that make up a partition.
// The highest genuine version in the bucket is the truth of the partition's remote part.
type Manifest struct {
	ID
	Version     uint64     // 1, 2, 3 …; the object's name
	OwnerEpoch  int32      // leader epoch of the broker that wrote it
	Incarnation kafka.UUID // process start that wrote it
	Token       kafka.UUID // drawn for this one write: tells one's own write from another's
	Parent      kafka.UUID // Token of version-1; zero in version 1
	WrittenMs   int64

	Start    int64 // log start offset: nothing below it is served
	Next     int64 // one above the last offset ever committed; 0 before the first segment
	Copy     CopyState
	Epochs   []EpochEntry // leader epochs of the offsets in [Start, Next), ascending
	Segments []Segment    // live, ascending, without gap or overlap
	Pending  []Pending    // no longer served, to be deleted after the grace; they never revive
	Spills   []Spill      // older ranges of Segments kept in objects of their own, ascending
	Stores   []Location   // other buckets that hold segments; Segment.Location is an index + 1
}

// CopyState says whether new segments are uploaded (KIP-950).
type CopyState uint8

// The copy states.
const (
	CopyActive   CopyState = 0
	CopyPaused   CopyState = 1
	CopyDisabled CopyState = 2
)

// EpochEntry says that leader epoch Epoch starts at offset Start.
type EpochEntry struct {
	Epoch int32
	Start int64
}

// Segment is one remote segment: an object of SizeBytes log bytes followed by a footer.
type Segment struct {
	Base          int64
	Next          int64  // one above its last offset
	Epoch         int32  // leader epoch of its uploader, part of the object's name
	Try           uint16 // number of the attempt, part of the object's name
	SizeBytes     int64  // log bytes; the footer starts here
	FooterBytes   int64
	CRC32C        uint32 // of the whole object
	MaxTsMs       int64  // largest record timestamp, kafka.NoTimestamp if none
	UploadedMs    int64
	Class         uint8  // storage class, 0 = the bucket's default
	Location      uint32 // 0 = the bucket that holds the manifest
	Generation    uint32 // counts rewrites of the same offsets (compaction, re-upload)
	FormatVersion uint8  // version of the footer
	HasAborts     bool   // its transaction index has entries
}

// ObjectBytes is the size of the segment's object.
func (s Segment) ObjectBytes() int64 { return s.SizeBytes + s.FooterBytes }

// Reason says why an object is pending.
type Reason uint8

// The reasons for a pending delete.
const (
	Expired  Reason = 0 // below the log start
	Replaced Reason = 1 // another generation took its place
	Diverged Reason = 2 // cut off by a truncation; kept longer, for a person to look at
)

// Pending is an object that awaits its deletion.
type Pending struct {
	Segment
	SinceMs int64
	Reason  Reason
}

// Spill names an object that holds the segments of [First, Next), so that the
// manifest of a very long partition stays small.
type Spill struct {
	First     int64
	Next      int64
	Count     uint32
	LogBytes  int64 // sum of the segments' SizeBytes
	MaxTsMs   int64 // largest MaxTsMs of its segments
	SizeBytes int64 // of the spill object
	CRC32C    uint32
}

// Location is a bucket other than the manifest's own.
type Location struct {
	Store  string // URL scheme: "s3", "gs", "az", "file"
	Bucket string
	Prefix string
}

// Clone is a copy whose lists may be changed.
func (m *Manifest) Clone() *Manifest {
	c := *m
	c.Epochs = slices.Clone(m.Epochs)
	c.Segments = slices.Clone(m.Segments)
	c.Pending = slices.Clone(m.Pending)
	c.Spills = slices.Clone(m.Spills)
	c.Stores = slices.Clone(m.Stores)
	return &c
}

// Find is the segment that holds off, if a live one does.
func (m *Manifest) Find(off int64) (Segment, bool) {
	i := sort.Search(len(m.Segments), func(i int) bool { return m.Segments[i].Next > off })
	if i == len(m.Segments) || m.Segments[i].Base > off {
		return Segment{}, false
	}
	return m.Segments[i], true
}

// LogBytes is the sum of the live segments' log bytes.
func (m *Manifest) LogBytes() int64 {
	var n int64
	for _, s := range m.Segments {
		n += s.SizeBytes
	}
	for _, s := range m.Spills {
		n += s.LogBytes
	}
	return n
}

// EpochAt is the leader epoch of offset off by the manifest's own list,
// kafka.NoEpoch if off lies outside of it.
func (m *Manifest) EpochAt(off int64) int32 {
	if off >= m.Next {
		return kafka.NoEpoch
	}
	e := kafka.NoEpoch
	for _, x := range m.Epochs {
		if x.Start > off {
			break
		}
		e = x.Epoch
	}
	return e
}

// TrimEpochs keeps what describes [start, next) of an ascending list: the entry that
// covers start is kept with its start raised, entries at or above next are dropped.
func TrimEpochs(list []EpochEntry, start, next int64) []EpochEntry {
	var out []EpochEntry
	for i, e := range list {
		if e.Start >= next {
			break
		}
		if i+1 < len(list) && list[i+1].Start <= start {
			continue
		}
		out = append(out, EpochEntry{Epoch: e.Epoch, Start: max(e.Start, start)})
	}
	return out
}

// MergeEpochs extends list with the epochs of a segment that follows it.
func MergeEpochs(list, more []EpochEntry) []EpochEntry {
	out := slices.Clone(list)
	for _, e := range more {
		if n := len(out); n == 0 || e.Epoch > out[n-1].Epoch {
			out = append(out, e)
		}
	}
	return out
}
