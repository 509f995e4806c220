package inspect

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Sizes of index entries: Kafka's.
const (
	offsetEntry = 8
	timeEntry   = 12
)

// Line is one thing in a file: it prints as text and marshals as JSON.
type Line interface{ fmt.Stringer }

// Record is one record of a batch.
type Record struct {
	Offset      int64  `json:"offset"`
	TimestampMs int64  `json:"timestamp_ms"`
	Key         []byte `json:"key"` // base64 in JSON, null without one
	Value       []byte `json:"value"`
	Headers     int    `json:"headers"`
}

// String shows the sizes and the beginnings of key and value.
func (r Record) String() string {
	return fmt.Sprintf("  offset %d timestamp %d key %s value %s headers %d", r.Offset, r.TimestampMs, brief(r.Key), brief(r.Value), r.Headers)
}

func brief(b []byte) string {
	const most = 40
	if b == nil {
		return "null"
	}
	if len(b) > most {
		return fmt.Sprintf("%q… (%d bytes)", b[:most], len(b))
	}
	return strconv.Quote(string(b))
}

// Fields is a line of a small file: pairs of name and value in their order.
type Fields []Field

// Field is a name and its value.
type Field struct {
	Name  string
	Value any
}

// String joins the pairs.
func (f Fields) String() string {
	var parts []string
	for _, x := range f {
		parts = append(parts, fmt.Sprintf("%s %v", x.Name, x.Value))
	}
	return strings.Join(parts, " ")
}

// MarshalJSON makes an object of the pairs.
func (f Fields) MarshalJSON() ([]byte, error) {
	out := []byte{'{'}
	for i, x := range f {
		if i > 0 {
			out = append(out, ',')
		}
		out = strconv.AppendQuote(out, x.Name)
		out = append(out, ':')
		switch v := x.Value.(type) {
		case int64:
			out = strconv.AppendInt(out, v, 10)
		case bool:
			out = strconv.AppendBool(out, v)
		default:
			out = strconv.AppendQuote(out, fmt.Sprint(v))
		}
	}
	return append(out, '}'), nil
}

// DumpOptions say how much Dump shows.
type DumpOptions struct {
	Records bool // the records of each batch as well
}

// Dump tells what is in a file of a partition or log dir, by the kind that its name says:
// Kafka's `.log`, `.index`, `.timeindex`, `.txnindex`, `.snapshot`, leader-epoch-checkpoint,
// partition.metadata, the offset checkpoints of Kafka's log dirs, and our varve-damage. Files
// that were set aside or deleted have the kind that they had. Lines come in the order of the
// file. Errors wrap kafka.ErrCorrupt when bytes are damaged, after what could be told, and
// kafka.InvalidRequest for a file of another kind.
func Dump(fsys vfs.FS, path string, o DumpOptions, each func(Line) error) error {
	name := filepath.Base(path)
	base, suffix, isSegment := commitlog.ParseSegmentName(name)
	if isSegment {
		kind, _, _ := strings.Cut(suffix[1:], ".")
		if kind == "log" {
			return dumpLog(fsys, path, o, each)
		}
		b, err := vfs.ReadFile(fsys, path)
		if err != nil {
			return err
		}
		if done, err := dumpSegmentFile(kind, base, b, each); done {
			return err
		}
	}
	return dumpSmall(fsys, path, name, each)
}

