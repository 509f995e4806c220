package main

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker/brokertest"
)

// begin leaves a transaction open in partition 0 of the topic orders.
func begin(t *testing.T, addr, id string) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.TransactionalID(id), kgo.DefaultProduceTopic("orders"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if err := cl.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	if err := cl.ProduceSync(t.Context(), kgo.StringRecord(id)).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// TestTxnVerbs lists, describes and aborts an open transaction, by its id and in a partition.
func TestTxnVerbs(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	must(t, "", "topic", "create", "orders", "--partitions", "1", "-b", b)
	if got := must(t, "", "txn", "list", "-o", "json", "-b", b); strings.TrimSpace(got) != "[]" {
		t.Errorf("without ids: %q", got)
	}
	state := func(id string) txnDetail {
		t.Helper()
		var d txnDetail
		if err := json.Unmarshal([]byte(must(t, "", "txn", "describe", id, "-o", "json", "-b", b)), &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	begin(t, b, "one")
	begin(t, b, "two")
	var rows []txnRow
	if err := json.Unmarshal([]byte(must(t, "", "txn", "list", "--state", "Ongoing", "--pattern", "t.*", "-o", "json", "-b", b)), &rows); err != nil || len(rows) != 1 || rows[0].TransactionalID != "two" {
		t.Errorf("txn list: %+v, %v", rows, err)
	}
	if d := state("one"); d.State != "Ongoing" || len(d.Partitions["orders"]) != 1 || d.StartMs <= 0 {
		t.Errorf("txn describe: %+v", d)
	}
	if got := must(t, "", "txn", "describe", "one", "-b", b); !strings.Contains(got, "partitions of orders:") {
		t.Errorf("txn describe: %q", got)
	}
	if code, _, errOut := varve(t, "", "txn", "abort", "one", "-b", b); code != exitOK || !strings.Contains(errOut, "it was Ongoing") {
		t.Errorf("txn abort: exit code %d, %q", code, errOut)
	}
	if d := state("one"); d.State != "Empty" {
		t.Errorf("after the abort: %+v", d)
	}
	at := func(start int) []string {
		return []string{"txn", "abort", "--topic", "orders", "--partition", "0", "--start-offset", strconv.Itoa(start), "-b", b}
	}
	if code, _, errOut := varve(t, "", at(99)...); code != exitError || !strings.Contains(errOut, "no transaction begins there") {
		t.Errorf("txn abort of nothing: exit code %d, %q", code, errOut)
	}
	must(t, "", at(1)...)
	if code, _, errOut := varve(t, "", at(1)...); code != exitError || !strings.Contains(errOut, "no transaction begins there") {
		t.Errorf("txn abort twice: exit code %d, %q", code, errOut)
	}
	if code, _, errOut := varve(t, "", "txn", "describe", "three", "-b", b); code != exitError || !strings.Contains(errOut, "varve txn list") {
		t.Errorf("txn describe of nobody: exit code %d, %q", code, errOut)
	}
	if code, _, _ := varve(t, "", "txn", "abort", "-b", b); code != exitUsage {
		t.Errorf("txn abort without an id: exit code %d", code)
	}
}
