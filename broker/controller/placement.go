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
	dirs   func(kafka.UUID) (DirState, bool)
	active []int32 // brokers that may lead, by id
	next   int     // where in active the next partition starts
	inDir  map[kafka.UUID]int
}

// DirState is what is known of a log directory beside the image.
type DirState struct {
	FreeBytes int64 // of its file system
	Cordoned  bool  // takes no new partition (KIP-1066)
}

func newPlacement(img *metadata.Image, dirs func(kafka.UUID) (DirState, bool)) *placement {
	known := map[kafka.UUID]DirState{}
	p := &placement{img: img}
	p.dirs = func(id kafka.UUID) (DirState, bool) { // the disks are asked once per request
		st, ok := known[id]
		if !ok && dirs != nil {
			if st, ok = dirs(id); ok {
				known[id] = st
			}
		}
		return st, ok
	}
	for b := range img.Brokers() {
		if !b.Fenced && (len(b.LogDirs) == 0 || len(p.open(b)) > 0) {
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
		return nil, fmt.Errorf("unable to replicate a partition %d times: only %d of %d brokers are not fenced and have a log directory that is not cordoned: %w", factor, len(p.active), n, kafka.InvalidReplicationFactor)
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
		var err error
		if part.Dirs[i], err = p.directory(b); err != nil {
			return part, err
		}
	}
	if len(part.ISR) == 0 {
		return part, fmt.Errorf("all brokers of a partition are fenced: %w", kafka.InvalidReplicaAssignment)
	}
	part.Leader = part.ISR[0]
	return part, nil
}

// open are the broker's directories that take new partitions.
func (p *placement) open(b *metadata.Broker) []kafka.UUID {
	return slices.DeleteFunc(slices.Clone(b.LogDirs), func(id kafka.UUID) bool {
		st, _ := p.dirs(id)
		return st.Cordoned
	})
}

// directory is the broker's directory with the fewest partitions for the room that it has:
// free bytes divided by partitions, this one counted, are the most. Where the room is not
// known, which is on other brokers, all have the same. Zero when the broker has told of none.
func (p *placement) directory(b *metadata.Broker) (kafka.UUID, error) {
	if len(b.LogDirs) == 0 {
		return kafka.UUID{}, nil
	}
	open := p.open(b)
	if len(open) == 0 {
		return kafka.UUID{}, fmt.Errorf("all log directories of broker %d are cordoned: %w", b.ID, kafka.InvalidReplicaAssignment)
	}
	if len(open) == 1 {
		return open[0], nil
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
	share := func(id kafka.UUID) float64 {
		st, ok := p.dirs(id)
		if !ok {
			st.FreeBytes = 1
		}
		return float64(st.FreeBytes) / float64(p.inDir[id]+1)
	}
	dir := open[0]
	for _, id := range open[1:] {
		if share(id) > share(dir) {
			dir = id
		}
	}
	p.inDir[dir]++
	return dir, nil
}
