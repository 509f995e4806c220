package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// varve runs one command line and returns what a shell would see.
func varve(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = run(t.Context(), args, strings.NewReader(stdin), &out, &errOut)
	return code, out.String(), errOut.String()
}

// must is varve for command lines that succeed.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	code, out, errOut := varve(t, stdin, args...)
	if code != exitOK {
		t.Fatalf("varve %s: exit code %d\n%s", strings.Join(args, " "), code, errOut)
	}
	return out
}

func TestVerbsAgainstANode(t *testing.T) {
	b := brokertest.Node{Bucket: mem.New()}.Start(t).KafkaAddr()
	must(t, "", "topic", "create", "orders", "--partitions", "2", "--config", "retention.ms=1000000000000", "-b", b)

	var topics []topicRow
	if err := json.Unmarshal([]byte(must(t, "", "topic", "list", "-o", "json", "-b", b)), &topics); err != nil || len(topics) != 1 || topics[0].Partitions != 2 {
		t.Errorf("topic list: %+v, %v", topics, err)
	}
	var d topicDetail
	if err := json.Unmarshal([]byte(must(t, "", "topic", "describe", "orders", "-o", "json", "-b", b)), &d); err != nil || d.Configs["retention.ms"] != "1000000000000" || d.Partitions[1].Leader != 1 {
		t.Errorf("topic describe: %+v, %v", d, err)
	}

	var lines strings.Builder
	for i := range 100 {
		fmt.Fprintf(&lines, "k%d:value %d\n", i, i)
	}
	must(t, lines.String(), "produce", "orders", "--key-separator", ":", "--compression", "zstd", "--partition", "1", "-b", b)
	got := must(t, "", "consume", "orders", "-o", "start", "--exit-eof", "-b", b)
	if strings.Count(got, "\n") != 100 || !strings.HasPrefix(got, "value 0\nvalue 1\n") {
		t.Errorf("consume printed %d lines: %.60q", strings.Count(got, "\n"), got)
	}
	got = must(t, "", "consume", "orders", "-o", "98", "-n", "1", "--format", "json", "-b", b)
	var r recordJSON
	if err := json.Unmarshal([]byte(got), &r); err != nil || r.Offset != 98 || *r.Key != "k98" || *r.Value != "value 98" {
		t.Errorf("consume --format json: %q, %v", got, err)
	}
	if got := must(t, "", "tier", "status", "orders", "-b", b); !strings.Contains(got, "orders") {
		t.Errorf("tier status: %q", got)
	}
	var dirs []logDirRow
	if err := json.Unmarshal([]byte(must(t, "", "log", "dirs", "-o", "json", "-b", b)), &dirs); err != nil || len(dirs) != 1 ||
		dirs[0].Partitions != 2 || len(dirs[0].Logs) != 2 || dirs[0].Logs[1].Size != dirs[0].Size || dirs[0].Size < 500 || dirs[0].Total < dirs[0].Usable || dirs[0].Usable <= 0 {
		t.Errorf("log dirs: %+v, %v", dirs, err)
	}
	if got := must(t, "", "log", "dirs", "-b", b); !strings.Contains(got, dirs[0].Dir) || !strings.Contains(got, "online") {
		t.Errorf("log dirs: %q", got)
	}
	if code, _, errOut := varve(t, "", "topic", "trim", "orders", "--partition", "1", "--before", "98", "--dry-run", "-b", b); code != exitOK || !strings.Contains(errOut, "offset 98 instead of 0") {
		t.Errorf("a trim that is only shown: exit code %d, %q", code, errOut)
	}
	must(t, "", "topic", "trim", "orders", "--partition", "1", "--before", "98", "--yes", "-b", b)
	if got := must(t, "", "consume", "orders", "-o", "start", "--exit-eof", "-b", b); got != "value 98\nvalue 99\n" {
		t.Errorf("after a trim: %q", got)
	}
	if code, _, errOut := varve(t, "", "topic", "trim", "orders", "--partition", "1", "--before", "end", "--yes", "-b", b); code != exitOK || !strings.Contains(errOut, "offset 100") {
		t.Errorf("topic trim to the end: exit code %d, %q", code, errOut)
	}
	if code, _, errOut := varve(t, "", "topic", "delete", "orders", "-b", b); code != exitUsage || !strings.Contains(errOut, "--yes") {
		t.Errorf("topic delete without --yes: exit code %d, %q", code, errOut)
	}
	must(t, "", "topic", "delete", "orders", "--dry-run", "-b", b)
	must(t, "", "topic", "describe", "orders", "-b", b)
	must(t, "", "topic", "delete", "orders", "--yes", "-b", b)
	if got := must(t, "", "topic", "list", "-o", "json", "-b", b); strings.TrimSpace(got) != "[]" {
		t.Errorf("topic list after the deletion: %q", got)
	}
}

