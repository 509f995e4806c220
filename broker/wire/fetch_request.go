package wire

import (
	"encoding/binary"
	"math"

	"github.com/varve-io/varve/broker/kafka"
)

// fetchPartitionSize is the size of a partition without its tags: index, offset and
// limit, and what later versions put between them.
func fetchPartitionSize(version int16) int {
	size := 4 + 8 + 4
	if version >= 5 {
		size += 8 // LogStartOffset
	}
	if version >= 9 {
		size += 4 // CurrentLeaderEpoch
	}
	if version >= 12 {
		size += 4 // LastFetchedEpoch
	}
	return size
}

// leastFetchTopic is the fewest bytes that a topic takes, in Topics and in ForgottenTopicsData.
func leastFetchTopic(version int16) int {
	switch {
	case version >= 13:
		return 16 + 1 + 1
	case version >= 12:
		return 1 + 1 + 1
	}
	return 2 + 4
}

// Read takes the message from r; see Message.
func (v *FetchRequest) Read(r *Reader, version int16) error {
	if err := checkVersion("FetchRequest", version, 4, 18); err != nil {
		return err
	}
	flex := version >= 12
	v.ReplicaID = -1
	if version <= 14 {
		v.ReplicaID = r.Int32()
	}
	v.MaxWaitMs = r.Int32()
	v.MinBytes = r.Int32()
	v.MaxBytes = r.Int32()
	v.IsolationLevel = r.Int8()
	v.SessionID, v.SessionEpoch = 0, -1
	if version >= 7 {
		v.SessionID = r.Int32()
		v.SessionEpoch = r.Int32()
	}
	v.Topics = grow(r, v.Topics, r.count(flex, leastFetchTopic(version), false))
	for i := range v.Topics {
		if r.err != nil {
			break
		}
		v.Topics[i].read(r, version, flex)
	}
	v.readForgotten(r, version, flex)
	if version >= 11 {
		v.RackID = r.str(flex, v.RackID)
	} else {
		v.RackID = ""
	}
	oldClusterID := v.ClusterID
	v.ClusterID = nil
	v.ReplicaState.Default()
	if flex {
		v.readTags(r, version, oldClusterID)
	}
	return r.finish("FetchRequest", version)
}

func (v *FetchRequest) readForgotten(r *Reader, version int16, flex bool) {
	if version < 7 {
		v.ForgottenTopicsData = v.ForgottenTopicsData[:0]
		return
	}
	v.ForgottenTopicsData = grow(r, v.ForgottenTopicsData, r.count(flex, leastFetchTopic(version), false))
	for i := range v.ForgottenTopicsData {
		t := &v.ForgottenTopicsData[i]
		if version >= 13 {
			t.Topic, t.TopicID = "", r.UUID()
		} else {
			t.Topic, t.TopicID = r.str(flex, t.Topic), kafka.UUID{}
		}
		t.Partitions = grow(r, t.Partitions, r.count(flex, 4, false))
		for j := range t.Partitions {
			t.Partitions[j] = r.Int32()
		}
		if flex {
			r.skipTags()
		}
		if r.err != nil {
			return
		}
	}
}

func (v *FetchRequest) readTags(r *Reader, version int16, oldClusterID *string) {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		tag, rest := r.openTag()
		switch {
		case tag == 0:
			v.ClusterID = r.nullStr(true, true, oldClusterID)
		case tag == 1 && version >= 15:
			v.ReplicaState.ReplicaID = r.Int32()
			v.ReplicaState.ReplicaEpoch = r.Int64()
			r.skipTags()
		}
		r.closeTag(rest)
	}
}

func (v *FetchRequestTopic) read(r *Reader, version int16, flex bool) {
	if version >= 13 {
		v.Topic, v.TopicID = "", r.UUID()
	} else {
		v.Topic, v.TopicID = r.str(flex, v.Topic), kafka.UUID{}
	}
	size := fetchPartitionSize(version)
	least := size
	if flex {
		least++
	}
	v.Partitions = grow(r, v.Partitions, r.count(flex, least, false))
	for i := range v.Partitions {
		b := r.take(size)
		if b == nil {
			return
		}
		v.Partitions[i].decode(b, version)
		if flex {
			v.Partitions[i].readTags(r, version)
		}
	}
	if flex {
		r.skipTags()
	}
}

