package manifest

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// TopicState is where a topic stands in its life.
type TopicState uint8

// The states of a topic.
const (
	TopicLive      TopicState = 0
	TopicOffloaded TopicState = 1 // only in the bucket: no broker leads it
	TopicPurging   TopicState = 2 // deleted; its objects are being removed
	TopicPurged    TopicState = 3 // its objects are gone
)

// String is the state's word in reports.
func (s TopicState) String() string {
	if names := [...]string{"live", "offloaded", "purging", "purged"}; int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// TopicObject is one version of what the bucket says about a topic, so that a
// bucket describes itself. Versions are numbered and created once, like manifests.
type TopicObject struct {
	ClusterID         kafka.UUID
	TopicID           kafka.UUID
	Version           uint64
	Name              string
	Partitions        int32
	ReplicationFactor int16
	State             TopicState
	Configs           map[string]string // overrides of the topic
	WrittenMs         int64
}

// Key is where this version is kept.
func (t *TopicObject) Key() string { return TopicObjectKey(t.ClusterID, t.TopicID, t.Version) }

// Encode writes the topic object; equal objects give equal bytes.
func (t *TopicObject) Encode() ([]byte, error) {
	if t.Version == 0 || t.Partitions < 0 || t.ReplicationFactor < 0 || t.State > TopicPurged || len(t.Name) == 0 {
		return nil, fmt.Errorf("topic object %q version %d: %d partitions, %d replicas, %v: %w",
			t.Name, t.Version, t.Partitions, t.ReplicationFactor, t.State, ErrInvalid)
	}
	b := topicFormat.begin(256)
	b = append(b, t.ClusterID[:]...)
	b = append(b, t.TopicID[:]...)
	b = binary.AppendUvarint(b, t.Version)
	b = appendBytes(b, t.Name)
	b = binary.AppendUvarint(b, uint64(t.Partitions))
	b = binary.AppendUvarint(b, uint64(t.ReplicationFactor))
	b = append(b, byte(t.State))
	b = binary.AppendVarint(b, t.WrittenMs)
	b = binary.AppendUvarint(b, uint64(len(t.Configs)))
	for _, k := range slices.Sorted(maps.Keys(t.Configs)) {
		b = appendBytes(b, k)
		b = appendBytes(b, t.Configs[k])
	}
	return seal(b), nil
}

// DecodeTopic reads a topic object. Errors match kafka.ErrCorrupt or ErrNewer.
func DecodeTopic(b []byte) (*TopicObject, error) {
	body, err := topicFormat.open(b)
	if err != nil {
		return nil, err
	}
	r := &reader{b: body, name: topicFormat.name}
	t := &TopicObject{ClusterID: r.uuid(), TopicID: r.uuid(), Version: r.uvarint(), Name: r.string(),
		Partitions: int32(r.small(math.MaxInt32)), ReplicationFactor: int16(r.small(math.MaxInt16)),
		State: TopicState(r.byte()), WrittenMs: r.varint()}
	last := ""
	for n := r.count(2); n > 0 && r.err == nil; n-- {
		k := r.string()
		if t.Configs == nil {
			t.Configs = map[string]string{}
		} else if k <= last {
			r.fail("settings out of order")
		}
		t.Configs[k], last = r.string(), k
	}
	if r.err == nil && (t.Version == 0 || t.Name == "" || t.State > TopicPurged) {
		r.fail("no version, no name or an unknown state")
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	return t, nil
}
