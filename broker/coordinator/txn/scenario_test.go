package txn

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/coordinator/scenario"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/wire"
)

var update = flag.Bool("update", false, "write what the scenarios come to into their files")

// TestScenarios plays the files of testdata. A line is something that happens, with words
// NAME=VALUE; the indented lines behind it are all that comes of it: answers (<-), records (+)
// and tombstones (-) in the log, and markers that go out (>). See play for the words.
func TestScenarios(t *testing.T) { scenario.Files(t, *update, playAll) }

// stage is a coordinator with one shard, on a log in memory.
type stage struct {
	t     *testing.T
	cfg   Config
	log   *memoryLog
	c     *Coordinator
	ids   *ProducerIDs
	epoch int32
	began time.Time

	mu struct { // time in a bubble is no synchronization for the race detector
		sync.Mutex
		out    []string
		next   int64            // of the producer ids that the controller gives out
		noIDs  bool             // the controller gives none
		fail   map[string]error // what becomes of markers, by partition
		keep   bool             // markers stay on their way
		onWay  []Markers
		blocks int64
	}
}

func playAll(t *testing.T, text string) string {
	s := &stage{t: t, log: newMemoryLog(), epoch: 4, began: time.Now(), cfg: Config{
		MaxTimeoutMs: 900_000, ExpirationMs: 7 * 24 * 3600_000, AbortCheckIntervalMs: 10_000, ExpireCheckIntervalMs: 3600_000,
	}}
	s.mu.next, s.mu.fail = 1000, map[string]error{}
	s.ids = NewProducerIDs(func(context.Context, int64) (int64, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.mu.noIDs {
			return 0, errors.New("no quorum")
		}
		s.mu.next += producerIDBlock
		return s.mu.next - producerIDBlock, nil
	})
	s.start()
	defer func() { s.c.Close() }()
	return scenario.Lines(text, s.play, func() []string {
		s.mu.Lock()
		defer s.mu.Unlock()
		out := append(s.mu.out, s.log.Take()...)
		s.mu.out = nil
		return out
	})
}

// start starts a coordinator on what is in the log, in the next leader epoch.
func (s *stage) start() {
	s.epoch++
	s.log.epoch = s.epoch
	s.c = New(Options{
		Config: func() Config { return s.cfg }, CommitTimeout: func() time.Duration { return 5 * time.Second }, IDs: s.ids,
		Now: time.Now, Logger: slog.New(slog.DiscardHandler), Write: s.write,
	})
	s.c.partitions.Store(1)
	s.c.rt.Lead(0, s.log)
	synctest.Wait()
}

// write is the partitions that take markers.
func (s *stage) write(m Markers) {
	s.mu.Lock()
	kind := "abort"
	if m.Marker.Commit {
		kind = "commit"
	}
	line := fmt.Sprintf("> %s %s producer=%d epoch=%d coordinator=%d v%d", kind, m.TransactionalID, m.Marker.ProducerID, m.Marker.Epoch, m.Marker.CoordinatorEpoch, m.Marker.Version)
	errs := make([]error, len(m.Partitions))
	for i, tp := range m.Partitions {
		line += " " + tp.String()
		if errs[i] = s.mu.fail[tp.String()]; errs[i] != nil {
			line += "!"
		}
	}
	s.mu.out = append(s.mu.out, line)
	keep := s.mu.keep
	if keep {
		s.mu.onWay = append(s.mu.onWay, m)
	}
	s.mu.Unlock()
	if !keep {
		m.Written(errs)
	}
}

func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.out = append(s.mu.out, fmt.Sprintf(format, args...))
}

