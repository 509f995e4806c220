// Package readme runs the commands that the README opens with, exactly as they stand there.
package readme

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

var block = regexp.MustCompile("(?s)```sh\n(.*?)```")

// blocks are the README's shell blocks: first the demonstration, then the tests.
func blocks(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range block.FindAllStringSubmatch(string(b), -1) {
		out = append(out, strings.TrimSpace(m[1]))
	}
	if len(out) != 2 {
		t.Fatalf("the README opens with %d shell blocks, want two: one runs the broker, one passes the tests", len(out))
	}
	return out
}

// TestDemonstration runs the first block and wants the story told to its end.
func TestDemonstration(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the broker")
	}
	out, err := shell(t, blocks(t)[0]).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"produced", "tiered", "evicted", "read back ✓", "MB from the object store"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the demonstration does not say %q:\n%s", want, out)
		}
	}
}

// TestTests runs the second block when VARVE_README=run, as CI does: inside 'make test'
// itself it would run for ever, so there it only asks make whether the target exists.
func TestTests(t *testing.T) {
	command := blocks(t)[1]
	if os.Getenv("VARVE_README") != "run" {
		out, err := shell(t, command+" --dry-run").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "./...") {
			t.Fatalf("%s would not run the tests of the whole tree: %v\n%s", command, err, out)
		}
		return
	}
	cmd := shell(t, command)
	cmd.Env = append(os.Environ(), "VARVE_README=")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
}

func shell(t *testing.T, command string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-c", command)
	cmd.Dir = "../.."
	return cmd
}
