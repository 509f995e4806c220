package wal

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"os"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func sampleHeader() header {
	return header{dirID: kafka.UUID{1, 2, 3}, generation: 0x1122334455667788, sequence: 9, ring: MinBytes, tail: 3 * blockBytes, prev: 0xcafebabe}
}

func sampleFrame() []byte {
	b := make([]byte, frameBytes)
	b = appendRecord(b, kindData, key(1, 2), 100, []byte("a record batch"))
	b = appendRecord(b, kindStart, key(1, 2), 40, nil)
	b = appendRecord(b, kindEnd, key(5, 0), 7, nil)
	sealFrame(b, frame{generation: 0x1122334455667788, position: 3 * blockBytes, count: 3, prev: 0xcafebabe})
	return b
}

// golden reads a file of hex digits.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGoldens: version 1 must open for ever.
func TestGoldens(t *testing.T) {
	want := golden(t, "header-v1.hex")
	if got := appendHeader(nil, sampleHeader()); !bytes.Equal(got[:headerBytes], want) || len(got) != blockBytes {
		t.Errorf("the header's encoding changed:\n%x", got[:headerBytes])
	}
	if h, err := parseHeader(want); err != nil || h != sampleHeader() {
		t.Errorf("%+v, %v", h, err)
	}
	want = golden(t, "frame-v1.hex")
	if got := sampleFrame(); !bytes.Equal(got, want) {
		t.Errorf("the frame's encoding changed:\n%x", got)
	}
	f, ok := parseFrame(want)
	if !ok || f.crc != frameCRC(want) || f.position != 3*blockBytes || f.prev != 0xcafebabe || f.length != int64(len(want)-frameBytes) {
		t.Errorf("%+v, %v", f, ok)
	}
	var got []record
	if err := parseRecords(want[frameBytes:], f.count, func(r record) { got = append(got, r) }); err != nil || len(got) != 3 {
		t.Fatalf("%+v, %v", got, err)
	}
	if r := got[0]; r.kind != kindData || r.key != key(1, 2) || r.offset != 100 || string(want[frameBytes+r.at:][:r.length]) != "a record batch" {
		t.Errorf("%+v", r)
	}
	if got[1].kind != kindStart || got[1].offset != 40 || got[2].kind != kindEnd || got[2].key != key(5, 0) {
		t.Errorf("%+v", got[1:])
	}
}

// TestFlippedBitsAreFound in a header and in a frame.
func TestFlippedBitsAreFound(t *testing.T) {
	h, f := appendHeader(nil, sampleHeader())[:headerBytes], sampleFrame()
	for i := range 8 * len(h) {
		b := bytes.Clone(h)
		b[i/8] ^= 1 << (i % 8)
		if _, err := parseHeader(b); !errors.Is(err, kafka.ErrCorrupt) {
			t.Errorf("bit %d of the header: %v", i, err)
		}
	}
	for i := range 8 * len(f) {
		b := bytes.Clone(f)
		b[i/8] ^= 1 << (i % 8)
		if got, ok := parseFrame(b); ok && got.crc == frameCRC(b) {
			t.Errorf("bit %d of the frame was not found", i)
		}
	}
}

func TestNewerVersionIsRefused(t *testing.T) {
	fsys := newDisk(t)
	if err := create(fsys, "/d", header{dirID: testDir, ring: MinBytes}); err != nil {
		t.Fatal(err)
	}
	f, h, err := openHeader(fsys, "/d", testDir)
	if err != nil {
		t.Fatal(err)
	}
	h.sequence++
	b := appendHeader(nil, h)
	b[5] = version + 1
	copy(b[headerBytes-4:], crcOf(b[:headerBytes-4]))
	if _, err := f.WriteAt(b, int64(h.sequence%headerSlots)*blockBytes); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(fsys, "/d", testDir); !errors.Is(err, ErrNewer) {
		t.Errorf("a file of a later version: %v", err)
	}
}

// FuzzFrame: no bytes make the decoders panic, read too far or answer what is not there.
func FuzzFrame(f *testing.F) {
	f.Add(sampleFrame(), uint32(3))
	f.Add([]byte(frameMagic), uint32(1<<31))
	f.Fuzz(func(t *testing.T, b []byte, count uint32) {
		if fr, ok := parseFrame(b); ok && fr.length < 0 {
			t.Errorf("length %d", fr.length)
		}
		_, _ = parseHeader(b)
		n := uint32(0)
		err := parseRecords(b, count, func(r record) {
			if n++; r.at < 0 || r.length < 0 || r.at+r.length > len(b) || r.offset < 0 {
				t.Errorf("%+v in %d bytes", r, len(b))
			}
		})
		if err == nil && n != count {
			t.Errorf("%d records, want %d", n, count)
		}
	})
}

// FuzzRecover: whatever is in the ring, recovery ends with records that fit in it, or with
// an error that says what is wrong.
func FuzzRecover(f *testing.F) {
	f.Add(sampleFrame(), uint16(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint16) {
		fsys := newDisk(t)
		if err := create(fsys, "/d", header{dirID: testDir, ring: MinBytes}); err != nil {
			t.Fatal(err)
		}
		file, _, err := openHeader(fsys, "/d", testDir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteAt(b, int64(at)); err != nil && len(b) > 0 {
			t.Fatal(err)
		}
		r, err := Recover(fsys, "/d", testDir)
		if err != nil {
			if !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, ErrNewer) {
				t.Errorf("%v", err)
			}
			return
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func crcOf(b []byte) []byte {
	return binary.BigEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli))
}
