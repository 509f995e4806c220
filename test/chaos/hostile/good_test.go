package hostile

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// good are clients that mean well: they produce at a steady rate, read everything, and time each record.
type good struct {
	mu      sync.Mutex
	took    []time.Duration
	acked   atomic.Int64
	failed  atomic.Int64
	last    atomic.Value // of the errors
	read    sync.Map
	unread  atomic.Int64
	client  *kgo.Client
	readers *kgo.Client
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// startGood starts them; more options make them somebody.
func startGood(t *testing.T, addr string, more ...kgo.Opt) *good {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}}
	options := append([]kgo.Opt{kgo.SeedBrokers(addr), kgo.ClientID("good"), kgo.Dialer(dialer.DialContext), kgo.RecordRetries(1 << 30)}, more...)
	g := &good{}
	ctx, stop := context.WithCancel(t.Context())
	g.stop = stop
	var err error
	if g.client, err = kgo.NewClient(append(options, kgo.ProducerLinger(0), kgo.DefaultProduceTopic("good"))...); err != nil {
		t.Fatal(err)
	}
	if _, err := kadm.NewClient(g.client).CreateTopics(ctx, 3, 1, nil, "good"); err != nil {
		t.Fatal(err)
	}
	compact := "compact"
	if _, err := kadm.NewClient(g.client).CreateTopics(ctx, 1, 1, map[string]*string{"cleanup.policy": &compact}, "bombs"); err != nil {
		t.Fatal(err)
	}
	if g.readers, err = kgo.NewClient(append(options, kgo.ConsumeTopics("good"), kgo.ConsumerGroup("good"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stop(); g.client.Close(); g.readers.Close() })
	for worker := range 4 {
		g.wg.Go(func() { g.produce(ctx, worker) })
	}
	go g.consume(t.Context())
	return g
}

// finish stops producing; every record must have been taken, and is to be read.
func (g *good) finish(t *testing.T) {
	t.Helper()
	g.stop()
	g.wg.Wait()
	kit.Eventually(t, time.Minute, "every record is read", func() error {
		if left := g.unread.Load(); left != 0 {
			return fmt.Errorf("%d of %d are not", left, g.acked.Load())
		}
		return nil
	})
	if g.failed.Load() > 0 {
		t.Errorf("%d records of good clients were refused, the last with %v", g.failed.Load(), g.last.Load())
	}
	t.Logf("good clients: %d records acknowledged and read, %d refused", g.acked.Load(), g.failed.Load())
}

// produce sends fifty records a second, one at a time.
func (g *good) produce(ctx context.Context, worker int) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		key := fmt.Sprintf("%d-%d", worker, i)
		begin := time.Now()
		err := g.client.ProduceSync(context.WithoutCancel(ctx), &kgo.Record{Key: []byte(key), Value: make([]byte, 1000)}).FirstErr()
		if err != nil {
			g.failed.Add(1)
			g.last.Store(err)
			continue
		}
		g.acked.Add(1)
		if _, seen := g.read.LoadOrStore(key, true); !seen {
			g.unread.Add(1)
		} else {
			g.read.Delete(key)
		}
		g.mu.Lock()
		g.took = append(g.took, time.Since(begin))
		g.mu.Unlock()
	}
}

// consume strikes what it reads off the list; a record may be read before its producer hears of it.
func (g *good) consume(ctx context.Context) {
	for ctx.Err() == nil {
		g.readers.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if _, acked := g.read.LoadOrStore(string(r.Key), false); acked {
				g.read.Delete(string(r.Key))
				g.unread.Add(-1)
			}
		})
	}
}

// protect sets the quotas of a network that is not one's own: a share of the processors for clients that nobody has named,
// and a rate of connections for addresses.
func (g *good) protect(t *testing.T) {
	t.Helper()
	named, unnamed := "good", (*string)(nil)
	entries := []kadm.AlterClientQuotaEntry{
		{Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: unnamed}}, Ops: []kadm.AlterClientQuotaOp{{Key: "request_percentage", Value: 20}}},
		{Entity: kadm.ClientQuotaEntity{{Type: "client-id", Name: &named}}, Ops: []kadm.AlterClientQuotaOp{{Key: "request_percentage", Value: 10000}}},
		{Entity: kadm.ClientQuotaEntity{{Type: "ip", Name: unnamed}}, Ops: []kadm.AlterClientQuotaOp{{Key: "connection_creation_rate", Value: 200}}},
	}
	altered, err := kadm.NewClient(g.client).AlterClientQuotas(t.Context(), entries)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range altered {
		if a.Err != nil {
			t.Fatal(a.Err, a.ErrMessage)
		}
	}
}

// lap is how long records took to be acknowledged.
type lap struct {
	records         int
	p50, p99, worst time.Duration
}

// String tells it.
func (l lap) String() string {
	return fmt.Sprintf("%d records, p50 %v, p99 %v, slowest %v", l.records, l.p50.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond), l.worst.Round(100*time.Microsecond))
}

// lap is that since the last one.
func (g *good) lap() lap {
	g.mu.Lock()
	defer g.mu.Unlock()
	took := g.took
	g.took = nil
	if len(took) == 0 {
		return lap{}
	}
	slices.Sort(took)
	return lap{len(took), took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}
