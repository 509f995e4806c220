package controller

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// Version 1 of the state file and of the snapshot's head and tail, from the first release on.
const (
	goldenState = "564d535401000000000000f41e23f1e97b226c6f67223a7b224e6578745365676d656e744944223a322c22" +
		"5365676d656e7473223a5b7b224944223a312c2242617365496e646578223a312c224d696e496e646578223a312c" +
		"224d6178496e646578223a302c22436f646563223a312c22496e6465785374617274223a302c2243726561746554" +
		"696d65223a22323032362d30312d30325430333a30343a30355a222c225365616c54696d65223a22303030312d30" +
		"312d30315430303a30303a30305a222c2253697a654c696d6974223a343139343330347d5d7d2c22737461626c65" +
		"223a7b2243757272656e745465726d223a2241414141414141414141553d227d7d"
	goldenSnapshot = "564d534e010000001801ac02030202000131056f6e653a310101320574776f3a322c087e31636f6e74656e740000" +
		"00000000000761af7533"
)

func write(t *testing.T, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	if err := vfs.WriteFileAtomic(fsys, name, b); err != nil {
		t.Fatal(err)
	}
}

func sampleState() types.PersistentState {
	return types.PersistentState{NextSegmentID: 2, Segments: []types.SegmentInfo{{
		ID: 1, BaseIndex: 1, MinIndex: 1, Codec: 1, CreateTime: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), SizeLimit: 4 << 20,
	}}}
}

func TestGoldenState(t *testing.T) {
	fsys := memfs.New()
	s := &stateStore{fs: fsys}
	if _, err := s.Load("/"); err != nil {
		t.Fatal(err)
	}
	if err := s.SetStable([]byte("CurrentTerm"), binary.BigEndian.AppendUint64(nil, 5)); err != nil {
		t.Fatal(err)
	}
	if err := s.CommitState(sampleState()); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	err := s.rewrite()
	s.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	b, err := vfs.ReadFile(fsys, "/"+stateFile)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != goldenState {
		t.Errorf("state\n%s, want\n%s", got, goldenState)
	}
	old, err := hex.DecodeString(goldenState)
	if err != nil {
		t.Fatal(err)
	}
	if err := fsys.MkdirAll("/old", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, fsys, "/old/"+stateFile, old)
	again := &stateStore{fs: fsys}
	log, err := again.Load("/old")
	if err != nil || len(log.Segments) != 1 || log.Segments[0] != sampleState().Segments[0] || log.NextSegmentID != 2 {
		t.Errorf("the golden state reads as %+v, %v", log, err)
	}
	if v, err := again.GetStable([]byte("CurrentTerm")); err != nil || binary.BigEndian.Uint64(v) != 5 {
		t.Errorf("term %x, %v", v, err)
	}
}

// The journal takes its last whole record; a torn one is cut; damage before a whole one is reported.
func TestStateJournal(t *testing.T) {
	fsys := memfs.New()
	s := &stateStore{fs: fsys}
	if _, err := s.Load("/"); err != nil {
		t.Fatal(err)
	}
	var ends []int64
	for i := range 3000 { // some of them past the size at which the file is written anew
		if err := s.SetStable([]byte("n"), binary.BigEndian.AppendUint64(nil, uint64(i))); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, s.mu.end)
	}
	if last := slices.Max(ends); last > stateRewrite+1024 || s.mu.end != ends[len(ends)-1] {
		t.Errorf("the journal grew to %d bytes", last)
	}
	b, err := vfs.ReadFile(fsys, "/"+stateFile)
	if err != nil {
		t.Fatal(err)
	}
	load := func(b []byte) (uint64, error) {
		write(t, fsys, "/"+stateFile, b)
		s := &stateStore{fs: fsys}
		if _, err := s.Load("/"); err != nil {
			return 0, err
		}
		v, err := s.GetStable([]byte("n"))
		return binary.BigEndian.Uint64(v), err
	}
	if n, err := load(b); err != nil || n != 2999 {
		t.Errorf("the last value is %d, %v", n, err)
	}
	if n, err := load(b[:len(b)-1]); err != nil || n != 2998 {
		t.Errorf("with a torn record: %d, %v", n, err)
	}
	damaged := slices.Clone(b)
	damaged[stateHead+12] ^= 1
	if _, err := load(damaged); !errors.Is(err, kafka.ErrCorrupt) {
		t.Errorf("with a damaged record: %v", err)
	}
	newer := slices.Clone(b)
	newer[len(stateMagic)] = 9
	if _, err := load(newer); !errors.Is(err, metadata.ErrUnsupported) || !strings.Contains(err.Error(), stateFile) {
		t.Errorf("of a newer program: %v", err)
	}
}

