package wire_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// What no API uses yet has no oracle but itself: written, read and written again.
func TestLanguageRoundTrip(t *testing.T) {
	for version := range int16(4) {
		rng := rand.New(rand.NewPCG(6, uint64(version)))
		reused := new(wire.LanguageTest)
		for range 200 {
			m := new(wire.LanguageTest)
			fill(rng, reflect.ValueOf(m).Elem(), false)
			want := m.Append(nil, version)
			read(t, reused, want, version)
			if got := reused.Append(nil, version); !bytes.Equal(got, want) {
				t.Fatalf("v%d:\n got %x\nwant %x", version, got, want)
			}
		}
		b := new(wire.LanguageTest).Append(nil, version)
		for n := range len(b) {
			r := wire.NewReader(b[:n])
			if err := new(wire.LanguageTest).Read(&r, version); !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("v%d, %d of %d bytes: %v", version, n, len(b), err)
			}
		}
	}
}

// The bytes of each kind of field, worked out by hand from KIP-482 and the protocol guide.
func TestLanguageBytes(t *testing.T) {
	var m wire.LanguageTest
	m.Default()
	m.Small, m.Ratio, m.Zigzag, m.Long = 0x0102, 1.5, -3, 1<<33
	m.Flags = []bool{true, false}
	m.IDs = []kafka.UUID{{15: 9}}
	m.Owned, m.Aliased = []byte("own"), []byte("al")
	m.One.Left = -1
	m.MaybeOne = &wire.LanguageTestPair{Left: 5}
	m.TaggedOne.Level = 4
	m.TaggedText = strings.Repeat("x", 200)
	want := strings.Join([]string{
		"0102", "00000007", "3ff8000000000000", // Small, Big, Ratio
		"05", "8080808040", // Zigzag -3 is 5; Long 2^33 is 2^34
		"030100", "02" + strings.Repeat("00", 15) + "09", // Flags, IDs
		"00", "056e6f6e65", // Words null, Word "none"
		"046f776e", "00", "03616c", // Owned, OwnedOrNull null, Aliased
		"ffffffff0000",   // One: -1, null, no tags
		"01000000050000", // MaybeOne: there, 5, null, no tags
		"00",             // Many null
		"03",             // three tags
		"00" + "18",      // tag 0, 24 bytes
		"04", "01", "00", // Level, On, Off
		strings.Repeat("00", 16), "01", "01", "00", "01", // ID, Text, Blob, MaybeText null, Pairs
		"00",          // no tags
		"05" + "ca01", // tag 5, 202 bytes
		"c901" + strings.Repeat("78", 200),
		"07" + "01" + "00", // tag 7, null, which is written
	}, "")
	if got := hex.EncodeToString(m.Append(nil, 3)); got != want {
		t.Fatalf("v3:\n got %s\nwant %s", got, want)
	}
}

// Strings and bytes are the message's own, records are the frame's.
func TestWhatAliasesTheFrame(t *testing.T) {
	var m wire.LanguageTest
	m.Default()
	m.Word, m.Owned, m.Aliased = "word", []byte("owned"), []byte("aliased")
	frame := m.Append(nil, 3)
	var got wire.LanguageTest
	read(t, &got, frame, 3)
	for i := range frame {
		frame[i] = '!'
	}
	if got.Word != "word" || string(got.Owned) != "owned" || string(got.Aliased) != "!!!!!!!" {
		t.Fatalf("after the frame was overwritten: %q %q %q", got.Word, got.Owned, got.Aliased)
	}
}

// Each way in which bytes can lie about their length is refused.
func TestReaderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		read func(*wire.Reader)
		want string
	}{
		"empty":              {"", func(r *wire.Reader) { r.Int64() }, "too early"},
		"short uuid":         {"000000", func(r *wire.Reader) { r.UUID() }, "too early"},
		"varint cut":         {"ff", func(r *wire.Reader) { r.Uvarint() }, "too early"},
		"uvarint of 33 bits": {"ffffffff1f", func(r *wire.Reader) { r.Uvarint() }, "varint"},
		"varint of 11 bytes": {"ffffffffffffffffffff01", func(r *wire.Reader) { r.Varlong() }, "varint"},
	} {
		b, err := hex.DecodeString(c.in)
		if err != nil {
			t.Fatal(err)
		}
		r := wire.NewReader(b)
		c.read(&r)
		if err := r.Err(); !errors.Is(err, wire.ErrMalformed) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
		if r.Len() != 0 || r.Int32() != 0 {
			t.Errorf("%s: something left after an error", name)
		}
	}
	r := wire.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0x0f})
	if v := r.Uvarint(); v != math.MaxUint32 || r.Err() != nil {
		t.Errorf("largest uvarint: %d, %v", v, r.Err())
	}
}

