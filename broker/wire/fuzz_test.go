package wire_test

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/wire"
)

// seedMessages gives f one random message of every kind and version, framed by head.
func seedMessages(f *testing.F, kind string, head func(key, version int16) []byte) {
	for api := range wire.APIs() {
		for _, p := range pairs(f) {
			if !strings.HasPrefix(p.name, api.Name+kind+"/") {
				continue
			}
			rng := rand.New(rand.NewPCG(9, uint64(p.version)))
			theirs := p.theirs()
			random(rng, theirs, p.version, true)
			f.Add(theirs.AppendTo(head(api.Key, p.version)))
		}
	}
}

// FuzzRequests reads whole request frames as a broker gets them from anyone. Its oracles
// are the cost of reading, and that what was read can be written and read again.
func FuzzRequests(f *testing.F) {
	seedMessages(f, "Request", func(key, version int16) []byte {
		h := wire.RequestHeader{Key: key, Version: version, CorrelationID: 1, ClientID: "c"}
		return h.Append(nil)
	})
	f.Fuzz(func(t *testing.T, frame []byte) {
		var h wire.RequestHeader
		var m wire.Message
		var err error
		authFree := len(frame) > 1 && int16(binary.BigEndian.Uint16(frame)) == wire.KeyApiVersions
		checkCost(t, len(frame), authFree, func() {
			h = wire.RequestHeader{}
			var body []byte
			if body, err = h.Parse(frame); err != nil {
				return
			}
			m = wire.NewRequest(h.Key)
			r := wire.NewReader(body)
			err = m.Read(&r, h.Version)
		})
		if err == nil {
			checkStable(t, m, wire.NewRequest(h.Key), h.Version)
		}
	})
}

// FuzzResponses reads responses, as a broker does that fetches from another one. The input
// starts with the key and the version.
func FuzzResponses(f *testing.F) {
	seedMessages(f, "Response", func(key, version int16) []byte {
		return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, uint16(key)), uint16(version))
	})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < 4 {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))
		if _, ok := wire.Lookup(key); !ok {
			return
		}
		var m wire.Message
		var err error
		checkCost(t, len(b), false, func() {
			m = wire.NewResponse(key)
			r := wire.NewReader(b[4:])
			err = m.Read(&r, version)
		})
		if err == nil {
			checkStable(t, m, wire.NewResponse(key), version)
		}
	})
}

// checkStable fails unless m, which was read from anything, survives writing and reading,
// also over what another message left behind.
func checkStable(t *testing.T, m, again wire.Message, version int16) {
	b := m.Append(nil, version)
	for _, into := range []wire.Message{again, m} {
		r := wire.NewReader(b)
		if err := into.Read(&r, version); err != nil {
			t.Fatalf("reading what was written: %v", err)
		}
		if r.Len() != 0 {
			t.Fatalf("%d bytes left of what was written", r.Len())
		}
		if got := into.Append(nil, version); !bytes.Equal(got, b) {
			t.Fatalf("written again:\n got %x\nwant %x", got, b)
		}
	}
}
