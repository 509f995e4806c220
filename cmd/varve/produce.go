package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// maxLineBytes is the longest line that produce takes as one record.
const maxLineBytes = 64 << 20

func produceCommand() *cobra.Command {
	var cf clientFlags
	var separator, codec string
	var partition int32
	cmd := &cobra.Command{
		Use: "produce TOPIC", Short: "Write each line of stdin as a record", Args: exactArgs(1, "one topic name"),
		Example: "  seq 1000 | varve produce orders\n  echo 'k1:hello' | varve produce orders --key-separator :",
		RunE: func(cmd *cobra.Command, args []string) error {
			opts := []kgo.Opt{kgo.UnknownTopicRetries(2)}
			if partition >= 0 {
				opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
			}
			c, err := parseCodec(codec)
			if err != nil {
				return err
			}
			cl, err := cf.client(cmd.Context(), append(opts, kgo.ProducerBatchCompression(c))...)
			if err != nil {
				return err
			}
			defer cl.Close()
			p := startProgress(cmd.ErrOrStderr(), "acknowledged %d record(s)")
			err = produceLines(cmd.Context(), cl, cmd.InOrStdin(), &p.n, args[0], separator, partition)
			p.end()
			return explain("producing to "+args[0], err, "")
		},
	}
	cf.add(cmd)
	cmd.Flags().StringVar(&separator, "key-separator", "", "split each line into key and value at the first `STRING`")
	cmd.Flags().StringVar(&codec, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	cmd.Flags().Int32Var(&partition, "partition", -1, "write to this partition only")
	return cmd
}

func parseCodec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.CompressionCodec{}, fmt.Errorf("%w: --compression takes none, gzip, snappy, lz4 or zstd, not %q", errUsage, name)
}

// produceLines sends the lines of r and counts in acked how many were acknowledged.
// The first failed record stops the reading; what is in flight is waited for.
func produceLines(ctx context.Context, cl *kgo.Client, r io.Reader, acked *atomic.Int64, topic, separator string, partition int32) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var once sync.Once
	var failed error
	done := func(_ *kgo.Record, err error) {
		if err == nil {
			acked.Add(1)
			return
		}
		once.Do(func() { failed = err; cancel() })
	}
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 64<<10), maxLineBytes)
	for ctx.Err() == nil && in.Scan() {
		rec := &kgo.Record{Topic: topic, Partition: max(partition, 0)}
		line := append([]byte(nil), in.Bytes()...)
		if key, value, ok := strings.Cut(string(line), separator); separator != "" && ok {
			rec.Key, rec.Value = []byte(key), []byte(value)
		} else {
			rec.Value = line
		}
		cl.Produce(ctx, rec, done)
	}
	flushErr := cl.Flush(context.WithoutCancel(ctx))
	if errors.Is(in.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("a line is longer than %d bytes", maxLineBytes)
	}
	return errors.Join(failed, in.Err(), flushErr)
}
