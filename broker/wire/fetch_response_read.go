package wire

import "github.com/varve-io/varve/broker/kafka"

// leastFetchResponsePartition is the fewest bytes that a partition of a response takes.
func leastFetchResponsePartition(version int16) int {
	size := 4 + 2 + 8 + 8
	if version >= 5 {
		size += 8 // LogStartOffset
	}
	if version >= 11 {
		size += 4 // PreferredReadReplica
	}
	if version >= 12 {
		return size + 1 + 1 + 1
	}
	return size + 4 + 4
}

// Read takes the message from r; see Message. Records end up in Inline and alias the input.
func (v *FetchResponse) Read(r *Reader, version int16) error {
	if err := checkVersion("FetchResponse", version, 4, 18); err != nil {
		return err
	}
	flex := version >= 12
	v.Default()
	v.ThrottleTimeMs = r.Int32()
	if version >= 7 {
		v.ErrorCode = r.Int16()
		v.SessionID = r.Int32()
	}
	v.Responses = grow(r, v.Responses, r.count(flex, leastFetchTopic(version), false))
	for i := range v.Responses {
		if r.err != nil {
			break
		}
		v.Responses[i].read(r, version, flex)
	}
	if flex {
		v.readTags(r, version)
	}
	return r.finish("FetchResponse", version)
}

func (v *FetchResponse) readTags(r *Reader, version int16) {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		tag, rest := r.openTag()
		if tag == 0 && version >= 16 {
			v.NodeEndpoints = grow(r, v.NodeEndpoints, r.count(true, 4+1+4+1+1, false))
			for i := range v.NodeEndpoints {
				if r.err != nil {
					break
				}
				e := &v.NodeEndpoints[i]
				e.NodeID = r.Int32()
				e.Host = r.str(true, e.Host)
				e.Port = r.Int32()
				e.Rack = r.nullStr(true, true, e.Rack)
				r.skipTags()
			}
		}
		r.closeTag(rest)
	}
}

func (v *FetchResponseTopic) read(r *Reader, version int16, flex bool) {
	if version >= 13 {
		v.Topic, v.TopicID = "", r.UUID()
	} else {
		v.Topic, v.TopicID = r.str(flex, v.Topic), kafka.UUID{}
	}
	v.Partitions = grow(r, v.Partitions, r.count(flex, leastFetchResponsePartition(version), false))
	for i := range v.Partitions {
		if r.err != nil {
			return
		}
		v.Partitions[i].read(r, version, flex)
	}
	if flex {
		r.skipTags()
	}
}

func (v *FetchResponsePartition) read(r *Reader, version int16, flex bool) {
	aborted := v.AbortedTransactions
	v.Default()
	v.PartitionIndex = r.Int32()
	v.ErrorCode = r.Int16()
	v.HighWatermark = r.Int64()
	v.LastStableOffset = r.Int64()
	if version >= 5 {
		v.LogStartOffset = r.Int64()
	}
	least := 8 + 8
	if flex {
		least++
	}
	if n := r.count(flex, least, true); n >= 0 {
		aborted = grow(r, aborted, n)
		for i := range aborted {
			aborted[i].ProducerID = r.Int64()
			aborted[i].FirstOffset = r.Int64()
			if flex {
				r.skipTags()
			}
			if r.err != nil {
				return
			}
		}
		v.AbortedTransactions = aborted
	}
	if version >= 11 {
		v.PreferredReadReplica = r.Int32()
	}
	v.Inline = r.records(flex, true)
	if flex {
		v.readTags(r)
	}
}

func (v *FetchResponsePartition) readTags(r *Reader) {
	for n := r.tags(); n > 0 && r.err == nil; n-- {
		tag, rest := r.openTag()
		switch tag {
		case 0:
			v.DivergingEpoch.Epoch = r.Int32()
			v.DivergingEpoch.EndOffset = r.Int64()
			r.skipTags()
		case 1:
			v.CurrentLeader.LeaderID = r.Int32()
			v.CurrentLeader.LeaderEpoch = r.Int32()
			r.skipTags()
		case 2:
			v.SnapshotID.EndOffset = r.Int64()
			v.SnapshotID.Epoch = r.Int32()
			r.skipTags()
		}
		r.closeTag(rest)
	}
}
