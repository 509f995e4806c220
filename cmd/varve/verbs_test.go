package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varve-io/varve/broker/brokertest"
)

func TestGroupsAreExportedAndImported(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	must(t, "", "topic", "create", "orders", "--partitions", "2", "-b", b)
	must(t, strings.Repeat("x\n", 10), "produce", "orders", "--partition", "1", "-b", b)
	must(t, "", "group", "seek", "billing", "--topic", "orders", "--to", "4", "-b", b)
	text := must(t, "", "group", "export", "billing", "-b", b)
	var file groupFile
	if err := json.Unmarshal([]byte(text), &file); err != nil || file.Group != "billing" || len(file.Offsets) != 2 || file.Offsets[1].Offset != 4 {
		t.Fatalf("group export: %s, %v", text, err)
	}
	must(t, text, "group", "import", "copy", "-", "--dry-run", "-b", b)
	if got := decode[[]groupRow](t, "group", "list", "-b", b); len(got) != 1 {
		t.Errorf("after a dry run: %+v", got)
	}
	path := filepath.Join(t.TempDir(), "g.json")
	if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, `"offset": 4`, `"offset": 99`)), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "", "group", "import", "copy", path, "--yes", "-b", b)
	if d := decode[groupDetail](t, "group", "describe", "copy", "-b", b); d.Partitions[1].Offset != 10 {
		t.Errorf("an offset behind the end became %d, want the end", d.Partitions[1].Offset)
	}
	for _, c := range []struct {
		stdin string
		args  []string
		code  int
		want  string
	}{
		{text, []string{"group", "import", "copy", "-", "-b", b}, exitUsage, "--yes"},
		{"{}", []string{"group", "import", "copy", "-", "--yes", "-b", b}, exitError, "group export"},
		{"[", []string{"group", "import", "copy", "-", "--yes", "-b", b}, exitError, "group export"},
		{strings.ReplaceAll(text, "orders", "nosuch"), []string{"group", "import", "copy", "-", "--yes", "-b", b}, exitError, "varve topic list"},
		{"", []string{"group", "export", "nosuch", "-b", b}, exitError, "varve group list"},
	} {
		if code, _, errOut := varve(t, c.stdin, c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("varve %s: exit code %d, %q", strings.Join(c.args, " "), code, errOut)
		}
	}
}

func TestClusterHealthQuorumAndDiff(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	must(t, "", "topic", "create", "a", "-b", b)
	must(t, "", "topic", "create", "c", "--config", "retention.ms=77", "-b", b)
	if rows := decode[[]settingDiff](t, "config", "diff", "topic/a", "topic/c", "-b", b); len(rows) != 1 || rows[0].Name != "retention.ms" || *rows[0].Right != "77" {
		t.Errorf("config diff: %+v", rows)
	}
	for _, f := range decode[[]finding](t, "cluster", "health", "-b", b) {
		if f.Verdict != verdictOK {
			t.Errorf("cluster health: %+v", f)
		}
	}
	if q := decode[quorumInfo](t, "cluster", "quorum", "-b", b); q.Leader != 1 || len(q.Replicas) != 1 || q.Replicas[0].Role != "leader" || q.HighWatermark < 1 {
		t.Errorf("cluster quorum: %+v", q)
	}
	sick := &kadm.Metadata{Controller: -1, Topics: kadm.TopicDetails{"t": {Topic: "t", Partitions: kadm.PartitionDetails{
		0: {Topic: "t", Leader: -1, Replicas: []int32{1}}, 1: {Topic: "t", Partition: 1, Leader: 1, Replicas: []int32{1, 2}, ISR: []int32{1}}}}}}
	for i, want := range []string{verdictBad, verdictBad, verdictWarning, verdictOK} {
		if f := health(sick)[i]; f.Verdict != want || (want != verdictOK) != (f.Advice != "") {
			t.Errorf("health of a sick cluster: %+v", f)
		}
	}
}

func TestProfiles(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	must(t, "", "profile", "add", "here", "--brokers", b)
	must(t, "", "profile", "add", "nowhere", "--brokers", "127.0.0.1:1", "--user", "ann", "--password-file", "secret")
	must(t, "", "profile", "use", "-")
	must(t, "", "topic", "create", "orders")
	if got := must(t, "", "topic", "list", "-o", "name", "--profile", "here"); got != "orders\n" {
		t.Errorf("--profile here: %q", got)
	}
	if got := must(t, "", "__complete", "topic", "describe", "o"); !strings.HasPrefix(got, "orders\n") {
		t.Errorf("completion: %q", got)
	}
	if got := must(t, "", "__complete", "topic", "list", "-o", "y"); !strings.Contains(got, "yaml\n") {
		t.Errorf("completion of a flag: %q", got)
	}
	t.Setenv(profileVariable, "nowhere")
	if code, _, errOut := varve(t, "", "topic", "list"); code == exitOK || !strings.Contains(errOut, "password") {
		t.Errorf("the profile of the variable: %d, %q", code, errOut)
	}
	rows := decode[[]profileRow](t, "profile", "list")
	if len(rows) != 2 || !rows[0].InUse || !filepath.IsAbs(rows[1].Setting["password-file"]) {
		t.Errorf("profile list: %+v", rows)
	}
	must(t, "", "profile", "remove", "nowhere")
	if code, _, errOut := varve(t, "", "topic", "list"); code != exitError || !strings.Contains(errOut, "varve profile list") {
		t.Errorf("a profile that is gone: %d, %q", code, errOut)
	}
	if code, _, errOut := varve(t, "", "profile", "add", "empty"); code != exitUsage || !strings.Contains(errOut, "--brokers") {
		t.Errorf("an empty profile: %d, %q", code, errOut)
	}
}
