package consumer

import (
	"bytes"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// Target is where a member is to go, and what it needs to know on the way.
type Target struct {
	// Epoch is the group epoch that the assignment was made for.
	Epoch int32
	// Assignment is what the member is to own.
	Assignment Assignment
	// Subscribed says whether the member is subscribed to a topic, which exists.
	Subscribed func(id kafka.UUID) bool
	// Owned says whether any member owns a partition, or has to give it up and did not say yet
	// that it has.
	Owned func(id kafka.UUID, partition int32) bool
	// Reported is what the member says it owns; nil: it does not say.
	Reported *Assignment
	// SubscriptionChanged has the member give up topics at once that it is not subscribed to any more.
	SubscriptionChanged bool
}

// Reconcile takes a member one step towards its target. It answers the same member when there
// is nothing to do, or when others, or the member itself, have to do something first.
//
//   - What a member has to give up it gives up first, in its old epoch: until it reports that
//     it has, nothing new is given to it.
//   - Then it is in the target's epoch, and owns those of its partitions that are free. The
//     others it gets as they are released.
//
// So no partition ever is in the hands of two members: one that is assigned or being revoked
// is owned, and what is owned is not given. Source: KIP-848 and Kafka's CurrentAssignmentBuilder.
func Reconcile(m *Member, t Target) *Member {
	next := m
	switch {
	case m.State == Stable && m.Epoch == t.Epoch:
		if t.SubscriptionChanged {
			next = dropUnsubscribed(m, t)
		}
	case m.State == Unrevoked && stillOwns(m.Revoking, t.Reported):
		if t.SubscriptionChanged {
			next = dropUnsubscribed(m, t)
		}
	default:
		next = advance(m, t)
	}
	if next != m && next.owns(m) {
		return m
	}
	return next
}

// stillOwns says whether the member owns something that it is to give up, as far as it has told.
func stillOwns(revoking Assignment, reported *Assignment) bool {
	if reported == nil {
		return true
	}
	for id, p := range reported.All() {
		if revoking.Has(id, p) {
			return true
		}
	}
	return false
}

// dropUnsubscribed takes topics away that the member is not subscribed to any more.
func dropUnsubscribed(m *Member, t Target) *Member {
	var assigned, dropped Assignment
	for _, topic := range m.Assigned {
		if t.Subscribed(topic.ID) {
			assigned = append(assigned, topic)
		} else {
			dropped = append(dropped, topic)
		}
	}
	if len(dropped) == 0 {
		return m
	}
	next := *m
	next.Assigned, next.Previous = assigned, m.Epoch
	if revoking := Normal(slices.Concat(m.Revoking, dropped)); stillOwns(revoking, t.Reported) {
		next.State, next.Revoking = Unrevoked, revoking
	}
	return &next
}

// advance takes the member to its target, as far as it can go.
func advance(m *Member, t Target) *Member {
	var assigned, revoking, free builder
	waiting := false
	visit := func(id kafka.UUID) {
		var target []int32
		if t.Subscribed(id) {
			target = t.Assignment.Partitions(id)
		}
		for _, p := range m.Assigned.Partitions(id) {
			epoch, _ := m.Assigned.Epoch(id, p)
			if _, ok := slices.BinarySearch(target, p); ok {
				assigned = append(assigned, place{id, p, epoch})
			} else {
				revoking = append(revoking, place{id, p, epoch})
			}
		}
		for _, p := range target {
			switch {
			case m.Assigned.Has(id, p):
			case t.Owned(id, p) && !m.Revoking.Has(id, p): // what it gave up itself is free for it
				waiting = true
			default:
				free = append(free, place{id, p, t.Epoch})
			}
		}
	}
	eachTopic(m.Assigned, t.Assignment, visit)

	next := *m
	next.Previous = m.Epoch
	if give := revoking.assignment(true); len(give) > 0 && stillOwns(give, t.Reported) {
		next.State, next.Assigned, next.Revoking = Unrevoked, assigned.assignment(true), give
		return &next
	}
	next.State, next.Epoch = Stable, t.Epoch
	if waiting {
		next.State = Unreleased
	}
	next.Assigned, next.Revoking = append(assigned, free...).assignment(true), nil
	return &next
}

// eachTopic calls f for each topic of both sets, once.
func eachTopic(a, b Assignment, f func(id kafka.UUID)) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && bytes.Compare(a[0].ID[:], b[0].ID[:]) < 0:
			f(a[0].ID)
			a = a[1:]
		case len(a) > 0 && a[0].ID == b[0].ID:
			f(a[0].ID)
			a, b = a[1:], b[1:]
		default:
			f(b[0].ID)
			b = b[1:]
		}
	}
}
