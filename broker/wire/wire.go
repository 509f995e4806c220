// Package wire turns Kafka's protocol messages into structs and back.
//
// It owns the request and response headers, a bounded Reader, and one struct per
// message with Read and Append for every version that Varve speaks. It knows bytes
// only: no log, no topic, no error semantics. Frames (the size before a message) are
// the server's.
//
// Most messages are generated from the definitions in defs by wiregen; Produce's and
// Fetch's requests and Fetch's response are written by hand. Readers trust nothing: a
// count is checked against the bytes that remain before anything is allocated, and one
// message never allocates more than a small multiple of its frame.
//
// Memory: strings and bytes are copied out of the frame, records alias it. A message
// that is read again reuses its slices, and its strings where they are equal; so a
// slice taken out of a message is valid until the next Read, a string for ever.
// Nothing here is safe for concurrent use, except for concurrent Appends of one message.
//
// Format: Kafka's protocol guide, KIP-482 (flexible versions); the definitions name the
// KIP of each field.
package wire

import (
	"errors"
	"fmt"
	"iter"
	"slices"
)

//go:generate go run ./wiregen

// ErrMalformed matches every error of a Reader: the bytes are not the message that they
// claim to be. The connection that sent them is beyond repair.
var ErrMalformed = errors.New("malformed message")

// ErrUnknownKey marks a request header whose API key is not in the table.
var ErrUnknownKey = errors.New("unknown API key")

// ErrVersion marks a version that a message does not have.
var ErrVersion = errors.New("unsupported version")

// Message is a request, a response or a stored record.
type Message interface {
	// Read takes the message of a version from r. Trailing bytes stay in r. After an
	// error, which matches ErrMalformed or ErrVersion, the content is undefined.
	Read(r *Reader, version int16) error
	// Append writes the message in a version to dst. Fields that the version lacks are
	// left out. The version has been checked by the caller.
	Append(dst []byte, version int16) []byte
	// Default gives each field the protocol's default; slices keep their room.
	Default()
}

// API is a row of the table of APIs.
type API struct {
	Key  int16
	Name string
	// MinVersion and MaxVersion bound the versions that can be read and written.
	MinVersion, MaxVersion int16
	// AdvertisedMin is the lowest version that ApiVersions answers. It is below
	// MinVersion for Produce alone: old librdkafka wants to see 0, and what it then
	// sends is version 3 or later (KAFKA-18659).
	AdvertisedMin int16
	// FlexibleFrom is the first flexible version (KIP-482), -1 when there is none.
	FlexibleFrom int16
}

// Supports says whether a version can be read and written.
func (a API) Supports(version int16) bool {
	return version >= a.MinVersion && version <= a.MaxVersion
}

// Flexible says whether a version is flexible.
func (a API) Flexible(version int16) bool {
	return a.FlexibleFrom >= 0 && version >= a.FlexibleFrom
}

// Throttled is an answer that can tell its client to hold back, for ms milliseconds (KIP-219).
// Versions without the field lose it.
type Throttled interface{ Throttle(ms int32) }

// APIs lists the table in the order of keys.
func APIs() iter.Seq[API] { return slices.Values(apis[:]) }

// Lookup finds the row of a key.
func Lookup(key int16) (API, bool) {
	i, ok := slices.BinarySearchFunc(apis[:], key, func(a API, k int16) int { return int(a.Key) - int(k) })
	if !ok {
		return API{}, false
	}
	return apis[i], true
}

// Flexible says whether a version of an API is flexible (KIP-482); false for an unknown key.
func Flexible(key, version int16) bool {
	a, ok := Lookup(key)
	return ok && a.Flexible(version)
}

func checkVersion(name string, version, lowest, highest int16) error {
	if version < lowest || version > highest {
		return fmt.Errorf("%s v%d: %w: have %d to %d", name, version, ErrVersion, lowest, highest)
	}
	return nil
}
