package main

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// Transactions are measured against the same load without them, on each broker by itself:
// what a commit costs beside the records.
const (
	txnPartitions = 10
	txnEvery      = 100 * time.Millisecond
	txnRecords    = 2000 // of 1 KiB in each
)

func transactions(s *session) ([]result, error) {
	peers, err := s.brokers()
	if err != nil {
		return nil, err
	}
	var out []result
	for _, p := range peers {
		var with, without []float64
		for range (s.pairs + 1) / 2 {
			for _, transactional := range []bool{true, false, false, true} {
				sample, err := paced(s.options, p, transactional)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", p.name, err)
				}
				if transactional {
					with = append(with, sample.cpuPerGB)
				} else {
					without = append(without, sample.cpuPerGB)
				}
			}
		}
		aa, _ := control(without)
		out = append(out, result{Name: p.name, Cells: []string{fmt.Sprintf("%.3f", median(with)), fmt.Sprintf("%.3f", median(without)),
			estimate(ratios(with, without)).String(), aa}})
	}
	return out, nil
}

// paced produces the records of a transaction every txnEvery, and waits for them.
func paced(o options, p *peer, transactional bool) (sample, error) {
	topic, remove, err := newTopic(p.addr, txnPartitions, nil)
	if err != nil {
		return sample{}, err
	}
	defer remove()
	opts := []kgo.Opt{kgo.SeedBrokers(p.addr), kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RecordPartitioner(kgo.RoundRobinPartitioner()), kgo.MaxBufferedRecords(txnRecords)}
	if transactional {
		opts = append(opts, kgo.TransactionalID(topic))
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return sample{}, err
	}
	defer client.Close()
	b := encodeBatch(batchHeader+1, 1024)
	value := b[len(b)-1-1024 : len(b)-1]
	round := func() error {
		if transactional {
			if err := client.BeginTransaction(); err != nil {
				return err
			}
		}
		var failed kgo.FirstErrPromise
		for range txnRecords {
			client.Produce(context.Background(), &kgo.Record{Value: value}, failed.Promise())
		}
		if err := client.Flush(context.Background()); err != nil {
			return err
		}
		if err := failed.Err(); err != nil || !transactional {
			return err
		}
		return client.EndTransaction(context.Background(), kgo.TryCommit)
	}
	if err := round(); err != nil { // finds the coordinator, gets its id
		return sample{}, err
	}
	rounds := int(o.seconds * float64(time.Second) / float64(txnEvery))
	return timed(p, int64(rounds)*txnRecords*int64(len(value)), func() error {
		begun := time.Now()
		for i := range rounds {
			time.Sleep(time.Until(begun.Add(txnEvery * time.Duration(i))))
			if err := round(); err != nil {
				return err
			}
		}
		return nil
	})
}
