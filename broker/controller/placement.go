package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// placement chooses brokers and log directories for the partitions of one request.
type placement struct {
	img    *metadata.Image
	active []int32 // brokers that may lead, by id
	next   int     // where in active the next partition starts
	inDir  map[kafka.UUID]int
}

func newPlacement(img *metadata.Image) *placement {
	p := &placement{img: img}
	for b := range img.Brokers() {
		if !b.Fenced {
			p.active = append(p.active, b.ID)
		}
	}
	if len(p.active) > 0 {
		p.next = rand.IntN(len(p.active)) // so that small topics do not all start at the same broker
	}
	return p
}

// spread deals the replicas of each partition to consecutive brokers, starting one further
// with each partition.
func (p *placement) spread(partitions int32, factor int16) ([][]int32, error) {
	switch n := p.img.BrokerCount(); {
	case int(factor) > n:
		return nil, fmt.Errorf("unable to replicate a partition %d times: only %d brokers are registered: %w", factor, n, kafka.InvalidReplicationFactor)
	case len(p.active) < int(factor):
		return nil, fmt.Errorf("unable to replicate a partition %d times: only %d of %d brokers are not fenced: %w", factor, len(p.active), n, kafka.InvalidReplicationFactor)
	}
	all := make([][]int32, partitions)
	for i := range all {
		replicas := make([]int32, factor)
		for k := range replicas {
			replicas[k] = p.active[(p.next+k)%len(p.active)]
		}
		all[i] = replicas
		p.next = (p.next + 1) % len(p.active)
	}
	return all, nil
}

// assigned checks a manual assignment, whose partitions must count up from 0.
func (p *placement) assigned(assignments map[int32][]int32) ([][]int32, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("manual partition assignment: "+format+": %w", append(args, kafka.InvalidReplicaAssignment)...)
	}
	all := make([][]int32, len(assignments))
	for i := range all {
		replicas, ok := assignments[int32(i)]
		switch {
		case !ok:
			return nil, bad("partitions should be a consecutive 0-based integer sequence")
		case len(replicas) == 0:
			return nil, bad("partition %d has an empty replica list", i)
		case len(replicas) != len(all[0]) && i > 0:
			return nil, bad("partition %d has %d replicas, the partitions before it have %d", i, len(replicas), len(all[0]))
		}
		for k, id := range replicas {
			if p.img.Broker(id) == nil {
				return nil, bad("partition %d names broker %d, which is not registered", i, id)
			}
			if slices.Contains(replicas[:k], id) {
				return nil, bad("partition %d names broker %d more than once", i, id)
			}
		}
		all[i] = slices.Clone(replicas)
	}
	return all, nil
}

// partition is a new partition on the given brokers: those that are not fenced are in sync,
// and the first of them leads.
func (p *placement) partition(replicas []int32) (metadata.Partition, error) {
	part := metadata.Partition{Replicas: replicas, Dirs: make([]kafka.UUID, len(replicas))}
	for i, id := range replicas {
		b := p.img.Broker(id)
		if !b.Fenced {
			part.ISR = append(part.ISR, id)
		}
		part.Dirs[i] = p.directory(b)
	}
	if len(part.ISR) == 0 {
		return part, fmt.Errorf("all brokers of a partition are fenced: %w", kafka.InvalidReplicaAssignment)
	}
	part.Leader = part.ISR[0]
	return part, nil
}

// directory is the broker's directory that has the fewest partitions; zero when it has told of none.
func (p *placement) directory(b *metadata.Broker) kafka.UUID {
	if len(b.LogDirs) <= 1 {
		return slices.Concat(b.LogDirs, []kafka.UUID{{}})[0]
	}
	if p.inDir == nil {
		p.inDir = map[kafka.UUID]int{}
		for t := range p.img.Topics() {
			for _, part := range t.Partitions {
				for _, d := range part.Dirs {
					p.inDir[d]++
				}
			}
		}
	}
	dir := slices.MinFunc(b.LogDirs, func(x, y kafka.UUID) int { return p.inDir[x] - p.inDir[y] })
	p.inDir[dir]++
	return dir
}
