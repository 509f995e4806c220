package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/cmd/varve/load"
)

// benchFlags are the flags of the verbs of 'varve bench', of which each has some.
type benchFlags struct {
	cf                         clientFlags
	out                        output
	plan                       load.Plan
	configs                    []string
	payload, compression, acks string
}

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "bench", Short: "Measure what a cluster gives to producers and consumers",
		Long: "Measure what a Kafka-compatible cluster gives to producers and consumers.\n\n" +
			"Without --topic a temporary topic is made and, also after Ctrl-C, removed; what is read is checked against what was\n" +
			"written: its number, its order and its checksums. A line each second on stderr says how things stand; the result is\n" +
			"on stdout. MB are 10⁶ bytes of record values. With --rate a record is due at its time whether or not the cluster keeps\n" +
			"up, and its latency begins there: what waits behind a slow answer is not left out.",
	}
	cmd.AddCommand(benchProduceCommand(), benchConsumeCommand(), benchE2ECommand(), benchTierCommand())
	return cmd
}

// command makes one verb of these flags.
func (b *benchFlags) command(use, short, long, example string, measure func(load.Plan, context.Context) ([]load.Row, error)) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Long: long, Example: example, Args: exactArgs(0, "no arguments"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.check(cmd); err != nil {
				return err
			}
			b.plan.Connect, b.plan.Progress = b.cf.client, cmd.ErrOrStderr()
			rows, err := measure(b.plan, cmd.Context())
			if len(rows) > 0 {
				if perr := b.print(cmd.OutOrStdout(), rows); perr != nil {
					return perr
				}
			}
			return explain(cmd.CommandPath()[len("varve "):], err, "")
		},
	}
	b.cf.add(cmd)
	b.out.add(cmd)
	f := cmd.Flags()
	f.Int32Var(&b.plan.Partitions, "partitions", 1, "partitions of the temporary topic")
	f.Int16Var(&b.plan.Replication, "replication", -1, "replicas of the temporary topic; -1 = as the cluster does")
	f.StringArrayVar(&b.configs, "config", nil, "`NAME=VALUE` of the temporary topic (repeatable)")
	f.Int64Var(&b.plan.Records, "records", 0, "stop after `N` records")
	f.IntVar(&b.plan.RecordBytes, "record-size", 1024, "`BYTES` of each record's value")
	f.StringVar(&b.payload, "payload", "random", "content of the records, `random|compressible:RATIO|file:PATH`")
	return cmd
}

// addTopic adds the flags of verbs that take a topic that exists.
func (b *benchFlags) addTopic(cmd *cobra.Command) {
	cmd.Flags().StringVar(&b.plan.Topic, "topic", "", "use the topic `NAME`, which exists and stays; default: a temporary one")
	cmd.Flags().DurationVar(&b.plan.Duration, "duration", 0, "stop after this `TIME`, as 30s")
	asked(cmd, &b.cf, "topic", topicNames)
}

// addProducer adds the flags of producers.
func (b *benchFlags) addProducer(cmd *cobra.Command, linger time.Duration) {
	f := cmd.Flags()
	f.Int32Var(&b.plan.BatchBytes, "batch-bytes", 128<<10, "largest batch, in `BYTES` before compression")
	f.DurationVar(&b.plan.Linger, "linger", linger, "`TIME` that a batch waits for more records")
	f.StringVar(&b.acks, "acks", "all", "who acknowledges, `all|1|0`")
	f.BoolVar(&b.plan.Idempotent, "idempotent", true, "write each record exactly once; needs --acks all")
	f.IntVar(&b.plan.InFlight, "in-flight", 5, "requests in flight per broker; 5 when idempotent")
	f.StringVar(&b.compression, "compression", "none", "`none|gzip|snappy|lz4|zstd`")
	fixed(cmd, "acks", "all", "1", "0")
	fixed(cmd, "compression", "none", "gzip", "snappy", "lz4", "zstd")
}

// fixProducer is for verbs whose producers only fill a topic.
func (b *benchFlags) fixProducer() {
	b.plan.BatchBytes, b.plan.Linger, b.plan.Idempotent, b.acks, b.compression = 128<<10, 5*time.Millisecond, true, "all", "none"
}

