package kafkacmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

func consumerTool() tool {
	return tool{
		name: "kafka-console-consumer", about: "Print records, with the flags of Kafka's kafka-console-consumer.sh.",
		options: []option{
			{"bootstrap-server", value, "Brokers, HOST:PORT,…; required."}, {"topic", value, "The topic."}, {"include", value, "Regular expression of topics."},
			{"partition", value, "One partition, from its end without --offset."}, {"offset", value, "From an offset, earliest or latest."},
			{"from-beginning", nothing, "From the start where nothing is committed."}, {"max-messages", value, "Records to print."},
			{"timeout-ms", value, "End when no record comes for so long."}, {"group", value, "The group."},
			{"isolation-level", value, "read_committed or read_uncommitted."}, {"skip-message-on-error", nothing, "Without effect."},
			{"consumer-property", value, "Old name of --command-property."}, {"command-property", value, "Setting NAME=VALUE of the consumer."},
			{"consumer.config", value, "Old name of --command-config."}, {"command-config", value, "File with settings of the consumer."},
			{"formatter", value, "Prints in another way; Kafka's own DefaultMessageFormatter alone."}, {"property", value, "Old name of --formatter-property."},
			{"formatter-property", value, "print.timestamp, print.key, print.offset, print.epoch, print.delivery, print.partition, print.headers, print.value, key.separator, line.separator, headers.separator, null.literal."},
			{"formatter-config", value, "File with such properties."}, {"key-deserializer", value, "Deserializer of keys: of strings and bytes alone."},
			{"value-deserializer", value, "Deserializer of values: of strings and bytes alone."}, {"enable-systest-events", nothing, "Without effect."},
		},
		check: checkConsumer, run: runConsumer,
		failed: func(c *call, err error) int {
			fmt.Fprintln(c.err, plainly(err))
			return 1
		},
	}
}

func checkConsumer(o *options) error {
	if o.count("topic", "include") != 1 {
		return usagef("Exactly one of the following arguments is required: [topic], [include]")
	}
	switch {
	case o.has("partition") && !o.has("topic"):
		return usagef("The topic is required when partition is specified.")
	case o.has("partition") && o.count("from-beginning", "offset") > 1:
		return usagef("Options from-beginning and offset cannot be specified together.")
	case !o.has("partition") && o.has("offset"):
		return usagef("The partition is required when offset is specified.")
	}
	if err := o.require("bootstrap-server"); err != nil {
		return err
	}
	if o.has("group") && o.has("partition") {
		return usagef("Options group and partition cannot be specified together.")
	}
	for _, name := range []string{"formatter", "key-deserializer", "value-deserializer"} {
		class := o.last(name)
		known := strings.HasSuffix(class, ".DefaultMessageFormatter") || strings.HasSuffix(class, ".StringDeserializer") || strings.HasSuffix(class, ".ByteArrayDeserializer")
		if class != "" && !known {
			return usagef("--%s %s: there are no classes to load here; keys and values are printed as they are", name, class)
		}
	}
	_, err := startOffset(o)
	return err
}

// startOffset reads --offset and --from-beginning.
func startOffset(o *options) (kgo.Offset, error) {
	s := strings.ToLower(o.last("offset"))
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case s == "earliest" || s == "" && o.has("from-beginning"):
		return kgo.NewOffset().AtStart(), nil
	case s == "latest" || s == "":
		return kgo.NewOffset().AtEnd(), nil
	case err != nil || n < 0:
		return kgo.Offset{}, usagef("The provided offset value '%s' is incorrect. Valid values are 'earliest', 'latest', or a non-negative long.", o.last("offset"))
	}
	return kgo.NewOffset().At(n), nil
}

// formatter prints records as Kafka's DefaultMessageFormatter does.
type formatter struct {
	timestamp, key, offset, epoch, delivery, partition, headers, value bool
	separator, line, header, null                                      string
}

func newFormatter(p properties) *formatter {
	f := &formatter{
		timestamp: p.isTrue("print.timestamp"), key: p.isTrue("print.key"), offset: p.isTrue("print.offset"), epoch: p.isTrue("print.epoch"),
		delivery: p.isTrue("print.delivery"), partition: p.isTrue("print.partition"), headers: p.isTrue("print.headers"), value: true,
		separator: "\t", line: "\n", header: ",", null: "null",
	}
	if _, set := p["print.value"]; set {
		f.value = p.isTrue("print.value")
	}
	for name, to := range map[string]*string{"key.separator": &f.separator, "line.separator": &f.line, "headers.separator": &f.header, "null.literal": &f.null} {
		if v, ok := p[name]; ok {
			*to = v
		}
	}
	return f
}

// write prints one record.
func (f *formatter) write(w io.Writer, r *kgo.Record) {
	var parts []string
	add := func(wanted bool, text func() string) {
		if wanted {
			parts = append(parts, text())
		}
	}
	add(f.timestamp, func() string {
		kind := "CreateTime"
		if r.Attrs.TimestampType() == 1 {
			kind = "LogAppendTime"
		}
		return fmt.Sprintf("%s:%d", kind, r.Timestamp.UnixMilli())
	})
	add(f.partition, func() string { return fmt.Sprintf("Partition:%d", r.Partition) })
	add(f.offset, func() string { return fmt.Sprintf("Offset:%d", r.Offset) })
	add(f.delivery, func() string { return "Delivery:NOT_PRESENT" })
	add(f.epoch, func() string { return "Epoch:NOT_PRESENT" }) // the original leaves it out too
	add(f.headers, func() string {
		var list []string
		for _, h := range r.Headers {
			list = append(list, h.Key+":"+f.text(h.Value))
		}
		if len(list) == 0 {
			return "NO_HEADERS"
		}
		return strings.Join(list, f.header)
	})
	add(f.key, func() string { return f.text(r.Key) })
	add(f.value, func() string { return f.text(r.Value) })
	fmt.Fprint(w, strings.Join(parts, f.separator), f.line)
}

