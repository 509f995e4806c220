package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

const workerConfig = `bootstrap.servers=%[1]s
listeners=http://%[2]s
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.storage.StringConverter
plugin.discovery=service_load
offset.flush.interval.ms=300
`

const distributedConfig = workerConfig + `group.id=connect
exactly.once.source.support=enabled
config.storage.topic=connect-configs
offset.storage.topic=connect-offsets
status.storage.topic=connect-status
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
offset.storage.partitions=3
status.storage.partitions=2
session.timeout.ms=3000
heartbeat.interval.ms=500
scheduled.rebalance.max.delay.ms=0
`

// TestConnectDistributed has two workers of Kafka Connect carry lines from a file to a topic,
// exactly once, and from there to another file: internal topics, REST, rebalances, a killed
// worker, a killed broker, and a restart that goes on where it was.
func TestConnectDistributed(t *testing.T) {
	c := newConnect(t)
	first := c.worker()
	c.put("source", map[string]string{"connector.class": "FileStreamSource", "file": c.in, "topic": "lines", "batch.size": "100", "tasks.max": "1"})
	c.put("sink", map[string]string{"connector.class": "FileStreamSink", "file": c.out, "topics": "lines", "tasks.max": "2",
		"consumer.override.session.timeout.ms": "2000", "consumer.override.heartbeat.interval.ms": "300"})
	c.write(200)
	c.carried()
	for topic, partitions := range map[string]int{"connect-configs": 1, "connect-offsets": 3, "connect-status": 2} {
		c.compacted(topic, partitions)
	}

	// Another worker takes its share, and all of it when the first one is killed.
	second := c.worker()
	c.shared(first.rest, second.rest)
	c.write(200)
	first.Kill()
	c.shared(second.rest)
	c.write(200)
	c.carried()

	// Both file and topic go on where they were after a kill of the broker, and after a
	// restart of the worker.
	c.write(200)
	c.b.Kill()
	c.b.Start()
	c.write(200)
	c.carried()
	second.Stop()
	c.write(200)
	third := c.worker()
	c.carried()
	c.offsetsOverREST()
	third.Stop()
}

// TestConnectStandalone is one worker that keeps its offsets in a file.
func TestConnectStandalone(t *testing.T) {
	c := newConnect(t)
	worker := c.file("worker.properties", fmt.Sprintf(workerConfig, c.b.Bootstrap(), kit.FreeAddr(t))+"offset.storage.file.filename="+filepath.Join(c.dir, "offsets"))
	source := c.file("source.properties", "name=source\nconnector.class=FileStreamSource\ntopic=lines\nbatch.size=100\nfile="+c.in)
	sink := c.file("sink.properties", "name=sink\nconnector.class=FileStreamSink\ntopics=lines\nfile="+c.out)
	for range 2 {
		c.write(200)
		p := kit.StartProcess(t, "java", append(kit.AppArgs(t, "org.apache.kafka.connect.cli.ConnectStandalone"), worker, source, sink)...)
		c.carried()
		p.Stop()
	}
	if got := slices.Sorted(slices.Values(linesOf(t, c.out))); !slices.Equal(got, c.lines) {
		t.Errorf("the file has %d lines, %d were written, and nothing was killed", len(got), len(c.lines))
	}
}

// connect is a broker with a topic, and two files beside it.
type connect struct {
	t       *testing.T
	b       kit.Server
	cl      *kgo.Client
	adm     *kadm.Client
	dir     string
	in, out string // files
	lines   []string
	rest    string // the address of the youngest worker
}

func newConnect(t *testing.T) *connect {
	t.Helper()
	dir := t.TempDir()
	c := &connect{t: t, dir: dir, in: filepath.Join(dir, "in.txt"), out: filepath.Join(dir, "out.txt")}
	kit.AppArgs(t, "") // skips the test where there is no Connect
	c.b = kit.StartServer(t, "group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=1000", "transaction.state.log.num.partitions=3",
		"offsets.topic.num.partitions=3")
	var err error
	if c.cl, err = kgo.NewClient(kgo.SeedBrokers(c.b.Bootstrap())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.cl.Close)
	c.adm = kadm.NewClient(c.cl)
	createTopics(t, c.cl, 2, "lines")
	return c
}

// connectWorker is a distributed worker.
type connectWorker struct {
	*kit.Process
	rest string // address
}

// worker starts a distributed worker.
func (c *connect) worker() connectWorker {
	c.t.Helper()
	c.rest = kit.FreeAddr(c.t)
	config := c.file("worker-"+c.rest, fmt.Sprintf(distributedConfig, c.b.Bootstrap(), c.rest))
	p := kit.StartProcess(c.t, "java", append(kit.AppArgs(c.t, "org.apache.kafka.connect.cli.ConnectDistributed"), config)...)
	kit.Eventually(c.t, time.Minute, "the worker answers", func() error { return c.call(http.MethodGet, "/connectors", nil, nil) })
	return connectWorker{p, c.rest}
}

func (c *connect) file(name, text string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
	return path
}

// call asks the youngest worker.
func (c *connect) call(method, path string, body, answer any) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.rest+path, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s %s %w", method, path, res.Status, text, err)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(text, answer)
}

// put creates a connector; a worker in a rebalance says that it cannot now.
func (c *connect) put(name string, config map[string]string) {
	c.t.Helper()
	kit.Eventually(c.t, 30*time.Second, "the connector is there", func() error {
		return c.call(http.MethodPut, "/connectors/"+name+"/config", config, nil)
	})
}

