package commitlog

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// countingReader counts reads.
type countingReader struct {
	io.ReaderAt
	reads int
}

func (c *countingReader) ReadAt(b []byte, off int64) (int, error) {
	c.reads++
	return c.ReaderAt.ReadAt(b, off)
}

// TestSearchFile compares with the search in memory, whatever the spread and the guess.
func TestSearchFile(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	room := make([]byte, lookupChunk)
	for range 300 {
		const base = 1000
		var b []byte
		n, offset := rng.IntN(1000), int64(base)
		step := 1 + rng.Int64N(50)
		for i := range n {
			if offset += 1 + rng.Int64N(step); rng.IntN(100) == 0 {
				offset += 10_000
			}
			b = appendOffsetEntry(b, base, OffsetEntry{Offset: offset, Position: int64(i) * 4096})
		}
		x, err := ParseOffsetIndex(base, b)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			target := base + rng.Int64N(offset-base+10)
			e, err := searchFile(bytes.NewReader(b), offsetEntrySize, n, rng.IntN(n+2)-1, room, func(e []byte) bool {
				return decodeOffsetEntry(base, e).Offset > target
			})
			if err != nil {
				t.Fatal(err)
			}
			got := OffsetEntry{Offset: base}
			if e != nil {
				got = decodeOffsetEntry(base, e)
			}
			if want := x.Lookup(target); got != want {
				t.Fatalf("target %d among %d entries: got %v, want %v", target, n, got, want)
			}
		}
	}
}

// A lookup among equal batches reads its index file once, however long that is.
func TestSearchFileGuesses(t *testing.T) {
	const n, records = 100_000, 16
	var b []byte
	for i := range n {
		b = appendOffsetEntry(b, 0, OffsetEntry{Offset: int64(i+1) * records, Position: int64(i) * 16_000})
	}
	room := make([]byte, lookupChunk)
	for target := int64(0); target < n*records; target += 9999 {
		c := &countingReader{ReaderAt: bytes.NewReader(b)}
		k := func(e []byte) bool { return decodeOffsetEntry(0, e).Offset > target }
		if _, err := searchFile(c, offsetEntrySize, n, proportion(target, 0, (n+1)*records, n), room, k); err != nil || c.reads > 1 {
			t.Fatalf("target %d: %d reads, %v", target, c.reads, err)
		}
	}
}

func TestSearchFileFails(t *testing.T) {
	room := make([]byte, lookupChunk)
	_, err := searchFile(bytes.NewReader(make([]byte, 80)), offsetEntrySize, 11, 5, room, func([]byte) bool { return false })
	if err == nil {
		t.Fatal("a file that is shorter than its entries was searched")
	}
}
