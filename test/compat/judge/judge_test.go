// Package judge has Apache Kafka judge Varve: it sends the same requests to both, at every
// version that Varve serves, and compares the answers field by field.
//
// A script (produce_test.go and its neighbours) talks to one broker over plain TCP and
// records what comes back; it runs on both sides, and nothing in it says what is right.
// What differs has to be a row of the table in expected_test.go, with its reason there and
// in docs/differences.md. A row that nothing needs any more fails the run as well.
//
// The requests are encoded by kmsg, not by the codec under test.
package judge

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/test/kit"
)

// script is a conversation with one broker.
type script struct {
	name string
	run  func(*side)
}

// scripts are run side by side; each has topics of its own, which start with its name.
func scripts() []script {
	return []script{
		{"produce", produceScript},
		{"batches", batchesScript},
		{"acks", acksScript},
		{"sequences", sequencesScript},
		{"fetch", fetchScript},
		{"limits", limitsScript},
		{"polls", pollsScript},
		{"sessions", sessionsScript},
		{"incremental", incrementalScript},
		{"starts", startsScript},
		{"epochs", epochsScript},
		{"logdirs", logDirsScript},
		{"movelogs", moveLogsScript},
		{"producers", producersScript},
		{"offsets", offsetsScript},
		{"metadata", metadataScript},
		{"autocreate", autoCreateScript},
		{"create", createScript},
		{"validate", validateScript},
		{"delete", deleteScript},
		{"producerids", producerIDsScript},
		{"topicconfigs", topicConfigsScript},
		{"brokerconfigs", brokerConfigsScript},
		{"alter", alterScript},
		{"replace", replaceScript},
		{"resources", resourcesScript},
		{"grow", growScript},
		{"elect", electScript},
		{"pages", pagesScript},
		{"quorum", quorumScript},
		{"cluster", clusterScript},
		{"quotas", quotasScript},
		{"coordinators", coordinatorsScript},
		{"commits", commitsScript},
		{"members", membersScript},
		{"static", staticScript},
		{"rebalance", rebalanceScript},
		{"consumers", consumersScript},
		{"cstatic", consumerStaticScript},
		{"expressions", expressionsScript},
		{"migration", migrationScript},
		{"txn", txnScript},
		{"txnoffsets", txnOffsetsScript},
		{"txntools", txnToolsScript},
		{"versions", versionsScript},
		{"connections", connectionsScript},
	}
}

// producing are the scripts that run with varve.produce.validation=header, the default, too.
var producing = []string{"produce", "batches", "acks", "sequences"}

// scriptName says whether a topic's name starts with the name of a script.
func scriptName(topic string) bool {
	head, _, _ := strings.Cut(topic, ".")
	return slices.ContainsFunc(slices.Concat(scripts(), securedScripts(nil)), func(s script) bool { return s.name == head })
}

// difference is a field whose answer differs.
type difference struct {
	at           string // script / step / field
	kafka, varve string // the value, or absent
}

const absent = "(absent)"

// TestAgainstKafka runs every script on both brokers.
func TestAgainstKafka(t *testing.T) {
	kafka := kit.StartKafka(t, append(settings, "transaction.state.log.min.isr=1")...)
	base := time.Now().Add(-time.Hour).Truncate(time.Minute).UnixMilli()
	var theirs []*side
	var wg sync.WaitGroup
	wg.Go(func() { theirs = play(t, kafka, "", base, scripts()) })
	v := startVarves(t, base)
	wg.Wait()
	k := recorded(t, theirs)
	if path := os.Getenv("VARVE_JUDGE_RECORD"); path != "" {
		k.save(t, path)
	}
	v.judge(t, k, theirs)
}

// TestAgainstRecording compares Varve with what Kafka has answered once: the same judge
// without a JVM. VARVE_JUDGE_RECORD=PATH makes TestAgainstKafka write the file anew.
func TestAgainstRecording(t *testing.T) {
	if os.Getenv("VARVE_KAFKA_JARS") != "" {
		t.Skip("Kafka itself is here: TestAgainstKafka")
	}
	k := loadRecording(t, "testdata/kafka-4.3.1.json.gz")
	startVarves(t, time.Now().Add(-time.Hour).Truncate(time.Minute).UnixMilli()).judge(t, k, nil)
}

// settings are those that both brokers run with.
var settings = []string{"group.initial.rebalance.delay.ms=600", "group.consumer.assignment.interval.ms=0",
	"transaction.state.log.replication.factor=1"}

// varves is what the two modes of Varve have answered: full looks at every record of a
// batch, as Kafka does, header is the default. Only producing scripts ran on the latter.
type varves struct{ full, header []*side }

// startVarves starts Varve in both modes and runs the scripts.
func startVarves(t *testing.T, base int64) varves {
	t.Helper()
	var args []string
	for _, s := range append(slices.Clone(settings), "offsets.topic.replication.factor=1", "transaction.state.log.min.isr=1") {
		args = append(args, "--set", s)
	}
	header := kit.Start(t, filepath.Join(t.TempDir(), "header"), args...)
	full := kit.Start(t, filepath.Join(t.TempDir(), "varve"), append(args, "--set", "varve.produce.validation=full")...)
	var few []script
	for _, s := range scripts() {
		if slices.Contains(producing, s.name) {
			few = append(few, s)
		}
	}
	return varves{full: play(t, full.Addr, "", base, scripts()), // the others behind them: some are in a hurry
		header: play(t, header.Addr, "", base, few)}
}

