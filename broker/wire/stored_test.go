package wire_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/wire"
)

// stored is a kind of record of the internal topics in both codecs. kmsg writes the version
// first, as an int16, as the records have it.
type stored struct {
	name     string
	min, max int16
	ours     func() wire.Message
	theirs   func(version int16) storedOracle
}

type storedOracle interface {
	AppendTo([]byte) []byte
	ReadFrom([]byte) error
	Default()
}

var storedRecords = []stored{
	{"OffsetCommitKey", 0, 1, func() wire.Message { return new(wire.OffsetCommitKey) },
		func(v int16) storedOracle { return &kmsg.OffsetCommitKey{Version: v} }},
	{"OffsetCommitValue", 0, 4, func() wire.Message { return new(wire.OffsetCommitValue) },
		func(v int16) storedOracle { return &kmsg.OffsetCommitValue{Version: v} }},
	{"GroupMetadataKey", 2, 2, func() wire.Message { return new(wire.GroupMetadataKey) },
		func(v int16) storedOracle { return &kmsg.GroupMetadataKey{Version: v} }},
	{"GroupMetadataValue", 0, 4, func() wire.Message { return new(wire.GroupMetadataValue) },
		func(v int16) storedOracle { return &kmsg.GroupMetadataValue{Version: v} }},
	{"TransactionLogKey", 0, 0, func() wire.Message { return new(wire.TransactionLogKey) },
		func(v int16) storedOracle { return &kmsg.TxnMetadataKey{Version: v} }},
	{"TransactionLogValue", 0, 1, func() wire.Message { return new(wire.TransactionLogValue) },
		func(v int16) storedOracle { return &kmsg.TxnMetadataValue{Version: v} }},
}

// What kmsg stores, ours reads and writes again byte for byte, at every version.
func TestStoredRecords(t *testing.T) {
	for _, s := range storedRecords {
		for version := s.min; version <= s.max; version++ {
			t.Run(fmt.Sprintf("%s/v%d", s.name, version), func(t *testing.T) {
				rng := rand.New(rand.NewPCG(8, uint64(version)))
				for range 40 {
					theirs := s.theirs(version)
					v := reflect.ValueOf(theirs).Elem()
					fill(rng, v, false)
					v.FieldByName("Version").SetInt(int64(version))
					want := theirs.AppendTo(nil)
					if got := int16(binary.BigEndian.Uint16(want)); got != version {
						t.Fatalf("kmsg wrote version %d", got)
					}
					m := s.ours()
					read(t, m, want[2:], version)
					if got := m.Append(nil, version); !bytes.Equal(got, want[2:]) {
						t.Fatalf("written again:\n got %x\nwant %x", got, want[2:])
					}
					again := s.theirs(version)
					again.Default()
					if err := again.ReadFrom(want); err != nil {
						t.Fatal(err)
					}
					sameFields(t, s.name, reflect.ValueOf(again).Elem(), reflect.ValueOf(m).Elem())
				}
			})
		}
	}
}