// play does one line. The transactional id is "t" where the line names none.
func (s *stage) play(verb string, w scenario.Words) {
	id, ok := w["id"]
	if !ok {
		id = "t"
	}
	req := Request{TransactionalID: id, ProducerID: int64(w.Int("producer", 1000)), Epoch: int16(w.Int("epoch", 0)), Version: int8(w.Int("version", 2))}
	switch verb {
	case "init": // producer= and epoch= say what the producer has
		s.c.Init(InitRequest{id, int32(w.Int("timeout", 60_000)), int64(w.Int("producer", -1)), int16(w.Int("epoch", -1))}, func(r InitResult) {
			s.say("<- %s producer=%d epoch=%d", r.Err.Name(), r.ProducerID, r.Epoch)
		})
	case "add": // add t-0,t-1
		s.c.Add(req, partitions(w[""]), func(code kafka.Error) { s.say("<- %s", code.Name()) })
	case "verify":
		s.c.Verify(req, partitions(w[""]), func(codes []kafka.Error) {
			line := "<-"
			for _, code := range codes {
				line += " " + code.Name()
			}
			s.say("%s", line)
		})
	case "commit", "abort":
		s.c.End(req, verb == "commit", func(r EndResult) { s.say("<- %s producer=%d epoch=%d", r.Err.Name(), r.ProducerID, r.Epoch) })
	case "describe":
		s.c.Describe(id, func(d wire.DescribeTransactionsResponseState) {
			line := fmt.Sprintf("<- %s %s producer=%d epoch=%d timeout=%d", kafka.Error(d.ErrorCode).Name(), d.TransactionState, d.ProducerID, d.ProducerEpoch, d.TransactionTimeoutMs)
			for _, t := range d.Topics {
				line += fmt.Sprintf(" %s%v", t.Topic, t.Partitions)
			}
			s.say("%s", line)
		})
	case "list":
		s.list(w)
	default:
		s.playWorld(verb, w)
	}
}

// list: states=A,B producers=1,2 duration=MS pattern=RE
func (s *stage) list(w scenario.Words) {
	req := wire.ListTransactionsRequest{DurationFilter: int64(w.Int("duration", -1))}
	if v := w["states"]; v != "" {
		req.StateFilters = strings.Split(v, ",")
	}
	if v := w["producers"]; v != "" {
		for _, p := range strings.Split(v, ",") {
			n, _ := strconv.ParseInt(p, 10, 64)
			req.ProducerIDFilters = append(req.ProducerIDFilters, n)
		}
	}
	if p, ok := w["pattern"]; ok {
		req.TransactionalIDPattern = &p
	}
	f, unknown, err := NewFilter(&req)
	if err != nil {
		s.say("<- %s", kafka.Code(err).Name())
		return
	}
	s.c.List(f, func(ids []wire.ListTransactionsResponseState, code kafka.Error) {
		line := "<- " + code.Name()
		for _, i := range ids {
			line += fmt.Sprintf(" %s:%d:%s", i.TransactionalID, i.ProducerID, i.TransactionState)
		}
		for _, u := range unknown {
			line += " unknown:" + u
		}
		s.say("%s", line)
	})
}