func (b *benchFlags) addReader(cmd *cobra.Command) {
	cmd.Flags().Int32Var(&b.plan.FetchBytes, "fetch-bytes", 1<<20, "largest part of an answer per partition, in `BYTES`")
}

func benchProduceCommand() *cobra.Command {
	var b benchFlags
	cmd := b.command("produce", "Measure producers: throughput, and time to the acknowledgement", "",
		"  varve bench produce --records 1000000 --batch-bytes 16384\n  varve bench produce --rate 5000 --duration 1m --partitions 6 --compression zstd --payload compressible:4", load.Plan.Produce)
	b.addTopic(cmd)
	b.addProducer(cmd, 5*time.Millisecond)
	cmd.Flags().Float64Var(&b.plan.Rate, "rate", 0, "`RECORDS` per second, of all clients together; 0 = as fast as they can")
	cmd.Flags().IntVar(&b.plan.Clients, "clients", 1, "producers at once, each with connections of its own")
	return cmd
}

func benchConsumeCommand() *cobra.Command {
	var b benchFlags
	cmd := b.command("consume", "Measure consumers: throughput from the start of a topic", "Measure consumers: throughput from the start of a topic to what was its end when the command began.\n"+
		"A temporary topic is filled first, with --records (default 1000000) of --record-size. In a group the time begins with\n"+
		"the first record; FIRST-MS is how long it took to get there.",
		"  varve bench consume --topic orders --clients 3 --in-group\n  varve bench consume --records 2000000 --partitions 6 -o json", load.Plan.Consume)
	b.addTopic(cmd)
	b.addReader(cmd)
	cmd.Flags().BoolVar(&b.plan.InGroup, "in-group", false, "read as members of a temporary group, which is removed; else each client reads its share of partitions")
	cmd.Flags().IntVar(&b.plan.Clients, "clients", 1, "consumers at once")
	b.fixProducer()
	return cmd
}

func benchE2ECommand() *cobra.Command {
	var b benchFlags
	cmd := b.command("e2e", "Measure the time from a record's due time to its arrival at a consumer", "Measure the time from when a record is due to its arrival at a consumer that waits for it: one producer,\none consumer, open loop.",
		"  varve bench e2e --rate 1000 --duration 30s\n  varve bench e2e --topic orders --rate 100 --records 5000 --acks 1 --idempotent=false", load.Plan.EndToEnd)
	b.addTopic(cmd)
	b.addProducer(cmd, 0)
	cmd.Flags().Float64Var(&b.plan.Rate, "rate", 1000, "`RECORDS` per second")
	return cmd
}

func benchTierCommand() *cobra.Command {
	var b benchFlags
	cmd := b.command("tier", "Measure tiered storage: upload, first byte and throughput of cold reads",
		"Measure tiered storage: write a temporary topic of small segments, wait until the closed ones are in the object store and\n"+
			"gone from the local disks, read single batches at random places, then all. The row upload begins with the first record\n"+
			"that was written, and its FIRST-MS is until the first segment was in the store. How soon a cluster moves segments is a\n"+
			"setting of its own: remote.log.manager.task.interval.ms and log.retention.check.interval.ms.",
		"  varve bench tier --records 500000 --partitions 4 --segment-bytes 16777216", load.Plan.Tier)
	f := cmd.Flags()
	f.Int64Var(&b.plan.SegmentBytes, "segment-bytes", 8<<20, "`BYTES` of each segment")
	f.IntVar(&b.plan.Reads, "reads", 32, "single batches to read")
	f.IntVar(&b.plan.Clients, "clients", 1, "producers, and consumers, at once")
	f.DurationVar(&b.plan.Patience, "timeout", 15*time.Minute, "how long to wait for uploads, and for evictions")
	b.addReader(cmd)
	b.fixProducer()
	return cmd
}

// Defaults of runs without an end.
const (
	benchRecords  = 1_000_000
	benchDuration = 10 * time.Second
)