// refused reads a request that must fail, and answers the reason.
func refused(t *testing.T, m wire.Message, version int16, hexBody string) string {
	t.Helper()
	b, err := hex.DecodeString(hexBody)
	if err != nil {
		t.Fatal(err)
	}
	r := wire.NewReader(b)
	err = m.Read(&r, version)
	if !errors.Is(err, wire.ErrMalformed) {
		t.Fatalf("%x: %v", b, err)
	}
	return err.Error()
}

func TestC10CountsLargerThanTheFrame(t *testing.T) {
	for name, c := range map[string]struct {
		m       wire.Message
		version int16
		body    string
		want    string
	}{
		"array of 2^31-1":         {new(wire.MetadataRequest), 4, "7fffffff" + "00", "count"},
		"compact array of 2^32-2": {new(wire.MetadataRequest), 9, "ffffffff0f" + "00", "count"},
		"negative array":          {new(wire.MetadataRequest), 4, "fffffffe" + "00", "negative"},
		"null where none is":      {new(wire.MetadataRequest), 0, "ffffffff", "null"},
		"null string":             {new(wire.MetadataRequest), 1, "00000001" + "ffff", "null"},
		"elements of 2 bytes":     {new(wire.MetadataRequest), 9, "05" + "01000100010000", "count"},
		"string past the end":     {new(wire.MetadataRequest), 1, "00000001" + "000541", "count"},
		"tag past the end":        {new(wire.ApiVersionsRequest), 3, "0101" + "01" + "0909", "too early"},
		"more tags than bytes":    {new(wire.ApiVersionsRequest), 3, "0101" + "05" + "00000000", "count"},
		"records past the end":    {new(wire.ProduceRequest), 3, "ffff" + "0001" + "00000000" + "00000001" + "000141" + "00000001" + "00000000" + "00000001", "count"},
		"fetch partitions":        {new(wire.FetchRequest), 4, strings.Repeat("00", 17) + "00000001" + "000141" + "00000002" + strings.Repeat("00", 31), "count"},
	} {
		if got := refused(t, c.m, c.version, c.body); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	many := "8110" + strings.Repeat("0000", 2049) // 2,049 empty tags
	if got := refused(t, new(wire.ApiVersionsRequest), 3, "0101"+many); !strings.Contains(got, "too many tags") {
		t.Error(got)
	}
}

// A frame of nothing but empty elements is refused before it takes more memory than its share.
func TestMemoryBudget(t *testing.T) {
	const n = 4 << 20
	body := append([]byte{0x81, 0x80, 0x80, 0x02}, make([]byte, 4*n)...)
	for i := 0; i < n; i++ {
		body[4+2*i] = 1 // a topic with an empty name, 2 bytes, 24 in memory
	}
	m := new(wire.MetadataRequest)
	allocated, err := allocatedBy(func() error {
		r := wire.NewReader(body[:4+2*n+1])
		return m.Read(&r, 9)
	})
	if !errors.Is(err, wire.ErrMalformed) || !strings.Contains(err.Error(), "memory") {
		t.Fatal(err)
	}
	if allocated > 1<<20 {
		t.Fatalf("%d bytes allocated before it was refused", allocated)
	}
}

// copied counts the values of type bytes in a message, which are new on every read because
// their readers keep them. Records alias the frame; the messages that have them have no bytes.
func copied(v reflect.Value) (n int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			n = copied(v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			n += copied(v.Field(i))
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 && v.Len() > 0 {
			return 1
		}
		for i := range v.Len() {
			n += copied(v.Index(i))
		}
	}
	return n
}

// A second read of a like message allocates nothing but its bytes.
func TestReuse(t *testing.T) {
	for _, p := range pairs(t) {
		rng := rand.New(rand.NewPCG(7, uint64(p.version)))
		theirs := p.theirs()
		random(rng, theirs, p.version, false)
		b := theirs.AppendTo(nil)
		m := p.ours()
		read(t, m, b, p.version)
		out := m.Append(nil, p.version)
		allowed := 1 // the Reader, which escapes through the interface
		switch m.(type) {
		case *wire.ProduceRequest, *wire.FetchResponse:
		default:
			allowed += copied(reflect.ValueOf(m))
		}
		if n := testing.AllocsPerRun(10, func() {
			r := wire.NewReader(b)
			if err := m.Read(&r, p.version); err != nil {
				t.Fatal(err)
			}
			out = m.Append(out[:0], p.version)
		}); n > float64(allowed) {
			t.Errorf("%s: %v allocations", p.name, n)
		}
	}
}
