package consumer

import (
	"cmp"
	"container/heap"
	"encoding/binary"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// Spec is what an assignor works on.
type Spec struct {
	// Topics are those that anybody is subscribed to, by id.
	Topics []TopicSize
	// Members are in the order of their ids.
	Members []Subscriber
	// Homogeneous says that every member is subscribed to every topic.
	Homogeneous bool
}

// TopicSize is a topic and how many partitions it has.
type TopicSize struct {
	ID         kafka.UUID
	Partitions int32
}

// Subscriber is a member as an assignor sees it.
type Subscriber struct {
	ID       string
	Instance *string
	// Topics are the indexes of what it is subscribed to, ascending. They are not looked at in a
	// homogeneous group.
	Topics []int32
	// Current is what it was assigned last.
	Current Assignment
}

// subscribed says whether a member is subscribed to a topic.
func (s *Spec) subscribed(member int, topic int32) bool {
	if s.Homogeneous {
		return true
	}
	_, ok := slices.BinarySearch(s.Members[member].Topics, topic)
	return ok
}

// Assignor makes the target assignments of a group's members, in their order. Each partition
// of each topic that has subscribers goes to one of them.
type Assignor func(s *Spec) []Assignment

// Assignors are the assignors that there are, by Kafka's names.
func Assignors(name string) (Assignor, bool) {
	switch name {
	case "uniform":
		return Uniform, true
	case "range":
		return Range, true
	}
	return nil, false
}

// Range gives each member a range of each topic: the same one of all topics of that size, so
// that partitions of a number meet in one member. Static members come first, by instance.
func Range(s *Spec) []Assignment {
	order := make([]int, len(s.Members))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := s.Members[a].Instance, s.Members[b].Instance
		switch {
		case x != nil && y != nil:
			return cmp.Compare(*x, *y)
		case x != nil:
			return -1
		case y != nil:
			return 1
		}
		return cmp.Compare(s.Members[a].ID, s.Members[b].ID)
	})
	out := make([]Assignment, len(s.Members))
	for t, topic := range s.Topics {
		var members []int
		for _, m := range order {
			if s.subscribed(m, int32(t)) {
				members = append(members, m)
			}
		}
		if len(members) == 0 {
			continue
		}
		each, extra := topic.Partitions/int32(len(members)), topic.Partitions%int32(len(members))
		from := int32(0)
		for i, m := range members {
			to := from + each
			if int32(i) < extra {
				to++
			}
			if from == to {
				break
			}
			p := make([]int32, 0, to-from)
			for ; from < to; from++ {
				p = append(p, from)
			}
			out[m] = append(out[m], TopicPartitions{ID: topic.ID, Partitions: p})
		}
	}
	return out
}

// Uniform gives all members the same number of partitions, as far as their subscriptions
// allow, and moves no partition that need not move.
//
// What members have they keep. What nobody has goes to the member with the least, of topics
// with few subscribers first. Then, as long as a partition's owner has at least two more than
// another subscriber of its topic, that one gets it. Where all members subscribe to the same,
// the numbers then differ by one at most; else no single move would make them more even.
func Uniform(s *Spec) []Assignment {
	u := newUniform(s)
	classes := u.classes()
	for i := range classes {
		u.assign(&classes[i])
	}
	for moved := true; moved; { // each move makes the sum of squares less, so there is an end
		moved = false
		for i := range classes {
			moved = u.balance(&classes[i]) || moved
		}
	}
	out := make([]Assignment, len(s.Members))
	for t, topic := range s.Topics {
		for p := range topic.Partitions {
			m := u.owner[u.base[t]+p]
			if m < 0 {
				continue
			}
			if n := len(out[m]); n == 0 || out[m][n-1].ID != topic.ID {
				out[m] = append(out[m], TopicPartitions{ID: topic.ID})
			}
			last := &out[m][len(out[m])-1]
			last.Partitions = append(last.Partitions, p)
		}
	}
	return out
}

// uniform is a uniform assignment in the making. Partitions of all topics are numbered through.
type uniform struct {
	*Spec
	base  []int32 // the number of each topic's first partition
	owner []int32 // of each partition, -1 for nobody
	load  []int   // how many partitions each member has
}

// class is topics with the same subscribers.
type class struct {
	members    []int32
	partitions []int32
}

// newUniform has everybody keep what they have, as far as it exists and they are subscribed to it.
func newUniform(s *Spec) *uniform {
	u := &uniform{Spec: s, base: make([]int32, len(s.Topics)), load: make([]int, len(s.Members))}
	index := make(map[kafka.UUID]int32, len(s.Topics))
	n := int32(0)
	for t, topic := range s.Topics {
		u.base[t] = n
		n += topic.Partitions
		index[topic.ID] = int32(t)
	}
	u.owner = make([]int32, n)
	for i := range u.owner {
		u.owner[i] = -1
	}
	for m := range s.Members {
		for _, has := range s.Members[m].Current {
			t, ok := index[has.ID]
			if !ok || !s.subscribed(m, t) {
				continue
			}
			for _, p := range has.Partitions {
				if p < s.Topics[t].Partitions && u.owner[u.base[t]+p] < 0 {
					u.owner[u.base[t]+p] = int32(m)
					u.load[m]++
				}
			}
		}
	}
	return u
}

