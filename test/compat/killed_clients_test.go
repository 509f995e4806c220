package compat

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

const (
	killedPartitions = 3
	// killedEvery is how long a broker lives.
	killedEvery = 2 * time.Second
)

// killedTopics have one durability each.
var killedTopics = []string{"pagecache", "group"}

// ack is what a client was told about the record with a number of a partition. offset is -1 where
// the broker knew the record from before and could not say its place any more.
type ack struct {
	topic       string
	partition   int32
	seq, offset int64
}

// producer sends numbered records to every partition, idempotently and with five requests in
// flight, until stop is closed, and tells of each acknowledgement. It gives up when ctx ends.
type producer func(ctx context.Context, addr string, stop <-chan struct{}, tell func(ack)) error

// killedClient is one client and what it was told.
type killedClient struct {
	name    string
	produce producer
	told    map[string][][]int64 // offsets by topic, partition and number
	acks    atomic.Int64
}

// TestKilledUnderClients kills the broker every two seconds for CHAOS_CLIENT_SECONDS while
// Kafka's Java producer, librdkafka and franz-go write to the same partitions: every record is
// there once, in the order of its producer, at the offset that was acknowledged.
func TestKilledUnderClients(t *testing.T) {
	kit.Binary(t)
	python := filepath.Join(os.Getenv("VARVE_CLIENTS"), "python", "bin", "python")
	if os.Getenv("VARVE_CLIENTS") == "" {
		t.Skip("VARVE_CLIENTS names no directory of installed clients: run 'make chaos-clients'")
	}
	seconds := 8
	if v := os.Getenv("CHAOS_CLIENT_SECONDS"); v != "" {
		var err error
		if seconds, err = strconv.Atoi(v); err != nil {
			t.Fatalf("CHAOS_CLIENT_SECONDS: %v", err)
		}
	}
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"))
	for _, topic := range killedTopics {
		b.Varve("topic", "create", topic, "--partitions", strconv.Itoa(killedPartitions), "--config", "varve.durability="+topic,
			"--config", "segment.bytes=16777216")
	}
	source, err := filepath.Abs("testdata/KillProducer.java")
	if err != nil {
		t.Fatal(err)
	}
	clients := []*killedClient{
		{name: "java", produce: processProducer("java", kit.JavaArgs(t, source)...)},
		{name: "librdkafka", produce: processProducer(python, "clients/killed.py")},
		{name: "franz-go", produce: franzProducer},
	}
	kills := seconds / int(killedEvery/time.Second)
	killUnder(t, b, clients, kills)
	b.Kill() // what counts is there without any of them
	b.Start()
	records := killedContent(t, b.Addr, clients)
	for _, c := range clients {
		t.Logf("%s: %d records acknowledged", c.name, c.acks.Load())
	}
	t.Logf("%d kills, %d records, each there once, in its order, at the offset that was acknowledged", kills, records)
}

// killUnder lets the clients produce, kills the broker again and again, and returns when the
// clients have everything acknowledged.
func killUnder(t *testing.T, b *kit.Broker, clients []*killedClient, kills int) {
	t.Helper()
	stop := make(chan struct{})
	ended := make(chan error, len(clients))
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	for _, c := range clients {
		c.told = map[string][][]int64{}
		for _, topic := range killedTopics {
			c.told[topic] = make([][]int64, killedPartitions)
		}
		running.Go(func() {
			err := c.produce(t.Context(), b.Addr, stop, c.note)
			if err != nil {
				err = fmt.Errorf("%s: %w", c.name, err)
			}
			ended <- err
		})
	}
	kit.Eventually(t, time.Minute, "every client has records acknowledged", func() error {
		for _, c := range clients {
			if c.acks.Load() == 0 {
				return fmt.Errorf("%s has none", c.name)
			}
		}
		return nil
	})
	beat := time.NewTicker(killedEvery)
	defer beat.Stop()
	for range kills {
		select {
		case err := <-ended:
			t.Fatalf("a client ended before it was told to: %v", err)
		case <-beat.C:
			b.Kill()
			b.Start()
		}
	}
	close(stop)
	limit := time.NewTimer(3 * time.Minute)
	for range clients {
		select {
		case err := <-ended:
			if err != nil {
				t.Fatal(err)
			}
		case <-limit.C:
			t.Fatal("the clients do not get their last records acknowledged")
		}
	}
}

// note keeps an acknowledgement. A client's acknowledgements come one after the other.
func (c *killedClient) note(a ack) {
	of := c.told[a.topic]
	for int64(len(of[a.partition])) <= a.seq {
		of[a.partition] = append(of[a.partition], unacknowledged)
	}
	if of[a.partition][a.seq] != unacknowledged {
		a.offset = twice
	}
	of[a.partition][a.seq] = a.offset
	c.acks.Add(1)
}

// What stands in place of an offset.
const (
	unacknowledged = -2
	twice          = -3
)

