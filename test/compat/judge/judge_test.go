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
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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
	return slices.ContainsFunc(scripts(), func(s script) bool { return s.name == head })
}

// difference is a field whose answer differs.
type difference struct {
	at           string // script / step / field
	kafka, varve string // the value, or absent
}

const absent = "(absent)"

// TestAgainstKafka runs every script on both brokers.
func TestAgainstKafka(t *testing.T) {
	settings := []string{"--set", "group.initial.rebalance.delay.ms=200",
		"--set", "group.consumer.assignment.interval.ms=0", "--set", "offsets.topic.replication.factor=1",
		"--set", "transaction.state.log.replication.factor=1", "--set", "transaction.state.log.min.isr=1"}
	header := kit.Start(t, filepath.Join(t.TempDir(), "header"), settings...)
	varve := kit.Start(t, filepath.Join(t.TempDir(), "varve"), append(settings, "--set", "varve.produce.validation=full")...)
	kafka := kit.StartKafka(t, "group.initial.rebalance.delay.ms=200", "group.consumer.assignment.interval.ms=0",
		"transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1")
	base := time.Now().Add(-time.Hour).Truncate(time.Minute).UnixMilli()

	scripts := scripts()
	sides := make([][3]*side, len(scripts)) // the third one is nil where it cannot matter how batches are looked at
	var wg sync.WaitGroup
	start := func(i, j int, addr string) {
		s := &side{addr: addr, name: scripts[i].name, base: base, ids: map[[16]byte]string{}, seen: map[string]int{}}
		sides[i][j] = s
		wg.Go(func() {
			start := time.Now()
			s.run(scripts[i].run)
			t.Logf("%s at %s: %v", s.name, s.addr, time.Since(start).Round(time.Millisecond))
		})
	}
	for i := range scripts {
		start(i, 0, kafka)
		start(i, 1, varve.Addr)
	}
	wg.Wait()
	for i := range scripts { // behind the others, of which some are in a hurry
		if slices.Contains(producing, scripts[i].name) {
			start(i, 2, header.Addr)
		}
	}
	wg.Wait()

	full, quick := newExpectation(expected), newExpectation(slices.Concat(expectedByHeader, expected))
	steps := 0
	for i := range scripts {
		t.Run(scripts[i].name, func(t *testing.T) {
			steps += len(sides[i][0].steps)
			judge(t, sides[i][0], sides[i][1], full)
		})
		if sides[i][2] != nil {
			t.Run(scripts[i].name+" by header", func(t *testing.T) {
				steps += len(sides[i][0].steps)
				judge(t, sides[i][0], sides[i][2], quick)
			})
		}
	}
	unused := maps.Clone(full.unused)
	for _, row := range expectedByHeader {
		if quick.unused[row.String()] {
			unused[row.String()] = true
		}
	}
	t.Logf("%d answers compared", steps)
	for _, row := range slices.Sorted(maps.Keys(unused)) {
		t.Errorf("expected difference is gone: delete the row of expected_test.go, and its line in docs/differences.md if it was the last:\n%s", row)
	}
}

// judge compares what a script saw on both sides.
func judge(t *testing.T, kafka, varve *side, e *expectation) {
	for who, s := range map[string]*side{"Kafka": kafka, "Varve": varve} {
		if s.broken != nil {
			t.Fatalf("the script could not go on with %s after step %q: %v", who, lastStep(s), s.broken)
		}
	}
	answers := map[string]*step{}
	for i := range varve.steps {
		answers[varve.steps[i].name] = &varve.steps[i]
	}
	for i := range kafka.steps {
		k := &kafka.steps[i]
		v := answers[k.name]
		delete(answers, k.name)
		report(t, compare(kafka.name, k, v), e)
	}
	for i := range varve.steps { // what the script did not come to with Kafka
		if v := answers[varve.steps[i].name]; v != nil {
			report(t, compare(kafka.name, nil, v), e)
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
