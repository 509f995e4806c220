//go:build varveplanted

// Package planted gives the log one bug after the other and wants the tests to see each.
// A bug that no test catches is a test that is missing. It runs with make chaos-planted.
package planted

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/fault"
)

// suite is a package's tests, and how to ask them.
type suite struct {
	name, dir, run string
	env            []string
}

// suites are asked in this order: the histories, which know of no bug in particular, and then
// the tests of single promises. PLANTED_ALL=1 asks those too of a bug that a history caught.
func suites() []suite {
	return []suite{
		{"histories", "test/chaos/logs", "", []string{"CHAOS_LOG_SECONDS=20", "CHAOS_SEED=20261122"}},
		{"durability", "broker/commitlog/logdir", "TestGroupHistories|TestWAL|TestReplay|TestMove|TestEviction", nil},
		{"log", "broker/commitlog", "", nil},
		{"write-ahead file", "broker/commitlog/wal", "", nil},
		{"cleaner", "broker/commitlog/cleaner", "", nil},
	}
}

// TestPlantedBugs wants every suite green without a bug, and for each bug one that is red.
func TestPlantedBugs(t *testing.T) {
	bin := t.TempDir()
	all := suites()
	for i, s := range all {
		all[i].dir = filepath.Join("..", "..", s.dir)
		build(t, all[i], bin)
	}
	for _, s := range all {
		if out, err := ask(s, bin, ""); err != nil {
			t.Fatalf("%s is red without a bug: %v\n%s", s.name, err, out)
		}
	}
	var table strings.Builder
	for _, b := range fault.Bugs() {
		if only := os.Getenv("PLANTED"); only != "" && !slices.Contains(strings.Split(only, ","), string(b)) {
			continue
		}
		began := time.Now()
		red := caught(all, bin, b)
		fmt.Fprintf(&table, "| %s | %s | %.1f s |\n", b, strings.Join(red, "; "), time.Since(began).Seconds())
		if len(red) == 0 {
			t.Errorf("no test catches %s", b)
		}
	}
	t.Logf("bugs and the tests that caught them:\n| bug | caught by | after |\n|---|---|---|\n%s", table.String())
}

func build(t *testing.T, s suite, bin string) {
	t.Helper()
	cmd := exec.Command("go", "test", "-tags", "nos3,noazure,nogcs,varveplanted", "-c", "-o", filepath.Join(bin, filepath.Base(s.dir)), ".")
	cmd.Dir = s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of %s: %v\n%s", s.dir, err, out)
	}
}

// ask runs a suite in a process that has the bug.
func ask(s suite, bin string, b fault.Bug) ([]byte, error) {
	cmd := exec.Command(filepath.Join(bin, filepath.Base(s.dir)), "-test.timeout=3m", "-test.failfast", "-test.run="+s.run)
	cmd.Dir = s.dir
	cmd.Env = append(append(os.Environ(), s.env...), "VARVE_PLANTED="+string(b))
	return cmd.CombinedOutput()
}

var failed = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// caught names the tests that are red with a bug.
func caught(all []suite, bin string, b fault.Bug) (red []string) {
	for _, s := range all {
		out, err := ask(s, bin, b)
		if err == nil {
			continue
		}
		what := "it does not end"
		if m := failed.FindSubmatch(out); m != nil {
			what = string(m[1])
		} else if strings.Contains(string(out), "panic: ") {
			what = "a panic"
		}
		red = append(red, s.name+": "+what)
		if os.Getenv("PLANTED_ALL") == "" {
			return red
		}
	}
	return red
}
