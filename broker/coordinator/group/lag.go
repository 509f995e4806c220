package group

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"unicode/utf8"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
)

// Position is where a group stands on a partition.
type Position struct {
	GroupID string
	kafka.TopicPartition
	At int64
}

// compare orders by group, topic and partition.
func (o Position) compare(p Position) int {
	return cmp.Or(cmp.Compare(o.GroupID, p.GroupID), cmp.Compare(o.Topic, p.Topic), cmp.Compare(o.Partition, p.Partition))
}

// Readable is the positions of groups whose names are text: a client may choose any bytes, and
// labels of metrics must be UTF-8.
func Readable(list []Position) []Position {
	out := list[:0:0]
	for _, p := range list {
		if utf8.ValidString(p.GroupID) {
			out = append(out, p)
		}
	}
	return out
}

// Positions lists the first committed offsets by group, topic and partition, at most limit of
// them, and counts how many there are. Which ones they are changes with the groups, not with
// their progress.
func (s *Shard) Positions(limit int) (first []Position, all int) {
	groups := maps.Collect(s.groups.AllCommitted())
	for _, id := range slices.Sorted(maps.Keys(groups)) {
		g := groups[id]
		if len(first) >= limit { // the speculative count will do for what is not shown
			all += g.offsets.Len()
			continue
		}
		for tp, o := range g.offsets.AllCommitted() {
			first = append(first, Position{GroupID: id, TopicPartition: tp, At: o.At})
			all++
		}
	}
	slices.SortFunc(first, Position.compare)
	return first[:min(limit, len(first))], all
}

// Positions lists the first committed offsets of all groups that this broker coordinates, as
// Shard.Positions does. Shards that are loading are left out.
func (c *Coordinator) Positions(limit int, reply func(first []Position, all int)) {
	shards := c.rt.Shards()
	var sum struct {
		sync.Mutex
		left  int
		first []Position
		all   int
	}
	if sum.left = len(shards); sum.left == 0 {
		reply(nil, 0)
		return
	}
	one := func(first []Position, all int) {
		sum.Lock()
		defer sum.Unlock()
		sum.first, sum.all = append(sum.first, first...), sum.all+all
		if sum.left--; sum.left > 0 {
			return
		}
		slices.SortFunc(sum.first, Position.compare)
		reply(sum.first[:min(limit, len(sum.first))], sum.all)
	}
	for _, shard := range shards {
		c.rt.Do(shard, func(s *Shard, _ int64) coordinator.Step {
			one(s.Positions(limit))
			return coordinator.Step{}
		}, func(error) { one(nil, 0) })
	}
}
