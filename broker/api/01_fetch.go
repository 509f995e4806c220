package api

import (
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/quota"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// Fetch, versions 4 to 18: reads record batches of many partitions.
//
//   - What is there is answered at once, on the connection's goroutine; a fetch that waits
//     holds no goroutine. Records leave as ranges of files.
//   - 4, 5: errors on storage look like a leader that has moved (KAFKA_STORAGE_ERROR is from 6).
//   - 7: sessions (KIP-227), see fetch_session.go. 9: leader epochs (KIP-320).
//   - 12: divergence (KIP-595) and where the leader is (KIP-951; endpoints from 16).
//   - A client over its quota gets an empty answer and is muted; what an answer has is counted
//     when it leaves. One over its quota of the object store gets what is on local disk, and is
//     muted when the fetch asks for more.
//   - 13: topics by id (KIP-516). 15: the replica's state moved into a tag (KIP-903).
//
// Gaps: fetches of followers are refused (NOT_LEADER_OR_FOLLOWER) until replication is
// there; racks are read and ignored, so no preferred replica is ever named (KIP-392).
func (a *API) fetch(r *server.Request) error {
	if err := a.fetchTooLong(r.Body); err != nil {
		return err
	}
	req, _ := a.fetches.Get().(*wire.FetchRequest)
	if req == nil {
		req = new(wire.FetchRequest)
	}
	if err := read(r, req); err != nil {
		return err
	}
	named, err := a.fetchTooMany(req)
	if err != nil {
		return err
	}
	if named <= fetchKept {
		defer a.fetches.Put(req)
	}
	f := &fetching{api: a, r: r, committed: req.IsolationLevel == readCommitted}
	session, full, code := f.session(req, named)
	if code != kafka.NoError {
		f.resp.ErrorCode = int16(code)
		f.send()
		return nil
	}
	params := f.params(req)
	if pause := a.o.Quotas.Pause(quota.Fetch, quotaClient(r)); pause > 0 {
		r.Mute(pause)
	}
	switch {
	case r.Muted() > 0: // nothing is read for a client that is over a quota, and no session begins
		if session != nil {
			f.resp.SessionID = session.id
		}
		f.send()
		return nil
	case session != nil:
		f.resp.SessionID = session.id
		session.set.Fetch(r.Ctx, params, f.answerSession)
		return nil
	case !full:
		f.send()
		return nil
	}
	params.Partitions = f.partitions(req)
	f.layOut(req)
	if req.ReplicaID >= 0 || req.ReplicaState.ReplicaID >= 0 {
		code := kafka.NotLeaderOrFollower
		if f.api.by(r).cluster(kafka.OpClusterAction) != nil {
			code = kafka.TopicAuthorizationFailed
		}
		f.answer(f.refused(&params, code))
		return nil
	}
	asksSession := r.Header.Version >= 7 && req.SessionEpoch == newSession
	a.o.Replicas.Fetch(r.Ctx, &params, func(results []replica.FetchResult) {
		if asksSession && results != nil {
			f.grant(params.Partitions, results)
		}
		f.answer(results)
	})
	return nil
}

// fetching is one Fetch request. Nothing of it aliases the request's memory.
type fetching struct {
	api       *API
	r         *server.Request
	committed bool // the request's isolation level is read_committed
	resp      wire.FetchResponse
}

// byID says whether the request's topics go by id.
func (f *fetching) byID() bool { return f.r.Header.Version >= 13 }

// params is the limits of the request.
func (f *fetching) params(req *wire.FetchRequest) replica.FetchParams {
	maxBytes := min(int64(max(req.MaxBytes, 0)), f.api.o.Node().FetchMaxBytes)
	if most, ok := f.api.o.Quotas.FetchMax(quotaClient(f.r)); ok {
		maxBytes = min(maxBytes, most)
	}
	return replica.FetchParams{
		MaxWait:       time.Duration(req.MaxWaitMs) * time.Millisecond,
		MinBytes:      min(int64(req.MinBytes), maxBytes),
		MaxBytes:      maxBytes,
		ReadCommitted: f.committed,
		Refuse:        f.refuse(),
		Payer:         f.storePayer(),
	}
}

// refuse says what the client may not read; nil while everything is allowed.
func (f *fetching) refuse() func(*replica.FetchPartition) error {
	if f.api.o.Authorizer == nil {
		return nil
	}
	return func(p *replica.FetchPartition) error {
		return f.api.by(f.r).topicRef(kafka.OpRead, topicRef{name: p.Topic, id: p.TopicID, byID: p.ByID})
	}
}

// partitions lists what the request names.
func (f *fetching) partitions(req *wire.FetchRequest) []replica.FetchPartition {
	n := 0
	for i := range req.Topics {
		n += len(req.Topics[i].Partitions)
	}
	out := make([]replica.FetchPartition, 0, n)
	for i := range req.Topics {
		t := &req.Topics[i]
		for j := range t.Partitions {
			part := &t.Partitions[j]
			out = append(out, replica.FetchPartition{
				Topic: t.Topic, TopicID: t.TopicID, ByID: f.byID(), Index: part.Partition,
				Offset: part.FetchOffset, MaxBytes: int64(max(part.PartitionMaxBytes, 0)),
				CurrentLeaderEpoch: max(part.CurrentLeaderEpoch, kafka.NoEpoch), LastFetchedEpoch: max(part.LastFetchedEpoch, kafka.NoEpoch),
			})
		}
	}
	return out
}

// layOut prepares the answer to a full fetch, whose topics and partitions have the
// request's order.
func (f *fetching) layOut(req *wire.FetchRequest) {
	f.resp.Responses = make([]wire.FetchResponseTopic, len(req.Topics))
	for i := range req.Topics {
		from, to := &req.Topics[i], &f.resp.Responses[i]
		*to = wire.FetchResponseTopic{Topic: from.Topic, TopicID: from.TopicID, Partitions: make([]wire.FetchResponsePartition, len(from.Partitions))}
		for j := range from.Partitions {
			to.Partitions[j].PartitionIndex = from.Partitions[j].Partition
		}
	}
}

// readCommitted is the isolation level that stops at the last stable offset.
const readCommitted = 1

// refused is the same error for every partition.
func (f *fetching) refused(p *replica.FetchParams, code kafka.Error) []replica.FetchResult {
	out := make([]replica.FetchResult, len(p.Partitions))
	for i := range out {
		out[i] = replica.FetchResult{Err: code, HighWatermark: -1, LastStable: -1, LogStart: -1}
	}
	return out
}

// answer sends the results; nil means that the client has gone.
func (f *fetching) answer(results []replica.FetchResult) {
	if results == nil {
		f.r.NoReply()
		return
	}
	for i := range f.resp.Responses {
		t := &f.resp.Responses[i]
		for j := range t.Partitions {
			f.fill(t, &t.Partitions[j], &results[j])
		}
		results = results[len(t.Partitions):]
	}
	f.send()
}

// fill puts one result into the answer. Beside an error the offsets are -1, as in Kafka.
func (f *fetching) fill(t *wire.FetchResponseTopic, out *wire.FetchResponsePartition, res *replica.FetchResult) {
	index, version := out.PartitionIndex, f.r.Header.Version
	out.Default()
	out.PartitionIndex = index
	out.Records = res.Records
	if d := res.Diverging; d != nil {
		out.DivergingEpoch = wire.FetchResponseEpochEndOffset{Epoch: d.Epoch, EndOffset: d.End}
	}
	if f.committed || res.Aborted != nil {
		out.AbortedTransactions = make([]wire.FetchResponseAbortedTransaction, len(res.Aborted))
		for i, txn := range res.Aborted {
			out.AbortedTransactions[i] = wire.FetchResponseAbortedTransaction{ProducerID: txn.ProducerID, FirstOffset: txn.FirstOffset}
		}
	}
	if res.Err == nil {
		out.HighWatermark, out.LastStableOffset, out.LogStartOffset = res.HighWatermark, res.LastStable, res.LogStart
		return
	}
	out.HighWatermark, out.LastStableOffset, out.LogStartOffset = -1, -1, -1
	out.ErrorCode, _ = f.api.failure(res.Err)
	out.AbortedTransactions = nil
	switch kafka.Error(out.ErrorCode) {
	case kafka.UnknownTopicOrPartition, kafka.UnknownTopicID, kafka.TopicAuthorizationFailed:
		out.AbortedTransactions = []wire.FetchResponseAbortedTransaction{} // as Kafka's, which has not looked at a log
	}
	if version < 6 {
		out.ErrorCode = withoutStorageError(out.ErrorCode)
	}
	if version >= 12 {
		f.hint(t, out)
	}
}

// hint names the partition's leader (KIP-951).
func (f *fetching) hint(t *wire.FetchResponseTopic, out *wire.FetchResponsePartition) {
	ref := topicRef{name: t.Topic, id: t.TopicID, byID: f.byID()}
	hint, ok := f.api.leaderHint(ref, out.PartitionIndex, f.r.Conn.Listener(), kafka.Error(out.ErrorCode))
	if !ok {
		return
	}
	out.CurrentLeader = wire.FetchResponseLeader{LeaderID: hint.id, LeaderEpoch: hint.epoch}
	for _, known := range f.resp.NodeEndpoints {
		if known.NodeID == hint.id {
			return
		}
	}
	f.resp.NodeEndpoints = append(f.resp.NodeEndpoints, wire.FetchResponseNodeEndpoint{
		NodeID: hint.id, Host: hint.host, Port: hint.port, Rack: hint.rack,
	})
}

// send answers the request; the files behind the records belong to the server from here on.
func (f *fetching) send() {
	h := &f.r.Header
	throttle(f.r, &f.resp)
	head := wire.AppendResponseHeader(make([]byte, 0, 256), h.Key, h.Version, h.CorrelationID)
	pieces, _ := f.resp.Pieces(h.Version, nil, head)
	f.api.o.Quotas.Count(quota.Fetch, quotaClient(f.r), float64(wire.Size(pieces)))
	f.r.Reply(pieces)
}