// check completes the plan, and says what in the flags does not go together.
func (b *benchFlags) check(cmd *cobra.Command) (err error) {
	p := &b.plan
	flags := cmd.Flags()
	if flags.Lookup("clients") == nil {
		p.Clients = 1
	}
	switch {
	case p.Partitions < 1 || p.RecordBytes < 1 || p.Clients < 1 || p.Records < 0 || p.Duration < 0 || p.Rate < 0:
		return fmt.Errorf("%w: --partitions, --record-size and --clients are above 0; --records, --duration and --rate are not below", errUsage)
	case flags.Lookup("linger") != nil && (p.BatchBytes < 1 || p.InFlight < 1 || p.Linger < 0):
		return fmt.Errorf("%w: --batch-bytes and --in-flight are above 0, --linger is not below", errUsage)
	case flags.Lookup("fetch-bytes") != nil && p.FetchBytes < 1:
		return fmt.Errorf("%w: --fetch-bytes is above 0", errUsage)
	case cmd.Name() == "e2e" && p.Rate == 0:
		return fmt.Errorf("%w: --rate is above 0: without a rate a record's time is that in the producer's buffer", errUsage)
	case cmd.Name() == "tier" && (p.SegmentBytes < int64(p.RecordBytes) || p.Reads < 0 || p.Patience <= 0):
		return fmt.Errorf("%w: --segment-bytes is at least --record-size, --reads is not below 0, --timeout is above 0", errUsage)
	case p.Topic != "" && (flags.Changed("partitions") || flags.Changed("replication") || flags.Changed("config")):
		return fmt.Errorf("%w: --partitions, --replication and --config are of a temporary topic: leave out --topic", errUsage)
	}
	if err := b.codecAndAcks(cmd); err != nil {
		return err
	}
	if p.Payload, err = load.ParsePayload(b.payload, p.RecordBytes); err != nil {
		return fmt.Errorf("%w: --payload and --record-size: %w", errUsage, err)
	}
	if p.Configs, err = keyValues(b.configs); err != nil {
		return err
	}
	temporary := p.Topic == ""
	switch fills := cmd.Name() == "consume" || cmd.Name() == "tier"; {
	case p.Records > 0:
	case fills && temporary:
		p.Records = benchRecords
	case !fills && p.Duration == 0:
		p.Duration = benchDuration
	}
	return nil
}

func (b *benchFlags) codecAndAcks(cmd *cobra.Command) (err error) {
	if b.plan.Codec, err = parseCodec(b.compression); err != nil {
		return err
	}
	switch b.acks {
	case "all", "-1":
		b.plan.Acks = kgo.AllISRAcks()
	case "1":
		b.plan.Acks = kgo.LeaderAck()
	case "0":
		b.plan.Acks = kgo.NoAck()
	default:
		return fmt.Errorf("%w: --acks takes all, 1 or 0, not %q", errUsage, b.acks)
	}
	explicit := cmd.Flags().Changed("idempotent")
	switch {
	case b.plan.Acks != kgo.AllISRAcks() && b.plan.Idempotent && explicit:
		return fmt.Errorf("%w: --idempotent needs --acks all", errUsage)
	case b.plan.Acks != kgo.AllISRAcks():
		b.plan.Idempotent = false
	case b.plan.Idempotent && b.plan.InFlight != 5 && cmd.Flags().Changed("in-flight"):
		return fmt.Errorf("%w: an idempotent producer has 5 requests in flight: add --idempotent=false to have another number", errUsage)
	}
	return nil
}

func (b *benchFlags) print(w io.Writer, rows []load.Row) error {
	return b.out.print(w, rows, "PHASE RECORDS SECONDS RECORDS/S MB/S FIRST-MS P50-MS P95-MS P99-MS P99.9-MS MAX-MS ERRORS VERIFIED", func(w io.Writer) {
		for _, r := range rows {
			first, times := "-", "-\t-\t-\t-\t-"
			if r.FirstMs != nil {
				first = fmt.Sprintf("%.1f", *r.FirstMs)
			}
			if l := r.Latency; l != nil {
				times = fmt.Sprintf("%.2f\t%.2f\t%.2f\t%.2f\t%.2f", l.P50, l.P95, l.P99, l.P999, l.Max)
			}
			fmt.Fprintf(w, "%s\t%d\t%.2f\t%.0f\t%.2f\t%s\t%s\t%d\t%d\n", r.Phase, r.Records, r.Seconds, r.PerSecond, r.MBPerSec, first, times, r.Errors, r.Verified)
		}
	})
}