// processProducer is a client of its own process, which ends when its standard input does and
// prints an acknowledgement a line.
func processProducer(name string, args ...string) producer {
	return func(ctx context.Context, addr string, stop <-chan struct{}, tell func(ack)) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		cmd := exec.CommandContext(ctx, name, append(append(args, addr, strconv.Itoa(killedPartitions)), killedTopics...)...)
		var complaints bytes.Buffer
		cmd.Stderr = &complaints
		in, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		out, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		if err := cmd.Start(); err != nil {
			return err
		}
		go func() {
			select {
			case <-stop:
			case <-ctx.Done():
			}
			_ = in.Close()
		}()
		err = readAcks(out, tell)
		if err != nil {
			cancel()
		}
		if waited := cmd.Wait(); waited != nil {
			err = errors.Join(err, waited, errors.New(complaints.String()))
		}
		return err
	}
}

func readAcks(r io.Reader, tell func(ack)) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		var a ack
		if _, err := fmt.Sscan(lines.Text(), &a.topic, &a.partition, &a.seq, &a.offset); err != nil {
			return fmt.Errorf("%q is no acknowledgement: %w", lines.Text(), err)
		}
		tell(a)
	}
	return lines.Err()
}

// franzProducer is franz-go; idempotent, it has five requests in flight.
func franzProducer(ctx context.Context, addr string, stop <-chan struct{}, tell func(ack)) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ProducerLinger(0), kgo.ProducerBatchMaxBytes(1000), kgo.MaxBufferedRecords(10_000),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	var failed atomic.Pointer[error]
	sent := make([]int64, len(killedTopics)*killedPartitions)
	pace := time.NewTicker(time.Millisecond)
	defer pace.Stop()
	key := []byte("franz-go")
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-stop:
			ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
			defer cancel()
			err := cl.Flush(ctx)
			if bad := failed.Load(); bad != nil {
				err = errors.Join(err, *bad)
			}
			return err
		default:
		}
		at := n % len(sent)
		seq := sent[at]
		sent[at]++
		r := &kgo.Record{Topic: killedTopics[at/killedPartitions], Partition: int32(at % killedPartitions), Key: key, Value: fmt.Appendf(nil, "%0200d", seq)}
		cl.Produce(ctx, r, func(r *kgo.Record, err error) {
			if err != nil {
				err = fmt.Errorf("%s-%d, record %d: %w", r.Topic, r.Partition, seq, err)
				failed.CompareAndSwap(nil, &err)
				return
			}
			tell(ack{r.Topic, r.Partition, seq, r.Offset})
		})
		if n%3 == 2 {
			<-pace.C
		}
	}
}

// killedContent reads every partition to its end, compares it with what the clients were told,
// and returns how many records there are.
func killedContent(t *testing.T, addr string, clients []*killedClient) (records int64) {
	t.Helper()
	byName := map[string]*killedClient{}
	for _, c := range clients {
		byName[c.name] = c
	}
	places := 0
	for _, topic := range killedTopics {
		for p := range int32(killedPartitions) {
			next := map[string]int64{}
			n := eachRecord(t, addr, topic, p, func(r *kgo.Record) {
				name := string(r.Key)
				seq, err := strconv.ParseInt(string(r.Value), 10, 64)
				if byName[name] == nil || err != nil || len(r.Value) != 200 {
					t.Fatalf("%s-%d, offset %d: nobody sent key %q, value %.30q", topic, p, r.Offset, name, r.Value)
				}
				if seq != next[name] {
					t.Fatalf("%s-%d, offset %d: record %d of %s comes where %d was due", topic, p, r.Offset, seq, name, next[name])
				}
				told := byName[name].told[topic][p]
				switch {
				case seq >= int64(len(told)) || told[seq] == unacknowledged:
					t.Fatalf("%s-%d, offset %d: record %d of %s was never acknowledged, though its client ended well", topic, p, r.Offset, seq, name)
				case told[seq] == twice:
					t.Fatalf("%s-%d: record %d of %s was acknowledged twice", topic, p, seq, name)
				case told[seq] >= 0 && told[seq] != r.Offset:
					t.Fatalf("%s-%d: record %d of %s is at offset %d and was acknowledged at %d", topic, p, seq, name, r.Offset, told[seq])
				case told[seq] >= 0:
					places++
				}
				next[name]++
			})
			for _, c := range clients {
				if told := int64(len(c.told[topic][p])); next[c.name] != told || told == 0 {
					t.Errorf("%s-%d: %d records of %s are there, %d were acknowledged", topic, p, next[c.name], c.name, told)
				}
			}
			records += n
		}
	}
	t.Logf("%d acknowledgements said an offset", places)
	return records
}

// eachRecord reads a partition from offset 0 to its end and wants no offset to be missing.
func eachRecord(t *testing.T, addr, topic string, partition int32, see func(*kgo.Record)) (n int64) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {partition: kgo.NewOffset().At(0)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	end, ok := ends.Lookup(topic, partition)
	if !ok || end.Err != nil {
		t.Fatalf("the end of %s-%d: %v", topic, partition, end.Err)
	}
	for n < end.Offset {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("reading %s-%d at %d of %d: %v", topic, partition, n, end.Offset, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != n {
				t.Fatalf("%s-%d: offset %d comes where %d was due", topic, partition, r.Offset, n)
			}
			see(r)
			n++
		})
	}
	return n
}
