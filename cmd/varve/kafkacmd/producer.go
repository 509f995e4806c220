package kafkacmd

import (
	"bufio"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// maxLine bounds a line of input: longer ones are no record that a broker takes by default.
const maxLine = 64 << 20

func producerTool() tool {
	return tool{
		name: "kafka-console-producer", about: "Write each line of stdin as a record, with the flags of Kafka's kafka-console-producer.sh.",
		options: []option{
			{"bootstrap-server", value, "Brokers, HOST:PORT,…; required."}, {"topic", value, "The topic; required."},
			{"sync", nothing, "Wait for each record."}, {"compression-codec", maybe, "none, gzip, snappy, lz4 or zstd; gzip without a value."},
			{"batch-size", value, "Bytes of a batch."}, {"message-send-max-retries", value, "How often a record is sent again."},
			{"retry-backoff-ms", value, "Milliseconds between."}, {"timeout", value, "Milliseconds that a record waits for others."},
			{"request-required-acks", value, "all, -1, 0 or 1."}, {"request-timeout-ms", value, "Milliseconds that the broker may take."},
			{"metadata-expiry-ms", value, "Milliseconds after which metadata is asked for anew."}, {"max-block-ms", value, "Milliseconds that a send may wait."},
			{"max-memory-bytes", value, "Bytes of waiting records."}, {"max-partition-memory-bytes", value, "Bytes of a batch."},
			{"line-reader", value, "Reads lines in another way; Kafka's own LineMessageReader alone."}, {"socket-buffer-size", value, "Without effect."},
			{"property", value, "Old name of --reader-property."},
			{"reader-property", value, "parse.key, parse.headers, ignore.error, key.separator, headers.delimiter, headers.separator, headers.key.separator, null.marker."},
			{"reader-config", value, "File with such properties."}, {"producer-property", value, "Old name of --command-property."},
			{"command-property", value, "Setting NAME=VALUE of the producer."}, {"producer.config", value, "Old name of --command-config."},
			{"command-config", value, "File with settings of the producer."},
		},
		check: func(o *options) error {
			if err := o.require("topic"); err != nil {
				return err
			}
			if !o.has("bootstrap-server") {
				return argumentf("Error while validating the bootstrap address")
			}
			if o.has("line-reader") && !strings.HasSuffix(o.last("line-reader"), ".LineMessageReader") {
				return argumentf("--line-reader %s: there are no classes to load here, lines are read by LineMessageReader", o.last("line-reader"))
			}
			return nil
		},
		run: runProducer,
		failed: func(c *call, err error) int {
			fmt.Fprintf(c.err, "org.apache.kafka.common.KafkaException: %v\n", plainly(err))
			return 1
		},
	}
}

// lineReader makes records of lines.
type lineReader struct {
	topic                                                            string
	key, headers, lenient, nullable                                  bool
	keySeparator, delimiter, headersSeparator, headersKey, nullMaker string
	n                                                                int
}

func newLineReader(topic string, p properties) (*lineReader, error) {
	r := &lineReader{
		topic: topic, key: p.isTrue("parse.key"), headers: p.isTrue("parse.headers"), lenient: p.isTrue("ignore.error"),
		keySeparator: "\t", delimiter: "\t", headersSeparator: ",", headersKey: ":",
	}
	for name, to := range map[string]*string{"key.separator": &r.keySeparator, "headers.delimiter": &r.delimiter, "headers.separator": &r.headersSeparator, "headers.key.separator": &r.headersKey} {
		if v, ok := p[name]; ok {
			*to = v
		}
	}
	r.nullMaker, r.nullable = p["null.marker"], p["null.marker"] != ""
	switch {
	case r.delimiter == r.headersSeparator:
		return nil, errors.New("headers.delimiter and headers.separator may not be equal")
	case r.delimiter == r.headersKey:
		return nil, errors.New("headers.delimiter and headers.key.separator may not be equal")
	case r.headersSeparator == r.headersKey:
		return nil, errors.New("headers.separator and headers.key.separator may not be equal")
	}
	return r, nil
}

// bytes is a text as a field of a record: the null marker is null.
func (r *lineReader) bytes(s string) []byte {
	if r.nullable && s == r.nullMaker {
		return nil
	}
	return []byte(s)
}

// record makes a record of a line.
func (r *lineReader) record(line string) (*kgo.Record, error) {
	r.n++
	rec := &kgo.Record{Topic: r.topic}
	rest := line
	cut := func(separator, what string) (string, bool, error) {
		before, after, ok := strings.Cut(rest, separator)
		if !ok {
			if r.lenient {
				return "", false, nil
			}
			return "", false, fmt.Errorf("No %s found on line number %d: '%s'", what, r.n, line) //nolint:staticcheck // Kafka's words
		}
		rest = after
		return before, true, nil
	}
	if r.headers {
		text, ok, err := cut(r.delimiter, "headers delimiter")
		if err != nil {
			return nil, err
		}
		if ok && (!r.nullable || text != r.nullMaker) {
			if rec.Headers, err = r.header(text); err != nil {
				return nil, err
			}
		}
	}
	if r.key {
		text, ok, err := cut(r.keySeparator, "key separator")
		if err != nil {
			return nil, err
		}
		if ok {
			rec.Key = r.bytes(text)
		}
	}
	rec.Value = r.bytes(rest)
	return rec, nil
}

// header reads the headers of a record.
func (r *lineReader) header(text string) ([]kgo.RecordHeader, error) {
	var list []kgo.RecordHeader
	for _, pair := range strings.Split(text, r.headersSeparator) {
		name, v, ok := strings.Cut(pair, r.headersKey)
		if !ok && !r.lenient {
			return nil, fmt.Errorf("No header key separator found in pair '%s' on line number %d", pair, r.n) //nolint:staticcheck // Kafka's words
		}
		h := kgo.RecordHeader{Key: name}
		if ok {
			h.Value = r.bytes(v)
		}
		list = append(list, h)
	}
	return list, nil
}

// producerOptions are the client's options for the settings of a producer.
func (c *call) producerOptions(p properties) ([]kgo.Opt, error) {
	opts := []kgo.Opt{kgo.AllowAutoTopicCreation(), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))}
	codec := "none"
	if c.o.has("compression-codec") {
		if codec = c.o.last("compression-codec"); codec == "" {
			codec = "gzip"
		}
	}
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	use, ok := codecs[codec]
	if !ok {
		return nil, fmt.Errorf("Unknown compression name: %s", codec) //nolint:staticcheck // Kafka's words
	}
	opts = append(opts, kgo.ProducerBatchCompression(use))
	acks := p["acks"]
	if c.o.has("request-required-acks") {
		acks = c.o.last("request-required-acks")
	}
	switch acks {
	case "", "all", "-1":
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, fmt.Errorf("Invalid value %s for configuration acks: want all, -1, 0 or 1", acks) //nolint:staticcheck // Kafka's words
	}
	for _, n := range []struct {
		option, property string
		opt              func(n int64) kgo.Opt
	}{
		{"timeout", "linger.ms", func(n int64) kgo.Opt { return kgo.ProducerLinger(time.Duration(n) * time.Millisecond) }},
		{"message-send-max-retries", "retries", func(n int64) kgo.Opt { return kgo.RecordRetries(int(min(n, 1<<30))) }},
		{"request-timeout-ms", "request.timeout.ms", func(n int64) kgo.Opt { return kgo.ProduceRequestTimeout(time.Duration(max(n, 100)) * time.Millisecond) }},
		{"max-partition-memory-bytes", "batch.size", func(n int64) kgo.Opt { return kgo.ProducerBatchMaxBytes(int32(max(n, 1<<20))) }},
	} {
		text := p[n.property]
		if c.o.has(n.option) {
			text = c.o.last(n.option)
		}
		if text == "" {
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("Cannot parse argument '%s' of option %s", text, n.option) //nolint:staticcheck // Kafka's words
		}
		opts = append(opts, n.opt(v))
	}
	return opts, nil
}

