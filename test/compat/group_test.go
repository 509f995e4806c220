package compat

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// groupTool is kafka-consumer-groups.
const groupTool = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand"

// mentions fails unless the text has all of the words.
func mentions(t *testing.T, what, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s does not say %q:\n%s", what, w, text)
		}
	}
}

// TestGroupTools has kcat and Kafka's console consumer read in groups, and Kafka's tools look
// at them and change them.
func TestGroupTools(t *testing.T) {
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"), "--set", "group.initial.rebalance.delay.ms=100")
	groups := func(args ...string) string { return b.Tool(groupTool, append(args, "--bootstrap-server", b.Addr)...) }
	b.Kcat(strings.NewReader("one\ntwo\nthree\n"), "-P", "-t", "read")

	if out := b.Kcat(nil, "-G", "cats", "-q", "-o", "beginning", "-c", "3", "read"); out != "one\ntwo\nthree\n" {
		t.Errorf("kcat -G printed %q", out)
	}
	console := func(args ...string) string {
		return b.Tool("org.apache.kafka.tools.consumer.ConsoleConsumer", append([]string{"--bootstrap-server", b.Addr, "--topic", "read"}, args...)...)
	}
	if out := console("--group", "readers", "--from-beginning", "--max-messages", "2"); out != "one\ntwo\n" {
		t.Errorf("the console consumer printed %q", out)
	}
	// It goes on where it has stopped.
	if out := console("--group", "readers", "--max-messages", "1"); out != "three\n" {
		t.Errorf("the console consumer printed %q the second time", out)
	}

	mentions(t, "--list", groups("--list"), "cats", "readers")
	mentions(t, "--list --state", groups("--list", "--state"), "readers", "Empty")
	mentions(t, "--describe", groups("--describe", "--group", "readers"), "read            0          3               3               0")
	mentions(t, "--describe --state", groups("--describe", "--group", "readers", "--state"), "Empty")
	mentions(t, "--reset-offsets", groups("--reset-offsets", "--group", "readers", "--topic", "read", "--to-offset", "1", "--execute"), "read            0          1")
	if out := console("--group", "readers", "--max-messages", "2"); out != "two\nthree\n" {
		t.Errorf("after the reset the console consumer printed %q", out)
	}
	mentions(t, "--delete-offsets", groups("--delete-offsets", "--group", "readers", "--topic", "read"), "Successful")
	mentions(t, "--delete", groups("--delete", "--group", "readers"), "('readers') was successful")
	if out := groups("--list"); strings.Contains(out, "readers") {
		t.Errorf("a deleted group is listed:\n%s", out)
	}

	// Kafka's own formatters read the records.
	format := func(name string) string {
		return b.Tool("org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", b.Addr, "--topic", "__consumer_offsets",
			"--from-beginning", "--timeout-ms", "3000", "--formatter", "org.apache.kafka.tools.consumer."+name)
	}
	mentions(t, "OffsetsMessageFormatter", format("OffsetsMessageFormatter"), `"group":"readers","topic":"read","partition":0`, `"offset":3`)
	mentions(t, "GroupMetadataMessageFormatter", format("GroupMetadataMessageFormatter"), `"group":"cats"`, `"protocolType":"consumer"`, `"protocol":"range"`)
	b.Stop()
}

// TestGroupDescribeMembers has a group with members described.
func TestGroupDescribeMembers(t *testing.T) {
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"), "--set", "group.initial.rebalance.delay.ms=0")
	cl := groupClient(t, b, kgo.ConsumerGroup("live"), kgo.ConsumeTopics("read"), kgo.ClientID("app"), kgo.InstanceID("first"))
	b.Kcat(strings.NewReader("one\n"), "-P", "-t", "read")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for n := 0; n == 0; {
		f := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			t.Fatal("nothing was read")
		}
		n = f.NumRecords()
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
	out := b.Tool(groupTool, "--describe", "--group", "live", "--members", "--verbose", "--bootstrap-server", b.Addr)
	mentions(t, "--members", out, "first", "/127.0.0.1", "app", "read:0")
	mentions(t, "--offsets", b.Tool(groupTool, "--describe", "--group", "live", "--bootstrap-server", b.Addr), "first-", "app")
	mentions(t, "--state", b.Tool(groupTool, "--describe", "--group", "live", "--state", "--bootstrap-server", b.Addr), "Stable", "cooperative-sticky")
}

func groupClient(t *testing.T, b kit.Server, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Bootstrap()), kgo.AllowAutoTopicCreation()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// TestCommitsSurviveKill kills the broker again and again while offsets are committed: an
// offset that was acknowledged never goes back (G12, P5).
func TestCommitsSurviveKill(t *testing.T) {
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"), "--set", "offsets.topic.num.partitions=3")
	b.Kcat(strings.NewReader("one\n"), "-P", "-t", "read")
	cl := groupClient(t, b)
	adm := kadm.NewClient(cl)
	const groups = 5
	acked := map[string]int64{}
	next := int64(1)
	commit := func(ctx context.Context) error {
		for i := range groups {
			group := fmt.Sprintf("g%d", i)
			offsets := kadm.Offsets{}
			offsets.AddOffset("read", 0, next, -1)
			if err := adm.CommitAllOffsets(ctx, group, offsets); err != nil {
				return err
			}
			acked[group] = next
		}
		next++
		return nil
	}
	for round := range 4 {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		killed := make(chan struct{})
		if err := commit(ctx); err != nil { // the first one waits for the coordinator
			t.Fatal(err)
		}
		go func() {
			defer close(killed)
			<-time.After(time.Duration(100+50*round) * time.Millisecond)
			b.Kill()
			cancel()
		}()
		for commit(ctx) == nil {
		}
		<-killed
		b.Start()
		ctx, cancel = context.WithTimeout(t.Context(), 30*time.Second)
		for group, want := range acked {
			got, err := adm.FetchOffsets(ctx, group)
			if err != nil {
				t.Fatal(err)
			}
			// The last commit may have been written without an answer.
			if o, _ := got.Lookup("read", 0); o.At < want || o.At > next {
				t.Errorf("round %d: group %s is at %d, %d was acknowledged, %d the last that was sent", round, group, o.At, want, next)
			}
		}
		cancel()
	}
	if next < 20 {
		t.Errorf("only %d commits were acknowledged", next)
	}
	b.Stop()
}
