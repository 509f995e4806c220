package manifest

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

// update rewrites golden files that do not exist yet; a golden that exists is never changed.
var update = flag.Bool("update", false, "write missing golden files")

// uuid is a readable fixed id.
func uuid(b byte) (u kafka.UUID) {
	for i := range u {
		u[i] = b
	}
	return u
}

// sample is a manifest with every field set.
func sample() *Manifest {
	m := &Manifest{
		ID: ID{ClusterID: uuid(1), TopicID: uuid(2), Partition: 7}, Version: 12, OwnerEpoch: 5, Incarnation: uuid(3),
		Token: uuid(4), Parent: uuid(5), WrittenMs: 1_700_000_000_000, Start: 1_050, Next: 1_300, Copy: CopyPaused,
		Epochs: []EpochEntry{{2, 1_050}, {5, 1_210}},
		Segments: []Segment{
			{Base: 1_000, Next: 1_100, Epoch: 2, Try: 0x1234, SizeBytes: 4 << 20, FooterBytes: 900, CRC32C: 0xdeadbeef, MaxTsMs: 1_699_999_999_000, UploadedMs: 1_700_000_000_000, FormatVersion: 1},
			{Base: 1_100, Next: 1_300, Epoch: 5, Try: 1, SizeBytes: 3 << 20, FooterBytes: 800, CRC32C: 1, MaxTsMs: -1, UploadedMs: 1_700_000_001_000, Class: 2, Location: 1, Generation: 3, FormatVersion: 2, HasAborts: true},
		},
		Pending: []Pending{
			{Segment{Base: 500, Next: 1_000, Epoch: 1, Try: 9, SizeBytes: 10, FooterBytes: 90, CRC32C: 2, MaxTsMs: 5, UploadedMs: 6, FormatVersion: 1}, 1_700_000_000_500, Expired},
			{Segment{Base: 400, Next: 450, Epoch: 1, Try: 9, SizeBytes: 10, FooterBytes: 90, CRC32C: 2, MaxTsMs: 5, UploadedMs: 6, FormatVersion: 1}, 1_700_000_000_400, Diverged},
		},
		Stores: []Location{{"s3", "cold", "varve/x"}},
	}
	return m
}

func sampleSpilled() *Manifest {
	m := sample()
	m.Start = 100
	m.Epochs = nil
	m.Spills = []Spill{{First: 50, Next: 700, Count: 3, LogBytes: 99, MaxTsMs: -1, SizeBytes: 60, CRC32C: 7}, {First: 700, Next: 1_000, Count: 1, LogBytes: 9, MaxTsMs: 8, SizeBytes: 40, CRC32C: 8}}
	return m
}

func sampleTopic() *TopicObject {
	return &TopicObject{ClusterID: uuid(1), TopicID: uuid(2), Version: 3, Name: "orders", Partitions: 12, ReplicationFactor: 3,
		State: TopicOffloaded, Configs: map[string]string{"retention.ms": "-1", "remote.storage.enable": "true"}, WrittenMs: 1_700_000_000_000}
}

func sampleFooter() *Footer {
	log := sampleLog()
	f := &Footer{ID: ID{ClusterID: uuid(1), TopicID: uuid(2), Partition: 7}, Base: 1_000, Next: 1_100, Epoch: 2, Try: 0x1234,
		LogBytes: int64(len(log)), MaxTsMs: 77, OffsetIndex: []byte("indexindex"), TimeIndex: []byte("time"), Producers: []byte("snap"),
		Epochs: []EpochEntry{{0, 0}, {2, 1_010}}}
	for i := 0; i < len(log); i += BlockBytes {
		f.Blocks = append(f.Blocks, crc32.Checksum(log[i:min(len(log), i+BlockBytes)], castagnoli))
	}
	return f
}

