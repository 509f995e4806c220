package api

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/quota"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// adminClientID is the client id that may write to internal topics, as in Kafka.
const adminClientID = "__admin_client"

// Produce, versions 3 to 13: appends record batches, one per partition.
//
//   - Batches are appended in the order of the request, on the connection's goroutine and in
//     the request's own memory; what waits for the in-sync set is only the answer.
//
//   - A batch that is refused leaves the others alone. acks=0 has no answer at all: an error
//     closes the connection, so that the client learns of it.
//
//   - 3: errors on storage look like a leader that has moved (KAFKA_STORAGE_ERROR is from 4).
//
//   - 7: zstd (KIP-110). 8: which records are to blame (KIP-467). 10: where the leader is
//     (KIP-951). 13: topics by id (KIP-516).
//
//   - The first batch of a transaction in a partition waits for the coordinator's word that the
//     partition is part of it: INVALID_TXN_STATE if not, from 11 on TRANSACTION_ABORTABLE. From 12
//     on the request itself adds the partition (KIP-890).
//
//   - Transactional batches in a request without a transactional id get
//     TRANSACTIONAL_ID_AUTHORIZATION_FAILED, those of several producers INVALID_PRODUCER_ID_MAPPING.
func (a *API) produce(r *server.Request) error {
	req, _ := a.produces.Get().(*wire.ProduceRequest)
	if req == nil {
		req = new(wire.ProduceRequest)
	}
	defer func() {
		forgetRecords(req)
		a.produces.Put(req)
	}()
	if err := read(r, req); err != nil {
		return err
	}
	if pause := a.o.Quotas.Charge(quota.Produce, quotaClient(r), float64(len(r.Body))); pause > 0 {
		r.Mute(pause)
	}
	p := &producing{api: a, r: r, acks: req.Acks, timeout: time.Duration(req.TimeoutMs) * time.Millisecond}
	p.judgeTransaction(req)
	p.append(req)
	if len(p.unverified) == 0 {
		return p.finish()
	}
	r.Retain() // for the batches that wait for the coordinator
	p.enterTransaction(a.o.Node(), func() {
		if err := p.finish(); err != nil {
			r.CloseConn(err)
		}
		r.Release()
	})
	return nil
}

// finish answers when no batch waits for the in-sync set any more.
func (p *producing) finish() error {
	if p.uploads > 0 {
		p.throttle = max(p.throttle, p.api.o.Quotas.Charge(quota.Upload, quotaClient(p.r), float64(p.uploads)))
	}
	if p.throttle > 0 { // the answer goes out at once, and the client knows why nothing follows (KIP-219)
		p.r.Mute(p.throttle)
	}
	if p.acks != 0 {
		replica.Await(p.pending(), p.timeout, p.answer)
		return nil
	}
	if p.failed != nil {
		return fmt.Errorf("produce with acks=0: %w", p.failed)
	}
	p.r.NoReply()
	return nil
}

// forgetRecords drops what aliases the request's memory, which is not ours after Handle.
func forgetRecords(req *wire.ProduceRequest) {
	for i := range req.TopicData {
		parts := req.TopicData[i].PartitionData
		for j := range parts {
			parts[j].Records = nil
		}
	}
}

// producing is one Produce request whose batches are in the logs.
type producing struct {
	api     *API
	r       *server.Request
	acks    int16
	timeout time.Duration
	// refused is why the whole request is refused, nil if it is not.
	refused    error
	txn        txn.Request // who the transactional batches come from
	unverified []unverifiedBatch
	resp       wire.ProduceResponse
	failed     error // the first error of any partition
	// throttle is for how long the client is held up, because the disk of a partition fills or it
	// is over its quota of uploads.
	throttle time.Duration
	uploads  int64 // bytes that will be uploaded
	waits    []waiting
}

// waiting is a batch that waits for the in-sync set, and its place in the answer.
type waiting struct {
	topic, partition int
	pending          *replica.Pending
}

// append appends all batches and fills the answer in.
func (p *producing) append(req *wire.ProduceRequest) {
	p.resp.Default()
	p.resp.Responses = make([]wire.ProduceResponseTopic, len(req.TopicData))
	for i := range req.TopicData {
		from, to := &req.TopicData[i], &p.resp.Responses[i]
		to.Name, to.TopicID = from.Name, from.TopicID
		to.PartitionResponses = make([]wire.ProduceResponsePartition, len(from.PartitionData))
		denied := p.api.by(p.r).topicRef(kafka.OpWrite, p.ref(to))
		for j := range from.PartitionData {
			part, out := &from.PartitionData[j], &to.PartitionResponses[j]
			out.Default()
			out.Index = part.Index
			target, err := p.target(p.ref(to), part, denied)
			if err != nil {
				p.placed(i, j, replica.AppendResult{LogStart: kafka.NoOffset}, err)
				continue
			}
			if !p.mayAppend(i, j, target, part.Records) {
				continue
			}
			res, err := p.appendTo(target, part.Records, nil)
			p.placed(i, j, res, err)
		}
	}
}

