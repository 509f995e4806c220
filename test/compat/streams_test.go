package compat

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// TestStreams counts words with Kafka Streams, at least once and exactly once: repartition
// topics, changelogs, state that is restored after a restart and after the loss of its
// directory, a second instance that takes over, kill -9 of the broker and of an instance.
func TestStreams(t *testing.T) {
	classes := kit.Javac(t, "clients/java/StreamsApp.java")
	b := kit.StartServer(t, "group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=1000", "transaction.state.log.num.partitions=3",
		"offsets.topic.num.partitions=3", "transaction.abort.timed.out.transaction.cleanup.interval.ms=500")
	w := newWords(t, b)
	const alo, eos = "words-at_least_once", "words-exactly_once_v2"
	state := filepath.Join(t.TempDir(), "first")
	app := func(state, guarantees string) *kit.Process {
		p := kit.StartProcess(t, "java", append(kit.AppArgs(t, "StreamsApp", classes), b.Bootstrap(), state, "words", guarantees)...)
		p.Await(time.Minute, "RUNNING")
		return p
	}

	w.say(500)
	first := app(state, "at_least_once,exactly_once_v2")
	w.say(500)
	w.counted(alo)
	w.counted(eos)
	w.internalTopics(alo, eos)
	first.Stop()
	if out := first.Output(); !strings.Contains(out, "CLOSED") || strings.Contains(out, "NOT CLOSED") {
		t.Errorf("the application did not close well:\n%s", out)
	}
	w.nothingLeft(eos)

	// A restart goes on with the state of its directory, while the broker is killed.
	first = app(state, "exactly_once_v2")
	for range 3 {
		w.say(300)
		b.Kill()
		b.Start()
	}
	w.counted(eos)
	// An instance without any state takes over from one that is killed.
	second := app(filepath.Join(t.TempDir(), "second"), "exactly_once_v2")
	w.say(300)
	first.Kill()
	w.say(300)
	w.counted(eos)
	second.Stop()
	w.nothingLeft(eos)
}

// words is the input of a word count, and what has to come out.
type words struct {
	t   *testing.T
	cl  *kgo.Client
	adm *kadm.Client
	// said counts the words of the input.
	said map[string]int64
}

func newWords(t *testing.T, b kit.Server) *words {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Bootstrap()), kgo.DefaultProduceTopic("words-in"), kgo.RetryTimeout(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	createTopics(t, cl, 3, "words-in", "words-at_least_once-out", "words-exactly_once_v2-out")
	return &words{t: t, cl: cl, adm: kadm.NewClient(cl), said: map[string]int64{}}
}

func createTopics(t *testing.T, cl *kgo.Client, partitions int32, names ...string) {
	t.Helper()
	topics, err := kadm.NewClient(cl).CreateTopics(t.Context(), partitions, 1, nil, names...)
	if err == nil {
		err = topics.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// say writes lines of some words each.
func (w *words) say(lines int) {
	w.t.Helper()
	for range lines {
		var line []string
		for range 4 {
			word := fmt.Sprint("word", rand.IntN(200))
			w.said[word]++
			line = append(line, word)
		}
		w.cl.Produce(w.t.Context(), kgo.StringRecord(strings.Join(line, " ")), func(_ *kgo.Record, err error) {
			if err != nil {
				w.t.Error(err)
			}
		})
	}
	if err := w.cl.Flush(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// counted waits until the last counts that the application has committed are those of the
// input; a count never passes that, and never goes back.
func (w *words) counted(app string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cl.OptValue(kgo.SeedBrokers).([]string)...), kgo.ConsumeTopics(app+"-out"),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer cl.Close()
	got := map[string]int64{}
	for !maps.Equal(got, w.said) {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			word, n := string(r.Key), int64(binary.BigEndian.Uint64(r.Value))
			if n != got[word]+1 || n > w.said[word] {
				w.t.Errorf("%s: %q is counted %d after %d, it was said %d times", app, word, n, got[word], w.said[word])
			}
			got[word] = n
		})
		if ctx.Err() != nil {
			w.t.Fatalf("%s: %d of %d words have their counts", app, len(got), len(w.said))
		}
	}
}

// internalTopics looks at the topics that the application has made for itself.
func (w *words) internalTopics(apps ...string) {
	w.t.Helper()
	for _, app := range apps {
		for _, want := range []struct{ topic, setting, value string }{
			{"by-word-repartition", "cleanup.policy", "delete"},
			{"by-word-repartition", "retention.ms", "-1"},
			{"counts-changelog", "cleanup.policy", "compact"},
			{"hours-changelog", "cleanup.policy", "compact,delete"},
		} {
			configs, err := w.adm.DescribeTopicConfigs(w.t.Context(), app+"-"+want.topic)
			if err != nil {
				w.t.Fatal(err)
			}
			got := ""
			for _, c := range configs[0].Configs {
				if c.Key == want.setting {
					got = c.MaybeValue()
				}
			}
			if got != want.value {
				w.t.Errorf("%s-%s has %s=%q, want %q", app, want.topic, want.setting, got, want.value)
			}
		}
	}
}

// nothingLeft is for a group whose members have left: all of its input is committed, and what
// it was done with is deleted from the repartition topic.
func (w *words) nothingLeft(app string) {
	w.t.Helper()
	ctx := w.t.Context()
	groups, err := w.adm.DescribeGroups(ctx, app)
	if err != nil || groups[app].State != "Empty" || groups[app].ProtocolType != "consumer" {
		w.t.Errorf("%s: %+v %v", app, groups, err)
	}
	lag, err := w.adm.Lag(ctx, app)
	if err != nil {
		w.t.Fatal(err)
	}
	if n := lag[app].Lag.TotalByTopic()["words-in"].Lag; n != 0 {
		w.t.Errorf("%s has a lag of %d", app, n)
	}
	starts, err := w.adm.ListStartOffsets(ctx, app+"-by-word-repartition")
	if err != nil {
		w.t.Fatal(err)
	}
	deleted := int64(0)
	starts.Each(func(o kadm.ListedOffset) { deleted += o.Offset })
	if deleted == 0 {
		w.t.Errorf("%s: nothing was deleted from the repartition topic", app)
	}
}
