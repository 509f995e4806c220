package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// clientLoad is what an application sees: franz-go at its defaults (acks=all, snappy off)
// produces records of 1 KiB, half random, as fast as it can.
type clientLoad struct {
	id, name   string
	partitions int32
	idempotent bool
	// configs of the topic, by peer.
	configs map[string]map[string]string
}

// clientSample is one measurement: of the broker, and of the client beside it.
type clientSample struct {
	sample
	clientCPUPerGB float64
}

func (l clientLoad) run(s *session) ([]result, error) {
	peers, err := s.brokers()
	if err != nil {
		return nil, err
	}
	got, err := interleave(s, peers, func(p *peer) (clientSample, error) { return l.sample(s.options, p) })
	if err != nil {
		return nil, err
	}
	speed := func(name string) []float64 {
		return column(got[name], func(s clientSample) float64 { return s.mbPerSecond })
	}
	cpu := func(name string) []float64 {
		return column(got[name], func(s clientSample) float64 { return s.cpuPerGB })
	}
	cell := func(name string) string {
		if len(got[name]) == 0 {
			return "–"
		}
		return fmt.Sprintf("%.0f · %.3f", median(speed(name)), median(cpu(name)))
	}
	faster, cheaper := estimate(ratios(speed("varve"), speed("kafka"))), estimate(ratios(cpu("varve"), cpu("kafka")))
	aa, noisy := control(cpu("varve"))
	client := median(column(got["varve"], func(s clientSample) float64 { return s.clientCPUPerGB }))
	r := result{Name: l.name, Cells: []string{cell("varve"), cell("kafka"), fmt.Sprintf("%.2f", client), faster.String(), cheaper.String(), aa}}
	if faster.N > 0 {
		r.Plots = []plot{{What: "franz-go " + l.name + ", MB/s", Ratio: faster, More: true, Noisy: noisy}}
	}
	return []result{r}, nil
}

func (l clientLoad) sample(o options, p *peer) (clientSample, error) {
	if l.configs != nil { // the disk is waited for
		if err := calm(o.work); err != nil {
			return clientSample{}, err
		}
	}
	topic, remove, err := newTopic(p.addr, l.partitions, l.configs[p.name])
	if err != nil {
		return clientSample{}, err
	}
	defer remove()
	if err := firstRecords(p.addr, topic, l.partitions); err != nil {
		return clientSample{}, err
	}
	opts := []kgo.Opt{kgo.SeedBrokers(p.addr), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.MaxBufferedRecords(50_000), kgo.ProducerBatchMaxBytes(1_000_000)}
	if !l.idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return clientSample{}, err
	}
	defer client.Close()
	release, err := pretouch(int64(o.gib*(1<<30)*1.5) >> 20 << 20)
	if err != nil {
		return clientSample{}, err
	}
	defer release()
	b := encodeBatch(batchHeader+1, 1024)
	value := b[len(b)-1-1024 : len(b)-1]
	n := int64(o.gib * (1 << 30) / float64(len(value)))
	var failed atomic.Pointer[error]
	ours := selfCPU()
	s, err := timed(p, n*int64(len(value)), func() error {
		for range n {
			client.Produce(context.Background(), &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Store(&err)
				}
			})
		}
		if err := client.Flush(context.Background()); err != nil {
			return err
		}
		if err := failed.Load(); err != nil {
			return *err
		}
		return nil
	})
	return clientSample{s, (selfCPU() - ours) / (float64(n) * float64(len(value)) / 1e9)}, err
}

// firstRecords puts a record into each partition: a log's first append makes its files, which
// is no part of what a client sees later.
func firstRecords(addr, topic string, partitions int32) error {
	b := encodeBatch(batchHeader+1, 100)
	for p := range partitions {
		answer, err := ask(addr, produceFrame(topic, p, b))
		if err != nil {
			return err
		}
		if code := int16(binary.BigEndian.Uint16(answer[4+4+2+len(topic)+4+4:])); code != 0 {
			return fmt.Errorf("produce to partition %d answered error %d", p, code)
		}
	}
	return nil
}

// selfCPU is the user and system time that this process has used, in seconds.
func selfCPU() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Seconds()
}
