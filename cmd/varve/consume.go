package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// errEnough ends a consumer that has printed what was asked for.
var errEnough = errors.New("enough")

// consumer is one run of the consume verb.
type consumer struct {
	topic   string
	limit   int64 // records to print; 0 = no limit
	exitEOF bool
	asJSON  bool
	w       *bufio.Writer
	ends    map[int32]int64 // where each partition ended at the start; nil unless exitEOF
	printed int64
}

func consumeCommand() *cobra.Command {
	var cf clientFlags
	var offset, format string
	c := consumer{}
	cmd := &cobra.Command{
		Use: "consume TOPIC", Short: "Print records, one value a line", Args: exactArgs(1, "one topic name"),
		Example: "  varve consume orders -o start --exit-eof\n  varve consume orders -o @2026-01-01T00:00:00Z -n 10 --format json",
		RunE: func(cmd *cobra.Command, args []string) error {
			if format != "value" && format != "json" {
				return fmt.Errorf("%w: --format takes value or json, not %q", errUsage, format)
			}
			start, err := parseOffset(offset)
			if err != nil {
				return err
			}
			c.topic, c.asJSON, c.w = args[0], format == "json", bufio.NewWriterSize(cmd.OutOrStdout(), 256<<10)
			err = c.run(cmd.Context(), &cf, start)
			return explain("consuming "+args[0], errors.Join(err, c.w.Flush()), "")
		},
	}
	cf.add(cmd)
	cmd.Flags().StringVarP(&offset, "offset", "o", "end", "where to begin: `start|end|N|@TIME` (TIME: RFC 3339 or ms since 1970)")
	cmd.Flags().Int64VarP(&c.limit, "num", "n", 0, "stop after this many records; 0 = no limit")
	cmd.Flags().BoolVar(&c.exitEOF, "exit-eof", false, "stop at what was the end when the command began")
	cmd.Flags().StringVar(&format, "format", "value", "`value|json`")
	return cmd
}

func parseOffset(s string) (kgo.Offset, error) {
	switch {
	case s == "start":
		return kgo.NewOffset().AtStart(), nil
	case s == "end":
		return kgo.NewOffset().AtEnd(), nil
	case strings.HasPrefix(s, "@"):
		if ms, err := strconv.ParseInt(s[1:], 10, 64); err == nil {
			return kgo.NewOffset().AfterMilli(ms), nil
		}
		t, err := time.Parse(time.RFC3339, s[1:])
		if err != nil {
			return kgo.Offset{}, fmt.Errorf("%w: %q is no time; want @2026-01-31T12:00:00Z or @milliseconds", errUsage, s)
		}
		return kgo.NewOffset().AfterMilli(t.UnixMilli()), nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return kgo.Offset{}, fmt.Errorf("%w: --offset takes start, end, a number or @TIME, not %q", errUsage, s)
	}
	return kgo.NewOffset().At(n), nil
}

func (c *consumer) run(ctx context.Context, cf *clientFlags, start kgo.Offset) error {
	cl, err := cf.client(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	ends, err := adm.ListEndOffsets(ctx, c.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		return err
	}
	from := map[int32]kgo.Offset{}
	if c.exitEOF {
		c.ends = map[int32]int64{}
	}
	ends.Each(func(o kadm.ListedOffset) {
		from[o.Partition] = start
		if c.exitEOF && o.Offset > 0 {
			c.ends[o.Partition] = o.Offset
		}
	})
	if len(from) == 0 {
		return kerr.UnknownTopicOrPartition
	}
	if c.exitEOF {
		c.dropEmpty(ctx, adm)
	}
	cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{c.topic: from})
	return c.poll(ctx, cl)
}

// dropEmpty forgets partitions whose log start is their end: no record will tell of their end.
func (c *consumer) dropEmpty(ctx context.Context, adm *kadm.Client) {
	starts, err := adm.ListStartOffsets(ctx, c.topic)
	if err != nil {
		return // poll then waits for a record, which is right though slower
	}
	starts.Each(func(o kadm.ListedOffset) {
		if o.Err == nil && o.Offset >= c.ends[o.Partition] {
			delete(c.ends, o.Partition)
		}
	})
}

func (c *consumer) poll(ctx context.Context, cl *kgo.Client) error {
	for {
		if c.exitEOF && len(c.ends) == 0 {
			return nil
		}
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil // interrupted: what was printed stands
		}
		for _, e := range fetches.Errors() {
			return fmt.Errorf("partition %d: %w", e.Partition, e.Err)
		}
		var err error
		fetches.EachRecord(func(r *kgo.Record) {
			if err == nil {
				err = c.record(r)
			}
		})
		if errors.Is(err, errEnough) {
			return nil
		}
		if err != nil {
			return err
		}
		if cl.BufferedFetchRecords() == 0 {
			if err := c.w.Flush(); err != nil {
				return err
			}
		}
	}
}

// record prints one record, unless it lies past the end that was asked for.
func (c *consumer) record(r *kgo.Record) error {
	end, bounded := c.ends[r.Partition]
	if c.exitEOF && (!bounded || r.Offset >= end) {
		delete(c.ends, r.Partition)
		return nil
	}
	if err := c.write(r); err != nil {
		return err
	}
	c.printed++
	if bounded && r.Offset >= end-1 {
		delete(c.ends, r.Partition)
	}
	if c.limit > 0 && c.printed >= c.limit {
		return errEnough
	}
	return nil
}

// recordJSON is one record in JSON form; keys and values are strings, as most are.
type recordJSON struct {
	Partition   int32   `json:"partition"`
	Offset      int64   `json:"offset"`
	TimestampMs int64   `json:"timestamp_ms"`
	Key         *string `json:"key"`
	Value       *string `json:"value"`
}

func (c *consumer) write(r *kgo.Record) error {
	if !c.asJSON {
		if _, err := c.w.Write(r.Value); err != nil {
			return err
		}
		return c.w.WriteByte('\n')
	}
	return writeJSONLine(c.w, recordJSON{r.Partition, r.Offset, r.Timestamp.UnixMilli(), text(r.Key), text(r.Value)})
}

func writeJSONLine(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func text(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}
