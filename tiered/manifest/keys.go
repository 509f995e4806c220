package manifest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// root is the first part of every key: the version of the layout itself.
const root = "v1/"

// ClusterPrefix starts every key of a cluster.
func ClusterPrefix(cluster kafka.UUID) string { return root + cluster.Hex() + "/" }

// TopicsPrefix starts every key of every topic of a cluster.
func TopicsPrefix(cluster kafka.UUID) string { return ClusterPrefix(cluster) + "t/" }

// TopicPrefix starts every key of a topic.
func TopicPrefix(cluster, topic kafka.UUID) string {
	return TopicsPrefix(cluster) + topic.Hex() + "/"
}

// TopicObjectsPrefix starts the keys of a topic's numbered topic objects.
func TopicObjectsPrefix(cluster, topic kafka.UUID) string {
	return TopicPrefix(cluster, topic) + "topic/"
}

// TopicObjectKey is the key of one version of a topic object.
func TopicObjectKey(cluster, topic kafka.UUID, version uint64) string {
	return TopicObjectsPrefix(cluster, topic) + version20(version)
}

// CanaryKey is the key of a start-up probe; random keeps probes apart.
func CanaryKey(cluster kafka.UUID, random kafka.UUID) string {
	return ClusterPrefix(cluster) + "canary/" + random.Hex()
}

// Prefix starts every key of the partition.
func (id ID) Prefix() string {
	return TopicPrefix(id.ClusterID, id.TopicID) + strconv.Itoa(int(id.Partition)) + "/"
}

// ManifestPrefix starts the keys of the partition's manifest versions.
func (id ID) ManifestPrefix() string { return id.Prefix() + "manifest/" }

// ManifestKey is the key of one manifest version.
func (id ID) ManifestKey(version uint64) string { return id.ManifestPrefix() + version20(version) }

// SegmentPrefix starts the keys of the partition's segment objects.
func (id ID) SegmentPrefix() string { return id.Prefix() + "s/" }

// SegmentKey is the key of a segment object.
func (id ID) SegmentKey(s Segment) string {
	return fmt.Sprintf("%s%020d-%08x-%04x.vseg", id.SegmentPrefix(), s.Base, uint32(s.Epoch), s.Try)
}

// SpillPrefix starts the keys of the partition's spill objects.
func (id ID) SpillPrefix() string { return id.Prefix() + "spill/" }

// SpillKey is the key of a spill object.
func (id ID) SpillKey(s Spill) string {
	return fmt.Sprintf("%s%020d-%020d-%08x", id.SpillPrefix(), s.First, s.Next-1, s.CRC32C)
}

// version20 is a version as 20 decimal digits.
func version20(v uint64) string { return fmt.Sprintf("%020d", v) }

// ParseVersion reads the version from a manifest or topic object key of the given prefix.
func ParseVersion(prefix, key string) (uint64, bool) {
	s, ok := strings.CutPrefix(key, prefix)
	if !ok || len(s) != 20 {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 10, 64)
	return v, err == nil && v > 0
}

// ParseSegmentKey reads base, epoch and try from a segment object's key; the other
// fields stay zero.
func (id ID) ParseSegmentKey(key string) (Segment, bool) {
	s, ok := strings.CutPrefix(key, id.SegmentPrefix())
	if !ok || len(s) != 20+1+8+1+4+5 {
		return Segment{}, false
	}
	base, err1 := strconv.ParseInt(s[:20], 10, 64)
	epoch, err2 := strconv.ParseUint(s[21:29], 16, 31)
	try, err3 := strconv.ParseUint(s[30:34], 16, 16)
	if err1 != nil || err2 != nil || err3 != nil {
		return Segment{}, false
	}
	seg := Segment{Base: base, Epoch: int32(epoch), Try: uint16(try)}
	return seg, id.SegmentKey(seg) == key
}

// ParseTopicKey reads the topic id from any key of a topic of the cluster.
func ParseTopicKey(cluster kafka.UUID, key string) (kafka.UUID, bool) {
	s, ok := strings.CutPrefix(key, TopicsPrefix(cluster))
	hex, _, slash := strings.Cut(s, "/")
	if !ok || !slash {
		return kafka.UUID{}, false
	}
	return parseHex(hex)
}

// ParseID reads the partition from any key of a partition of the cluster.
func ParseID(cluster kafka.UUID, key string) (ID, bool) {
	topic, ok := ParseTopicKey(cluster, key)
	if !ok {
		return ID{}, false
	}
	part, _, slash := strings.Cut(strings.TrimPrefix(key, TopicPrefix(cluster, topic)), "/")
	n, err := strconv.ParseInt(part, 10, 32)
	if !slash || err != nil || n < 0 || strconv.FormatInt(n, 10) != part {
		return ID{}, false
	}
	return ID{ClusterID: cluster, TopicID: topic, Partition: int32(n)}, true
}

// parseHex reads an id's 32 lower-case hex digits.
func parseHex(s string) (u kafka.UUID, ok bool) {
	if len(s) != 2*len(u) {
		return u, false
	}
	for i := range u {
		v, err := strconv.ParseUint(s[2*i:2*i+2], 16, 8)
		if err != nil {
			return u, false
		}
		u[i] = byte(v)
	}
	return u, u.Hex() == s
}
