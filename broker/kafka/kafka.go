// Package kafka holds the nouns that every room shares: ids, epochs, special
// offsets and the table of Kafka's error codes.
//
// It owns no state and no I/O, and imports the standard library only. All of its
// types are plain values and safe to copy and to share between goroutines.
package kafka

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
)

// ErrCorrupt marks every error that means "stored bytes are not what was written".
// It says nothing about data that a client sent; that is CorruptMessage.
var ErrCorrupt = errors.New("corrupt data")

// NoEpoch is the leader epoch of a client or record that knows none.
const NoEpoch int32 = -1

// NoOffset is the answer where no offset exists.
const NoOffset int64 = -1

// NoTimestamp is the answer where no timestamp exists.
const NoTimestamp int64 = -1

// NoProducerID is the producer id of a batch from a producer that is not idempotent.
const NoProducerID int64 = -1

// InternalTopic says whether a topic belongs to the brokers' own coordinators. Source:
// Kafka's Topic.INTERNAL_TOPICS.
func InternalTopic(name string) bool {
	return name == "__consumer_offsets" || name == "__transaction_state" || name == "__share_group_state"
}

// UUID is a 16-byte id: a topic, a cluster, a log directory, a process incarnation.
// Its text form is Kafka's, 22 characters of unpadded URL-safe base64.
type UUID [16]byte

// NewUUID draws a random id that is neither zero nor starts with '-' in its text form,
// because a leading dash is taken for a flag by command-line tools.
func NewUUID() UUID {
	for {
		var u UUID
		_, _ = rand.Read(u[:]) // crypto/rand never fails since Go 1.24: it aborts the process
		u[6] = u[6]&0x0f | 0x40
		u[8] = u[8]&0x3f | 0x80
		if u.String()[0] != '-' {
			return u
		}
	}
}

// ParseUUID reads the 22-character text form.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(u) {
		return u, fmt.Errorf("%q is not an id: want 22 characters of URL-safe base64", s)
	}
	copy(u[:], b)
	return u, nil
}

// String is Kafka's text form.
func (u UUID) String() string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// Hex is the form used in object keys: 32 lower-case hexadecimal digits.
func (u UUID) Hex() string { return hex.EncodeToString(u[:]) }

// IsZero says whether u is the zero id, which stands for "none".
func (u UUID) IsZero() bool { return u == UUID{} }

// TopicPartition names one partition of a topic.
type TopicPartition struct {
	Topic     string
	Partition int32
}

// String is Kafka's form "topic-partition", also the name of the partition's directory.
func (tp TopicPartition) String() string {
	return tp.Topic + "-" + strconv.Itoa(int(tp.Partition))
}
