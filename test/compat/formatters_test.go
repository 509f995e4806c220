package compat

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/test/kit"
)

// TestFormatters has Kafka's formatters print the records of both coordinators: groups of both
// protocols, offsets in and out of transactions, what was deleted, and every state of a
// transaction. A formatter decodes each record before it picks those that it prints, and ends
// at one that it cannot decode.
func TestFormatters(t *testing.T) {
	b := kit.StartServer(t, "transaction.state.log.num.partitions=1", "offsets.topic.num.partitions=1", "group.initial.rebalance.delay.ms=0",
		"transactional.id.expiration.ms=3000", "transaction.remove.expired.transaction.cleanup.interval.ms=200")
	kit.JavaArgs(t, "") // skips the test where there is none
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cl := groupClient(t, b)
	adm := kadm.NewClient(cl)
	createTopics(t, cl, 1, "words", "moved")
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "words", Value: []byte("one")}, &kgo.Record{Topic: "words", Value: []byte("two")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	readAll(ctx, t, b, kgo.ConsumerGroup("classic"), kgo.Balancers(kgo.RangeBalancer()), kgo.InstanceID("static"))
	readAll(ctx, t, b, kgo.ConsumerGroup("modern"), kgo.ServerSideBalancer())
	inTxn(ctx, t, b, "aborted", kgo.TryAbort)
	inTxn(ctx, t, b, "committed", kgo.TryCommit)
	offsets := kadm.Offsets{}
	offsets.AddOffset("words", 0, 1, -1)
	for _, group := range []string{"simple", "gone"} {
		if err := adm.CommitAllOffsets(ctx, group, offsets); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := adm.DeleteGroup(ctx, "gone"); err != nil {
		t.Fatal(err)
	}

	wantRecords(t, "OffsetsMessageFormatter", format(t, b, "__consumer_offsets", "OffsetsMessageFormatter", kgo.ReadCommitted()), func(r record) string {
		return fmt.Sprintf("%s/%s-%d %v", r.Key.Data.Group, r.Key.Data.Topic, r.Key.Data.Partition, r.Value.text("offset"))
	}, map[string][]string{
		"classic/words-0": {"2"}, "modern/words-0": {"2"}, "simple/words-0": {"1"}, "gone/words-0": {"1", "null"},
		"committed/words-0": {"2"}, // and none of the group whose transaction was aborted
	})
	wantRecords(t, "GroupMetadataMessageFormatter", format(t, b, "__consumer_offsets", "GroupMetadataMessageFormatter", kgo.ReadUncommitted()), func(r record) string {
		members := 0
		if r.Value != nil {
			members = len(r.Value.Data["members"].([]any))
		}
		return fmt.Sprintf("%s %v of %v, %d members", r.Key.Data.Group, r.Value.text("protocol"), r.Value.text("protocolType"), members)
	}, map[string][]string{
		"classic": {"<nil> of , 0 members", "range of consumer, 1 members"}, "gone": {"null of null, 0 members"},
	})
	txns := map[string][]string{
		"committed": {"Empty", "Ongoing", "PrepareCommit", "CompleteCommit", "null"},
		"aborted":   {"Empty", "Ongoing", "PrepareAbort", "CompleteAbort", "null"},
	}
	kit.Eventually(t, time.Minute, "transactional ids expire", func() error {
		list, err := adm.ListTransactions(ctx, nil, nil)
		if err == nil && len(list) > 0 {
			err = fmt.Errorf("%v are there", list.TransactionalIDs())
		}
		return err
	})
	wantRecords(t, "TransactionLogMessageFormatter", format(t, b, "__transaction_state", "TransactionLogMessageFormatter", kgo.ReadUncommitted()), func(r record) string {
		states := []string{"Empty", "Ongoing", "PrepareCommit", "PrepareAbort", "CompleteCommit", "CompleteAbort", "Dead", "PrepareEpochFence"}
		state := r.Value.text("transactionStatus")
		if r.Value != nil {
			state = states[int(r.Value.Data["transactionStatus"].(float64))]
		}
		return r.Key.Data.TransactionalID + " " + state
	}, txns)
}

// record is what a formatter prints of one.
type record struct {
	Key struct {
		Data struct {
			Group           string
			Topic           string
			Partition       int
			TransactionalID string
		}
	}
	Value *recordValue
}

// recordValue is nil for a tombstone.
type recordValue struct {
	Data map[string]any
}

// text is a field of the value.
func (v *recordValue) text(field string) string {
	if v == nil {
		return "null"
	}
	return fmt.Sprint(v.Data[field])
}

// format has the console consumer print a topic of one partition.
func format(t *testing.T, b kit.Server, topic, formatter string, isolation kgo.IsolationLevel) []record {
	t.Helper()
	level := map[kgo.IsolationLevel]string{kgo.ReadCommitted(): "read_committed", kgo.ReadUncommitted(): "read_uncommitted"}[isolation]
	out := kit.Run(t, nil, "java", append(kit.JavaArgs(t, consoleTool), "--bootstrap-server", b.Bootstrap(), "--topic", topic, "--partition", "0",
		"--offset", "earliest", "--max-messages", strconv.Itoa(count(t, b, topic, isolation)), "--timeout-ms", "60000",
		"--isolation-level", level, "--formatter", "org.apache.kafka.tools.consumer."+formatter)...)
	var records []record
	for d := json.NewDecoder(bytes.NewBufferString(out)); d.More(); {
		var r record
		if err := d.Decode(&r); err != nil {
			t.Fatalf("%s: %v\n%s", formatter, err, out)
		}
		records = append(records, r)
	}
	return records
}

// count says how many records a reader of the partition gets.
func count(t *testing.T, b kit.Server, topic string, isolation kgo.IsolationLevel) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cl := groupClient(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(isolation),
		kgo.KeepControlRecords()) // so that the last offset is seen
	defer cl.Close()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup(topic, 0)
	n := 0
	for last := int64(-1); last < end.Offset-1; {
		cl.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if last = r.Offset; !r.Attrs.IsControl() {
				n++
			}
		})
		if ctx.Err() != nil {
			t.Fatalf("%s was read to %d of %d", topic, last, end.Offset)
		}
	}
	return n
}

