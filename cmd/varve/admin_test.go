package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
)

// decode reads what a verb prints with -o json.
func decode[T any](t *testing.T, args ...string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(must(t, "", append(args, "-o", "json")...)), &v); err != nil {
		t.Fatalf("varve %s: %v", strings.Join(args, " "), err)
	}
	return v
}

func TestSettingsOfACluster(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	must(t, "", "topic", "create", "orders", "-b", b)
	get := func(resource, name string) string {
		return strings.TrimSpace(must(t, "", "config", "get", resource, name, "-b", b))
	}
	must(t, "", "topic", "alter", "orders", "--set", "retention.ms=5000", "--append", "cleanup.policy=compact", "--dry-run", "-b", b)
	if got := get("topic/orders", "retention.ms"); got != "604800000" {
		t.Errorf("after a dry run: %s", got)
	}
	must(t, "", "topic", "alter", "orders", "--set", "retention.ms=5000", "--append", "cleanup.policy=compact", "-b", b)
	if got := get("topic/orders", "retention.ms") + " " + get("topic/orders", "cleanup.policy"); got != "5000 delete,compact" {
		t.Errorf("topic alter: %s", got)
	}
	must(t, "", "topic", "alter", "orders", "--subtract", "cleanup.policy=delete", "--delete", "retention.ms", "-b", b)
	rows := decode[[]settingRow](t, "config", "list", "topic/orders", "-b", b)
	if len(rows) != 1 || rows[0].Name != "cleanup.policy" || *rows[0].Value != "compact" || rows[0].Source != "DYNAMIC_TOPIC_CONFIG" {
		t.Errorf("config list: %+v", rows)
	}
	must(t, "", "config", "set", "logger/1", "--set", "root=ERROR", "-b", b)
	if level := get("logger/1", "root"); level != "ERROR" {
		t.Errorf("the level of the log is %s", level)
	}
	must(t, "", "config", "set", "cluster", "--set", "log.retention.ms=7000", "-b", b)
	must(t, "", "config", "set", "broker/1", "--set", "log.retention.ms=8000", "-b", b)
	if got := get("cluster", "log.retention.ms") + " " + get("broker/1", "log.retention.ms") + " " + get("topic/orders", "retention.ms"); got != "7000 8000 8000" {
		t.Errorf("config set: %s", got)
	}
	must(t, "", "config", "set", "broker/1", "--delete", "log.retention.ms", "-b", b)
	if row := decode[settingRow](t, "config", "get", "topic/orders", "retention.ms", "-b", b); *row.Value != "7000" || row.Source != "DYNAMIC_DEFAULT_BROKER_CONFIG" {
		t.Errorf("config get: %+v", row)
	}
	must(t, "", "topic", "add-partitions", "orders", "--total", "3", "--dry-run", "-b", b)
	must(t, "", "topic", "add-partitions", "orders", "--total", "2", "-b", b)
	info := decode[clusterInfo](t, "cluster", "info", "-b", b)
	if info.Controller != 1 || info.Topics != 1 || info.Partitions != 2 || info.Offline != 0 || len(info.Brokers) != 1 || len(info.ID) != 22 {
		t.Errorf("cluster info: %+v", info)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"topic", "alter", "orders", "-b", b}, exitUsage, "--set NAME=VALUE"},
		{[]string{"topic", "alter", "orders", "--set", "retention.mss=1", "-b", b}, exitError, "did you mean retention.ms?"},
		{[]string{"topic", "alter", "nosuch", "--set", "retention.ms=1", "-b", b}, exitError, "varve topic list"},
		{[]string{"topic", "add-partitions", "orders", "--total", "1", "-b", b}, exitError, "would not be an increase"},
		{[]string{"topic", "add-partitions", "orders", "-b", b}, exitUsage, "--total"},
		{[]string{"config", "set", "broker/1", "--set", "node.id=4", "-b", b}, exitError, "Cannot update node.id dynamically"},
		{[]string{"config", "get", "nobody", "x", "-b", b}, exitUsage, "topic/NAME, broker/ID, group/NAME, logger/ID or cluster"},
		{[]string{"config", "get", "topic/orders", "no.such", "-b", b}, exitError, "varve config list topic/orders"},
	} {
		if code, _, errOut := varve(t, "", c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("varve %s: exit code %d, %q", strings.Join(c.args, " "), code, errOut)
		}
	}
}

