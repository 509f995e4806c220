package main

import (
	"fmt"
	"time"

	"github.com/varve-io/varve/broker/batch"
)

// workload moves equal batches through one partition on one connection, with acks=all.
type workload struct {
	id, name  string
	batch     int // bytes of one batch before compression, which is what is counted
	record    int // bytes of one record
	codec     batch.Codec
	inFlight  int
	fetchSize int32   // 0: a produce workload; else fetch answers of this size are measured
	share     float64 // of the bytes of a full sample
	json      bool    // log lines, which compress; else noise, which does not
}

// sample is one measurement of one peer.
type sample struct{ cpuPerGB, mbPerSecond float64 }

func (w workload) run(s *session) ([]result, error) {
	peers, err := s.warmed()
	if err != nil {
		return nil, err
	}
	got, err := interleave(s, peers, func(p *peer) (sample, error) { return w.sample(s.options, p) })
	if err != nil {
		return nil, err
	}
	cpu := func(name string) []float64 {
		return column(got[name], func(s sample) float64 { return s.cpuPerGB })
	}
	cell := func(name string) string {
		if len(got[name]) == 0 {
			return "–"
		}
		return fmt.Sprintf("%.3f · %.0f", median(cpu(name)), median(column(got[name], func(s sample) float64 { return s.mbPerSecond })))
	}
	against := estimate(ratios(cpu("varve"), cpu("kafka")))
	aa, noisy := control(cpu("varve"))
	r := result{Name: w.name, Cells: []string{cell("varve"), cell("kafka"), cell("floor"),
		against.String(), estimate(ratios(cpu("varve"), cpu("floor"))).String(), aa}}
	if against.N > 0 {
		r.Plots = []plot{{What: w.name + ", CPU", Ratio: against, Noisy: noisy}}
	}
	return []result{r}, nil
}

// kafkaWarmUp is how many bytes the JVM moves before anything counts, so that it has
// compiled what it runs.
const kafkaWarmUp = 10 << 30

// warmUp runs small and large batches, in and out: on the JVM until it has moved enough,
// elsewhere once.
func warmUp(o options, peers []*peer) error {
	mix := []workload{
		{batch: 1_000_000, record: 1024, inFlight: 5, share: 1},
		{batch: 16_000, record: 1024, inFlight: 16, share: 0.25},
		{batch: 1_000_000, record: 1024, codec: batch.Zstd, inFlight: 5, share: 0.5},
		{batch: 64_000, record: 1024, inFlight: 5, fetchSize: 4_000_000, share: 0.5},
	}
	for _, p := range peers {
		var moved float64
		for round := 0; round == 0 || p.name == "kafka" && moved < kafkaWarmUp; round++ {
			for _, w := range mix {
				if _, err := w.sample(o, p); err != nil {
					return fmt.Errorf("warming %s up: %w", p.name, err)
				}
				moved += o.gib * w.share * (1 << 30)
			}
		}
	}
	return nil
}

// sample measures one peer once, on a topic of its own.
func (w workload) sample(o options, p *peer) (sample, error) {
	bytes := int64(o.gib * w.share * (1 << 30))
	release, err := pretouch((bytes + bytes/2) >> 20 << 20)
	if err != nil {
		return sample{}, err
	}
	defer release()
	b := encodeBatch(w.batch, w.record)
	if w.json {
		b = encodeJSON(w.batch, w.record)
	}
	n := int(bytes/int64(len(b))) + 1
	if w.codec != batch.None {
		if b, err = batch.Recompress(b, w.codec, 0); err != nil {
			return sample{}, err
		}
	}
	topic, remove, err := newTopic(p.addr, 1, nil)
	if err != nil {
		return sample{}, err
	}
	defer remove()
	var end int64
	load := func() (err error) {
		end, err = produce(p.addr, topic, b, n, w.inFlight)
		return err
	}
	if w.fetchSize > 0 {
		if err := load(); err != nil {
			return sample{}, err
		}
		bytes *= 2
		load = func() error { return fetch(p.addr, topic, w.fetchSize, end, bytes, b) }
	}
	return timed(p, bytes, load)
}

func timed(p *peer, bytes int64, load func() error) (sample, error) {
	before, err := p.cpuSeconds()
	if err != nil {
		return sample{}, err
	}
	start := time.Now()
	if err := load(); err != nil {
		return sample{}, err
	}
	wall := time.Since(start).Seconds()
	after, err := p.cpuSeconds()
	gb := float64(bytes) / 1e9
	return sample{(after - before) / gb, gb * 1000 / wall}, err
}

// newTopic creates a topic and waits until each partition has a leader. remove deletes it.
func newTopic(addr string, partitions int32, configs map[string]string) (topic string, remove func(), err error) {
	topic = fmt.Sprintf("bench-%d", time.Now().UnixNano())
	if _, err := ask(addr, createTopicFrame(topic, partitions, configs)); err != nil {
		return "", nil, err
	}
	for p := range partitions {
		if err := waitLeader(addr, topic, p); err != nil {
			return "", nil, fmt.Errorf("partition %d of %s: %w", p, topic, err)
		}
	}
	return topic, func() { _, _ = ask(addr, deleteTopicFrame(topic)) }, nil
}

// waitLeader asks a partition for its end until it answers; the floor answers at once.
func waitLeader(addr, topic string, partition int32) error {
	var err error
	for range 5000 {
		if err = leads(addr, topic, partition); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return err
}