// wantRecords compares the records, each a key and a text, with those that are wanted of each
// key, in their order; records that repeat the one before are one.
func wantRecords(t *testing.T, what string, records []record, text func(record) string, want map[string][]string) {
	t.Helper()
	got := map[string][]string{}
	for _, r := range records {
		var key, value string
		line := text(r)
		for i := range line {
			if line[i] == ' ' {
				key, value = line[:i], line[i+1:]
				break
			}
		}
		got[key] = append(got[key], value)
	}
	for key, values := range want {
		if g := slices.Compact(got[key]); !slices.Equal(g, values) {
			t.Errorf("%s: %s is %q, want %q", what, key, g, values)
		}
	}
	for key, values := range got {
		if want[key] == nil {
			t.Errorf("%s: %s is %q, it should not be there", what, key, values)
		}
	}
}

// readAll reads both words in a group and commits that.
func readAll(ctx context.Context, t *testing.T, b kit.Server, opts ...kgo.Opt) {
	t.Helper()
	cl := groupClient(t, b, append(opts, kgo.ConsumeTopics("words"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit())...)
	defer cl.CloseAllowingRebalance()
	for n := 0; n < 2 && ctx.Err() == nil; n += cl.PollFetches(ctx).NumRecords() {
	}
	if err := cl.CommitUncommittedOffsets(ctx); err != nil {
		t.Fatal(err)
	}
}

// inTxn writes a record and commits an offset of a group in one transaction; both have this name.
func inTxn(ctx context.Context, t *testing.T, b kit.Server, name string, how kgo.TransactionEndTry) {
	t.Helper()
	cl := groupClient(t, b, kgo.TransactionalID(name))
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "moved", Value: []byte(name)}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	req := kmsg.NewPtrTxnOffsetCommitRequest()
	req.TransactionalID, req.Group, req.Generation = name, name, -1
	var err error
	if req.ProducerID, req.ProducerEpoch, err = cl.ProducerID(ctx); err != nil {
		t.Fatal(err)
	}
	topics, err := kadm.NewClient(cl).ListTopics(ctx, "words")
	if err != nil {
		t.Fatal(err)
	}
	topic, partition := kmsg.NewTxnOffsetCommitRequestTopic(), kmsg.NewTxnOffsetCommitRequestTopicPartition()
	topic.Topic, topic.TopicID, partition.Offset = "words", topics["words"].ID, 2
	topic.Partitions = append(topic.Partitions, partition)
	req.Topics = append(req.Topics, topic)
	resp, err := req.RequestWith(ctx, cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err == nil {
		err = cl.EndTransaction(ctx, how)
	}
	if err != nil {
		t.Fatal(err)
	}
}