// placed fills in what became of a batch. Beside an error only the log start of res counts.
func (p *producing) placed(i, j int, res replica.AppendResult, err error) {
	topic := &p.resp.Responses[i]
	out := &topic.PartitionResponses[j]
	if err != nil {
		p.refuse(topic, out, err)
		out.LogStartOffset = res.LogStart
		return
	}
	out.BaseOffset, out.LogAppendTimeMs, out.LogStartOffset = res.Base, res.AppendTimeMs, res.LogStart
	if res.Wait != nil {
		p.waits = append(p.waits, waiting{i, j, res.Wait})
	}
}

// ref is the topic of a part of the answer.
func (p *producing) ref(t *wire.ProduceResponseTopic) topicRef {
	return topicRef{name: t.Name, id: t.TopicID, byID: p.r.Header.Version >= 13}
}

// target is the partition that a batch is for; denied is why the client may not write to the topic.
func (p *producing) target(t topicRef, part *wire.ProduceRequestPartition, denied error) (*replica.Partition, error) {
	if err := cmp.Or(p.refused, denied); err != nil {
		return nil, err
	}
	target, err := p.api.partition(t, part.Index)
	if err != nil {
		return nil, err
	}
	if name := target.TopicPartition().Topic; kafka.InternalTopic(name) && p.r.Header.ClientID != adminClientID {
		return nil, fmt.Errorf("clients do not write to the internal topic %s: %w", name, kafka.InvalidTopic)
	}
	return target, nil
}

// appendTo appends a batch. Beside an error only the log start of the result counts.
func (p *producing) appendTo(target *replica.Partition, records []byte, v *commitlog.Verification) (replica.AppendResult, error) {
	res, err := target.Append(records, replica.AppendOptions{Acks: p.acks, ZstdOK: p.r.Header.Version >= 7, Verification: v})
	p.throttle, p.uploads = max(p.throttle, res.Throttle), p.uploads+res.Uploads
	if err == nil {
		return res, nil
	}
	nowhere := replica.AppendResult{LogStart: kafka.NoOffset}
	if log := target.Log(); log != nil && tellsLogStart(err) {
		nowhere.LogStart = log.LogStart()
	}
	return nowhere, err
}

// tellsLogStart says whether Kafka answers the log start beside an error of an append: it
// does beside those that a batch of the right shape meets. Source: ReplicaManager.appendToLocalLog.
func tellsLogStart(err error) bool {
	var rejection *batch.Rejection
	if errors.As(err, &rejection) && rejection.Shape {
		return false
	}
	switch kafka.Code(err) {
	case kafka.NotLeaderOrFollower, kafka.FencedLeaderEpoch, kafka.MessageTooLarge, kafka.CorruptMessage,
		kafka.KafkaStorageError, kafka.InvalidRequiredAcks:
		return false
	}
	return true
}

// refuse puts an error into the answer for a partition.
func (p *producing) refuse(t *wire.ProduceResponseTopic, out *wire.ProduceResponsePartition, err error) {
	if p.failed == nil {
		p.failed = err
	}
	version := p.r.Header.Version
	out.BaseOffset, out.LogAppendTimeMs, out.LogStartOffset = -1, -1, -1
	out.ErrorCode, out.ErrorMessage = p.api.failure(err)
	if version < 4 {
		out.ErrorCode = withoutStorageError(out.ErrorCode)
	}
	var rejection *batch.Rejection
	if errors.As(err, &rejection) {
		out.ErrorMessage = &rejection.Message
		for i := range rejection.Records {
			bad := &rejection.Records[i]
			out.RecordErrors = append(out.RecordErrors, wire.ProduceResponseRecordError{
				BatchIndex: bad.Index, BatchIndexErrorMessage: &bad.Message,
			})
		}
	}
	if version < 10 {
		return
	}
	if hint, ok := p.api.leaderHint(p.ref(t), out.Index, p.r.Conn.Listener(), kafka.Error(out.ErrorCode)); ok {
		out.CurrentLeader = wire.ProduceResponseLeader{LeaderID: hint.id, LeaderEpoch: hint.epoch}
		p.endpoint(hint)
	}
}

// endpoint says once where a leader lives.
func (p *producing) endpoint(l leader) {
	for _, known := range p.resp.NodeEndpoints {
		if known.NodeID == l.id {
			return
		}
	}
	p.resp.NodeEndpoints = append(p.resp.NodeEndpoints, wire.ProduceResponseNodeEndpoint{
		NodeID: l.id, Host: l.host, Port: l.port, Rack: l.rack,
	})
}

// pending lists the batches that wait.
func (p *producing) pending() []*replica.Pending {
	var out []*replica.Pending
	for _, w := range p.waits {
		out = append(out, w.pending)
	}
	return out
}

// answer answers the request when no batch waits any more.
func (p *producing) answer() {
	for _, w := range p.waits {
		if err := w.pending.Err(); err != nil {
			t := &p.resp.Responses[w.topic]
			p.refuse(t, &t.PartitionResponses[w.partition], err)
		}
	}
	reply(p.r, &p.resp)
}