// decode takes the fields of fixed size, which are all but the tags, from b. There may be
// thousands of partitions in a request, so it checks the bounds once.
func (v *FetchRequestPartition) decode(b []byte, version int16) {
	v.Partition = int32(binary.BigEndian.Uint32(b))
	b = b[4:]
	v.CurrentLeaderEpoch, v.LastFetchedEpoch, v.LogStartOffset = -1, -1, -1
	if version >= 9 {
		v.CurrentLeaderEpoch = int32(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	v.FetchOffset = int64(binary.BigEndian.Uint64(b))
	b = b[8:]
	if version >= 12 {
		v.LastFetchedEpoch = int32(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	if version >= 5 {
		v.LogStartOffset = int64(binary.BigEndian.Uint64(b))
		b = b[8:]
	}
	v.PartitionMaxBytes = int32(binary.BigEndian.Uint32(b))
	v.ReplicaDirectoryID = kafka.UUID{}
	v.HighWatermark = math.MaxInt64
}

func (v *FetchRequestPartition) readTags(r *Reader, version int16) {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		tag, rest := r.openTag()
		switch {
		case tag == 0 && version >= 17:
			v.ReplicaDirectoryID = r.UUID()
		case tag == 1 && version >= 18:
			v.HighWatermark = r.Int64()
		}
		r.closeTag(rest)
	}
}

// Append writes the message to dst; see Message.
func (v *FetchRequest) Append(dst []byte, version int16) []byte {
	flex := version >= 12
	if version <= 14 {
		dst = appendInt32(dst, v.ReplicaID)
	}
	dst = appendInt32(dst, v.MaxWaitMs)
	dst = appendInt32(dst, v.MinBytes)
	dst = appendInt32(dst, v.MaxBytes)
	dst = append(dst, byte(v.IsolationLevel))
	if version >= 7 {
		dst = appendInt32(dst, v.SessionID)
		dst = appendInt32(dst, v.SessionEpoch)
	}
	dst = appendCount(dst, flex, len(v.Topics))
	for i := range v.Topics {
		dst = v.Topics[i].append(dst, version, flex)
	}
	if version >= 7 {
		dst = appendCount(dst, flex, len(v.ForgottenTopicsData))
		for i := range v.ForgottenTopicsData {
			t := &v.ForgottenTopicsData[i]
			dst = appendFetchTopic(dst, version, flex, t.Topic, t.TopicID)
			dst = appendCount(dst, flex, len(t.Partitions))
			for _, p := range t.Partitions {
				dst = appendInt32(dst, p)
			}
			dst = appendNoTags(dst, flex)
		}
	}
	if version >= 11 {
		dst = appendString(dst, flex, v.RackID)
	}
	if flex {
		dst = v.appendTags(dst, version)
	}
	return dst
}

func (v *FetchRequest) appendTags(dst []byte, version int16) []byte {
	replica := version >= 15 && !v.ReplicaState.isDefault()
	tags := byte(0)
	if v.ClusterID != nil {
		tags++
	}
	if replica {
		tags++
	}
	dst = append(dst, tags)
	var at int
	if v.ClusterID != nil {
		dst, at = openTag(dst, 0)
		dst = closeTag(appendString(dst, true, *v.ClusterID), at)
	}
	if replica {
		dst, at = openTag(dst, 1)
		dst = appendInt32(dst, v.ReplicaState.ReplicaID)
		dst = appendInt64(dst, v.ReplicaState.ReplicaEpoch)
		dst = closeTag(append(dst, 0), at)
	}
	return dst
}

func appendFetchTopic(dst []byte, version int16, flex bool, name string, id kafka.UUID) []byte {
	if version >= 13 {
		return append(dst, id[:]...)
	}
	return appendString(dst, flex, name)
}

func (v *FetchRequestTopic) append(dst []byte, version int16, flex bool) []byte {
	dst = appendFetchTopic(dst, version, flex, v.Topic, v.TopicID)
	dst = appendCount(dst, flex, len(v.Partitions))
	for i := range v.Partitions {
		dst = v.Partitions[i].append(dst, version, flex)
	}
	return appendNoTags(dst, flex)
}

func (v *FetchRequestPartition) append(dst []byte, version int16, flex bool) []byte {
	dst = appendInt32(dst, v.Partition)
	if version >= 9 {
		dst = appendInt32(dst, v.CurrentLeaderEpoch)
	}
	dst = appendInt64(dst, v.FetchOffset)
	if version >= 12 {
		dst = appendInt32(dst, v.LastFetchedEpoch)
	}
	if version >= 5 {
		dst = appendInt64(dst, v.LogStartOffset)
	}
	dst = appendInt32(dst, v.PartitionMaxBytes)
	if !flex {
		return dst
	}
	directory := version >= 17 && !v.ReplicaDirectoryID.IsZero()
	highWatermark := version >= 18 && v.HighWatermark != math.MaxInt64
	tags := byte(0)
	if directory {
		tags++
	}
	if highWatermark {
		tags++
	}
	dst = append(dst, tags)
	if directory {
		dst = append(dst, 0, 16)
		dst = append(dst, v.ReplicaDirectoryID[:]...)
	}
	if highWatermark {
		dst = append(dst, 1, 8)
		dst = appendInt64(dst, v.HighWatermark)
	}
	return dst
}