// playWorld does a line about what is around the coordinator.
func (s *stage) playWorld(verb string, w scenario.Words) {
	switch verb {
	case "wait": // let time go by: wait 3s
		d, err := time.ParseDuration(w[""])
		if err != nil {
			s.t.Fatal(err)
		}
		<-time.After(d)
	case "restart": // the process ends, another one reads the log
		s.c.Close()
		s.start()
	case "hold": // the high watermark stays where it is
		s.log.Hold()
	case "release": // and moves on
		s.log.Release()
	case "refuse": // the next append fails
		s.log.Refuse(scenario.ErrorNamed(w[""]))
	case "fail": // markers of a partition fail: fail t-0 with=CODE, or no longer
		s.mu.Lock()
		delete(s.mu.fail, w[""])
		if name, ok := w["with"]; ok {
			s.mu.fail[w[""]] = scenario.ErrorNamed(name)
		}
		s.mu.Unlock()
	case "keep": // markers stay on their way
		s.mu.Lock()
		s.mu.keep = true
		s.mu.Unlock()
	case "deliver": // and arrive
		s.mu.Lock()
		onWay := s.mu.onWay
		s.mu.keep, s.mu.onWay = false, nil
		s.mu.Unlock()
		for _, m := range onWay {
			m.Written(make([]error, len(m.Partitions)))
		}
	case "no-ids": // the controller gives no producer ids out: no-ids on, no-ids off
		s.mu.Lock()
		s.mu.noIDs = w[""] == "on"
		s.mu.Unlock()
	case "use-ids": // others take all ids of the block
		for {
			if _, ok := s.ids.Take(); !ok {
				return
			}
		}
	case "kafka": // a record as Kafka may have written it: epoch=, state= by number
		v := wire.TransactionLogValue{
			ProducerID: int64(w.Int("producer", 1000)), PreviousProducerID: -1, NextProducerID: -1, NextProducerEpoch: -1, ProducerEpoch: int16(w.Int("epoch", 0)),
			TransactionTimeoutMs: 60_000, TransactionStatus: int8(w.Int("state", 0)), TransactionStartTimestampMs: -1,
			TransactionLastUpdateTimestampMs: time.Now().UnixMilli(),
		}
		var b batch.Builder
		b.Append(message(&wire.TransactionLogKey{TransactionalID: "t"}, 0), message(&v, int16(w.Int("version", 1))), nil, 0)
		if _, err := s.log.Append(b.Bytes()); err != nil {
			s.t.Fatal(err)
		}
	default:
		s.t.Fatalf("unknown word %q", verb)
	}
}

func partitions(list string) []kafka.TopicPartition {
	var out []kafka.TopicPartition
	for _, s := range strings.Split(list, ",") {
		i := strings.LastIndex(s, "-")
		n, err := strconv.Atoi(s[i+1:])
		if err != nil {
			panic(err)
		}
		out = append(out, kafka.TopicPartition{Topic: s[:i], Partition: int32(n)})
	}
	return out
}

// memoryLog is the log under the shard, in a leader epoch. It takes no transactions.
type memoryLog struct {
	scenario.Log
	epoch int32
}

func newMemoryLog() *memoryLog {
	return &memoryLog{Log: scenario.Log{Unordered: "- ", Text: func(_ batch.Header, r batch.Record) string { return recordText(r) }}}
}

func (l *memoryLog) AppendVerified([]byte, *commitlog.Verification) (int64, error) {
	return 0, errors.New("the coordinator's own records belong to no transaction")
}

func (l *memoryLog) WriteMarker(replica.Marker) (int64, error) {
	return 0, errors.New("the state topic has no markers")
}

func (l *memoryLog) Epoch() int32 { return l.epoch }

// recordText is a record in words.
func recordText(r batch.Record) string {
	var k wire.TransactionLogKey
	if err := read(&k, keyVersion, r.Key); err != nil {
		panic(err)
	}
	if r.Value == nil {
		return "- " + k.TransactionalID
	}
	var v wire.TransactionLogValue
	if err := read(&v, valueVersion, r.Value); err != nil {
		panic(err)
	}
	line := fmt.Sprintf("+ %s %s producer=%d", k.TransactionalID, State(v.TransactionStatus), v.ProducerID)
	if v.PreviousProducerID != v.ProducerID {
		line += fmt.Sprintf(" previous=%d", v.PreviousProducerID)
	}
	if v.NextProducerID != -1 {
		line += fmt.Sprintf(" next=%d", v.NextProducerID)
	}
	line += fmt.Sprintf(" epoch=%d v%d", v.ProducerEpoch, v.ClientTransactionVersion)
	if v.TransactionStartTimestampMs == -1 {
		line += " idle"
	}
	for _, t := range v.TransactionPartitions {
		line += fmt.Sprintf(" %s%v", t.Topic, t.PartitionIDs)
	}
	return line
}
