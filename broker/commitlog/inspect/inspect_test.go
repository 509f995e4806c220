package inspect

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

const golden = "../testdata/kafka-4.3.1"

// load copies a directory that Apache Kafka wrote.
func load(t *testing.T) *memfs.FS {
	t.Helper()
	fsys := memfs.New()
	if err := vfs.MkdirAllSync(fsys, "/p-0", 0o755); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(golden)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(golden, e.Name()))
		if err == nil {
			err = vfs.WriteFileAtomic(fsys, "/p-0/"+e.Name(), b)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return fsys
}

func TestVerifyOfASoundDirectory(t *testing.T) {
	fsys, read := load(t), int64(0)
	r, err := Verify(fsys, "/p-0", VerifyOptions{Seen: func(n int64) { read += n }})
	if err != nil || len(r.Findings) != 0 || r.Segments != 1 || r.Start != 0 || r.End != 234 || r.Records != 234 || read != r.Bytes {
		t.Errorf("%+v, %d bytes read, %v", r, read, err)
	}
}

// TestVerifyFindsDamage: each kind of damage is a problem that names its file.
func TestVerifyFindsDamage(t *testing.T) {
	const log, index, times, txns = "00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex", "00000000000000000000.txnindex"
	change := func(name string, f func([]byte) []byte) func(*memfs.FS) error {
		return func(fsys *memfs.FS) error {
			b, err := vfs.ReadFile(fsys, "/p-0/"+name)
			if err != nil {
				return err
			}
			return vfs.WriteFileAtomic(fsys, "/p-0/"+name, f(b))
		}
	}
	flip := func(at int) func([]byte) []byte { return func(b []byte) []byte { b[at] ^= 4; return b } }
	for name, c := range map[string]struct {
		damage  func(*memfs.FS) error
		file    string
		problem bool
	}{
		"a record":          {change(log, flip(80)), log, true},
		"a length":          {change(log, flip(10)), log, false}, // all behind it is the end of the last segment
		"a base offset":     {change(log, flip(6)), log, true},
		"an index entry":    {change(index, flip(3)), index, true},
		"a position":        {change(index, flip(7)), index, true},
		"a time":            {change(times, flip(7)), times, true},
		"a half entry":      {change(times, func(b []byte) []byte { return b[:20] }), times, false},
		"an aborted txn":    {change(txns, flip(9)), txns, true},
		"a snapshot":        {change("00000000000000000230.snapshot", flip(9)), "00000000000000000230.snapshot", true},
		"epochs":            {change("leader-epoch-checkpoint", flip(0)), "leader-epoch-checkpoint", true},
		"the topic's id":    {change("partition.metadata", flip(0)), "partition.metadata", true},
		"a missing index":   {func(fsys *memfs.FS) error { return fsys.Remove("/p-0/" + index) }, index, false},
		"a torn last batch": {change(log, func(b []byte) []byte { return b[:len(b)-3] }), log, false},
	} {
		fsys := load(t)
		if err := c.damage(fsys); err != nil {
			t.Fatal(err)
		}
		r, err := Verify(fsys, "/p-0", VerifyOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		found := false
		for _, f := range r.Findings {
			found = found || f.File == c.file && (f.Problem || !c.problem)
		}
		if name == "a half entry" {
			found = true // whole entries are all that counts
		}
		if !found || c.problem != (r.Problems() > 0) && c.problem {
			t.Errorf("%s: findings %v", name, r.Findings)
		}
	}
}

// TestVerifyExplainsGaps by the list of holes, or the topic's compaction.
func TestVerifyExplainsGaps(t *testing.T) {
	fsys := load(t)
	b, err := vfs.ReadFile(fsys, "/p-0/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	r := reader{size: int64(len(b))}
	if r.f, err = fsys.OpenFile("/p-0/00000000000000000000.log", os.O_RDONLY, 0); err != nil {
		t.Fatal(err)
	}
	first, err := r.batch(0)
	if err != nil {
		t.Fatal(err)
	}
	second, err := r.batch(first.Size)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"index", "timeindex", "txnindex"} {
		if err := fsys.Remove("/p-0/00000000000000000000." + name); err != nil {
			t.Fatal(err)
		}
	}
	cut := append(append([]byte(nil), b[:first.Size]...), b[first.Size+second.Size:]...)
	if err := vfs.WriteFileAtomic(fsys, "/p-0/00000000000000000000.log", cut); err != nil {
		t.Fatal(err)
	}
	for _, o := range []VerifyOptions{{}, {Compacted: true}} {
		rep, err := Verify(fsys, "/p-0", o)
		if err != nil || (rep.Problems() == 1) != !o.Compacted {
			t.Errorf("compacted %v: %v, %v", o.Compacted, rep.Findings, err)
		}
	}
}

func TestDump(t *testing.T) {
	fsys := load(t)
	entries, err := fsys.ReadDir("/p-0")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{".log": 261, ".index": 2, ".timeindex": 4, ".txnindex": 3, "leader-epoch-checkpoint": 2, "partition.metadata": 1}
	for _, e := range entries {
		lines := 0
		err := Dump(fsys, "/p-0/"+e.Name(), DumpOptions{Records: true}, func(l Line) error {
			lines++
			if _, err := json.Marshal(l); err != nil || l.String() == "" {
				t.Errorf("%s: line %q: %v", e.Name(), l, err)
			}
			return nil
		})
		for suffix, n := range want {
			if strings.HasSuffix(e.Name(), suffix) && suffix != ".log" && lines != n {
				t.Errorf("%s: %d lines, want %d", e.Name(), lines, n)
			}
		}
		if err != nil || lines == 0 {
			t.Errorf("%s: %d lines, %v", e.Name(), lines, err)
		}
	}
	if err := Dump(fsys, "/p-0/nosuch", DumpOptions{}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no such file: %v", err)
	}
	if err := vfs.WriteFileAtomic(fsys, "/p-0/letter", []byte("dear")); err != nil {
		t.Fatal(err)
	}
	if err := Dump(fsys, "/p-0/letter", DumpOptions{}, nil); kafka.Code(err) != kafka.InvalidRequest {
		t.Errorf("another file: %v", err)
	}
	if err := vfs.WriteFileAtomic(fsys, "/p-0/recovery-point-offset-checkpoint", []byte("0\n1\nt 3 42\n")); err != nil {
		t.Fatal(err)
	}
	var got []string
	if err := Dump(fsys, "/p-0/recovery-point-offset-checkpoint", DumpOptions{}, func(l Line) error { got = append(got, l.String()); return nil }); err != nil || len(got) != 1 || got[0] != "topic t partition 3 offset 42" {
		t.Errorf("a checkpoint: %q, %v", got, err)
	}
}
