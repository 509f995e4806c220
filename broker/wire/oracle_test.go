package wire_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/wire"
)

// oracle is what kmsg's requests and responses have in common.
type oracle interface {
	SetVersion(int16)
	AppendTo([]byte) []byte
	ReadFrom([]byte) error
	Default()
}

// pair is one message in both codecs.
type pair struct {
	name    string
	version int16
	ours    func() wire.Message
	theirs  func() oracle // of the right version, with defaults
}

// pairs lists every message of the table at every version.
func pairs(tb testing.TB) []pair {
	tb.Helper()
	var list []pair
	for api := range wire.APIs() {
		for version := api.MinVersion; version <= api.MaxVersion; version++ {
			list = append(list, pair{
				name: fmt.Sprintf("%sRequest/v%d", api.Name, version), version: version,
				ours:   func() wire.Message { return wire.NewRequest(api.Key) },
				theirs: func() oracle { return prepare(kmsg.RequestForKey(api.Key).(oracle), version) },
			}, pair{
				name: fmt.Sprintf("%sResponse/v%d", api.Name, version), version: version,
				ours:   func() wire.Message { return wire.NewResponse(api.Key) },
				theirs: func() oracle { return prepare(kmsg.ResponseForKey(api.Key).(oracle), version) },
			})
		}
	}
	return list
}

func prepare(o oracle, version int16) oracle {
	o.Default()
	o.SetVersion(version)
	return o
}

func read(tb testing.TB, m wire.Message, b []byte, version int16) {
	tb.Helper()
	r := wire.NewReader(b)
	if err := m.Read(&r, version); err != nil {
		tb.Fatalf("Read %x: %v", b, err)
	}
	if r.Len() != 0 {
		tb.Fatalf("Read left %d of %d bytes", r.Len(), len(b))
	}
}

// What kmsg writes, ours reads field by field and writes again byte for byte, also into a
// message that held another one before.
func TestOracleWritesOursReads(t *testing.T) {
	for _, p := range pairs(t) {
		t.Run(p.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(1, uint64(p.version)))
			reused := p.ours()
			for range 40 {
				theirs := p.theirs()
				random(rng, theirs, p.version, false)
				want := theirs.AppendTo(nil)

				fresh := p.ours()
				read(t, fresh, want, p.version)
				if got := fresh.Append(nil, p.version); !bytes.Equal(got, want) {
					t.Fatalf("written again:\n got %x\nwant %x", got, want)
				}
				read(t, reused, want, p.version)
				if got := reused.Append(nil, p.version); !bytes.Equal(got, want) {
					t.Fatalf("from a reused message:\n got %x\nwant %x", got, want)
				}
				again := p.theirs()
				if err := again.ReadFrom(want); err != nil {
					t.Fatal(err)
				}
				sameFields(t, p.name, reflect.ValueOf(again).Elem(), reflect.ValueOf(fresh).Elem())
				sameFields(t, p.name+" reused", reflect.ValueOf(again).Elem(), reflect.ValueOf(reused).Elem())
			}
		})
	}
}

// What ours writes, kmsg reads and writes again byte for byte.
func TestOursWritesOracleReads(t *testing.T) {
	for _, p := range pairs(t) {
		t.Run(p.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(2, uint64(p.version)))
			for range 40 {
				ours := p.ours()
				ours.Default()
				fill(rng, reflect.ValueOf(ours).Elem(), false)
				want := ours.Append([]byte("before"), p.version)
				if !bytes.HasPrefix(want, []byte("before")) {
					t.Fatal("Append overwrote what was there")
				}
				want = want[len("before"):]
				theirs := p.theirs()
				if err := theirs.ReadFrom(want); err != nil {
					t.Fatalf("kmsg can't read %x: %v", want, err)
				}
				if got := theirs.AppendTo(nil); !bytes.Equal(got, want) {
					t.Fatalf("written by kmsg:\n got %x\nwant %x", got, want)
				}
			}
		})
	}
}

// C10: unknown tags are skipped at every level, and trailing bytes are left alone.
func TestC10UnknownTagsAndTrailingBytes(t *testing.T) {
	for _, p := range pairs(t) {
		t.Run(p.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(3, uint64(p.version)))
			for range 10 {
				theirs := p.theirs()
				random(rng, theirs, p.version, true)
				tagged := theirs.AppendTo(nil)
				clearTags(reflect.ValueOf(theirs).Elem())
				want := theirs.AppendTo(nil)

				m := p.ours()
				r := wire.NewReader(append(tagged, "trailing"...))
				if err := m.Read(&r, p.version); err != nil {
					t.Fatal(err)
				}
				if string(r.Rest()) != "trailing" {
					t.Fatalf("left %q", r.Rest())
				}
				if got := m.Append(nil, p.version); !bytes.Equal(got, want) {
					t.Fatalf("without the tags:\n got %x\nwant %x", got, want)
				}
			}
		})
	}
}

// A message cut short at any byte is malformed, and never a panic.
func TestTruncated(t *testing.T) {
	for _, p := range pairs(t) {
		t.Run(p.name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(4, uint64(p.version)))
			theirs := p.theirs()
			random(rng, theirs, p.version, false)
			b := theirs.AppendTo(nil)
			m := p.ours()
			for n := range len(b) {
				r := wire.NewReader(b[:n])
				if err := m.Read(&r, p.version); !errors.Is(err, wire.ErrMalformed) {
					t.Fatalf("%d of %d bytes: %v", n, len(b), err)
				}
			}
		})
	}
}

// Versions outside the table are refused by Read.
func TestVersionOutsideTable(t *testing.T) {
	for api := range wire.APIs() {
		for _, m := range []wire.Message{wire.NewRequest(api.Key), wire.NewResponse(api.Key)} {
			for _, version := range []int16{api.MinVersion - 1, api.MaxVersion + 1} {
				r := wire.NewReader(make([]byte, 100))
				if err := m.Read(&r, version); !errors.Is(err, wire.ErrVersion) {
					t.Errorf("%T v%d: %v", m, version, err)
				}
			}
		}
	}
}

// Default is the same on a fresh message and on one that was read, and what kmsg has.
func TestDefaults(t *testing.T) {
	for _, p := range pairs(t) {
		rng := rand.New(rand.NewPCG(5, uint64(p.version)))
		fresh, used := p.ours(), p.ours()
		fill(rng, reflect.ValueOf(used).Elem(), false)
		fresh.Default()
		used.Default()
		a, b := fresh.Append(nil, p.version), used.Append(nil, p.version)
		if !bytes.Equal(a, b) {
			t.Errorf("%s: Default after use:\n got %x\nwant %x", p.name, b, a)
		}
		sameFields(t, p.name, reflect.ValueOf(p.theirs()).Elem(), reflect.ValueOf(fresh).Elem())
	}
}
