package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/vfs"
)

// Finding is something that an operator should know of a file.
type Finding struct {
	File   string `json:"file"`
	Byte   int64  `json:"byte"`   // -1 = the file as a whole
	Offset int64  `json:"offset"` // -1 = none
	// Problem says that data is damaged or missing; otherwise a start mends it, or it is known.
	Problem bool   `json:"problem"`
	What    string `json:"what"`
}

// String names the place first.
func (f Finding) String() string {
	s := f.File
	if f.Byte >= 0 {
		s += fmt.Sprintf(" byte %d", f.Byte)
	}
	if f.Offset >= 0 {
		s += fmt.Sprintf(" offset %d", f.Offset)
	}
	kind := "note"
	if f.Problem {
		kind = "PROBLEM"
	}
	return kind + ": " + s + ": " + f.What
}

// Report is what Verify found in a partition's directory.
type Report struct {
	Partition string    `json:"partition"`
	Segments  int       `json:"segments"`
	Batches   int64     `json:"batches"`
	Records   int64     `json:"records"`
	Bytes     int64     `json:"bytes"`
	Start     int64     `json:"start_offset"`
	End       int64     `json:"end_offset"`
	Findings  []Finding `json:"findings"`
}

// Problems counts the findings that are damage.
func (r *Report) Problems() int {
	n := 0
	for _, f := range r.Findings {
		if f.Problem {
			n++
		}
	}
	return n
}

// VerifyOptions say what Verify is to know beforehand.
type VerifyOptions struct {
	// Compacted says that offsets may be missing: the topic has cleanup.policy=compact.
	Compacted bool
	// Seen is told of bytes as they are read; it may be nil.
	Seen func(bytes int64)
}

// verifier goes through one partition's directory.
type verifier struct {
	fs    vfs.FS
	dir   string
	o     VerifyOptions
	r     *Report
	holes []commitlog.Hole
	epoch []commitlog.EpochEntry
	next  int64
	lastE int32
}

// Verify reads all files of the partition in dir and says whether they are whole: the CRC of
// every batch, offsets without gaps that nothing explains, every entry of every index, the
// producer snapshots and the leader epochs. The error is about reading, not about damage.
func Verify(fsys vfs.FS, dir string, o VerifyOptions) (*Report, error) {
	v := &verifier{fs: fsys, dir: dir, o: o, r: &Report{Partition: filepath.Base(dir), Start: -1, End: -1, Findings: []Finding{}}, next: -1, lastE: -1}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	if v.holes, err = commitlog.ReadHoles(fsys, dir); err != nil {
		v.problem(commitlog.DamageName, -1, -1, "%v", err)
	}
	files := map[string]bool{}
	var bases []int64
	for _, e := range entries {
		files[e.Name()] = true
		base, suffix, ok := commitlog.ParseSegmentName(e.Name())
		if ok && suffix == ".log" {
			bases = append(bases, base)
		}
		if ok && strings.Contains(suffix, ".quarantine-") {
			v.note(e.Name(), -1, -1, "a damaged segment file as it was; remove it when nobody wants to look at it any more")
		}
	}
	if err := v.small(files); err != nil {
		return nil, err
	}
	slices.Sort(bases)
	for i, base := range bases {
		limit := int64(math.MaxInt64)
		if i+1 < len(bases) {
			limit = bases[i+1]
		}
		if err := v.segment(base, limit, files); err != nil {
			return nil, err
		}
	}
	v.r.Segments, v.r.End = len(bases), v.next
	return v.r, nil
}

func (v *verifier) problem(file string, pos, off int64, format string, args ...any) {
	v.r.Findings = append(v.r.Findings, Finding{file, pos, off, true, fmt.Sprintf(format, args...)})
}

func (v *verifier) note(file string, pos, off int64, format string, args ...any) {
	v.r.Findings = append(v.r.Findings, Finding{file, pos, off, false, fmt.Sprintf(format, args...)})
}

