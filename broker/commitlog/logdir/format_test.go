package logdir

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

func sum(b []byte) []byte { return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli)) }

func sample() *checkpoint {
	return &checkpoint{
		directoryID: kafka.UUID{1, 2, 3}, bootID: "0c2c7f1e", sequence: 42,
		entries: []checkpointEntry{
			{State: commitlog.State{TP: tp("orders", 3), TopicID: id(9), RecoveryPoint: 100, LogStart: 5, LocalStart: 50,
				HighestRemote: 60, End: 120, LatestEpoch: 7, SizeBytes: 4711, ActiveBase: 90, ActiveBytes: 815, Sealed: true}, closed: true},
			{State: commitlog.State{TP: tp("t", 0), TopicID: id(8), HighestRemote: -1, LatestEpoch: -1, Suspect: true}},
		},
	}
}

func goldenFile(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	golden, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return golden
}

// TestGoldenCheckpoint: every version must open for ever.
func TestGoldenCheckpoint(t *testing.T) {
	newest := goldenFile(t, "checkpoint-v2.hex")
	if got := sample().append(nil); !bytes.Equal(got, newest) {
		t.Errorf("the encoding changed:\n%x", got)
	}
	old := sample()
	for i := range old.entries {
		e := &old.entries[i]
		e.SizeBytes, e.ActiveBase, e.ActiveBytes, e.Sealed = -1, 0, -1, false
	}
	for want, golden := range map[*checkpoint][]byte{sample(): newest, old: goldenFile(t, "checkpoint-v1.hex")} {
		c, err := parseCheckpoint(golden)
		if err != nil || len(c.entries) != 2 || c.entries[0] != want.entries[0] || c.entries[1] != want.entries[1] ||
			c.sequence != 42 || c.bootID != "0c2c7f1e" || c.directoryID != (kafka.UUID{1, 2, 3}) {
			t.Errorf("%+v, %v", c, err)
		}
	}
}

func sampleMoved() *moved {
	return &moved{unique: strings.Repeat("0a", 16), directoryID: kafka.UUID{1, 2, 3}, sequence: 42, former: []kafka.UUID{{4}, {5}}, entry: sample().entries[0]}
}

// TestGoldenMoved: version 1 must open for ever.
func TestGoldenMoved(t *testing.T) {
	golden := goldenFile(t, "moved-v1.hex")
	if got := sampleMoved().append(nil); !bytes.Equal(got, golden) {
		t.Errorf("the encoding changed:\n%x", got)
	}
	v, err := parseMoved(golden)
	if err != nil || v.directoryID != (kafka.UUID{1, 2, 3}) || v.sequence != 42 || len(v.former) != 2 || v.former[1] != (kafka.UUID{5}) || v.entry != sample().entries[0] {
		t.Errorf("%+v, %v", v, err)
	}
	newer := bytes.Clone(golden)
	newer[5] = 2
	if _, err := parseMoved(sum(newer[:len(newer)-4])); !errors.Is(err, errNewer) {
		t.Errorf("a newer version: %v", err)
	}
}

func FuzzMoved(f *testing.F) {
	f.Add(sampleMoved().append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 {
			b = sum(b[:len(b)-4]) // past the CRC, into the fields
		}
		v, err := parseMoved(b)
		if err != nil {
			if !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, errNewer) {
				t.Fatal(err)
			}
			return
		}
		if again, err := parseMoved(v.append(nil)); err != nil || again.entry != v.entry || len(again.former) != len(v.former) {
			t.Fatalf("does not round-trip: %v", err)
		}
	})
}

func TestMetaProperties(t *testing.T) {
	m := metaProperties{clusterID: cluster, nodeID: 7, directoryID: kafka.UUID{1, 2, 3}}
	if got, err := parseMetaProperties(m.append(nil)); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
	// As Kafka's storage tool writes it.
	kafkas := "#\n#Sun Nov 22 18:00:00 UTC 2026\ncluster.id=" + cluster + "\nversion=1\ndirectory.id=AQIDAAAAAAAAAAAAAAAAAA\nnode.id=7\n"
	if got, err := parseMetaProperties([]byte(kafkas)); err != nil || got != m {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []string{"", "version=0\nbroker.id=1\n", "version=1\n", "version=1\ncluster.id=x\nnode.id=-3\n", "version=1\ncluster.id=x\nnode.id=1\ndirectory.id=1\n", "version"} {
		if _, err := parseMetaProperties([]byte(bad)); !errors.Is(err, kafka.ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add(sample().append(nil))
	f.Add((&checkpoint{}).append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 {
			b = sum(b[:len(b)-4]) // past the CRC, into the fields
		}
		c, err := parseCheckpoint(b)
		if err != nil {
			if !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, errNewer) {
				t.Fatal(err)
			}
			return
		}
		again, err := parseCheckpoint(c.append(nil))
		if err != nil || len(again.entries) != len(c.entries) {
			t.Fatalf("does not round-trip: %v", err)
		}
	})
}

func FuzzMetaProperties(f *testing.F) {
	f.Add(metaProperties{clusterID: cluster, nodeID: 7, directoryID: kafka.UUID{1}}.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := parseMetaProperties(b); err != nil && !errors.Is(err, kafka.ErrCorrupt) {
			t.Fatal(err)
		}
	})
}