func takeSnapshot(t *testing.T, s *snapshotStore, index uint64, content string) {
	t.Helper()
	config := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: "1", Address: "one:1"}, {Suffrage: raft.Nonvoter, ID: "2", Address: "two:2"}}}
	sink, err := s.Create(raft.SnapshotVersionMax, index, 3, config, 2, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(sink, content); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestGoldenSnapshot(t *testing.T) {
	fsys := memfs.New()
	s, err := openSnapshots(fsys, "/")
	if err != nil {
		t.Fatal(err)
	}
	takeSnapshot(t, s, 300, "content")
	const name = "/00000000000000000300-00000000000000000003.snapshot"
	b, err := vfs.ReadFile(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(b); got != goldenSnapshot {
		t.Errorf("snapshot\n%s, want\n%s", got, goldenSnapshot)
	}
	old, err := hex.DecodeString(goldenSnapshot)
	if err != nil {
		t.Fatal(err)
	}
	write(t, fsys, name, old)
	metas, err := s.List()
	if err != nil || len(metas) != 1 {
		t.Fatalf("%v, %v", metas, err)
	}
	meta, r, err := s.Open(metas[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil || string(content) != "content" || meta.Index != 300 || meta.Term != 3 || meta.ConfigurationIndex != 2 ||
		meta.Size != 7 || len(meta.Configuration.Servers) != 2 || meta.Configuration.Servers[1].Address != "two:2" {
		t.Errorf("%q, %+v, %v", content, meta, err)
	}
	for at := range old { // no flipped bit goes unseen
		write(t, fsys, name, slices.Concat(old[:at], []byte{old[at] ^ 0x10}, old[at+1:]))
		if _, err := openSnapshots(fsys, "/"); !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, metadata.ErrUnsupported) {
			t.Errorf("byte %d: %v", at, err)
		}
	}
}

// Only finished snapshots count, the newest of them; two are kept.
func TestSnapshotFiles(t *testing.T) {
	fsys := memfs.New()
	s, err := openSnapshots(fsys, "/")
	if err != nil {
		t.Fatal(err)
	}
	for _, index := range []uint64{5, 50, 7} {
		takeSnapshot(t, s, index, "x")
	}
	if _, err := s.Create(raft.SnapshotVersionMax, 900, 3, raft.Configuration{}, 2, nil); err != nil {
		t.Fatal(err)
	}
	s, err = openSnapshots(fsys, "/")
	if err != nil {
		t.Fatal(err)
	}
	metas, err := s.List()
	if err != nil || len(metas) != 1 || metas[0].Index != 50 {
		t.Errorf("%+v, %v", metas, err)
	}
	entries, err := fsys.ReadDir("/")
	if err != nil || len(entries) != 2 {
		t.Errorf("files %v, %v: want two snapshots and no debris", entries, err)
	}
}

// segmentOf is a log segment as raft-wal writes it: a header and batches of one entry each.
func segmentOf(batches ...string) []byte {
	b := make([]byte, walHeaderSize)
	start := 0
	for _, data := range batches {
		b = append(b, walFrameEntry, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, uint32(len(data)))
		b = append(b, data...)
		b = append(b, make([]byte, (8-len(data)%8)%8)...)
		sum := crc32.Checksum(b[start:], castagnoli)
		b = append(b, walFrameCommit, 0, 0, 0)
		b = binary.LittleEndian.AppendUint32(b, sum)
		start = len(b)
	}
	return b
}

func TestRepairCutsTornBatches(t *testing.T) {
	two := segmentOf("first", "second entry")
	one := two[:walHeaderSize+8+8+8]
	tests := []struct {
		name string
		b    []byte
		want []byte
	}{
		{"whole", two, two},
		{"empty", nil, nil},
		{"torn header", two[:20], nil},
		{"torn first batch", two[:50], nil},
		{"torn second batch", two[:len(two)-9], one},
		{"second commit missing", append(slices.Clone(two[:len(two)-8]), make([]byte, 8)...), one},
		{"zeros behind", append(slices.Clone(two), make([]byte, 100)...), two},
		{"garbage behind", append(slices.Clone(two), bytes.Repeat([]byte{0xee}, 100)...), two},
		{"second batch broken", slices.Concat(two[:len(two)-16], make([]byte, 8), two[len(two)-8:]), one},
	}
	for _, tt := range tests {
		fsys := memfs.New()
		write(t, fsys, "/x.wal", tt.b)
		if err := (walFS{fsys}).repair("/x.wal"); err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		got, err := vfs.ReadFile(fsys, "/x.wal")
		if err != nil || !bytes.Equal(got, tt.want) {
			t.Errorf("%s: %d bytes are left, want %d, %v", tt.name, len(got), len(tt.want), err)
		}
	}
	fsys := memfs.New()
	damaged := slices.Clone(two)
	damaged[walHeaderSize+9] ^= 1
	write(t, fsys, "/x.wal", damaged)
	if err := (walFS{fsys}).repair("/x.wal"); !errors.Is(err, kafka.ErrCorrupt) || !strings.Contains(err.Error(), "/x.wal") {
		t.Errorf("damage before a whole batch: %v", err)
	}
}

// A log whose last file was sealed when the power went takes entries again.
func TestSealedTailIsReopened(t *testing.T) {
	fsys := memfs.New()
	var kept *memfs.FS
	discard := slog.New(slog.DiscardHandler)
	s, err := openStore(fsys, "/", discard, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	var index uint64
	appendTo := func(s Store) {
		t.Helper()
		index++
		if err := s.Logs().StoreLog(&raft.Log{Index: index, Term: 1, Data: bytes.Repeat([]byte{7}, 100)}); err != nil {
			t.Fatal(err)
		}
	}
	// The state file as it was before the seal, with the log file as it was after it.
	for sealed := false; !sealed; {
		before, err := vfs.ReadFile(fsys, "/"+stateFile)
		if err != nil {
			t.Fatal(err)
		}
		appendTo(s)
		kept = fsys.CrashClone(1)
		write(t, kept, "/"+stateFile, before)
		b, err := vfs.ReadFile(kept, "/00000000000000000001-0000000000000000.wal")
		if err != nil {
			t.Fatal(err)
		}
		last, err := lastBatch(b)
		if err != nil {
			t.Fatal(err)
		}
		sealed = last.index > 0
	}
	again, err := openStore(kept, "/", discard, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	if last, err := again.Logs().LastIndex(); err != nil || last != index {
		t.Fatalf("the log ends at %d, %v, want %d", last, err, index)
	}
	for range 20 {
		appendTo(again)
	}
	for i := uint64(1); i <= index; i++ {
		var l raft.Log
		if err := again.Logs().GetLog(i, &l); err != nil || l.Index != i || len(l.Data) != 100 {
			t.Fatalf("entry %d: %+v, %v", i, l, err)
		}
	}
}

func FuzzStoreFiles(f *testing.F) {
	for _, golden := range []string{goldenState, goldenSnapshot} {
		b, err := hex.DecodeString(golden)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add(segmentOf("a", "bc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		fsys := memfs.New()
		for _, name := range []string{"/s/" + stateFile, "/n/1-1" + snapshotSuffix, "/w/x.wal"} {
			if err := fsys.MkdirAll(name[:2], 0o755); err != nil {
				t.Fatal(err)
			}
			write(t, fsys, name, b)
		}
		if _, err := (&stateStore{fs: fsys}).Load("/s"); err != nil && !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, metadata.ErrUnsupported) {
			t.Errorf("state: %v", err)
		}
		if _, err := openSnapshots(fsys, "/n"); err != nil && !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, metadata.ErrUnsupported) {
			t.Errorf("snapshot: %v", err)
		}
		if err := (walFS{fsys}).repair("/w/x.wal"); err != nil && !errors.Is(err, kafka.ErrCorrupt) {
			t.Errorf("log: %v", err)
		} else if err == nil {
			if err := (walFS{fsys}).repair("/w/x.wal"); err != nil {
				t.Errorf("a repaired log needs more repair: %v", err)
			}
		}
	})
}
