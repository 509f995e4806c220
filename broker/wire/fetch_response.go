package wire

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// FetchResponse carries record batches. Broker code sends it with Pieces, so that records
// go from the file to the socket; Read and Append serve clients and tests.
//
// Versions 4 to 18, flexible from 12.
type FetchResponse struct {
	// How long the client is throttled, in milliseconds.
	ThrottleTimeMs int32 // v4+
	// The error of the whole request, 0 for none.
	ErrorCode int16 // v7+
	// The fetch session, 0 for none (KIP-227).
	SessionID int32 // v7+
	// One entry per topic.
	Responses []FetchResponseTopic // v4+
	// Where the leaders named in CurrentLeader live (KIP-951).
	NodeEndpoints []FetchResponseNodeEndpoint // v16+, tag 0
}

// Throttle implements Throttled.
func (v *FetchResponse) Throttle(ms int32) { v.ThrottleTimeMs = ms }

// FetchResponseTopic is one element of FetchResponse.Responses.
type FetchResponseTopic struct {
	// The topic's name, up to version 12.
	Topic string // v4-v12
	// The topic's id (KIP-516).
	TopicID kafka.UUID // v13+
	// One entry per partition.
	Partitions []FetchResponsePartition // v4+
}

// FetchResponsePartition is one element of FetchResponseTopic.Partitions. Start from
// Default: the zero value names node 0 as leader.
type FetchResponsePartition struct {
	// The partition's index.
	PartitionIndex int32 // v4+
	// The error code, 0 for none.
	ErrorCode int16 // v4+
	// The replica to read from instead, -1 for this one (KIP-392).
	PreferredReadReplica int32 // v11+, default -1
	// The high watermark.
	HighWatermark int64 // v4+
	// The last stable offset.
	LastStableOffset int64 // v4+, default -1
	// The log start offset.
	LogStartOffset int64 // v5+, default -1
	// Where the follower's log departs from the leader's (KIP-595).
	DivergingEpoch FetchResponseEpochEndOffset // v12+, tag 0
	// The leader to go to (KIP-951).
	CurrentLeader FetchResponseLeader // v12+, tag 1
	// The snapshot to fetch; used by Kafka's own metadata log only.
	SnapshotID FetchResponseSnapshotID // v12+, tag 2
	// The aborted transactions that overlap the records; nil is null.
	AbortedTransactions []FetchResponseAbortedTransaction // v4+
	// The record batches in files, in order. Pieces takes them over.
	Records []vfs.Range
	// Record batches in memory, after those in files; they stay unchanged until the
	// response is sent. Read leaves all records here, aliasing its input.
	Inline []byte
}

// FetchResponseEpochEndOffset is FetchResponsePartition.DivergingEpoch.
type FetchResponseEpochEndOffset struct {
	// The largest epoch that both logs share, -1 for none.
	Epoch int32
	// Its end offset.
	EndOffset int64
}

// FetchResponseLeader is FetchResponsePartition.CurrentLeader.
type FetchResponseLeader struct {
	// The leader's node id, -1 when unknown.
	LeaderID int32
	// The leader's epoch, -1 when unknown.
	LeaderEpoch int32
}

// FetchResponseSnapshotID is FetchResponsePartition.SnapshotID.
type FetchResponseSnapshotID struct {
	// The offset after the snapshot's last record.
	EndOffset int64
	// The epoch of that record.
	Epoch int32
}

// FetchResponseAbortedTransaction is one element of FetchResponsePartition.AbortedTransactions.
type FetchResponseAbortedTransaction struct {
	// The producer of the transaction.
	ProducerID int64
	// The first offset of the transaction.
	FirstOffset int64
}

// FetchResponseNodeEndpoint is one element of FetchResponse.NodeEndpoints.
type FetchResponseNodeEndpoint struct {
	// The node's id.
	NodeID int32
	// The node's host.
	Host string
	// The node's port.
	Port int32
	// The node's rack, nil for none.
	Rack *string
}

// What the tagged structs hold when they are left out.
var (
	noDivergence = FetchResponseEpochEndOffset{Epoch: -1, EndOffset: -1}
	noLeader     = FetchResponseLeader{LeaderID: -1, LeaderEpoch: -1}
	noSnapshot   = FetchResponseSnapshotID{EndOffset: -1, Epoch: -1}
)

// Default sets the protocol's defaults; slices keep their room.
func (v *FetchResponse) Default() {
	*v = FetchResponse{Responses: v.Responses[:0], NodeEndpoints: v.NodeEndpoints[:0]}
}

// Default sets the protocol's defaults; slices keep their room.
func (v *FetchResponseTopic) Default() {
	*v = FetchResponseTopic{Partitions: v.Partitions[:0]}
}

// Default sets the protocol's defaults; Records keeps its room.
func (v *FetchResponsePartition) Default() {
	*v = FetchResponsePartition{
		PreferredReadReplica: -1, LastStableOffset: -1, LogStartOffset: -1,
		DivergingEpoch: noDivergence, CurrentLeader: noLeader, SnapshotID: noSnapshot,
		Records: v.Records[:0],
	}
}

// RecordsSize is the number of bytes of records.
func (v *FetchResponsePartition) RecordsSize() int64 {
	n := int64(len(v.Inline))
	for _, r := range v.Records {
		n += r.Len
	}
	return n
}

