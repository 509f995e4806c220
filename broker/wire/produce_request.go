package wire

import "github.com/varve-io/varve/broker/kafka"

// leastProduceTopic and leastProducePartition are the fewest bytes that a topic and a
// partition take.
func leastProduceTopic(version int16) int {
	switch {
	case version >= 13:
		return 16 + 1 + 1
	case version >= 9:
		return 1 + 1 + 1
	}
	return 2 + 4
}

func leastProducePartition(version int16) int {
	if version >= 9 {
		return 4 + 1 + 1
	}
	return 4 + 4
}

// Read takes the message from r; see Message. Records alias the input: they are the
// produced batches, which nothing copies on their way to the log.
func (v *ProduceRequest) Read(r *Reader, version int16) error {
	if err := checkVersion("ProduceRequest", version, 3, 13); err != nil {
		return err
	}
	flex := version >= 9
	v.TransactionalID = r.nullStr(flex, true, v.TransactionalID)
	v.Acks = r.Int16()
	v.TimeoutMs = r.Int32()
	v.TopicData = grow(r, v.TopicData, r.count(flex, leastProduceTopic(version), false))
	for i := range v.TopicData {
		if r.err != nil {
			break
		}
		v.TopicData[i].read(r, version, flex)
	}
	if flex {
		r.skipTags()
	}
	return r.finish("ProduceRequest", version)
}

func (v *ProduceRequestTopic) read(r *Reader, version int16, flex bool) {
	if version >= 13 {
		v.Name, v.TopicID = "", r.UUID()
	} else {
		v.Name, v.TopicID = r.str(flex, v.Name), kafka.UUID{}
	}
	v.PartitionData = grow(r, v.PartitionData, r.count(flex, leastProducePartition(version), false))
	for i := range v.PartitionData {
		p := &v.PartitionData[i]
		p.Index = r.Int32()
		p.Records = r.records(flex, true)
		if flex {
			r.skipTags()
		}
		if r.err != nil {
			return
		}
	}
	if flex {
		r.skipTags()
	}
}

// Append writes the message to dst; see Message.
func (v *ProduceRequest) Append(dst []byte, version int16) []byte {
	flex := version >= 9
	dst = appendNullString(dst, flex, true, v.TransactionalID)
	dst = appendInt16(dst, v.Acks)
	dst = appendInt32(dst, v.TimeoutMs)
	dst = appendCount(dst, flex, len(v.TopicData))
	for i := range v.TopicData {
		t := &v.TopicData[i]
		if version >= 13 {
			dst = append(dst, t.TopicID[:]...)
		} else {
			dst = appendString(dst, flex, t.Name)
		}
		dst = appendCount(dst, flex, len(t.PartitionData))
		for j := range t.PartitionData {
			p := &t.PartitionData[j]
			dst = appendInt32(dst, p.Index)
			dst = appendBytes(dst, flex, true, p.Records)
			dst = appendNoTags(dst, flex)
		}
		dst = appendNoTags(dst, flex)
	}
	return appendNoTags(dst, flex)
}