// write adds lines to the file that is read.
func (c *connect) write(n int) {
	c.t.Helper()
	f, err := os.OpenFile(c.in, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		c.t.Fatal(err)
	}
	defer f.Close()
	for range n {
		line := fmt.Sprintf("line %06d", len(c.lines))
		c.lines = append(c.lines, line)
		if _, err := fmt.Fprintln(f, line); err != nil {
			c.t.Fatal(err)
		}
	}
}

// carried waits until all lines are in the file that is written, where some may be there twice
// after a kill, and looks for each of them once in the topic.
func (c *connect) carried() {
	c.t.Helper()
	kit.Eventually(c.t, time.Minute, "all lines are in the other file", func() error {
		lines := linesOf(c.t, c.out)
		slices.Sort(lines)
		if got := slices.Compact(lines); !slices.Equal(got, c.lines) {
			return fmt.Errorf("%d of %d lines", len(got), len(c.lines))
		}
		return nil
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.b.Bootstrap()), kgo.ConsumeTopics("lines"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(c.t.Context(), 30*time.Second)
	defer cancel()
	var got []string
	for len(got) < len(c.lines) && ctx.Err() == nil {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	if slices.Sort(got); !slices.Equal(got, c.lines) {
		c.t.Errorf("the topic has %d records, want each of %d lines once", len(got), len(c.lines))
	}
}

func linesOf(t *testing.T, file string) []string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	lines := strings.Split(string(raw), "\n")
	return lines[:len(lines)-1] // the last one is empty, or not whole yet
}

// compacted looks at a topic that Connect has made for itself.
func (c *connect) compacted(topic string, partitions int) {
	c.t.Helper()
	configs, err := c.adm.DescribeTopicConfigs(c.t.Context(), topic)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, s := range configs[0].Configs {
		if s.Key == "cleanup.policy" && s.MaybeValue() != "compact" {
			c.t.Errorf("%s: cleanup.policy is %q", topic, s.MaybeValue())
		}
	}
	topics, err := c.adm.ListTopics(c.t.Context(), topic)
	if err != nil || len(topics[topic].Partitions) != partitions {
		c.t.Errorf("%s has %d partitions, want %d: %v", topic, len(topics[topic].Partitions), partitions, err)
	}
}

// shared waits until all tasks run, and on exactly these workers.
func (c *connect) shared(workers ...string) {
	c.t.Helper()
	slices.Sort(workers)
	kit.Eventually(c.t, 30*time.Second, "tasks are spread", func() error {
		var on []string
		for _, name := range []string{"source", "sink"} {
			var status struct {
				Connector struct{ State string }
				Tasks     []struct {
					State    string
					WorkerID string `json:"worker_id"`
				}
			}
			if err := c.call(http.MethodGet, "/connectors/"+name+"/status", nil, &status); err != nil {
				return err
			}
			for _, task := range status.Tasks {
				if task.State != "RUNNING" || status.Connector.State != "RUNNING" {
					return fmt.Errorf("%s: %+v", name, status)
				}
				on = append(on, task.WorkerID)
			}
		}
		slices.Sort(on)
		if got := slices.Compact(on); !slices.Equal(got, workers) {
			return fmt.Errorf("tasks are on %v, want %v", got, workers)
		}
		return nil
	})
}

// offsetsOverREST reads the offsets of both connectors, and takes those of the sink away: it
// reads the topic anew.
func (c *connect) offsetsOverREST() {
	c.t.Helper()
	type offsets struct {
		Offsets []struct {
			Offset struct {
				Position    int64 // in the file
				KafkaOffset int64 `json:"kafka_offset"`
			}
		}
	}
	kit.Eventually(c.t, 30*time.Second, "offsets are those of what was carried", func() error {
		var source, sink offsets
		if err := c.call(http.MethodGet, "/connectors/source/offsets", nil, &source); err != nil {
			return err
		}
		if err := c.call(http.MethodGet, "/connectors/sink/offsets", nil, &sink); err != nil {
			return err
		}
		info, err := os.Stat(c.in)
		if err != nil {
			return err
		}
		if len(source.Offsets) != 1 || source.Offsets[0].Offset.Position != info.Size() {
			return fmt.Errorf("source: %+v, the file has %d bytes", source, info.Size())
		}
		// Each transaction has a marker behind it, so that offsets are more than lines.
		read := int64(0)
		for _, o := range sink.Offsets {
			read += o.Offset.KafkaOffset
		}
		if read < int64(len(c.lines)) {
			return fmt.Errorf("sink: %+v, the topic has %d lines", sink, len(c.lines))
		}
		return nil
	})
	if err := c.call(http.MethodPut, "/connectors/sink/stop", nil, nil); err != nil {
		c.t.Fatal(err)
	}
	kit.Eventually(c.t, 30*time.Second, "offsets are deleted", func() error {
		return c.call(http.MethodDelete, "/connectors/sink/offsets", nil, nil)
	})
	before := len(linesOf(c.t, c.out))
	if err := c.call(http.MethodPut, "/connectors/sink/resume", nil, nil); err != nil {
		c.t.Fatal(err)
	}
	kit.Eventually(c.t, 30*time.Second, "the topic is read anew", func() error {
		if n := len(linesOf(c.t, c.out)) - before; n != len(c.lines) {
			return fmt.Errorf("%d of %d lines", n, len(c.lines))
		}
		return nil
	})
}