// Pieces turns the response into pieces for the socket and appends them to dst. What buf
// holds already, such as the response header, leads the first piece. The ranges of
// Records belong to the pieces from here on: whoever sends them releases them. Pieces
// alias the buffer that is answered, and Inline; both stay untouched until they are sent.
func (v *FetchResponse) Pieces(version int16, dst []Piece, buf []byte) ([]Piece, []byte) {
	flex := version >= 12
	w := pieceWriter{pieces: dst, buf: buf}
	w.buf = v.appendHead(w.buf, version, flex)
	for i := range v.Responses {
		t := &v.Responses[i]
		w.buf = t.appendHead(w.buf, version, flex)
		for j := range t.Partitions {
			p := &t.Partitions[j]
			w.buf = p.appendHead(w.buf, version, flex)
			for _, r := range p.Records {
				w.file(r)
			}
			w.inline(p.Inline)
			w.buf = p.appendTags(w.buf, flex)
		}
		w.buf = appendNoTags(w.buf, flex)
	}
	w.buf = v.appendTags(w.buf, version, flex)
	w.cut()
	return w.pieces, w.buf
}

// Append writes the message to dst; see Message. All records are Inline.
func (v *FetchResponse) Append(dst []byte, version int16) []byte {
	flex := version >= 12
	dst = v.appendHead(dst, version, flex)
	for i := range v.Responses {
		t := &v.Responses[i]
		dst = t.appendHead(dst, version, flex)
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if len(p.Records) > 0 {
				panic("BUG: FetchResponse.Append with records in files: use Pieces")
			}
			dst = p.appendHead(dst, version, flex)
			dst = append(dst, p.Inline...)
			dst = p.appendTags(dst, flex)
		}
		dst = appendNoTags(dst, flex)
	}
	return v.appendTags(dst, version, flex)
}

// appendHead writes what comes before the topics.
func (v *FetchResponse) appendHead(dst []byte, version int16, flex bool) []byte {
	dst = appendInt32(dst, v.ThrottleTimeMs)
	if version >= 7 {
		dst = appendInt16(dst, v.ErrorCode)
		dst = appendInt32(dst, v.SessionID)
	}
	return appendCount(dst, flex, len(v.Responses))
}

// appendTags writes what comes after the topics.
func (v *FetchResponse) appendTags(dst []byte, version int16, flex bool) []byte {
	if version < 16 || len(v.NodeEndpoints) == 0 {
		return appendNoTags(dst, flex)
	}
	dst, at := openTag(append(dst, 1), 0)
	dst = appendCount(dst, true, len(v.NodeEndpoints))
	for i := range v.NodeEndpoints {
		n := &v.NodeEndpoints[i]
		dst = appendInt32(dst, n.NodeID)
		dst = appendString(dst, true, n.Host)
		dst = appendInt32(dst, n.Port)
		dst = appendNullString(dst, true, true, n.Rack)
		dst = append(dst, 0)
	}
	return closeTag(dst, at)
}

// appendHead writes what comes before the partitions.
func (v *FetchResponseTopic) appendHead(dst []byte, version int16, flex bool) []byte {
	dst = appendFetchTopic(dst, version, flex, v.Topic, v.TopicID)
	return appendCount(dst, flex, len(v.Partitions))
}

// appendHead writes what comes before the records, with their size. They are never null:
// Kafka answers none as no bytes.
func (v *FetchResponsePartition) appendHead(dst []byte, version int16, flex bool) []byte {
	dst = appendInt32(dst, v.PartitionIndex)
	dst = appendInt16(dst, v.ErrorCode)
	dst = appendInt64(dst, v.HighWatermark)
	dst = appendInt64(dst, v.LastStableOffset)
	if version >= 5 {
		dst = appendInt64(dst, v.LogStartOffset)
	}
	if v.AbortedTransactions == nil {
		dst = appendNull(dst, flex)
	} else {
		dst = appendCount(dst, flex, len(v.AbortedTransactions))
	}
	for _, a := range v.AbortedTransactions {
		dst = appendInt64(dst, a.ProducerID)
		dst = appendInt64(dst, a.FirstOffset)
		dst = appendNoTags(dst, flex)
	}
	if version >= 11 {
		dst = appendInt32(dst, v.PreferredReadReplica)
	}
	return appendCount(dst, flex, int(v.RecordsSize()))
}

// appendTags writes what comes after the records.
func (v *FetchResponsePartition) appendTags(dst []byte, flex bool) []byte {
	if !flex {
		return dst
	}
	at := len(dst)
	dst = append(dst, 0)
	if v.DivergingEpoch != noDivergence {
		dst[at]++
		dst = append(dst, 0, 4+8+1)
		dst = appendInt32(dst, v.DivergingEpoch.Epoch)
		dst = append(appendInt64(dst, v.DivergingEpoch.EndOffset), 0)
	}
	if v.CurrentLeader != noLeader {
		dst[at]++
		dst = append(dst, 1, 4+4+1)
		dst = appendInt32(dst, v.CurrentLeader.LeaderID)
		dst = append(appendInt32(dst, v.CurrentLeader.LeaderEpoch), 0)
	}
	if v.SnapshotID != noSnapshot {
		dst[at]++
		dst = append(dst, 2, 8+4+1)
		dst = appendInt64(dst, v.SnapshotID.EndOffset)
		dst = append(appendInt32(dst, v.SnapshotID.Epoch), 0)
	}
	return dst
}