// classes puts topics with the same subscribers together, those with the fewest first.
func (u *uniform) classes() []class {
	if u.Homogeneous {
		c := class{members: make([]int32, len(u.Members)), partitions: make([]int32, len(u.owner))}
		for i := range c.members {
			c.members[i] = int32(i)
		}
		for i := range c.partitions {
			c.partitions[i] = int32(i)
		}
		return []class{c}
	}
	subscribers := make([][]int32, len(u.Topics))
	for m := range u.Members {
		for _, t := range u.Members[m].Topics {
			subscribers[t] = append(subscribers[t], int32(m))
		}
	}
	byMembers := map[string]int{}
	var out []class
	for t, members := range subscribers {
		if len(members) == 0 {
			continue
		}
		key := make([]byte, 0, 4*len(members))
		for _, m := range members {
			key = binary.BigEndian.AppendUint32(key, uint32(m))
		}
		i, ok := byMembers[string(key)]
		if !ok {
			i = len(out)
			byMembers[string(key)] = i
			out = append(out, class{members: members})
		}
		for p := range u.Topics[t].Partitions {
			out[i].partitions = append(out[i].partitions, u.base[t]+p)
		}
	}
	slices.SortStableFunc(out, func(a, b class) int { return cmp.Compare(len(a.members), len(b.members)) })
	return out
}

// assign gives the partitions of a class that nobody has to the members with the least.
func (u *uniform) assign(c *class) {
	least := newQueue(c.members, len(u.Members), func(a, b int32) bool { return u.less(a, b) })
	for _, p := range c.partitions {
		if u.owner[p] >= 0 || len(c.members) == 0 {
			continue
		}
		m := least.members[0]
		u.owner[p] = m
		u.load[m]++
		least.fix(m)
	}
}

// less orders members by what they have.
func (u *uniform) less(a, b int32) bool {
	return u.load[a] < u.load[b] || u.load[a] == u.load[b] && a < b
}

// balance moves partitions of a class from those with the most to those with the least, and
// says whether it did.
func (u *uniform) balance(c *class) (moved bool) {
	has := make(map[int32][]int32, len(c.members))
	for _, p := range c.partitions {
		if m := u.owner[p]; m >= 0 {
			has[m] = append(has[m], p)
		}
	}
	least := newQueue(c.members, len(u.Members), func(a, b int32) bool { return u.less(a, b) })
	most := newQueue(c.members, len(u.Members), func(a, b int32) bool { return u.less(b, a) })
	for most.Len() > 0 {
		from, to := most.members[0], least.members[0]
		own := has[from]
		if len(own) == 0 {
			heap.Pop(most) // what it has is of other topics; what it gets here it need not give again
			continue
		}
		if u.load[from]-u.load[to] < 2 {
			break
		}
		p := own[len(own)-1]
		has[from], has[to] = own[:len(own)-1], append(has[to], p)
		u.owner[p] = to
		u.load[from]--
		u.load[to]++
		for _, q := range []*queue{least, most} {
			q.fix(from)
			q.fix(to)
		}
		moved = true
	}
	return moved
}

// queue is a heap of members which knows where each of them is.
type queue struct {
	members []int32
	at      []int32 // the place of each member, -1 when it is not in the queue
	before  func(a, b int32) bool
}

// newQueue makes a queue of some of n members.
func newQueue(members []int32, n int, before func(a, b int32) bool) *queue {
	q := &queue{members: slices.Clone(members), at: make([]int32, n), before: before}
	for i := range q.at {
		q.at[i] = -1
	}
	for i, m := range q.members {
		q.at[m] = int32(i)
	}
	heap.Init(q)
	return q
}

// fix puts a member in its place whose load has changed.
func (q *queue) fix(m int32) {
	if i := q.at[m]; i >= 0 {
		heap.Fix(q, int(i))
	}
}

// Len, Less, Swap, Push and Pop are heap.Interface.
func (q *queue) Len() int           { return len(q.members) }
func (q *queue) Less(i, j int) bool { return q.before(q.members[i], q.members[j]) }
func (q *queue) Swap(i, j int) {
	q.members[i], q.members[j] = q.members[j], q.members[i]
	q.at[q.members[i]], q.at[q.members[j]] = int32(i), int32(j)
}
func (q *queue) Push(m any) {
	q.at[m.(int32)] = int32(len(q.members))
	q.members = append(q.members, m.(int32))
}
func (q *queue) Pop() any {
	last := len(q.members) - 1
	m := q.members[last]
	q.members, q.at[m] = q.members[:last], -1
	return m
}
