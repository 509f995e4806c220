package hostile

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// as logs in.
func as(user string) kgo.Opt {
	return kgo.SASL(scram.Auth{User: user, Pass: user + "-secret"}.AsSha256Mechanism())
}

// TestGreedyTenant has a tenant that produces, fetches and asks as much as its quotas let it, old records that are in
// nobody's memory included, and tells what another one sees of it.
func TestGreedyTenant(t *testing.T) {
	length := lengthOf(t)
	n, rest := start(t, 0), leftOver(t)
	g := startGood(t, n.sasl, as("good"))
	prefer(t)
	g.bound(t, "greedy", map[string]float64{"producer_byte_rate": 8 << 20, "consumer_byte_rate": 16 << 20, "request_percentage": 20})
	pause(3 * time.Second)
	t.Logf("alone:           %v", n.lapUnder(t, g, length))
	burned, before := n.burned(t, g, rest, length), n.figures(t)
	t.Logf("beside burners:  %v", burned)
	o := newOutside(t, rest)
	o.run("CHAOS_HOSTILE_GREED=" + n.sasl)
	pause(min(length, 15*time.Second)) // what it reads is old by then
	begin := n.figures(t)
	beside := n.lapUnder(t, g, length)
	spent := n.figures(t).cpu - begin.cpu
	o.end()
	t.Logf("beside a greedy one: %v; p99 %.2f times that beside burners; broker %.2f CPUs", beside, float64(beside.p99)/float64(burned.p99), spent/length.Seconds())
	before.descriptors += 64 // files of the greedy one's logs stay open
	n.settled(t, before)
	g.finish(t)
	n.Stop()
}

// bound sets quotas of a user.
func (g *good) bound(t *testing.T, user string, quotas map[string]float64) {
	t.Helper()
	entry := kadm.AlterClientQuotaEntry{Entity: kadm.ClientQuotaEntity{{Type: "user", Name: &user}}}
	for key, value := range quotas {
		entry.Ops = append(entry.Ops, kadm.AlterClientQuotaOp{Key: key, Value: value})
	}
	altered, err := kadm.NewClient(g.client).AlterClientQuotas(t.Context(), []kadm.AlterClientQuotaEntry{entry})
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
}

// greed is the process of the greedy tenant, until ctx ends.
func greed(ctx context.Context, addr string) {
	var produced, fetched, asked atomic.Int64
	var wg sync.WaitGroup
	client := func(more ...kgo.Opt) *kgo.Client {
		cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr), as("greedy"), kgo.ClientID("greedy")}, more...)...)
		if err != nil {
			panic(err) // the options are no good
		}
		return cl
	}
	admin := client()
	defer admin.Close()
	_, _ = kadm.NewClient(admin).CreateTopics(ctx, 8, 1, map[string]*string{"segment.bytes": kadm.StringPtr("16777216")}, "greedy")
	for range 3 {
		wg.Go(func() {
			cl := client(kgo.DefaultProduceTopic("greedy"), kgo.ProducerBatchMaxBytes(900<<10), kgo.MaxBufferedRecords(64), kgo.ProducerBatchCompression(kgo.NoCompression()))
			defer cl.Close()
			for value := make([]byte, 400<<10); ctx.Err() == nil; {
				cl.Produce(ctx, kgo.SliceRecord(value), func(r *kgo.Record, err error) {
					if err == nil {
						produced.Add(int64(len(r.Value)))
					}
				})
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil { // all over again
				cl := client(kgo.ConsumeTopics("greedy"), kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(10<<20), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
				for end := time.Now().Add(20 * time.Second); ctx.Err() == nil && time.Now().Before(end); {
					cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { fetched.Add(int64(len(r.Value))) })
				}
				cl.Close()
			}
		})
		wg.Go(func() {
			for ctx.Err() == nil {
				if _, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, admin); err == nil {
					asked.Add(1)
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("produced %d MB, fetched %d MB, %d requests of metadata\n", produced.Load()/1e6, fetched.Load()/1e6, asked.Load())
}
