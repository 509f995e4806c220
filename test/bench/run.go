package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-io/varve/broker/batch"
)

// workload is one row of the table.
type workload struct {
	name      string
	batch     int // bytes of one batch before compression, which is what is counted
	record    int // bytes of one record
	codec     batch.Codec
	inFlight  int
	fetchSize int32   // 0: a produce workload; else fetch answers of this size are measured
	share     float64 // of the bytes of a full sample
}

var workloads = []workload{
	{"produce 1 MB batches, 1 KiB records", 1_000_000, 1024, batch.None, 5, 0, 1},
	{"produce 64 KB batches", 64_000, 1024, batch.None, 5, 0, 0.5},
	{"produce 16 KB batches, 16 in flight", 16_000, 1024, batch.None, 16, 0, 0.25},
	{"produce 4 KB batches, 16 in flight", 4_000, 512, batch.None, 16, 0, 0.0625},
	{"produce 1 MB batches, lz4", 1_000_000, 1024, batch.LZ4, 5, 0, 1},
	{"produce 1 MB batches, zstd", 1_000_000, 1024, batch.Zstd, 5, 0, 0.5},
	{"fetch 4 MB of 1 MB batches", 1_000_000, 1024, batch.None, 5, 4_000_000, 1},
	{"fetch 4 MB of 64 KB batches", 64_000, 1024, batch.None, 5, 4_000_000, 0.5},
	{"fetch 64 KB of 64 KB batches", 64_000, 1024, batch.None, 5, 65_536, 0.5},
	{"fetch 16 KB of 16 KB batches", 16_000, 1024, batch.None, 16, 16_384, 0.25},
}

// sample is one measurement of one peer.
type sample struct{ cpuPerGB, mbPerSecond float64 }