// small checks the files of the partition as a whole.
func (v *verifier) small(files map[string]bool) error {
	if !files[commitlog.PartitionMetadataName] {
		v.note(commitlog.PartitionMetadataName, -1, -1, "missing")
	}
	for _, name := range []string{commitlog.PartitionMetadataName, "leader-epoch-checkpoint"} {
		if !files[name] {
			continue
		}
		b, err := vfs.ReadFile(v.fs, filepath.Join(v.dir, name))
		if err != nil {
			return err
		}
		if name == commitlog.PartitionMetadataName {
			_, err = commitlog.ParsePartitionMetadata(b)
		} else {
			v.epoch, err = commitlog.ParseEpochCheckpoint(b)
		}
		if err != nil {
			v.problem(name, -1, -1, "%v", err)
		}
	}
	for name := range files {
		if _, suffix, ok := commitlog.ParseSegmentName(name); !ok || suffix != ".snapshot" {
			continue
		}
		b, err := vfs.ReadFile(v.fs, filepath.Join(v.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // of a log in use
		}
		if err != nil {
			return err
		}
		if _, err := commitlog.ParseProducerSnapshot(b); err != nil {
			v.problem(name, -1, -1, "%v; the next start replaces it", err)
		}
	}
	return nil
}

// explained says whether a gap is known: the topic is compacted, or the loss was accepted.
// An open hole is a problem of its own.
func (v *verifier) explained(file string, pos, from, to int64) {
	for from < to {
		i := slices.IndexFunc(v.holes, func(h commitlog.Hole) bool { return h.From <= from && from < h.To })
		switch {
		case i < 0 && v.o.Compacted:
			return
		case i < 0:
			v.problem(file, pos, from, "offsets %d to %d are missing", from, to-1)
			return
		case v.holes[i].Accepted:
			v.note(file, pos, from, "offsets %d to %d are missing; the loss was accepted", from, min(to, v.holes[i].To)-1)
		default:
			v.problem(file, pos, from, "offsets %d to %d are lost (found at byte %d of %s); 'varve log repair' settles it",
				from, min(to, v.holes[i].To)-1, v.holes[i].Byte, v.holes[i].File)
		}
		from = v.holes[i].To
	}
}

// segment checks one segment and its indexes; limit is the base of the next.
func (v *verifier) segment(base, limit int64, files map[string]bool) error {
	name := fmt.Sprintf("%020d", base)
	ix, err := v.indexes(name, base, files)
	if err != nil {
		return err
	}
	if v.next < 0 {
		v.next, v.r.Start = base, base
	}
	if base > v.next {
		v.explained(name+".log", -1, v.next, base)
		v.next = base
	}
	var torn *Batch
	err = eachBatch(v.fs, filepath.Join(v.dir, name+".log"), v.o.Seen, func(b Batch) error {
		if torn != nil {
			lost := torn
			if torn = nil; b.Damage == "" && b.BaseOffset > v.next {
				v.problem(name+".log", lost.Position, v.next, "offsets %d to %d are lost: %s", v.next, b.BaseOffset-1, lost.Damage)
				v.next = b.BaseOffset
			} else {
				v.problem(name+".log", lost.Position, v.next, "%s", lost.Damage)
			}
		}
		if b.Damage != "" {
			torn = &b
			return nil
		}
		v.batch(name, b, limit)
		ix.batch(v, b)
		return nil
	})
	if err != nil {
		return err
	}
	switch {
	case torn != nil && limit == math.MaxInt64:
		v.note(name+".log", torn.Position, v.next, "the log ends here, what follows is a torn last write or damage: %s", torn.Damage)
	case torn != nil:
		v.problem(name+".log", torn.Position, v.next, "%s", torn.Damage)
	}
	ix.rest(v)
	return nil
}

// batch checks one sound batch against the ones before.
func (v *verifier) batch(name string, b Batch, limit int64) {
	switch {
	case b.BaseOffset < v.next:
		v.problem(name+".log", b.Position, b.BaseOffset, "batch of offset %d where %d follows", b.BaseOffset, v.next)
	case b.BaseOffset > v.next:
		v.explained(name+".log", b.Position, v.next, b.BaseOffset)
	}
	if b.LastOffset >= limit {
		v.problem(name+".log", b.Position, b.BaseOffset, "reaches offset %d, the next segment starts at %d", b.LastOffset, limit)
	}
	if b.LeaderEpoch < v.lastE {
		v.problem(name+".log", b.Position, b.BaseOffset, "leader epoch %d after %d", b.LeaderEpoch, v.lastE)
	}
	for i, e := range v.epoch {
		if e.Start <= b.BaseOffset && (i+1 == len(v.epoch) || v.epoch[i+1].Start > b.BaseOffset) && e.Epoch > b.LeaderEpoch {
			v.problem("leader-epoch-checkpoint", -1, b.BaseOffset, "has epoch %d for an offset of epoch %d", e.Epoch, b.LeaderEpoch)
		}
	}
	v.lastE = max(v.lastE, b.LeaderEpoch)
	v.next = max(v.next, b.LastOffset+1)
	v.r.Batches++
	v.r.Records += int64(b.Count)
	v.r.Bytes += b.Size
}

// indexes is what the index files of a segment say, and how far the batches have got in it.
type indexes struct {
	name    string
	offsets commitlog.OffsetIndex
	times   commitlog.TimeIndex
	txns    []commitlog.AbortedTxn
	o, t, x int   // the next entry of each
	maxTs   int64 // so far
}

// indexes reads the index files; entries that can't be are left out.
func (v *verifier) indexes(name string, base int64, files map[string]bool) (*indexes, error) {
	ix := &indexes{name: name, maxTs: -1}
	for _, suffix := range []string{".index", ".timeindex", ".txnindex"} {
		if !files[name+suffix] {
			if suffix != ".txnindex" {
				v.note(name+suffix, -1, -1, "missing; the next start rebuilds it")
			}
			continue
		}
		b, err := vfs.ReadFile(v.fs, filepath.Join(v.dir, name+suffix))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		switch suffix {
		case ".index":
			ix.offsets, err = commitlog.ParseOffsetIndex(base, trimmed(b, offsetEntry))
		case ".timeindex":
			ix.times, err = commitlog.ParseTimeIndex(base, trimmed(b, timeEntry))
		default:
			ix.txns, err = commitlog.ParseTxnIndex(base, b)
		}
		if err != nil {
			v.problem(name+suffix, -1, -1, "%v", err)
		}
	}
	return ix, nil
}

// batch compares the entries that speak of a batch.
func (ix *indexes) batch(v *verifier, b Batch) {
	ix.maxTs = max(ix.maxTs, b.MaxTimestampMs)
	for ; ix.o < ix.offsets.Len() && ix.offsets.Entry(ix.o).Position <= b.Position; ix.o++ {
		if e := ix.offsets.Entry(ix.o); e.Position != b.Position || e.Offset != b.LastOffset {
			v.problem(ix.name+".index", int64(ix.o)*offsetEntry, e.Offset, "says byte %d; a batch up to offset %d starts at byte %d", e.Position, b.LastOffset, b.Position)
		}
	}
	for ; ix.t < ix.times.Len() && ix.times.Entry(ix.t).Offset <= b.LastOffset; ix.t++ {
		e := ix.times.Entry(ix.t)
		// Kafka names the last offset of the batch, or that of the very record.
		if e.Offset < b.BaseOffset || e.TimestampMs != ix.maxTs {
			v.problem(ix.name+".timeindex", int64(ix.t)*timeEntry, e.Offset, "says %d ms; up to there the newest record has %d ms", e.TimestampMs, ix.maxTs)
		}
	}
	for ; ix.x < len(ix.txns) && ix.txns[ix.x].LastOffset <= b.LastOffset; ix.x++ {
		t := ix.txns[ix.x]
		if kind, ok := b.marker(); !ok || kind != batch.Abort || t.LastOffset != b.BaseOffset || t.ProducerID != b.ProducerID {
			v.problem(ix.name+".txnindex", -1, t.LastOffset, "producer %d did not abort a transaction there", t.ProducerID)
		}
	}
}

// rest tells of entries behind the last batch.
func (ix *indexes) rest(v *verifier) {
	if n := ix.offsets.Len() - ix.o + ix.times.Len() - ix.t + len(ix.txns) - ix.x; n > 0 {
		v.problem(ix.name+".index", -1, -1, "%d entries of the indexes speak of batches that are not there", n)
	}
}