// play runs scripts on one broker, beside each other. sasl is its listener with logins, or "".
func play(t *testing.T, addr, sasl string, base int64, scripts []script) []*side {
	sides := make([]*side, len(scripts))
	var wg sync.WaitGroup
	for i, script := range scripts {
		s := &side{addr: addr, sasl: sasl, name: script.name, base: base, ids: map[[16]byte]string{}, seen: map[string]int{}, asked: map[int16]int{}}
		sides[i] = s
		wg.Go(func() {
			start := time.Now()
			s.run(script.run)
			t.Logf("%s at %s: %v", s.name, s.addr, time.Since(start).Round(time.Millisecond))
		})
	}
	wg.Wait()
	return sides
}

// judge compares both modes with Kafka, plants wrong answers, and tells what was asked.
func (v varves) judge(t *testing.T, kafka recording, theirs []*side) {
	full, quick := newExpectation(expected), newExpectation(slices.Concat(expectedByHeader, expected))
	answers := map[int16]int{}
	for _, s := range v.full {
		t.Run(s.name, func(t *testing.T) { judge(t, kafka, s, full, answers) })
	}
	for _, s := range v.header {
		t.Run(s.name+" by header", func(t *testing.T) { judge(t, kafka, s, quick, answers) })
	}
	unused := maps.Clone(full.unused)
	for _, row := range expectedByHeader {
		if quick.unused[row.String()] {
			unused[row.String()] = true
		}
	}
	for _, row := range slices.Sorted(maps.Keys(unused)) {
		t.Errorf("expected difference is gone: delete the row of expected_test.go, and its line in docs/differences.md if it was the last:\n%s", row)
	}
	if !t.Failed() {
		t.Run("planted", func(t *testing.T) { plant(t, kafka, v.full, expected, blind) })
	}
	tell(t, answers, slices.Concat(theirs, v.full, v.header))
}

// tell prints the count of exchanges and of compared answers for each key.
func tell(t *testing.T, answers map[int16]int, sides []*side) {
	asked := map[int16]int{}
	for _, s := range sides {
		for key, n := range s.asked {
			asked[key] += n
		}
	}
	exchanges, compared := 0, 0
	for _, key := range slices.Sorted(maps.Keys(asked)) {
		t.Logf("key %2d %-28s %6d exchanges, %5d answers compared", key, kmsg.NameForKey(key), asked[key], answers[key])
		exchanges, compared = exchanges+asked[key], compared+answers[key]
	}
	t.Logf("%d exchanges; %d answers compared, and %d outcomes without one: closed, silent, how long it took",
		exchanges, compared, answers[noKey])
}

// judge compares what a script saw on both sides.
func judge(t *testing.T, kafka recording, varve *side, e *expectation, compared map[int16]int) {
	if varve.broken != nil {
		t.Fatalf("the script could not go on after step %q: %v", lastStep(varve), varve.broken)
	}
	answers := map[string]*step{}
	for i := range varve.steps {
		answers[varve.steps[i].name] = &varve.steps[i]
	}
	for i := range kafka[varve.name] {
		k := &kafka[varve.name][i]
		v := answers[k.name]
		delete(answers, k.name)
		report(t, compare(varve.name, k, v), e)
		if v != nil {
			compared[v.key]++
		}
	}
	for i := range varve.steps { // what the script did not come to with Kafka
		if v := answers[varve.steps[i].name]; v != nil {
			report(t, compare(varve.name, nil, v), e)
		}
	}
}

// report fails the test for every difference that no row explains.
func report(t *testing.T, all []difference, e *expectation) {
	for _, d := range all {
		if e.explains(d) {
			continue
		}
		t.Errorf("%s: Kafka %s, Varve %s", d.at, d.kafka, d.varve)
	}
}

func lastStep(s *side) string {
	if len(s.steps) == 0 {
		return "none"
	}
	return s.steps[len(s.steps)-1].name
}

// compare lists the fields that differ. What is in a thing that one side lacks altogether
// is not listed beside it. A step is nil where the script did not come to it.
func compare(script string, kafka, varve *step) []difference {
	switch {
	case varve == nil:
		return []difference{{script + " / " + kafka.name, "step", absent}}
	case kafka == nil:
		return []difference{{script + " / " + varve.name, absent, "step"}}
	}
	var out []difference
	lacking := map[string]bool{}
	for _, path := range append(slices.Clone(kafka.order), varve.order...) {
		k, inKafka := kafka.fields[path]
		v, inVarve := varve.fields[path]
		if inKafka && inVarve && k == v || inLacking(lacking, path) {
			continue
		}
		if !inKafka {
			k = absent
		}
		if !inVarve {
			v = absent
		}
		lacking[path] = true
		out = append(out, difference{fmt.Sprintf("%s / %s / %s", script, kafka.name, path), k, v})
	}
	return out
}

// inLacking says whether path, or something around it, was reported.
func inLacking(lacking map[string]bool, path string) bool {
	if lacking[path] {
		return true
	}
	for i, c := range path {
		if (c == '.' || c == '[') && lacking[path[:i]] {
			return true
		}
	}
	return false
}