func run(o options) error {
	if o.work == "" {
		dir, err := os.MkdirTemp("", "varve-bench")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		o.work = dir
	}
	if o.starts > 0 {
		if err := starts(o); err != nil {
			return err
		}
	}
	peers, err := startPeers(o)
	defer func() {
		for _, p := range peers {
			p.stop()
		}
	}()
	if err != nil {
		return err
	}
	if o.starts > 0 {
		if err := idle(peers); err != nil {
			return err
		}
	}
	chosen := slices.DeleteFunc(slices.Clone(workloads), func(w workload) bool { return !strings.Contains(w.name, o.only) })
	if len(chosen) == 0 {
		return nil
	}
	if err := warmUp(o, chosen, peers); err != nil {
		return err
	}
	fmt.Println("\n| workload | Varve CPU-s/GB · MB/s | Kafka CPU-s/GB · MB/s | floor CPU-s/GB · MB/s | Varve ÷ Kafka CPU | Varve ÷ floor CPU | A/A |\n|---|---|---|---|---|---|---|")
	for _, w := range chosen {
		if err := measure(o, w, peers); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	fmt.Println()
	for _, p := range peers {
		fmt.Printf("RSS of %s after the workloads: %.0f MiB\n", p.name, p.rssMiB())
	}
	return nil
}

// startPeers starts Varve, the floor and, when its jars are there, Kafka.
func startPeers(o options) ([]*peer, error) {
	var peers []*peer
	v, err := startVarve(o, o.work)
	if err != nil {
		return peers, err
	}
	peers = append(peers, v)
	if o.jars != "" {
		k, err := startKafka(o, o.work)
		if err != nil {
			return peers, err
		}
		peers = append(peers, k)
	}
	f, err := startFloor(o.work)
	if err != nil {
		return peers, err
	}
	return append(peers, f), nil
}

// idle prints what each peer costs before it has done anything.
func idle(peers []*peer) error {
	const settle, span = 5 * time.Second, 20 * time.Second
	time.Sleep(settle)
	before := make([]float64, len(peers))
	for i, p := range peers {
		c, err := p.cpuSeconds()
		if err != nil {
			return err
		}
		before[i] = c
	}
	time.Sleep(span)
	fmt.Println("\n| idle | RSS, MiB | CPU, ms/s |\n|---|---|---|")
	for i, p := range peers {
		c, err := p.cpuSeconds()
		if err != nil {
			return err
		}
		fmt.Printf("| %s | %.0f | %.2f |\n", p.name, p.rssMiB(), (c-before[i])*1000/span.Seconds())
	}
	return nil
}

// kafkaWarmUp is how many bytes the JVM moves before anything counts, so that it has
// compiled what it runs.
const kafkaWarmUp = 10 << 30

// warmUp runs what will be measured: on the JVM until it has moved enough, elsewhere once.
func warmUp(o options, chosen []workload, peers []*peer) error {
	for _, p := range peers {
		var moved float64
		for round := 0; round == 0 || p.name == "kafka" && moved < kafkaWarmUp; round++ {
			for _, w := range chosen {
				if _, err := one(o, w, p); err != nil {
					return fmt.Errorf("warming %s up: %w", p.name, err)
				}
				moved += o.gib * w.share * (1 << 30)
			}
		}
	}
	return nil
}

// measure runs the peers in the order A B C C B A, again and again, and prints a row.
func measure(o options, w workload, peers []*peer) error {
	got := map[string][]sample{}
	order := append(slices.Clone(peers), reversed(peers)...)
	for range (o.pairs + 1) / 2 {
		for _, p := range order {
			s, err := one(o, w, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			got[p.name] = append(got[p.name], s)
		}
	}
	cell := func(name string) string {
		if len(got[name]) == 0 {
			return "–"
		}
		return fmt.Sprintf("%.3f · %.0f", median(cpus(got[name])), median(speeds(got[name])))
	}
	fmt.Printf("| %s | %s | %s | %s | %s | %s | %s |\n", w.name, cell("varve"), cell("kafka"), cell("floor"),
		ratio(got["varve"], got["kafka"]), ratio(got["varve"], got["floor"]), control(got["varve"]))
	return nil
}

func reversed(p []*peer) []*peer {
	q := slices.Clone(p)
	slices.Reverse(q)
	return q
}

// one measures one peer once, on a topic of its own.
func one(o options, w workload, p *peer) (sample, error) {
	topic := fmt.Sprintf("bench-%d", time.Now().UnixNano())
	bytes := int64(o.gib * w.share * (1 << 30))
	release, err := pretouch((bytes + bytes/2) >> 20 << 20)
	if err != nil {
		return sample{}, err
	}
	defer release()
	if _, err := ask(p.addr, createTopicFrame(topic, 1)); err != nil {
		return sample{}, err
	}
	defer func() { _, _ = ask(p.addr, deleteTopicFrame(topic)) }()
	b := encodeBatch(w.batch, w.record)
	n := int(bytes/int64(len(b))) + 1
	if w.codec != batch.None {
		var err error
		if b, err = batch.Recompress(b, w.codec, 0); err != nil {
			return sample{}, err
		}
	}
	if err := waitLeader(p.addr, topic, b); err != nil {
		return sample{}, err
	}
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

// waitLeader produces one batch until it is accepted.
func waitLeader(addr, topic string, batch []byte) error {
	var err error
	for range 2000 {
		if _, err = produce(addr, topic, batch, 1, 1); err == nil {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

func deleteTopicFrame(topic string) []byte {
	return frame(20, 1, be32(str(be32(nil, 1), topic), 30000))
}

// pretouch makes the machine hand over n bytes of memory before the clock runs: on virtual
// machines the first touch of a page is dear and would be charged to whoever comes first. The
// host takes free memory back within seconds, but only in whole blocks of 2 MiB: so one page
// of each MiB stays in use until the function that is returned is called.
func pretouch(n int64) (release func(), err error) {
	const step = 1 << 20
	b, err := unix.Mmap(-1, 0, int(n), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	release = func() { _ = unix.Munmap(b) }
	page := os.Getpagesize()
	err = unix.Madvise(b, unix.MADV_NOHUGEPAGE)
	for at := 0; at < len(b) && err == nil; at += page {
		b[at] = 1
	}
	for at := 0; at < len(b) && err == nil; at += step {
		err = unix.Madvise(b[at+page:min(at+step, len(b))], unix.MADV_DONTNEED)
	}
	if err != nil {
		release()
	}
	return release, err
}

func cpus(s []sample) []float64 {
	out := make([]float64, len(s))
	for i := range s {
		out[i] = s[i].cpuPerGB
	}
	return out
}

func speeds(s []sample) []float64 {
	out := make([]float64, len(s))
	for i := range s {
		out[i] = s[i].mbPerSecond
	}
	return out
}

func median(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v) == 0 {
		return 0
	}
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// ratio is the spread of the pairwise CPU ratios.
func ratio(a, b []sample) string {
	if len(a) == 0 || len(b) == 0 {
		return "–"
	}
	var r []float64
	for i := range min(len(a), len(b)) {
		r = append(r, a[i].cpuPerGB/b[i].cpuPerGB)
	}
	return spread("%.2f", r)
}

// spread is the median with the smallest and the largest.
func spread(format string, v []float64) string {
	return fmt.Sprintf(format+" ["+format+"–"+format+"]", median(v), slices.Min(v), slices.Max(v))
}

// control compares the two Varve samples of each round with each other: a row whose control
// lies outside 0.93–1.07 says little about ratios near 1.
func control(a []sample) string {
	var r []float64
	for i := 0; i+1 < len(a); i += 2 {
		r = append(r, a[i].cpuPerGB/a[i+1].cpuPerGB)
	}
	m := median(r)
	if m < 0.93 || m > 1.07 {
		return fmt.Sprintf("%.2f noisy", m)
	}
	return fmt.Sprintf("%.2f", m)
}
