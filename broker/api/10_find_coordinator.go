package api

import (
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// The kinds of keys in FindCoordinator.
const (
	groupKey int8 = iota
	transactionKey
	shareKey
)

// FindCoordinator, versions 0 to 6: which broker coordinates a group or a transactional id.
//
//   - It is the leader of the partition of the internal topic that the id hashes to, as clients of
//     the listener reach it. The topic is created by the first request that needs it.
//   - 4: many keys at once (KIP-699). 6: keys of share groups (KIP-932).
//
// Gaps: there are no coordinators of share groups: their keys get INVALID_REQUEST, which clients
// report instead of trying again.
func (a groups) findCoordinator(r *server.Request) error {
	var req wire.FindCoordinatorRequest
	if err := read(r, &req); err != nil {
		return err
	}
	keys := req.CoordinatorKeys
	if r.Header.Version < 4 {
		keys = []string{req.Key}
	}
	mayAsk := func(key string) bool { return a.mayCoordinate(r, req.KeyType, key) == nil }
	if topic, _ := a.coordination(req.KeyType); topic != "" && slices.ContainsFunc(keys, mayAsk) && a.o.Cluster.Image().Topic(topic) == nil {
		r.Go(func() {
			a.autoCreate(r, []string{topic}, nil) // what went wrong is logged, and seen below
			a.answerFindCoordinator(r, &req)
		})
		return nil
	}
	a.answerFindCoordinator(r, &req)
	return nil
}

func (a groups) answerFindCoordinator(r *server.Request, req *wire.FindCoordinatorRequest) {
	none, empty := "NONE", "" // what Kafka says when nothing is wrong: to 3, and from 4 on
	var resp wire.FindCoordinatorResponse
	if r.Header.Version < 4 {
		c := a.coordinatorOf(r, req.KeyType, req.Key)
		resp.NodeID, resp.Host, resp.Port, resp.ErrorCode, resp.ErrorMessage = c.NodeID, c.Host, c.Port, c.ErrorCode, c.ErrorMessage
		if c.ErrorCode == 0 {
			resp.ErrorMessage = &none
		}
	}
	for _, key := range req.CoordinatorKeys {
		c := a.coordinatorOf(r, req.KeyType, key)
		if c.ErrorCode == 0 {
			c.ErrorMessage = &empty
		}
		resp.Coordinators = append(resp.Coordinators, c)
	}
	reply(r, &resp)
}

// coordinatorOf finds the coordinator of a key.
func (a groups) coordinatorOf(r *server.Request, kind int8, key string) wire.FindCoordinatorResponseCoordinator {
	out := wire.FindCoordinatorResponseCoordinator{Key: key, NodeID: -1, Port: -1}
	l, err := leader{}, a.mayCoordinate(r, kind, key)
	if err == nil {
		l, err = a.coordinatingLeader(kind, key, r.Conn.Listener())
	}
	if err != nil {
		out.ErrorCode, out.ErrorMessage = a.failure(err)
		return out
	}
	out.NodeID, out.Host, out.Port = l.id, l.host, l.port
	return out
}

// mayCoordinate says why the client may not ask for the coordinator of a key.
func (a groups) mayCoordinate(r *server.Request, kind int8, key string) error {
	switch kind {
	case groupKey:
		return a.by(r).group(kafka.OpDescribe, key)
	case transactionKey:
		return a.by(r).txn(kafka.OpDescribe, key)
	}
	return nil
}

// coordination is the internal topic for keys of a kind, "" if there is none, and the partition
// that a key belongs to.
func (a groups) coordination(kind int8) (topic string, partition func(key string) (int32, bool)) {
	switch kind {
	case groupKey:
		return group.OffsetsTopic, a.o.Groups.Partition
	case transactionKey:
		return txn.StateTopic, a.o.Txns.Partition
	}
	return "", nil
}

func (a groups) coordinatingLeader(kind int8, key, listener string) (leader, error) {
	name, partitionOf := a.coordination(kind)
	if name == "" {
		return leader{}, fmt.Errorf("no coordinator for keys of type %d: %w", kind, kafka.InvalidRequest)
	}
	img := a.o.Cluster.Image()
	topic := img.Topic(name)
	partition, ok := partitionOf(key)
	if topic == nil || !ok || !hasPartition(topic, partition) {
		return leader{}, fmt.Errorf("there is no topic %s yet: %w", name, kafka.CoordinatorNotAvailable)
	}
	id := topic.Partitions[partition].Leader
	e, ok := endpoint(img.Broker(id), listener)
	if !ok {
		return leader{}, fmt.Errorf("partition %d of %s has no leader on this listener: %w", partition, name, kafka.CoordinatorNotAvailable)
	}
	return leader{id: id, host: e.Host, port: e.Port}, nil
}
