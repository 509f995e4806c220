package wire_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/wire"
)

// memFile is a file of which only ReadAt works.
type memFile struct {
	vfs.File
	*bytes.Reader
}

func (f memFile) ReadAt(b []byte, off int64) (int, error) { return f.Reader.ReadAt(b, off) }

// join is what a socket would get.
func join(t *testing.T, pieces []wire.Piece) []byte {
	t.Helper()
	var out []byte
	for _, p := range pieces {
		if (p.Bytes == nil) == (p.Range.File == nil) {
			t.Fatalf("a piece with both or none: %+v", p)
		}
		if p.Len() == 0 {
			t.Fatal("an empty piece")
		}
		b := p.Bytes
		if b == nil {
			var err error
			if b, err = p.Range.ReadAll(); err != nil {
				t.Fatal(err)
			}
		}
		out = append(out, b...)
	}
	return out
}

// Pieces with files send what Append writes with everything in memory, and release each file once.
func TestPiecesAreTheMessage(t *testing.T) {
	for version := int16(4); version <= 18; version++ {
		rng := rand.New(rand.NewPCG(8, uint64(version)))
		for range 50 {
			var m wire.FetchResponse
			fill(rng, reflect.ValueOf(&m).Elem(), false)
			enlarge(rng, &m)
			want := m.Append([]byte("header"), version)
			held := intoFiles(rng, &m)
			handed := *held
			pieces, _ := m.Pieces(version, nil, []byte("header"))
			if got := join(t, pieces); !bytes.Equal(got, want) {
				t.Fatalf("v%d:\n got %x\nwant %x", version, got, want)
			}
			if wire.Size(pieces) != int64(len(want)) {
				t.Fatalf("v%d: Size %d, want %d", version, wire.Size(pieces), len(want))
			}
			wire.Release(pieces)
			if *held != 0 {
				t.Fatalf("v%d: %d of %d ranges not released", version, *held, handed)
			}
		}
	}
}

// enlarge gives some partitions more records than are copied between header bytes.
func enlarge(rng *rand.Rand, m *wire.FetchResponse) {
	for i := range m.Responses {
		for j := range m.Responses[i].Partitions {
			if rng.IntN(3) == 0 {
				m.Responses[i].Partitions[j].Inline = bytes.Repeat([]byte("inline"), 1000)
			}
		}
	}
}

// intoFiles moves the front of each partition's records into up to three ranges, empty ones
// among them, and answers the number of ranges not yet released.
func intoFiles(rng *rand.Rand, m *wire.FetchResponse) *int {
	held := new(int)
	for i := range m.Responses {
		for j := range m.Responses[i].Partitions {
			p := &m.Responses[i].Partitions[j]
			for range rng.IntN(4) {
				n := rng.IntN(len(p.Inline) + 1)
				file := memFile{Reader: bytes.NewReader(append([]byte("..."), p.Inline[:n]...))}
				*held++
				p.Records = append(p.Records, vfs.NewRange(file, 3, int64(n), vfs.NewRef(func() { *held-- })))
				p.Inline = p.Inline[n:]
			}
		}
	}
	return held
}

func TestAppendRefusesFiles(t *testing.T) {
	defer func() {
		if s, _ := recover().(string); !strings.HasPrefix(s, "BUG:") {
			t.Errorf("recovered %q", s)
		}
	}()
	m := wire.FetchResponse{Responses: []wire.FetchResponseTopic{{Partitions: []wire.FetchResponsePartition{{
		Records: []vfs.Range{vfs.NewRange(memFile{Reader: bytes.NewReader(nil)}, 0, 1, nil)},
	}}}}}
	m.Append(nil, 12)
}
