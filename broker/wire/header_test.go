package wire_test

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/wire"
)

// ourNames are Kafka's names of keys where kmsg has another one.
var ourNames = map[int16]string{
	wire.KeyAlterPartitionReassignments: "AlterPartitionReassignments", wire.KeySaslHandshake: "SaslHandshake", wire.KeySaslAuthenticate: "SaslAuthenticate",
	wire.KeyDescribeAcls: "DescribeAcls", wire.KeyCreateAcls: "CreateAcls", wire.KeyDeleteAcls: "DeleteAcls",
	wire.KeyDescribeUserScramCredentials: "DescribeUserScramCredentials", wire.KeyAlterUserScramCredentials: "AlterUserScramCredentials",
}

// The table is Kafka 4.4's for the keys it has, and agrees with kmsg on what is flexible.
func TestTable(t *testing.T) {
	want := map[int16][2]int16{0: {0, 13}, 1: {4, 18}, 2: {1, 11}, 3: {0, 13},
		8: {2, 10}, 9: {1, 10}, 10: {0, 6}, 11: {0, 9}, 12: {0, 4}, 13: {0, 5}, 14: {0, 5}, 15: {0, 6}, 16: {0, 5}, 42: {0, 3}, 47: {0, 0},
		18: {0, 5}, 19: {2, 7}, 20: {1, 6}, 21: {0, 2}, 22: {0, 5}, 23: {2, 4}, 32: {1, 4}, 34: {1, 2}, 35: {1, 5}, 60: {0, 2}, 61: {0, 0},
		24: {0, 5}, 25: {0, 4}, 26: {0, 5}, 27: {1, 2}, 28: {0, 6}, 65: {0, 0}, 66: {0, 2},
		68: {0, 1}, 69: {0, 1}}
	for key, versions := range map[int16][2]int16{33: {0, 2}, 37: {0, 3}, 43: {0, 2}, 44: {0, 1}, 45: {0, 1}, 46: {0, 0},
		17: {0, 1}, 29: {1, 3}, 30: {1, 3}, 31: {1, 3}, 36: {0, 2}, 48: {0, 1}, 49: {0, 1}, 50: {0, 0}, 51: {0, 0}, 38: {1, 3}, 39: {1, 2}, 40: {1, 2}, 41: {1, 3}, 55: {0, 2}, 57: {0, 2}, 64: {0, 0}, 71: {0, 0}, 72: {0, 0}, 74: {0, 1}, 75: {0, 0}} {
		want[key] = versions
	}
	last := int16(-1)
	for api := range wire.APIs() {
		if api.Key <= last {
			t.Errorf("%s is out of order", api.Name)
		}
		last = api.Key
		if got := [2]int16{api.AdvertisedMin, api.MaxVersion}; got != want[api.Key] {
			t.Errorf("%s advertises %v, want %v", api.Name, got, want[api.Key])
		}
		delete(want, api.Key)
		name := kmsg.NameForKey(api.Key)
		if own, ok := ourNames[api.Key]; ok {
			name = own
		}
		if name != api.Name {
			t.Errorf("key %d is %s, want %s", api.Key, api.Name, name)
		}
		for v := api.MinVersion; v <= api.MaxVersion; v++ {
			req := kmsg.RequestForKey(api.Key)
			req.SetVersion(v)
			if wire.Flexible(api.Key, v) != req.IsFlexible() {
				t.Errorf("%s v%d: flexible %v", api.Name, v, !req.IsFlexible())
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the table: %v", want)
	}
	if _, ok := wire.Lookup(999); ok || wire.Flexible(999, 9) || wire.NewRequest(999) != nil || wire.NewResponse(999) != nil {
		t.Error("key 999 is in the table")
	}
	if api, _ := wire.Lookup(wire.KeyProduce); api.Supports(2) || !api.Supports(3) || !api.Supports(13) || api.Supports(14) {
		t.Error("Produce decodes 3 to 13, whatever it advertises")
	}
}

// The request header against the one that franz-go's formatter writes.
func TestRequestHeader(t *testing.T) {
	format := kmsg.NewRequestFormatter(kmsg.FormatterClientID("client"))
	for _, p := range pairs(t) {
		req, ok := p.theirs().(kmsg.Request)
		if !ok {
			continue
		}
		frame := format.AppendRequest(nil, req, 77)[4:]
		h, body, err := wire.ParseRequestHeader(frame)
		if err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		if want := (wire.RequestHeader{Key: req.Key(), Version: p.version, CorrelationID: 77, ClientID: "client"}); h != want {
			t.Errorf("%s: %+v", p.name, h)
		}
		if want := string(req.AppendTo(nil)); string(body) != want {
			t.Errorf("%s: body %x, want %x", p.name, body, want)
		}
		if again := h.Append(nil); string(again)+string(body) != string(frame) {
			t.Errorf("%s: written again %x", p.name, again)
		}
	}
}

func TestC3ClientIDIsNeverCompact(t *testing.T) {
	frame := unhex(t, "0012"+"0003"+"00000001"+"0002"+"6162"+"00"+"0101"+"00")
	h, body, err := wire.ParseRequestHeader(frame)
	if err != nil || h.ClientID != "ab" || hex.EncodeToString(body) != "010100" {
		t.Fatalf("%+v %x %v", h, body, err)
	}
}

func TestC11NullClientIDIsEmpty(t *testing.T) {
	h, body, err := wire.ParseRequestHeader(unhex(t, "0012"+"0000"+"00000001"+"ffff"))
	if err != nil || h.ClientID != "" || len(body) != 0 {
		t.Fatalf("%+v %x %v", h, body, err)
	}
}

// C1: the header of a version that nobody knows yet can still be read, so that it can be answered.
func TestC1HeaderOfUnknownApiVersionsVersion(t *testing.T) {
	h, _, err := wire.ParseRequestHeader(unhex(t, "0012"+"0063"+"00000007"+"ffff"+"00"+"deadbeef"))
	if err != nil || h.Version != 99 || h.CorrelationID != 7 {
		t.Fatalf("%+v %v", h, err)
	}
}

func TestC6UnknownKey(t *testing.T) {
	h, _, err := wire.ParseRequestHeader(unhex(t, "03e7"+"0001"+"00000009"+"ffff"))
	if !errors.Is(err, wire.ErrUnknownKey) || h.Key != 999 || h.CorrelationID != 9 {
		t.Fatalf("%+v %v", h, err)
	}
}

func TestMalformedHeader(t *testing.T) {
	for _, in := range []string{
		"", "0012", "0012000300000001", // cut
		"0012" + "0000" + "00000001" + "0005" + "61",        // client id past the end
		"0012" + "0000" + "00000001" + "fffe",               // negative length
		"0012" + "0003" + "00000001" + "ffff",               // no tag section
		"0012" + "0003" + "00000001" + "ffff" + "01" + "00", // tag cut
	} {
		if _, _, err := wire.ParseRequestHeader(unhex(t, in)); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// A connection whose client id does not change parses headers without allocating.
func TestHeaderReuse(t *testing.T) {
	frame := unhex(t, "0000"+"0009"+"00000001"+"0002"+"6162"+"00")
	var h wire.RequestHeader
	if n := testing.AllocsPerRun(10, func() {
		if _, err := h.Parse(frame); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// C2: flexible responses have a tag section in their header, ApiVersions' never has.
func TestC2ResponseHeader(t *testing.T) {
	for _, c := range []struct {
		key, version int16
		want         string
	}{
		{wire.KeyApiVersions, 0, "00000005"},
		{wire.KeyApiVersions, 4, "00000005"},
		{wire.KeyMetadata, 8, "00000005"},
		{wire.KeyMetadata, 9, "0000000500"},
		{wire.KeyFetch, 11, "00000005"},
		{wire.KeyFetch, 12, "0000000500"},
	} {
		b := wire.AppendResponseHeader(nil, c.key, c.version, 5)
		if got := hex.EncodeToString(b); got != c.want {
			t.Errorf("key %d v%d: %s, want %s", c.key, c.version, got, c.want)
		}
		id, body, err := wire.ParseResponseHeader(append(b, "body"...), c.key, c.version)
		if id != 5 || string(body) != "body" || err != nil {
			t.Errorf("key %d v%d read: %d %q %v", c.key, c.version, id, body, err)
		}
		if _, _, err := wire.ParseResponseHeader(b[:len(b)-1], c.key, c.version); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("key %d v%d cut: %v", c.key, c.version, err)
		}
	}
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
