package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"
)

// Cold catch-up: one consumer reads a log that lies on the disk alone, from its start to its
// end and again, beside a producer that has a fixed share of what the slower broker can take.
// What counts is what the producer feels of it.
const (
	coldShare = 0.3
	coldBatch = 1_000_000
	coldFetch = 4_000_000
	// coldSettle is the part of a sample at its beginning that does not count.
	coldSettle = time.Second
)

// coldLog is the log that a peer's consumer reads.
type coldLog struct {
	topic  string
	batch  []byte
	end    int64
	bytes  int64
	remove func()
}

// coldSample is one measurement: the producer's latencies without and with a consumer of cold
// data, in milliseconds, and how fast that consumer was.
type coldSample struct{ before, during, mbPerSecond float64 }

func coldCatchUp(s *session) ([]result, error) {
	peers, err := s.brokers()
	if err != nil {
		return nil, err
	}
	perSecond, err := coldRate(s.options, peers)
	if err != nil {
		return nil, err
	}
	logs := map[string]*coldLog{}
	for _, p := range peers {
		l, err := newColdLog(s.options, p)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		defer l.remove()
		logs[p.name] = l
	}
	got, err := interleave(s, peers, func(p *peer) (coldSample, error) { return logs[p.name].sample(s.options, p, perSecond) })
	if err != nil {
		return nil, err
	}
	of := func(name string, f func(coldSample) float64) []float64 { return column(got[name], f) }
	before, during := func(c coldSample) float64 { return c.before }, func(c coldSample) float64 { return c.during }
	cell := func(name string) string {
		if len(got[name]) == 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f · %.2f · %.0f", median(of(name, before)), median(of(name, during)),
			median(of(name, func(c coldSample) float64 { return c.mbPerSecond })))
	}
	slower := func(name string) string { return estimate(ratios(of(name, during), of(name, before))).String() }
	aa, _ := control(of("varve", before))
	return []result{{Name: fmt.Sprintf("%.0f MB/s produced", perSecond*1024/1e6),
		Cells: []string{cell("varve"), cell("kafka"), slower("varve"), slower("kafka"), aa}}}, nil
}

// coldRate is how many records of 1 KiB a second the producers send: the same to each peer.
func coldRate(o options, peers []*peer) (float64, error) {
	o.gib /= 4
	least := 0.0
	for _, p := range peers {
		got, err := (clientLoad{partitions: 1, idempotent: true}).sample(o, p)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
		if least == 0 || got.mbPerSecond < least {
			least = got.mbPerSecond
		}
	}
	return coldShare * least * 1e6 / 1024, nil
}

// newColdLog fills a topic of a peer.
func newColdLog(o options, p *peer) (l *coldLog, err error) {
	l = &coldLog{batch: encodeBatch(coldBatch, 1024)}
	n := max(1, int(2*o.gib*(1<<30))/len(l.batch))
	l.bytes = int64(n) * int64(len(l.batch))
	if l.topic, l.remove, err = newTopic(p.addr, 1, nil); err != nil {
		return nil, err
	}
	if l.end, err = produce(p.addr, l.topic, l.batch, n, 5); err != nil {
		l.remove()
		return nil, err
	}
	return l, nil
}

// sample produces for twice as long as a latency sample, and has the log read in the second half.
func (l *coldLog) sample(o options, p *peer, perSecond float64) (coldSample, error) {
	if err := errors.Join(calm(o.work), evict(filepath.Join(o.work, p.name), l.topic)); err != nil {
		return coldSample{}, err
	}
	topic, remove, err := newTopic(p.addr, 1, nil)
	if err != nil {
		return coldSample{}, err
	}
	defer remove()
	span := time.Duration(o.seconds * float64(time.Second))
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	begun := time.Now()
	load := make(chan steady, 1)
	go func() { load <- produceSteadily(ctx, p.addr, topic, perSecond) }()
	time.Sleep(coldSettle + span)
	from := time.Now()
	read, err := l.read(o, p, span)
	to := time.Now()
	cancel()
	sent := <-load
	if err := errors.Join(err, sent.err); err != nil {
		return coldSample{}, err
	}
	before, during := sent.p99(begun.Add(coldSettle), from), sent.p99(from, to)
	return coldSample{before, during, float64(read) / 1e6 / to.Sub(from).Seconds()}, nil
}

