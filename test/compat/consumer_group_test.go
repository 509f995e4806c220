package compat

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// TestConsumerProtocolTools has Kafka's console consumer read in groups of the consumer
// protocol, Kafka's tools look at them, and Kafka's own decoder read their records.
func TestConsumerProtocolTools(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	b := kit.Start(t, dir, "--set", "offsets.topic.num.partitions=1")
	b.Kcat(strings.NewReader("one\ntwo\nthree\n"), "-P", "-t", "read")
	console := func(args ...string) string {
		return b.Tool("org.apache.kafka.tools.consumer.ConsoleConsumer", append([]string{"--bootstrap-server", b.Addr,
			"--command-property", "group.protocol=consumer", "--command-property", "auto.offset.reset=earliest"}, args...)...)
	}
	groups := func(args ...string) string { return b.Tool(groupTool, append(args, "--bootstrap-server", b.Addr)...) }
	if out := console("--topic", "read", "--group", "readers", "--max-messages", "2"); out != "one\ntwo\n" {
		t.Errorf("the console consumer printed %q", out)
	}
	if out := console("--topic", "read", "--group", "readers", "--max-messages", "1"); out != "three\n" {
		t.Errorf("the console consumer printed %q the second time", out)
	}
	if out := console("--include", "re.d", "--group", "matchers", "--max-messages", "3", "--command-property", "group.remote.assignor=range"); out != "one\ntwo\nthree\n" {
		t.Errorf("with the range assignor the console consumer printed %q", out)
	}
	mentions(t, "--list", groups("--list", "--type"), "readers", "matchers", "Consumer")
	mentions(t, "--describe", groups("--describe", "--group", "readers"), "read            0          3               3               0")
	mentions(t, "--describe --state", groups("--describe", "--group", "readers", "--state", "--verbose"), "Empty", "uniform")

	log := b.Tool("org.apache.kafka.tools.DumpLogSegments", "--offsets-decoder", "--files",
		filepath.Join(b.Dir, "logs", "__consumer_offsets-0", "00000000000000000000.log"))
	mentions(t, "the offsets decoder", log, `"type":"3"`, `"type":"5"`, `"type":"6"`, `"type":"7"`, `"type":"8"`,
		`"serverAssignor":"range"`, `"assignmentEpochs"`)
	mentions(t, "--delete", groups("--delete", "--group", "readers"), "('readers') was successful")
	b.Stop()
}

// readers are clients that read in one group until all of so many records were read.
type readers struct {
	t    *testing.T
	seen chan string
}

// read starts a client; the end of stop is its end.
func (r *readers) read(b *kit.Broker, stop context.Context, opts ...kgo.Opt) <-chan struct{} {
	cl := groupClient(r.t, b, append([]kgo.Opt{
		kgo.ConsumerGroup("mixed"), kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitInterval(200 * time.Millisecond),
	}, opts...)...)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cl.Close()
		for stop.Err() == nil {
			cl.PollFetches(stop).EachRecord(func(rec *kgo.Record) {
				select {
				case r.seen <- string(rec.Value):
				case <-stop.Done():
				}
			})
		}
	}()
	return done
}

// await fails unless the words come in time.
func (r *readers) await(ctx context.Context, words map[string]bool) {
	r.t.Helper()
	for len(words) > 0 {
		select {
		case w := <-r.seen:
			delete(words, w)
		case <-ctx.Done():
			r.t.Fatalf("%d words were not read", len(words))
		}
	}
}

// TestConsumerProtocolMigration has franz-go clients of both protocols in one group: it is
// upgraded, the broker is killed, clients come and go, and it is downgraded; all records are read.
func TestConsumerProtocolMigration(t *testing.T) {
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"), "--set", "group.initial.rebalance.delay.ms=0", "--set", "offsets.topic.num.partitions=1",
		"--set", "group.consumer.min.heartbeat.interval.ms=100", "--set", "group.consumer.heartbeat.interval.ms=300",
		"--set", "group.consumer.assignment.interval.ms=100")
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	producer := groupClient(t, b)
	adm := kadm.NewClient(producer)
	if _, err := adm.CreateTopic(ctx, 6, 1, nil, "words"); err != nil {
		t.Fatal(err)
	}
	n := 0
	produce := func() map[string]bool {
		words := map[string]bool{}
		for range 60 {
			n++
			w := fmt.Sprint("word ", n)
			words[w] = true
			if err := producer.ProduceSync(ctx, &kgo.Record{Topic: "words", Partition: int32(n % 6), Value: []byte(w)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		return words
	}
	state := func() (string, []string) {
		out := b.Tool(groupTool, "--describe", "--group", "mixed", "--members", "--verbose", "--bootstrap-server", b.Addr)
		return out, slices.DeleteFunc(strings.Split(out, "\n"), func(l string) bool { return !strings.Contains(l, "words") })
	}
	r := &readers{t, make(chan string)}
	classic, stopClassic := context.WithCancel(ctx)
	modern, stopModern := context.WithCancel(ctx)
	defer stopModern()
	r1 := r.read(b, classic, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	r.await(ctx, produce())
	r2 := r.read(b, modern, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	r.await(ctx, produce())
	if out, members := state(); len(members) != 2 {
		t.Errorf("want a classic and another member with partitions:\n%s", out)
	}
	b.Kill()
	b.Start()
	r.await(ctx, produce())
	stopClassic()
	<-r1
	r.await(ctx, produce())
	third, stopThird := context.WithCancel(ctx)
	r3 := r.read(b, third, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	r.await(ctx, produce())
	stopModern()
	<-r2
	r.await(ctx, produce())
	if out := b.Tool(groupTool, "--list", "--type", "--bootstrap-server", b.Addr); !strings.Contains(out, "Classic") {
		t.Errorf("the group is not classic again:\n%s", out)
	}
	stopThird()
	<-r3
	b.Stop()
	log := b.Tool("org.apache.kafka.tools.DumpLogSegments", "--offsets-decoder", "--files",
		filepath.Join(b.Dir, "logs", "__consumer_offsets-0", "00000000000000000000.log"))
	mentions(t, "the offsets decoder", log, `"classicMemberMetadata":{"sessionTimeoutMs":`, `"supportedProtocols":[{"name":"cooperative-sticky"`)
}
