package main

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/cmd/varve/load"
	"github.com/varve-io/varve/objstore/mem"
)

func TestBenchVerbs(t *testing.T) {
	b := brokertest.Node{Bucket: mem.New(), Set: []string{"group.initial.rebalance.delay.ms=0", "remote.log.manager.task.interval.ms=20", "log.retention.check.interval.ms=20"}}.Start(t).KafkaAddr()
	verified := func(args ...string) (rows []load.Row) {
		t.Helper()
		rows = decode[[]load.Row](t, append(args, "-b", b)...)
		for _, r := range rows {
			if r.Records == 0 || r.Errors != 0 || r.Foreign != 0 || r.FirstError != "" || r.Phase != "upload" && r.Phase != "first byte" && r.Verified != r.Records {
				t.Errorf("varve %s: %+v", strings.Join(args, " "), r)
			}
		}
		return rows
	}
	if rows := verified("bench", "produce", "--records", "2000", "--clients", "2", "--partitions", "3", "--compression", "zstd", "--payload", "compressible:3"); rows[0].Records != 2000 || rows[0].Latency == nil {
		t.Errorf("bench produce: %+v", rows)
	}
	verified("bench", "produce", "--records", "300", "--rate", "3000", "--acks", "1", "--config", "compression.type=gzip")
	verified("bench", "consume", "--records", "3000", "--clients", "2", "--partitions", "3")
	verified("bench", "consume", "--records", "3000", "--clients", "2", "--partitions", "3", "--in-group")
	if rows := verified("bench", "e2e", "--records", "200", "--record-size", "64"); len(rows) != 2 || rows[1].Records != 200 || rows[1].Latency == nil {
		t.Errorf("bench e2e: %+v", rows)
	}
	rows := verified("bench", "tier", "--records", "9000", "--segment-bytes", "1048576", "--reads", "4")
	if len(rows) != 5 || rows[1].Records < 7000 || rows[2].Records != 4 || rows[3].Records+rows[4].Records != 9000 {
		t.Errorf("bench tier: %+v", rows)
	}
	must(t, "", "topic", "create", "orders", "-b", b)
	must(t, "one\ntwo\n", "produce", "orders", "-b", b)
	must(t, "", "bench", "produce", "--topic", "orders", "--records", "10", "-b", b)
	if rows := decode[[]load.Row](t, "bench", "consume", "--topic", "orders", "-b", b); rows[0].Records != 12 || rows[0].Verified != 10 || rows[0].Foreign != 2 {
		t.Errorf("a topic with records of others: %+v", rows)
	}
	if got := must(t, "", "topic", "list", "-o", "name", "-b", b) + must(t, "", "group", "list", "-o", "name", "-b", b); got != "__consumer_offsets\norders\n" {
		t.Errorf("left behind: %q", got)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"produce", "--topic", "nosuch"}, exitError, "varve topic list"},
		{[]string{"produce", "--topic", "orders", "--partitions", "3"}, exitUsage, "leave out --topic"},
		{[]string{"produce", "--config", "no.such=1"}, exitError, "INVALID_CONFIG"},
		{[]string{"produce", "--acks", "1", "--idempotent"}, exitUsage, "--acks all"},
		{[]string{"produce", "--acks", "2"}, exitUsage, "all, 1 or 0"},
		{[]string{"produce", "--in-flight", "1"}, exitUsage, "--idempotent=false"},
		{[]string{"produce", "--payload", "zeros"}, exitUsage, "compressible:RATIO"},
		{[]string{"produce", "--record-size", "8"}, exitUsage, "at least the 32 bytes"},
		{[]string{"produce", "--records", "10", "--record-size", "2000000", "--batch-bytes", "1000"}, exitError, "MESSAGE_TOO_LARGE"},
		{[]string{"e2e", "--rate", "0"}, exitUsage, "--rate"},
		{[]string{"tier", "--records", "10"}, exitError, "--records above"},
	} {
		if code, _, errOut := varve(t, "", append(append([]string{"bench"}, c.args...), "-b", b)...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("varve bench %s: exit code %d, %q", strings.Join(c.args, " "), code, errOut)
		}
	}
}

// interrupter is a stderr that sends an interrupt at the first line of progress of a phase.
type interrupter struct {
	bytes.Buffer
	phase  string
	cancel context.CancelFunc
}

func (i *interrupter) Write(b []byte) (int, error) {
	if strings.HasPrefix(string(b), i.phase+" ") {
		i.cancel()
	}
	return i.Buffer.Write(b)
}

func TestAnInterruptedBenchCleansUp(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	errOut := &interrupter{phase: "produce", cancel: cancel}
	code := run(ctx, []string{"bench", "produce", "--duration", "1m", "--rate", "2000", "-o", "json", "-b", b}, strings.NewReader(""), &out, errOut)
	var rows []load.Row
	if err := json.Unmarshal(out.Bytes(), &rows); err != nil || code != exitError || len(rows) != 1 || rows[0].Records < 500 || rows[0].Records > 50_000 {
		t.Errorf("exit code %d, %v, %s", code, err, &out)
	}
	if !strings.HasSuffix(errOut.String(), "interrupted\n") {
		t.Errorf("stderr: %q", errOut)
	}
	if got := must(t, "", "topic", "list", "-o", "name", "-b", b); got != "" {
		t.Errorf("left behind: %q", got)
	}
}