func dumpLog(fsys vfs.FS, path string, o DumpOptions, each func(Line) error) error {
	var bad error
	err := eachBatch(fsys, path, nil, func(b Batch) error {
		if err := each(b); err != nil {
			return err
		}
		if b.Damage != "" {
			bad = corrupt("%s: byte %d: %s", path, b.Position, b.Damage)
			return nil
		}
		if !o.Records {
			return nil
		}
		for rec, err := range batch.Records(b.bytes, batch.Limits{}) {
			if err != nil {
				bad = corrupt("%s: byte %d: records: %v", path, b.Position, err)
				return nil
			}
			if err := each(Record{rec.Offset, rec.TimestampMs, rec.Key, rec.Value, len(rec.Headers)}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return bad
}

// dumpSegmentFile knows the small files of a segment; done is false for other kinds.
func dumpSegmentFile(kind string, base int64, b []byte, each func(Line) error) (done bool, err error) {
	switch kind {
	case "index":
		x, bad := commitlog.ParseOffsetIndex(base, trimmed(b, offsetEntry))
		for i := range x.Len() {
			e := x.Entry(i)
			if err := each(Fields{{"offset", e.Offset}, {"position", e.Position}}); err != nil {
				return true, err
			}
		}
		return true, bad
	case "timeindex":
		x, bad := commitlog.ParseTimeIndex(base, trimmed(b, timeEntry))
		for i := range x.Len() {
			e := x.Entry(i)
			if err := each(Fields{{"timestamp", e.TimestampMs}, {"offset", e.Offset}}); err != nil {
				return true, err
			}
		}
		return true, bad
	case "txnindex":
		txns, bad := commitlog.ParseTxnIndex(base, b)
		for _, t := range txns {
			if err := each(Fields{{"producer", t.ProducerID}, {"first", t.FirstOffset}, {"last", t.LastOffset}, {"lastStable", t.LastStable}}); err != nil {
				return true, err
			}
		}
		return true, bad
	case "snapshot":
		entries, bad := commitlog.ParseProducerSnapshot(b)
		for _, e := range entries {
			if err := each(Fields{{"producer", e.ProducerID}, {"epoch", int64(e.Epoch)}, {"lastSequence", int64(e.LastSequence)}, {"lastOffset", e.LastOffset},
				{"offsetDelta", int64(e.OffsetDelta)}, {"timestamp", e.TimestampMs}, {"coordinatorEpoch", int64(e.CoordinatorEpoch)},
				{"transactionFirst", e.TxnFirstOffset}}); err != nil {
				return true, err
			}
		}
		return true, bad
	}
	return false, nil
}

// dumpSmall knows the files that belong to a partition or a log dir as a whole.
func dumpSmall(fsys vfs.FS, path, name string, each func(Line) error) error {
	b, err := vfs.ReadFile(fsys, path)
	if err != nil {
		return err
	}
	var lines []Line
	switch name {
	case "leader-epoch-checkpoint":
		var entries []commitlog.EpochEntry
		entries, err = commitlog.ParseEpochCheckpoint(b)
		for _, e := range entries {
			lines = append(lines, Fields{{"epoch", int64(e.Epoch)}, {"start", e.Start}})
		}
	case commitlog.PartitionMetadataName:
		var id kafka.UUID
		if id, err = commitlog.ParsePartitionMetadata(b); err == nil {
			lines = append(lines, Fields{{"topicID", id}})
		}
	case commitlog.DamageName:
		var holes []commitlog.Hole
		holes, err = commitlog.ParseDamage(b)
		for _, h := range holes {
			lines = append(lines, Fields{{"from", h.From}, {"to", h.To}, {"accepted", h.Accepted}, {"found", h.FoundMs}, {"file", h.File}, {"byte", h.Byte}})
		}
	case "recovery-point-offset-checkpoint", "replication-offset-checkpoint", "log-start-offset-checkpoint", "cleaner-offset-checkpoint":
		lines, err = offsetCheckpoint(b)
	default:
		return fmt.Errorf("%s is no file of a kind that is known here: %w", path, kafka.InvalidRequest)
	}
	for _, l := range lines {
		if err := each(l); err != nil {
			return err
		}
	}
	return err
}

// offsetCheckpoint reads Kafka's text of offsets by partition, version 0.
func offsetCheckpoint(b []byte) ([]Line, error) {
	rows := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(rows) < 2 || rows[0] != "0" || rows[1] != strconv.Itoa(len(rows)-2) {
		return nil, corrupt("offset checkpoint: no version 0 with a count that fits")
	}
	var out []Line
	for _, row := range rows[2:] {
		f := strings.Fields(row)
		if len(f) != 3 {
			return out, corrupt("offset checkpoint: line %q", row)
		}
		p, err1 := strconv.ParseInt(f[1], 10, 32)
		off, err2 := strconv.ParseInt(f[2], 10, 64)
		if err1 != nil || err2 != nil {
			return out, corrupt("offset checkpoint: line %q", row)
		}
		out = append(out, Fields{{"topic", f[0]}, {"partition", p}, {"offset", off}})
	}
	return out, nil
}
