// Package consumer is the pure part of groups of the consumer protocol: what a member is and
// owns, the way from there to its target assignment, the assignors, and regular expressions.
//
// It owns the rules by which partitions change hands. It does not own groups, their records,
// timers and requests (broker/coordinator/group). Everything in it is a value or a function
// of values: no I/O, no clock, nothing is changed in place, any goroutine may call it.
//
// Rules: KIP-848, KIP-1101, KIP-1251 and Kafka's group coordinator. Format:
// docs/formats/consumer-offsets.md.
package consumer

import (
	"bytes"
	"iter"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// TopicPartitions is some partitions of a topic.
type TopicPartitions struct {
	ID         kafka.UUID
	Partitions []int32 // ascending
	// Epochs are the member epochs in which the partitions were assigned, in their order;
	// nil in a target assignment.
	Epochs []int32
}

// Assignment is a set of partitions, ordered by topic id; no topic is empty.
type Assignment []TopicPartitions

// find is the place of a topic.
func (a Assignment) find(id kafka.UUID) (int, bool) {
	return slices.BinarySearchFunc(a, id, func(t TopicPartitions, id kafka.UUID) int { return bytes.Compare(t.ID[:], id[:]) })
}

// Partitions are those of a topic, ascending.
func (a Assignment) Partitions(id kafka.UUID) []int32 {
	if i, ok := a.find(id); ok {
		return a[i].Partitions
	}
	return nil
}

// Has says whether a partition is in the set.
func (a Assignment) Has(id kafka.UUID, partition int32) bool {
	_, ok := slices.BinarySearch(a.Partitions(id), partition)
	return ok
}

// Epoch is the member epoch in which a partition of the set was assigned; 0 in a set without epochs.
func (a Assignment) Epoch(id kafka.UUID, partition int32) (int32, bool) {
	i, ok := a.find(id)
	if !ok {
		return 0, false
	}
	j, ok := slices.BinarySearch(a[i].Partitions, partition)
	if !ok || a[i].Epochs == nil {
		return 0, ok
	}
	return a[i].Epochs[j], true
}

// Since is the set as it would be, had all of it been assigned in an epoch.
func (a Assignment) Since(epoch int32) Assignment {
	out := slices.Clone(a)
	for i := range out {
		out[i].Epochs = slices.Repeat([]int32{epoch}, len(out[i].Partitions))
	}
	return out
}

// All walks over the partitions, in order.
func (a Assignment) All() iter.Seq2[kafka.UUID, int32] {
	return func(yield func(kafka.UUID, int32) bool) {
		for i := range a {
			for _, p := range a[i].Partitions {
				if !yield(a[i].ID, p) {
					return
				}
			}
		}
	}
}

// Count is the number of partitions.
func (a Assignment) Count() int {
	n := 0
	for i := range a {
		n += len(a[i].Partitions)
	}
	return n
}

// Same says whether both sets have the same partitions, whatever the epochs.
func (a Assignment) Same(b Assignment) bool {
	return slices.EqualFunc(a, b, func(x, y TopicPartitions) bool { return x.ID == y.ID && slices.Equal(x.Partitions, y.Partitions) })
}

// equal is Same with the epochs.
func (a Assignment) equal(b Assignment) bool {
	return slices.EqualFunc(a, b, func(x, y TopicPartitions) bool {
		return x.ID == y.ID && slices.Equal(x.Partitions, y.Partitions) && slices.Equal(x.Epochs, y.Epochs)
	})
}

// Normal is the set that the topics in any order make up, with epochs that belong to their
// partitions; what is named twice counts once.
func Normal(topics []TopicPartitions) Assignment {
	var b builder
	for _, t := range topics {
		for i, p := range t.Partitions {
			epoch := int32(0)
			if i < len(t.Epochs) {
				epoch = t.Epochs[i]
			}
			b = append(b, place{t.ID, p, epoch})
		}
	}
	return b.assignment(true)
}

// place is one partition in the making of a set.
type place struct {
	id        kafka.UUID
	partition int32
	epoch     int32
}

// builder makes a set of partitions that come in any order.
type builder []place

func (b builder) assignment(withEpochs bool) Assignment {
	slices.SortStableFunc(b, func(x, y place) int {
		if c := bytes.Compare(x.id[:], y.id[:]); c != 0 {
			return c
		}
		return int(x.partition) - int(y.partition)
	})
	var out Assignment
	for i, p := range b {
		if i > 0 && b[i-1].id == p.id && b[i-1].partition == p.partition {
			continue
		}
		if n := len(out); n == 0 || out[n-1].ID != p.id {
			out = append(out, TopicPartitions{ID: p.id})
		}
		t := &out[len(out)-1]
		t.Partitions = append(t.Partitions, p.partition)
		if withEpochs {
			t.Epochs = append(t.Epochs, p.epoch)
		}
	}
	return out
}
