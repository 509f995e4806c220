package txn

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// Describe is DescribeTransactions for one transactional id.
func (c *Coordinator) Describe(id string, reply func(wire.DescribeTransactionsResponseState)) {
	c.do(id, func(s *Shard, _ int64) coordinator.Step {
		reply(s.Describe(id))
		return coordinator.Step{}
	}, func(code kafka.Error) {
		reply(wire.DescribeTransactionsResponseState{TransactionalID: id, ErrorCode: int16(code)})
	})
}

// Describe describes a transactional id as its committed state is.
func (s *Shard) Describe(id string) wire.DescribeTransactionsResponseState {
	out := wire.DescribeTransactionsResponseState{TransactionalID: id}
	m, ok := s.txns.Committed(id)
	if !ok {
		out.ErrorCode = int16(kafka.TransactionalIDNotFound)
		return out
	}
	out.TransactionState, out.TransactionTimeoutMs, out.TransactionStartTimeMs = m.state.String(), m.timeoutMs, m.startMs
	out.ProducerID, out.ProducerEpoch = m.producerID, m.epoch
	for _, tp := range m.partitions {
		n := len(out.Topics)
		if n == 0 || out.Topics[n-1].Topic != tp.Topic {
			out.Topics = append(out.Topics, wire.DescribeTransactionsResponseTopic{Topic: tp.Topic})
			n++
		}
		out.Topics[n-1].Partitions = append(out.Topics[n-1].Partitions, tp.Partition)
	}
	return out
}

// Filter is which transactional ids are listed.
type Filter struct {
	States      []State        // none: all
	ProducerIDs []int64        // none: all
	DurationMs  int64          // of the transaction, at least; -1: all
	Pattern     *regexp.Regexp // of the whole id; nil: all
}

// NewFilter makes a Filter of what a request says. It answers the states that do not exist.
// Errors wrap kafka.InvalidRegularExpression.
func NewFilter(req *wire.ListTransactionsRequest) (f Filter, unknown []string, err error) {
	f = Filter{ProducerIDs: req.ProducerIDFilters, DurationMs: req.DurationFilter}
	for _, name := range req.StateFilters {
		if s, ok := stateNamed(name); ok {
			f.States = append(f.States, s)
		} else {
			unknown = append(unknown, name)
		}
	}
	if len(req.StateFilters) > 0 && len(f.States) == 0 {
		f.States = []State{Dead} // of which there are none
	}
	if p := req.TransactionalIDPattern; p != nil && *p != "" {
		if _, err := regexp.Compile(*p); err != nil {
			return f, unknown, fmt.Errorf("the pattern of transactional ids is not a regular expression (RE2): %w: %w", kafka.InvalidRegularExpression, err)
		}
		f.Pattern = regexp.MustCompile(`\A(?:` + *p + `)\z`)
	}
	return f, unknown, nil
}

// wants says whether an id is listed.
func (f *Filter) wants(id string, m entry, nowMs int64) bool {
	switch {
	case len(f.States) > 0 && !slices.Contains(f.States, m.state),
		len(f.ProducerIDs) > 0 && !slices.Contains(f.ProducerIDs, m.producerID),
		f.DurationMs >= 0 && nowMs-m.startMs <= f.DurationMs:
		return false
	}
	return f.Pattern == nil || f.Pattern.MatchString(id)
}

// List lists the ids of the shard as their committed state is, in no order.
func (s *Shard) List(nowMs int64, f Filter) []wire.ListTransactionsResponseState {
	var out []wire.ListTransactionsResponseState
	for id, m := range s.txns.AllCommitted() {
		if f.wants(id, m, nowMs) {
			out = append(out, wire.ListTransactionsResponseState{TransactionalID: id, ProducerID: m.producerID, TransactionState: m.state.String()})
		}
	}
	return out
}

// List is ListTransactions: the ids of all partitions that this broker leads, ascending.
func (c *Coordinator) List(f Filter, reply func([]wire.ListTransactionsResponseState, kafka.Error)) {
	shards := c.rt.Shards()
	if len(shards) == 0 {
		reply(nil, kafka.NoError)
		return
	}
	var all struct {
		sync.Mutex
		left int
		ids  []wire.ListTransactionsResponseState
		code kafka.Error
	}
	all.left = len(shards)
	one := func(ids []wire.ListTransactionsResponseState, code kafka.Error) {
		all.Lock()
		defer all.Unlock()
		all.ids = append(all.ids, ids...)
		if code != kafka.NoError && code != kafka.NotCoordinator { // one that has moved away is another broker's to list
			all.code = code
		}
		if all.left--; all.left > 0 {
			return
		}
		if all.code != kafka.NoError {
			all.ids = nil
		}
		slices.SortFunc(all.ids, func(a, b wire.ListTransactionsResponseState) int {
			return strings.Compare(a.TransactionalID, b.TransactionalID)
		})
		reply(all.ids, all.code)
	}
	for _, shard := range shards {
		c.rt.Do(shard, func(s *Shard, nowMs int64) coordinator.Step {
			one(s.List(nowMs, f), kafka.NoError)
			return coordinator.Step{}
		}, func(err error) { one(nil, coordinator.Code(err)) })
	}
}