func TestErrorsNameCauseAndNextStep(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	must(t, "", "topic", "create", "known", "--partitions", "1", "-b", b)
	for _, c := range []struct {
		name string
		args []string
		code int
		want []string
	}{
		{"no broker", []string{"topic", "list", "-b", "127.0.0.1:1"}, exitError, []string{"127.0.0.1:1", "varve dev"}},
		{"unknown topic", []string{"topic", "describe", "nosuch", "-b", b}, exitError, []string{"UNKNOWN_TOPIC_OR_PARTITION", "varve topic list"}},
		{"unknown topic to read", []string{"consume", "nosuch", "-b", b, "--exit-eof"}, exitError, []string{"UNKNOWN_TOPIC_OR_PARTITION"}},
		{"bad config", []string{"topic", "create", "t", "--config", "retention.mss=1", "-b", b}, exitError, []string{"INVALID_CONFIG", "retention.ms", "varve config docs"}},
		{"too many replicas", []string{"topic", "create", "t", "--replication-factor", "3", "-b", b}, exitError, []string{"INVALID_REPLICATION_FACTOR"}},
		{"trim without an offset", []string{"topic", "trim", "t", "--partition", "0"}, exitUsage, []string{"--before", "end"}},
		{"user delete without --yes", []string{"user", "delete", "ann", "-b", b}, exitUsage, []string{"--dry-run"}},
		{"trim without --yes", []string{"topic", "trim", "known", "--partition", "0", "--before", "3", "-b", b}, exitUsage, []string{"--dry-run"}},
		{"trim of more than there is, only shown", []string{"topic", "trim", "known", "--partition", "0", "--before", "3", "--dry-run", "-b", b}, exitError, []string{"OFFSET_OUT_OF_RANGE"}},
		{"trim without a partition", []string{"topic", "trim", "t", "--before", "3"}, exitUsage, []string{"--partition"}},
		{"trim behind the end", []string{"topic", "trim", "known", "--partition", "0", "--before", "3", "--yes", "-b", b}, exitError, []string{"OFFSET_OUT_OF_RANGE", "varve topic describe"}},
		{"bad offset", []string{"consume", "t", "-o", "yesterday"}, exitUsage, []string{"yesterday", "start, end"}},
		{"unknown verb", []string{"topik", "list"}, exitUsage, []string{`varve has no "topik"; did you mean topic?`, "'varve --help'"}},
		{"unknown verb of a group", []string{"topic", "lst"}, exitUsage, []string{`varve topic has no "lst"; did you mean list`, "'varve topic --help'"}},
		{"unknown group", []string{"group", "describe", "nosuch", "-b", b}, exitError, []string{"does not exist; list the groups"}},
		{"seek below 0", []string{"group", "seek", "g", "--topic", "known", "--to", "-5", "-b", b}, exitUsage, []string{"--to takes"}},
		{"unknown broker", []string{"config", "list", "broker/9", "-b", b}, exitError, []string{"varve cluster info"}},
		{"unknown user", []string{"user", "delete", "nosuch", "--yes", "-b", b}, exitError, []string{"varve user list"}},
		{"no authorizer", []string{"acl", "list", "-b", b}, exitError, []string{"(No Authorizer is configured on the broker);", "varve config docs authorizer"}},
		{"the help of the verb", []string{"topic", "list", "extra"}, exitUsage, []string{"See 'varve topic list --help'"}},
		{"bad flag", []string{"topic", "list", "--nope"}, exitUsage, []string{"--nope", "--help"}},
		{"bad form", []string{"topic", "list", "-o", "xml"}, exitUsage, []string{"table, wide, json, yaml or name"}},
		{"two topics", []string{"topic", "describe", "a", "b"}, exitUsage, []string{"one topic name"}},
		{"bad codec", []string{"produce", "t", "--compression", "rar"}, exitUsage, []string{"rar", "zstd"}},
		{"bad setting", []string{"config", "check", "--set", "num.partitons=3"}, exitError, []string{"num.partitons", "num.partitions"}},
		{"missing file", []string{"config", "check", "--config", "/nosuch.yaml"}, exitError, []string{"/nosuch.yaml"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, errOut := varve(t, "", c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			for _, want := range c.want {
				if !strings.Contains(errOut, want) {
					t.Errorf("%q does not say %q", errOut, want)
				}
			}
		})
	}
}

func TestBandShowsTheLayers(t *testing.T) {
	for _, c := range []struct {
		row  tierRow
		want string
	}{
		{tierRow{Start: 0, LocalStart: 50, RemoteEnd: 75, End: 100}, "▒▒▒▒▓▓██"},
		{tierRow{Start: 0, LocalStart: 0, RemoteEnd: 0, End: 8}, "████████"},
		{tierRow{Start: 5, LocalStart: 5, RemoteEnd: 0, End: 5}, ""},
	} {
		if got := c.row.band(8); got != c.want {
			t.Errorf("%+v: %s, want %s", c.row, got, c.want)
		}
	}
}

func TestDocsAndVersionHaveJSON(t *testing.T) {
	var settings []settingDoc
	if err := json.Unmarshal([]byte(must(t, "", "config", "docs", "-o", "json")), &settings); err != nil || len(settings) < 30 {
		t.Errorf("config docs: %d settings, %v", len(settings), err)
	}
	var b buildInfo
	if err := json.Unmarshal([]byte(must(t, "", "version", "-o", "json")), &b); err != nil || b.Version == "" || b.Go == "" {
		t.Errorf("version: %+v, %v", b, err)
	}
	if got := must(t, "", "config", "docs"); !strings.Contains(got, "retention.ms") {
		t.Error("config docs does not name retention.ms")
	}
}
