package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/broker/commitlog/inspect"
)

// TestLogFiles takes a log from health through damage to repair with the verbs alone.
func TestLogFiles(t *testing.T) {
	node := brokertest.Node{Dir: t.TempDir()}
	n := node.Start(t)
	b := n.KafkaAddr()
	logs := filepath.Join(node.Dir, "logs")
	must(t, "", "topic", "create", "orders", "-b", b)
	must(t, "", "topic", "create", "moved", "-b", b)
	for i := range 5 {
		must(t, fmt.Sprintf("value %d\n", i), "produce", "orders", "-b", b)
	}
	if code, _, errOut := varve(t, "", "log", "repair", logs, "orders-0", "--accept-loss-of", "0..1", "--yes"); code != exitError || !strings.Contains(errOut, "in use") {
		t.Errorf("repair of a running broker's log: %d %s", code, errOut)
	}
	must(t, "", "log", "verify", logs) // harmless meanwhile
	if err := n.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var reports []inspect.Report
	if err := json.Unmarshal([]byte(must(t, "", "log", "verify", logs, "orders-0", "-o", "json")), &reports); err != nil || len(reports) != 1 || reports[0].Records != 5 || len(reports[0].Findings) != 0 {
		t.Errorf("verify: %+v, %v", reports, err)
	}
	file := filepath.Join(logs, "orders-0", "00000000000000000000.log")
	dump := must(t, "", "log", "dump", "--records", file)
	if strings.Count(dump, "\n") != 10 || !strings.Contains(dump, `value "value 3"`) {
		t.Errorf("dump: %s", dump)
	}
	if out := must(t, "", "log", "dump", "-o", "json", filepath.Join(logs, "varve-log-dir-checkpoint")); !strings.Contains(out, `"End":5`) {
		t.Errorf("dump of the checkpoint: %s", out)
	}
	damage(t, file)
	if code, out, errOut := varve(t, "", "log", "verify", logs, "orders-0"); code != exitError || !strings.Contains(out, "PROBLEM") || !strings.Contains(errOut, "log repair") {
		t.Errorf("verify of a damaged file: %d %s %s", code, out, errOut)
	}
	before, err := os.ReadDir(filepath.Join(logs, "orders-0"))
	if err != nil {
		t.Fatal(err)
	}
	if out := must(t, "", "log", "repair", logs, "orders-0"); !strings.Contains(out, "1 problems") {
		t.Errorf("repair without a range: %s", out)
	}
	must(t, "", "log", "repair", logs, "orders-0", "--accept-loss-of", "1..1", "--dry-run", "--yes")
	if code, _, _ := varve(t, "", "log", "repair", logs, "orders-0", "--accept-loss-of", "1..1"); code != exitUsage {
		t.Errorf("repair without --yes: exit code %d", code)
	}
	if after, err := os.ReadDir(filepath.Join(logs, "orders-0")); err != nil || len(after) != len(before) {
		t.Errorf("a dry run made files: %v, %v", after, err)
	}
	if out := must(t, "", "log", "repair", logs, "orders-0", "--accept-loss-of", "1..1", "--yes"); !strings.Contains(out, "lost: offsets 1 to 1") {
		t.Errorf("repair: %s", out)
	}
	must(t, "", "log", "verify", logs)
	must(t, "", "log", "import", logs, "moved-0", "--from", "../../broker/commitlog/testdata/kafka-4.3.1")

	n = node.Start(t)
	b = n.KafkaAddr()
	if got := must(t, "", "consume", "orders", "-o", "start", "--exit-eof", "-b", b); got != "value 0\nvalue 2\nvalue 3\nvalue 4\n" {
		t.Errorf("after the repair: %q", got)
	}
	if got := must(t, "", "consume", "moved", "-o", "start", "--exit-eof", "--format", "json", "-b", b); strings.Count(got, "\n") < 150 {
		t.Errorf("after the import: %d records", strings.Count(got, "\n"))
	}
}

// damage flips a bit in the second batch of a segment file.
func damage(t *testing.T, file string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/5+40] ^= 1
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(file, old, old); err != nil {
		t.Fatal(err)
	}
}

func TestLogFileVerbsRefuse(t *testing.T) {
	dir := t.TempDir()
	for _, args := range [][]string{
		{"log", "dump"}, {"log", "verify"}, {"log", "repair", dir}, {"log", "import", dir, "orders"},
		{"log", "verify", dir, "no partition"}, {"log", "repair", dir, "orders-0", "--accept-loss-of", "5", "--yes"},
		{"log", "drop", dir, "orders-0"}, {"log", "drop", dir, "orders-0", "--topic-id", "4L6g3nShT-eMCtK--X86sw"},
	} {
		if code, _, errOut := varve(t, "", args...); code != exitUsage {
			t.Errorf("varve %s: exit code %d: %s", strings.Join(args, " "), code, errOut)
		}
	}
	for _, args := range [][]string{
		{"log", "verify", dir}, {"log", "dump", filepath.Join(dir, "nosuch")}, {"log", "import", dir, "orders-0"},
		{"log", "repair", dir, "orders-0", "--accept-loss-of", "1..2", "--yes"},
	} {
		if code, _, errOut := varve(t, "", args...); code != exitError && code != exitUsage || errOut == "" {
			t.Errorf("varve %s: exit code %d: %s", strings.Join(args, " "), code, errOut)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("a refused verb made files: %v", entries)
	}
}
