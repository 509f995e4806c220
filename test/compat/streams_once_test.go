package compat

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// TestStreamsExactlyOnce passes COMPAT_INPUTS records through two instances of a Kafka Streams
// application that counts them by key as well, while the broker and the instances are killed
// every few seconds. Who reads committed records sees each input once, and each key's counts
// without a gap or a repeat, all the time.
func TestStreamsExactlyOnce(t *testing.T) {
	inputs := 3000
	if v := os.Getenv("COMPAT_INPUTS"); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			t.Fatalf("COMPAT_INPUTS: %v", err)
		}
		inputs = n
	}
	classes := kit.Javac(t, "clients/java/StreamsApp.java")
	b := kit.StartServer(t, "group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=1000", "transaction.state.log.num.partitions=3",
		"offsets.topic.num.partitions=3", "transaction.abort.timed.out.transaction.cleanup.interval.ms=500", "log.cleaner.backoff.ms=500")
	n := newNumbers(t, b, inputs)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute+time.Duration(inputs)*3*time.Millisecond)
	var wg sync.WaitGroup
	defer func() { cancel(); wg.Wait() }() // before any cleanup ends the processes
	app := append(kit.AppArgs(t, "StreamsApp", classes), b.Bootstrap())
	kills := make([]int, 2)
	for i := range kills {
		args := append(slices.Clone(app), filepath.Join(t.TempDir(), "state"), "once", "exactly_once_v2")
		wg.Go(func() {
			for ; ctx.Err() == nil; kills[i]++ {
				runInstance(ctx, t, args)
			}
		})
	}
	wg.Go(func() { n.read(ctx); cancel() })
	brokerKills := 0
	for wait := 3000; ctx.Err() == nil; wait = 2000 + rand.IntN(4000) {
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(wait) * time.Millisecond):
			b.Kill()
			b.Start()
			brokerKills++
		}
	}
	wg.Wait()
	n.readToTheEnd()
	t.Logf("%d inputs under %d kills of the broker and %d of the instances", inputs, brokerKills, kills[0]+kills[1])
}

// runInstance starts an instance and kills it some seconds after it has begun to work, or, in
// one of four cases, while it starts.
func runInstance(ctx context.Context, t *testing.T, args []string) {
	p := kit.StartProcess(t, "java", args...)
	defer p.Kill()
	if rand.IntN(4) > 0 {
		p.AwaitUntil(ctx, "RUNNING")
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(1000+rand.IntN(7000)) * time.Millisecond):
	case <-p.Exited():
		t.Errorf("an instance ended by itself:\n%s", p.Output())
	}
}

// numbers are the inputs, and what has come out of them.
type numbers struct {
	t      *testing.T
	cl     *kgo.Client
	seen   []bool           // by input
	left   int              // how many were not seen
	counts map[string]int64 // by key
	toGo   int64            // what the counts lack
}

const (
	numbersOut    = "once-exactly_once_v2-out"
	numbersCounts = "once-exactly_once_v2-counts"
)

// newNumbers creates the topics and writes the inputs.
func newNumbers(t *testing.T, b kit.Server, inputs int) *numbers {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.DefaultProduceTopic("in"), kgo.ConsumeTopics(numbersOut, numbersCounts),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.MetadataMinAge(100*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	createTopics(t, cl, 3, "in", numbersOut, numbersCounts)
	for i := range inputs {
		cl.Produce(t.Context(), kgo.StringRecord(fmt.Sprintf("%012d", i)), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &numbers{t: t, cl: cl, seen: make([]bool, inputs), left: inputs, counts: map[string]int64{}, toGo: int64(inputs)}
}

// read reads until all inputs have come out and are counted.
func (n *numbers) read(ctx context.Context) {
	for n.left > 0 || n.toGo > 0 {
		n.cl.PollFetches(ctx).EachRecord(n.check)
		if ctx.Err() != nil {
			n.t.Errorf("%d inputs have not come out in time, %d are not counted", n.left, n.toGo)
			return
		}
	}
}

// readToTheEnd reads what is behind that, which could only be there twice.
func (n *numbers) readToTheEnd() {
	ctx, cancel := context.WithTimeout(n.t.Context(), 2*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		n.cl.PollFetches(ctx).EachRecord(n.check)
	}
}

func (n *numbers) check(r *kgo.Record) {
	if r.Topic == numbersCounts {
		key, count := string(r.Key), int64(binary.BigEndian.Uint64(r.Value))
		if count != n.counts[key]+1 {
			n.t.Errorf("the inputs that end with %s are counted %d after %d", key, count, n.counts[key])
		}
		n.counts[key] = count
		n.toGo--
		return
	}
	i, err := strconv.Atoi(string(r.Value))
	if err != nil || i >= len(n.seen) || n.seen[i] {
		n.t.Errorf("%q came out a second time, or was never put in: %v", r.Value, err)
		return
	}
	n.seen[i] = true
	n.left--
}