func runProducer(c *call) error {
	reading, settings, err := c.console("Warning: --%s is deprecated and will be removed in a future version. Use --%s instead.", "producer", "reader")
	if err != nil {
		return err
	}
	reader, err := newLineReader(c.o.last("topic"), reading)
	if err != nil {
		return err
	}
	opts, err := c.producerOptions(settings)
	if err != nil {
		return err
	}
	cl, err := c.connect(nil, settings, opts...)
	if err != nil {
		return err
	}
	defer cl.Close()
	return c.produce(cl, reader)
}

// produce sends each line. A record that is refused is told, and the next one is sent.
func (c *call) produce(cl *kgo.Client, reader *lineReader) error {
	var refused struct {
		sync.Mutex
		n int
	}
	lines := bufio.NewScanner(c.in)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	var failed error
	for failed == nil && lines.Scan() {
		rec, err := reader.record(lines.Text())
		if err != nil {
			failed = err
			break
		}
		if c.o.has("sync") {
			failed = cl.ProduceSync(c.ctx, rec).FirstErr()
			continue
		}
		cl.Produce(c.ctx, rec, func(_ *kgo.Record, err error) {
			if err != nil {
				refused.Lock()
				refused.n++
				fmt.Fprintf(c.err, "Error when sending message to topic %s: %v\n", reader.topic, plainly(err))
				refused.Unlock()
			}
		})
	}
	return errors.Join(failed, lines.Err(), cl.Flush(c.ctx))
}