func sampleLog() []byte { return bytes.Repeat([]byte("varve "), BlockBytes/5) }

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// TestGoldens opens files written by earlier releases: each must read as it was
// written for ever, and today's writer must still produce the same bytes.
func TestGoldens(t *testing.T) {
	cases := map[string][]byte{
		"manifest-v1.hex":       must(sample().Encode()),
		"manifest-spill-v1.hex": must(sampleSpilled().Encode()),
		"topic-v1.hex":          must(sampleTopic().Encode()),
		"footer-v1.hex":         must(sampleFooter().Encode()),
		"spill-v1.hex":          EncodeSpill(sample().Segments),
	}
	for name, now := range cases {
		path := filepath.Join("testdata", name)
		text, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) && *update {
			text = []byte(hex.EncodeToString(now) + "\n")
			err = os.WriteFile(path, text, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
		then := must(hex.DecodeString(strings.TrimSpace(string(text))))
		if !bytes.Equal(now, then) {
			t.Errorf("%s: the writer changed its bytes; a new format needs a new version and a new golden", name)
		}
		if err := decodeAny(then); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// decodeAny decodes by magic and checks that the value encodes to the same bytes.
func decodeAny(b []byte) error {
	var again []byte
	switch string(b[:min(4, len(b))]) {
	case "VMAN":
		m, err := Decode(b)
		if err != nil {
			return err
		}
		again = must(m.Encode())
	case "VTOP":
		m, err := DecodeTopic(b)
		if err != nil {
			return err
		}
		again = must(m.Encode())
	case "VSEG":
		f, err := DecodeFooter(b)
		if err != nil {
			return err
		}
		again = must(f.Encode())
	case "VSPL":
		list, err := DecodeSpill(b)
		if err != nil {
			return err
		}
		again = EncodeSpill(list)
	default:
		return fmt.Errorf("unknown magic: %w", kafka.ErrCorrupt)
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("decodes, but encodes to other bytes")
	}
	return nil
}

func TestRoundTrip(t *testing.T) {
	for _, m := range []*Manifest{sample(), sampleSpilled()} {
		got, err := Decode(must(m.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		if !got.Equal(m) {
			t.Fatalf("got %+v\nwant %+v", got, m)
		}
	}
}

// TestDamage flips every bit and cuts at every byte: no damage goes unnoticed, and
// none is taken for a newer format.
func TestDamage(t *testing.T) {
	for name, b := range map[string][]byte{"manifest": must(sample().Encode()), "topic": must(sampleTopic().Encode()),
		"footer": must(sampleFooter().Encode()), "spill": EncodeSpill(sample().Segments)} {
		for i := range b {
			for bit := range 8 {
				c := bytes.Clone(b)
				c[i] ^= 1 << bit
				if err := decodeAny(c); !errors.Is(err, kafka.ErrCorrupt) {
					t.Fatalf("%s: bit %d of byte %d flipped: %v", name, bit, i, err)
				}
			}
			if err := decodeAny(b[:i]); !errors.Is(err, kafka.ErrCorrupt) {
				t.Fatalf("%s: cut at %d: %v", name, i, err)
			}
		}
	}
}

func TestNewerFormatIsNamed(t *testing.T) {
	b := must(sample().Encode())
	b = b[:len(b)-4]
	b[5] = 2
	if _, err := Decode(seal(b)); !errors.Is(err, ErrNewer) || errors.Is(err, kafka.ErrCorrupt) {
		t.Fatalf("got %v", err)
	}
}

// TestCountIsChecked: a tiny body may not make the reader allocate a long list.
func TestCountIsChecked(t *testing.T) {
	b := spillFormat.begin(16)
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0x0f)
	b = seal(b)
	n := testing.AllocsPerRun(10, func() {
		if _, err := DecodeSpill(b); !errors.Is(err, kafka.ErrCorrupt) {
			t.Fatal(err)
		}
	})
	if n > 20 {
		t.Fatalf("%v allocations", n)
	}
}

// TestValidateRefuses is T24: gaps, overlaps and impossible values never pass.
func TestValidateRefuses(t *testing.T) {
	for name, breakIt := range map[string]func(m *Manifest){
		"gap":             func(m *Manifest) { m.Segments[1].Base++ },
		"overlap":         func(m *Manifest) { m.Segments[1].Base-- },
		"next":            func(m *Manifest) { m.Next++ },
		"empty segment":   func(m *Manifest) { m.Segments[1].SizeBytes = 0 },
		"no footer":       func(m *Manifest) { m.Segments[1].FooterBytes = 0 },
		"start above":     func(m *Manifest) { m.Start = 1_100 },
		"start below":     func(m *Manifest) { m.Start = 999 },
		"version":         func(m *Manifest) { m.Version = 0 },
		"no parent":       func(m *Manifest) { m.Parent = kafka.UUID{} },
		"no token":        func(m *Manifest) { m.Token = kafka.UUID{} },
		"location":        func(m *Manifest) { m.Segments[0].Location = 2 },
		"epochs":          func(m *Manifest) { m.Epochs[1].Epoch = 2 },
		"live pending":    func(m *Manifest) { m.Pending[0].Segment = m.Segments[0] },
		"pending twice":   func(m *Manifest) { m.Pending[0] = m.Pending[1] },
		"no segments":     func(m *Manifest) { m.Segments = nil },
		"copy state":      func(m *Manifest) { m.Copy = 9 },
		"negative owner":  func(m *Manifest) { m.OwnerEpoch = -1 },
		"pending reason":  func(m *Manifest) { m.Pending[0].Reason = 9 },
		"spill and start": func(m *Manifest) { m.Spills = []Spill{{First: 1, Next: 1_000, Count: 1}} },
	} {
		m := sample()
		breakIt(m)
		if _, err := m.Encode(); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateSuccessor(t *testing.T) {
	follow := func() *Manifest {
		m := sample()
		m.Version, m.Parent, m.Token = 13, m.Token, uuid(6)
		return m
	}
	if err := sample().ValidateSuccessor(follow()); err != nil {
		t.Fatal(err)
	}
	for name, breakIt := range map[string]func(m *Manifest){
		"number":      func(m *Manifest) { m.Version++ },
		"parent":      func(m *Manifest) { m.Parent = uuid(9) },
		"owner back":  func(m *Manifest) { m.OwnerEpoch-- },
		"two owners":  func(m *Manifest) { m.Incarnation = uuid(9) },
		"start back":  func(m *Manifest) { m.Start-- },
		"partition":   func(m *Manifest) { m.Partition++ },
		"drop":        func(m *Manifest) { m.Segments = m.Segments[1:]; m.Start = 1_100 },
		"next back":   func(m *Manifest) { m.Segments = m.Segments[:1]; m.Next = 1_100 },
		"revive":      func(m *Manifest) { m.Segments[0] = m.Pending[0].Segment },
		"cut, silent": func(m *Manifest) { m.Segments = nil; m.Next = 1_050 },
	} {
		m := follow()
		breakIt(m)
		if err := sample().ValidateSuccessor(m); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestKeys(t *testing.T) {
	id := ID{ClusterID: uuid(0xab), TopicID: uuid(0x01), Partition: 42}
	s := Segment{Base: 1234, Epoch: 0x1f, Try: 0x7abc}
	c, tp := strings.Repeat("ab", 16), strings.Repeat("01", 16)
	for got, want := range map[string]string{
		id.ManifestKey(9): "v1/" + c + "/t/" + tp + "/42/manifest/00000000000000000009",
		id.SegmentKey(s):  "v1/" + c + "/t/" + tp + "/42/s/00000000000000001234-0000001f-7abc.vseg",
		TopicObjectKey(id.ClusterID, id.TopicID, 1):  "v1/" + c + "/t/" + tp + "/topic/00000000000000000001",
		id.SpillKey(Spill{Next: 10, CRC32C: 0xdead}): "v1/" + c + "/t/" + tp + "/42/spill/00000000000000000000-00000000000000000009-0000dead",
		CanaryKey(id.ClusterID, id.TopicID):          "v1/" + c + "/canary/" + tp,
	} {
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if v, ok := ParseVersion(id.ManifestPrefix(), id.ManifestKey(77)); !ok || v != 77 {
		t.Error(v, ok)
	}
	if got, ok := id.ParseSegmentKey(id.SegmentKey(s)); !ok || got != s {
		t.Error(got, ok)
	}
	if got, ok := ParseID(id.ClusterID, id.SegmentKey(s)); !ok || got != id {
		t.Error(got, ok)
	}
	for _, bad := range []string{"", "x", id.SegmentPrefix() + "1-2-3.vseg", strings.ToUpper(id.SegmentKey(s)), id.SegmentKey(s) + "x"} {
		if _, ok := id.ParseSegmentKey(bad); ok {
			t.Errorf("%q parses", bad)
		}
		if _, ok := ParseVersion(id.ManifestPrefix(), bad); ok {
			t.Errorf("%q parses", bad)
		}
	}
	if _, ok := ParseID(id.ClusterID, TopicObjectKey(id.ClusterID, id.TopicID, 1)); ok {
		t.Error("a topic object is not of a partition")
	}
}

func TestFindAndEpochs(t *testing.T) {
	m := sample()
	for off, want := range map[int64]int64{999: -1, 1_000: 1_000, 1_099: 1_000, 1_100: 1_100, 1_299: 1_100, 1_300: -1} {
		got := int64(-1)
		if s, ok := m.Find(off); ok {
			got = s.Base
		}
		if got != want {
			t.Errorf("offset %d: segment %d, want %d", off, got, want)
		}
	}
	for off, want := range map[int64]int32{1_049: -1, 1_050: 2, 1_209: 2, 1_210: 5, 1_299: 5, 1_300: -1} {
		if got := m.EpochAt(off); got != want {
			t.Errorf("offset %d: epoch %d, want %d", off, got, want)
		}
	}
	list := []EpochEntry{{1, 0}, {3, 100}, {4, 200}}
	if got := TrimEpochs(list, 150, 200); len(got) != 1 || got[0] != (EpochEntry{3, 150}) {
		t.Error(got)
	}
	if got := MergeEpochs([]EpochEntry{{1, 0}}, list); len(got) != 3 || got[2] != list[2] {
		t.Error(got)
	}
}

func TestBlocks(t *testing.T) {
	f, log := sampleFooter(), sampleLog()
	if err := f.CheckBlocks(0, log); err != nil {
		t.Fatal(err)
	}
	log[BlockBytes+5] ^= 1
	err := f.CheckBlocks(BlockBytes, log[BlockBytes:])
	if !errors.Is(err, kafka.ErrCorrupt) || !strings.Contains(err.Error(), "block 1") {
		t.Fatal(err)
	}
	if err := f.CheckBlocks(0, log[:BlockBytes]); err != nil {
		t.Fatal("the damage lies in the other block:", err)
	}
	seg := Segment{Base: f.Base, Next: f.Next, Epoch: f.Epoch, Try: f.Try, SizeBytes: f.LogBytes}
	if err := f.Describes(f.ID, seg); err != nil {
		t.Fatal(err)
	}
	seg.Try++
	if err := f.Describes(f.ID, seg); !errors.Is(err, kafka.ErrCorrupt) {
		t.Fatal(err)
	}
}

// TestSize keeps the manifest as small as the design promises.
func TestSize(t *testing.T) {
	m := &Manifest{Version: 1, Token: uuid(1)}
	for i := range int64(4_096) {
		m.Segments = append(m.Segments, Segment{Base: i * 70_001, Next: (i + 1) * 70_001, Epoch: 3, Try: uint16(i * 7919 % 0x8000), SizeBytes: 64<<20 - i, FooterBytes: 131_000 + i,
			CRC32C: uint32(i * 2654435761), MaxTsMs: 1_700_000_000_000 + i*60_000, UploadedMs: 1_700_000_060_000 + i*60_001, FormatVersion: 1})
		m.Next = m.Segments[i].Next
	}
	b := must(m.Encode())
	if per := float64(len(b)) / 4_096; per > 26 {
		t.Fatalf("%.1f bytes per segment", per)
	}
}

// FuzzDecode feeds every decoder: no panic, and whatever decodes encodes to the same bytes
// after a repair of length and CRC that lets the fuzzer reach the body.
func FuzzDecode(f *testing.F) {
	for _, b := range [][]byte{must(sample().Encode()), must(sampleSpilled().Encode()), must(sampleTopic().Encode()), EncodeSpill(sample().Segments)} {
		f.Add(b[0], b[1], b[2], b[3], b[frameHead:len(b)-4])
	}
	b := must(sampleFooter().Encode())
	f.Add(b[0], b[1], b[2], b[3], b[frameHead:len(b)-4-tailBytes])
	f.Fuzz(func(t *testing.T, a, b, c, d byte, body []byte) {
		frame := format{magic: string([]byte{a, b, c, d}), version: 1}.begin(len(body))
		frame = seal(append(frame, body...))
		var err error
		switch frame[1] {
		case 'M':
			_, err = Decode(frame)
		case 'T':
			_, err = DecodeTopic(frame)
		case 'S':
			_, err = DecodeFooter(frame)
			if err == nil {
				t.Fatal("a footer without a tail decodes")
			}
			tail := append(bytes.Clone(frame), 0, 0, 0, byte(0))
			tail = append(tail, endMagic...)
			n := len(tail)
			tail[n-8], tail[n-7], tail[n-6], tail[n-5] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
			_, err = DecodeFooter(tail)
		}
		if err != nil && !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Fatalf("unmarked error: %v", err)
		}
		_, _ = DecodeSpill(frame)
	})
}