func TestQuotaVerbs(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	must(t, "", "quota", "set", "user/ann", "client/*", "--set", "producer_byte_rate=1048576", "--set", "request_percentage=12.5", "--dry-run", "-b", b)
	if rows := decode[[]quotaRow](t, "quota", "list", "-b", b); len(rows) != 0 {
		t.Errorf("after a dry run: %+v", rows)
	}
	must(t, "", "quota", "set", "user/ann", "client/*", "--set", "producer_byte_rate=1048576", "--set", "request_percentage=12.5", "-b", b)
	must(t, "", "quota", "set", "ip/*", "--set", "connection_creation_rate=50", "-b", b)
	if rows := decode[[]quotaRow](t, "quota", "list", "-b", b); len(rows) != 2 || rows[0].Entity != "ip/*" || rows[1].Entity != "user/ann client/*" || rows[1].Quotas["request_percentage"] != 12.5 {
		t.Errorf("quota list: %+v", rows)
	}
	if got := must(t, "", "quota", "list", "user/ann", "-b", b); !strings.Contains(got, "1048576") || strings.Contains(got, "ip/") {
		t.Errorf("quota list of a user:\n%s", got)
	}
	must(t, "", "quota", "set", "user/ann", "client/*", "--delete", "producer_byte_rate", "--delete", "request_percentage", "-b", b)
	if rows := decode[[]quotaRow](t, "quota", "list", "user/ann", "-b", b); len(rows) != 0 {
		t.Errorf("after the end of all quotas: %+v", rows)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"quota", "set", "ann", "--set", "producer_byte_rate=1", "-b", b}, exitUsage, "user/NAME"},
		{[]string{"quota", "set", "--set", "producer_byte_rate=1", "-b", b}, exitUsage, "user/NAME"},
		{[]string{"quota", "set", "user/ann", "-b", b}, exitUsage, "--set NAME=BOUND"},
		{[]string{"quota", "set", "user/ann", "--set", "producer_byte_rate=much", "-b", b}, exitUsage, "want a number"},
		{[]string{"quota", "set", "user/ann", "--set", "byte_rate=1", "-b", b}, exitError, "consumer_byte_rate"},
		{[]string{"quota", "set", "user/ann", "ip/10.0.0.1", "--set", "connection_creation_rate=1", "-b", b}, exitError, "as well"},
	} {
		if code, _, errOut := varve(t, "", c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("varve %s: exit code %d, %q", strings.Join(c.args, " "), code, errOut)
		}
	}
}

func TestGroupVerbs(t *testing.T) {
	b := brokertest.Node{Set: []string{"group.initial.rebalance.delay.ms=0"}}.Start(t).KafkaAddr()
	must(t, "", "topic", "create", "orders", "--partitions", "2", "-b", b)
	must(t, strings.Repeat("x\n", 10), "produce", "orders", "--partition", "1", "-b", b)
	must(t, "", "group", "seek", "billing", "--topic", "orders", "--to", "start", "--dry-run", "-b", b)
	if got := decode[[]groupRow](t, "group", "list", "-b", b); len(got) != 0 {
		t.Errorf("after a dry run there are %+v", got)
	}
	rows := decode[[]seekRow](t, "group", "seek", "billing", "--topic", "orders", "--to", "4", "-b", b)
	if len(rows) != 2 || rows[0] != (seekRow{"orders", 0, -1, 0}) || rows[1] != (seekRow{"orders", 1, -1, 4}) {
		t.Errorf("group seek: %+v", rows)
	}
	if got := decode[[]groupRow](t, "group", "list", "-b", b); len(got) != 1 || got[0].Name != "billing" || got[0].State != "Empty" {
		t.Errorf("group list: %+v", got)
	}
	d := decode[groupDetail](t, "group", "describe", "billing", "-b", b)
	if d.TotalLag != 6 || len(d.Partitions) != 2 || d.Partitions[1].Offset != 4 || d.Partitions[1].End != 10 {
		t.Errorf("group describe: %+v", d)
	}
	wantLag := []lagRow{{"billing", "orders", 0, 0, 0, 0}, {"billing", "orders", 1, 4, 10, 6}}
	for _, args := range [][]string{{"group", "lag", "billing", "-b", b}, {"group", "lag", "-b", b}} {
		if got := decode[[]lagRow](t, args...); !slices.Equal(got, wantLag) {
			t.Errorf("varve %s: %+v", strings.Join(args, " "), got)
		}
	}
	for to, want := range map[string]int64{"end": 10, "2001-01-01T00:00:00Z": 0, "2100-01-01T00:00:00Z": 10, "99": 10} {
		rows := decode[[]seekRow](t, "group", "seek", "billing", "--topic", "orders", "--partition", "1", "--to", to, "-b", b)
		if len(rows) != 1 || rows[0].To != want {
			t.Errorf("seek to %s: %+v", to, rows)
		}
	}
	must(t, "", "group", "delete", "billing", "--dry-run", "-b", b)
	must(t, "", "group", "delete", "billing", "--yes", "-b", b)
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"group", "describe", "billing", "-b", b}, exitError, "varve group list"},
		{[]string{"group", "lag", "billing", "-b", b}, exitError, "varve group list"},
		{[]string{"group", "lag", "a", "b", "-b", b}, exitUsage, "one group name"},
		{[]string{"group", "lag", "--watch", "--interval", "0s", "-b", b}, exitUsage, "--interval"},
		{[]string{"group", "delete", "billing", "--yes", "-b", b}, exitError, "GROUP_ID_NOT_FOUND"},
		{[]string{"group", "delete", "billing", "-b", b}, exitUsage, "--yes"},
		{[]string{"group", "seek", "billing", "--topic", "orders", "--to", "soon", "-b", b}, exitUsage, "2026-01-31T00:00:00Z"},
		{[]string{"group", "seek", "billing", "-b", b}, exitUsage, "--topic"},
		{[]string{"group", "seek", "billing", "--topic", "nosuch", "--to", "end", "-b", b}, exitError, "varve topic list"},
	} {
		if code, _, errOut := varve(t, "", c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("varve %s: exit code %d, %q", strings.Join(c.args, " "), code, errOut)
		}
	}
}
