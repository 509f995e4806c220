package compat

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/test/kit"
)

// TestHangingTransactions takes from the coordinator what it knows of two transactional ids in
// the midst of their transactions, so that nobody ends these. Kafka's tool finds them, and not
// the one that its coordinator knows; it ends one of them, and varve the other. Readers of
// committed records stop in front of a hanging transaction and go on when it is ended.
func TestHangingTransactions(t *testing.T) {
	b := kit.StartServer(t, "transaction.state.log.num.partitions=1", "offsets.topic.num.partitions=1")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	plain := groupClient(t, b, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	createTopics(t, plain, 3, "held")
	for i, id := range []string{"lost-0", "lost-1", "known"} {
		cl := groupClient(t, b, kgo.TransactionalID(id), kgo.TransactionTimeout(10*time.Minute), kgo.RecordPartitioner(kgo.ManualPartitioner()))
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		// An hour old, as what find-hanging looks for by default.
		r := &kgo.Record{Topic: "held", Partition: int32(i), Value: []byte("open"), Timestamp: time.Now().Add(-time.Hour)}
		if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	forgetTransactions(ctx, t, b, "lost-0", "lost-1")
	b.Kill()
	b.Start()
	for p := range int32(3) {
		if err := plain.ProduceSync(ctx, &kgo.Record{Topic: "held", Partition: p, Value: []byte("behind")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}

	tool := func(args ...string) string {
		return kit.Run(t, nil, "java", append(append(kit.JavaArgs(t, txnTool), "--bootstrap-server", b.Bootstrap()), args...)...)
	}
	found := tool("find-hanging", "--broker-id", "1")
	for p, want := range []bool{true, true, false} {
		if got := regexp.MustCompile(fmt.Sprintf(`(?m)^held\s+%d\s`, p)).MatchString(found); got != want {
			t.Errorf("find-hanging: partition %d is listed: %v, want %v\n%s", p, got, want, found)
		}
	}
	if n := committed(ctx, t, b); n != 0 {
		t.Errorf("%d records are read from behind open transactions", n)
	}
	tool("abort", "--topic", "held", "--partition", "0", "--start-offset", "0")
	if os.Getenv("VARVE_AGAINST") == "" {
		kit.Run(t, nil, kit.Binary(t), "txn", "abort", "--topic", "held", "--partition", "1", "--start-offset", "0", "--brokers", b.Bootstrap())
	} else {
		tool("abort", "--topic", "held", "--partition", "1", "--start-offset", "0")
	}
	if found := tool("find-hanging", "--topic", "held"); strings.Contains(found, "held") {
		t.Errorf("both are ended, find-hanging lists\n%s", found)
	}
	if n := committed(ctx, t, b); n != 2 {
		t.Errorf("%d records are read, want those behind the ended transactions", n)
	}
}

// forgetTransactions removes the transactional ids from the coordinator's topic, as nobody should.
func forgetTransactions(ctx context.Context, t *testing.T, b kit.Server, ids ...string) {
	t.Helper()
	// Brokers let only this client id write into internal topics.
	cl := groupClient(t, b, kgo.ClientID("__admin_client"), kgo.DefaultProduceTopic("__transaction_state"))
	for _, id := range ids {
		key := binary.BigEndian.AppendUint16(make([]byte, 2), uint16(len(id)))
		if err := cl.ProduceSync(ctx, &kgo.Record{Key: append(key, id...)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// committed counts the committed records that can be read.
func committed(ctx context.Context, t *testing.T, b kit.Server) int {
	t.Helper()
	cl := groupClient(t, b, kgo.ConsumeTopics("held"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	n := 0
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		n += cl.PollFetches(ctx).NumRecords()
	}
	return n
}