// read reads the whole log as often as span has room for, each time from the disk, and
// returns how many bytes that were.
func (l *coldLog) read(o options, p *peer, span time.Duration) (int64, error) {
	begun := time.Now()
	for read := int64(0); ; {
		if err := fetch(p.addr, l.topic, coldFetch, l.end, l.bytes, l.batch); err != nil {
			return 0, err
		}
		if read += l.bytes; time.Since(begun) >= span {
			return read, nil
		}
		if err := evict(filepath.Join(o.work, p.name), l.topic); err != nil {
			return 0, err
		}
	}
}

// steady is what a producer at a fixed rate saw: when each record was due, and how many
// milliseconds later it was acknowledged.
type steady struct {
	due []time.Time
	ms  []float64
	err error
}

func (s *steady) p99(from, to time.Time) float64 {
	var in []float64
	for i, due := range s.due {
		if !due.Before(from) && due.Before(to) {
			in = append(in, s.ms[i])
		}
	}
	slices.Sort(in)
	return quantile(in, 0.99)
}

// produceSteadily is franz-go with records of 1 KiB at a fixed rate, until ctx ends.
func produceSteadily(ctx context.Context, addr, topic string, perSecond float64) (s steady) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic(topic), kgo.ProducerLinger(0),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(1<<20))
	if err != nil {
		return steady{err: err}
	}
	defer cl.Close()
	b, at := stamped()
	value := b[at : len(b)-1]
	const beat = time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	begun, sent := time.Now(), 0
	for round := 1; ctx.Err() == nil; round++ {
		due := begun.Add(time.Duration(round) * beat)
		time.Sleep(time.Until(due))
		promise := func(_ *kgo.Record, err error) { // one after the other
			if err != nil && s.err == nil {
				s.err = err
			}
			s.due, s.ms = append(s.due, due), append(s.ms, ms(time.Since(due)))
		}
		for ; float64(sent) < float64(round)*perSecond*beat.Seconds(); sent++ {
			cl.Produce(context.Background(), &kgo.Record{Value: value}, promise)
		}
	}
	if err := cl.Flush(context.Background()); err != nil {
		return steady{err: err}
	}
	return s
}

// evict drops what the page cache holds of a topic's logs below dir, and fails where that has
// no effect: such a log is not cold.
func evict(dir, topic string) error {
	names, err := filepath.Glob(filepath.Join(dir, topic+"-*", "*.log"))
	if deeper, more := filepath.Glob(filepath.Join(dir, "*", topic+"-*", "*.log")); more == nil {
		names = append(names, deeper...)
	}
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("no log of %s below %s", topic, dir)
	}
	for _, name := range names {
		if err == nil {
			err = evictFile(name)
		}
	}
	return err
}

// evictTolerance is the share of a file's pages that may stay: somebody may be using them.
const evictTolerance = 0.05

func evictFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	fd := int(f.Fd())
	if err := errors.Join(unix.Fdatasync(fd), unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)); err != nil { // only clean pages go
		return fmt.Errorf("dropping %s from the page cache: %w", name, err)
	}
	var stat unix.Cachestat_t
	if err := unix.Cachestat(uint(fd), &unix.CachestatRange{}, &stat, 0); errors.Is(err, unix.ENOSYS) {
		return nil // Linux before 6.5 cannot say
	} else if err != nil {
		return fmt.Errorf("asking what the page cache holds of %s: %w", name, err)
	}
	if kept := int64(stat.Cache) * int64(os.Getpagesize()); float64(kept) > evictTolerance*float64(info.Size()) {
		return fmt.Errorf("%d of %d bytes of %s stay in the page cache", kept, info.Size(), name)
	}
	return nil
}