// text is a field as it is, or the word for null.
func (f *formatter) text(b []byte) string {
	if b == nil {
		return f.null
	}
	return string(b)
}

// consumerOptions are the client's options for the command line and the settings of a consumer.
func (c *call) consumerOptions(p properties) ([]kgo.Opt, error) {
	start, err := startOffset(c.o)
	if err != nil {
		return nil, err
	}
	switch reset := p["auto.offset.reset"]; {
	case reset != "" && reset != "earliest" && c.o.has("from-beginning"):
		return nil, fmt.Errorf("Can't simultaneously specify --from-beginning and 'auto.offset.reset=%s', please remove one option", reset) //nolint:staticcheck // Kafka's words
	case reset == "earliest":
		start = kgo.NewOffset().AtStart()
	}
	var opts []kgo.Opt
	isolation := p["isolation.level"]
	if c.o.has("isolation-level") {
		isolation = c.o.last("isolation-level")
	}
	if isolation == "read_committed" {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if c.o.has("partition") {
		n, err := c.o.number("partition")
		if err != nil {
			return nil, err
		}
		return append(opts, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{c.o.last("topic"): {int32(n): start}})), nil
	}
	topic := c.o.last("topic")
	if c.o.has("include") {
		topic = "^(?:" + strings.ReplaceAll(strings.Trim(c.o.last("include"), `"'`), ",", "|") + ")$"
		if _, err := regexp.Compile(topic); err != nil {
			return nil, fmt.Errorf("%s is an invalid regex", c.o.last("include"))
		}
		opts = append(opts, kgo.ConsumeRegex())
	}
	opts = append(opts, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(start))
	group := p["group.id"]
	if c.o.has("group") {
		if group != "" && group != c.o.last("group") {
			return nil, usagef("The group ids provided in different places (directly using '--group', via '--command-property', or via '--command-config') do not match. Detected group ids: '%s', '%s'", c.o.last("group"), group)
		}
		group = c.o.last("group")
	}
	if group != "" {
		opts = append(opts, kgo.ConsumerGroup(group), kgo.AutoCommitMarks())
		if p["enable.auto.commit"] == "false" {
			opts = append(opts, kgo.DisableAutoCommit())
		}
		if p["group.instance.id"] != "" {
			opts = append(opts, kgo.InstanceID(p["group.instance.id"]))
		}
	}
	return opts, nil
}

func runConsumer(c *call) error {
	printing, settings, err := c.console("Option --%s is deprecated and will be removed in a future version. Use --%s instead.", "consumer", "formatter")
	if err != nil {
		return err
	}
	limit, timeout := int64(-1), int64(-1)
	for name, to := range map[string]*int64{"max-messages": &limit, "timeout-ms": &timeout} {
		if c.o.has(name) {
			n, err := c.o.number(name)
			if err != nil {
				return err
			}
			*to = n
		}
	}
	opts, err := c.consumerOptions(settings)
	if err != nil {
		return err
	}
	cl, err := c.connect(nil, settings, opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	n, err := c.consume(cl, newFormatter(printing), limit, time.Duration(timeout)*time.Millisecond)
	if err == nil && (c.o.has("group") || settings["group.id"] != "") && settings["enable.auto.commit"] != "false" {
		err = cl.CommitMarkedOffsets(context.WithoutCancel(c.ctx))
	}
	fmt.Fprintf(c.err, "Processed a total of %d messages\n", n)
	return err
}

// consume prints records until there are enough, or none comes for a time, or the call ends.
func (c *call) consume(cl *kgo.Client, f *formatter, limit int64, timeout time.Duration) (n int64, err error) {
	w := bufio.NewWriterSize(c.out, 256<<10)
	defer func() { err = errors.Join(err, w.Flush()) }()
	for limit < 0 || n < limit {
		ctx, cancel := c.ctx, context.CancelFunc(func() {})
		if timeout >= 0 {
			ctx, cancel = context.WithTimeout(c.ctx, timeout)
		}
		fetches := cl.PollFetches(ctx)
		ended := ctx.Err() != nil && fetches.NumRecords() == 0
		cancel()
		if ended {
			return n, nil
		}
		for _, e := range fetches.Errors() {
			if !errors.Is(e.Err, context.DeadlineExceeded) && !errors.Is(e.Err, context.Canceled) {
				return n, plainly(e.Err)
			}
		}
		for it := fetches.RecordIter(); !it.Done() && (limit < 0 || n < limit); n++ {
			r := it.Next()
			f.write(w, r)
			cl.MarkCommitRecords(r)
		}
		if err := w.Flush(); err != nil {
			return n, errors.New("Unable to write to standard out, closing consumer.") //nolint:staticcheck // Kafka's words
		}
	}
	return n, nil
}
