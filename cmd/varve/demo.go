package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker"
)

// The demonstration writes about 12 MB in 1 MiB segments, the smallest that Kafka allows.
const (
	demoTopic   = "orders"
	demoRecords = 50_000
	demoLimit   = 60 * time.Second
)

func demoCommand() *cobra.Command {
	var tier string
	var keep bool
	cmd := &cobra.Command{
		Use: "demo", Short: "Run a throw-away node and show the main job: produce, tier, evict, read back",
		Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := os.MkdirTemp("", "varve-demo-")
			if err != nil {
				return err
			}
			if keep {
				fmt.Fprintln(cmd.ErrOrStderr(), "keeping", dir)
			} else {
				defer os.RemoveAll(dir)
			}
			if tier == "" {
				tier = "file://" + filepath.Join(dir, "store")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), demoLimit)
			defer cancel()
			return runDemo(ctx, cmd.OutOrStdout(), dir, tier)
		},
	}
	cmd.Flags().StringVar(&tier, "tier", "", "object store `URL`; default: a directory beside the logs")
	cmd.Flags().BoolVar(&keep, "keep", false, "leave the data directory in place")
	return cmd
}

// demo is one telling of the story.
type demo struct {
	w     io.Writer
	node  *broker.Node
	cl    *kgo.Client
	adm   *kadm.Client
	start time.Time
}

func runDemo(ctx context.Context, w io.Writer, dir, tier string) (err error) {
	d := &demo{w: w, start: time.Now()}
	settings := devSettings{dir: filepath.Join(dir, "node"), kafka: "127.0.0.1:0", admin: "127.0.0.1:0", tier: tier,
		set: []string{"remote.log.manager.task.interval.ms=50", "log.retention.check.interval.ms=50"}}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if d.node, err = settings.start(ctx, logger); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.node.Stop(context.WithoutCancel(ctx))) }()
	d.say("broker is up", "Kafka protocol on %s, object store %s", d.node.KafkaAddr(), tier)
	if d.cl, err = kgo.NewClient(kgo.SeedBrokers(d.node.KafkaAddr()), kgo.DefaultProduceTopic(demoTopic),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(128<<10)); err != nil {
		return err
	}
	defer d.cl.Close()
	d.adm = kadm.NewClient(d.cl)
	for _, step := range []func(context.Context) error{d.create, d.produce, d.waitTiered, d.readBack} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nTry it yourself:\n"+
		"  varve dev                                                     # a node on 127.0.0.1:9092 that stays\n"+
		"  kcat -b 127.0.0.1:9092 -P -t orders                           # produce, one line a record\n"+
		"  kcat -b 127.0.0.1:9092 -C -t orders -o beginning -e           # read back\n"+
		"  kafka-console-consumer.sh --bootstrap-server 127.0.0.1:9092 --topic orders --partition 0 --offset earliest\n"+
		"  varve tier status                                             # which offsets lie where\n")
	return nil
}

func (d *demo) say(what, format string, args ...any) {
	fmt.Fprintf(d.w, "%5.2fs  %-13s %s\n", time.Since(d.start).Seconds(), what, fmt.Sprintf(format, args...))
}

func (d *demo) create(ctx context.Context) error {
	on, size, local := "true", "1048576", "1048576"
	_, err := d.adm.CreateTopic(ctx, 1, 1, map[string]*string{"remote.storage.enable": &on, "segment.bytes": &size, "local.retention.bytes": &local}, demoTopic)
	if err != nil {
		return explain("creating the topic", err, "")
	}
	d.say("topic created", "%s: 1 MiB segments, remote.storage.enable, keeps 1 MiB on the local disk", demoTopic)
	return nil
}

// demoValue is the i-th record: any reader can compute what it must be.
func demoValue(i int) []byte {
	return fmt.Appendf(nil, `{"order":%d,"customer":%d,"cents":%d,"note":"%0180d"}`, i, i%977, i*31%100_000, i)
}

func (d *demo) produce(ctx context.Context) error {
	var failed error
	bytes := 0
	for i := range demoRecords {
		v := demoValue(i)
		bytes += len(v)
		d.cl.Produce(ctx, &kgo.Record{Value: v}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed = err // promises run one after the other; Flush waits for the last
			}
		})
	}
	if err := errors.Join(d.cl.Flush(ctx), failed); err != nil {
		return fmt.Errorf("producing: %w", err)
	}
	d.say("produced", "%d records, %.1f MB, acks=all, idempotent", demoRecords, float64(bytes)/1e6)
	return nil
}

// waitTiered waits until all closed segments are in the store and all but the last MiB left the disk.
func (d *demo) waitTiered(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		rows, err := tierStatus(ctx, d.adm, demoTopic)
		if err != nil {
			return fmt.Errorf("tier status: %w", err)
		}
		r := rows[0]
		if r.End == demoRecords && r.LocalStart > r.End*3/4 {
			d.say("tiered", "offsets 0–%d are in the object store", r.RemoteEnd-1)
			d.say("evicted", "the local disk begins at offset %d   %s", r.LocalStart, r.band(32))
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the log was not tiered in time: it starts at %d, locally at %d, remotely ends at %d, ends at %d", r.Start, r.LocalStart, r.RemoteEnd, r.End)
		case <-tick.C:
		}
	}
}

func (d *demo) readBack(ctx context.Context) error {
	before := d.node.Served()
	d.cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{demoTopic: {0: kgo.NewOffset().At(0)}})
	next := 0
	for next < demoRecords {
		fetches := d.cl.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			return fmt.Errorf("reading back: %w", err)
		}
		var wrong error
		fetches.EachRecord(func(r *kgo.Record) {
			if wrong == nil && (r.Offset != int64(next) || !bytes.Equal(r.Value, demoValue(next))) {
				wrong = fmt.Errorf("offset %d holds something else than what was written at %d", r.Offset, next)
			}
			next++
		})
		if wrong != nil {
			return wrong
		}
	}
	after := d.node.Served()
	d.say("read back ✓", "%d records from offset 0, each identical: %.1f MB from the object store, %.1f MB from the local disk",
		next, float64(after.RemoteBytes-before.RemoteBytes)/1e6, float64(after.LocalBytes-before.LocalBytes)/1e6)
	return nil
}
