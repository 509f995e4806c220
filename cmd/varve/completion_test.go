package main

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
)

func TestCompletionAsksTheCluster(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	must(t, "", "topic", "create", "orders", "-b", b)
	must(t, "", "topic", "create", "invoices", "-b", b)
	must(t, "", "group", "seek", "billing", "--topic", "orders", "--to", "end", "-b", b)
	secret := t.TempDir() + "/secret"
	if err := os.WriteFile(secret, []byte("a-password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	must(t, "", "user", "set", "ann", "--new-password-file", secret, "-b", b)
	begin(t, b, "payments-1")
	for line, want := range map[string]string{
		"topic describe |":                  "invoices orders",
		"topic trim o|":                     "orders",
		"topic describe orders |":           "", // it takes one
		"topic create o|":                   "",
		"consume in|":                       "invoices",
		"bench consume --topic o|":          "orders",
		"group seek --topic in|":            "invoices",
		"group delete |":                    "billing",
		"user delete a|":                    "ann",
		"txn abort p|":                      "payments-1",
		"config list c|":                    "cluster",
		"config diff topic/orders topic/i|": "topic/invoices",
		"config set l|":                     "logger/1",
		"acl create g|":                     "group/billing",
		"quota set user/|":                  "user/* user/ann",
		"topic list -o |":                   "json name table wide yaml",
		"bench produce --acks |":            "0 1 all",
		"completion |":                      "bash fish zsh",
	} {
		words := strings.Fields(strings.ReplaceAll(line, "|", " |"))
		last := ""
		if !strings.HasSuffix(line, " |") {
			last = words[len(words)-2]
			words = words[:len(words)-1]
		}
		args := append([]string{"__complete"}, words[:len(words)-1]...)
		if words[0] != "completion" {
			at := slices.IndexFunc(args, func(word string) bool { return strings.HasPrefix(word, "-") })
			if at < 0 {
				at = len(args)
			}
			args = slices.Insert(args, at, "-b", b)
		}
		out := must(t, "", append(args, last)...)
		names, _, _ := strings.Cut(out, ":")
		got := strings.Fields(names)
		if slices.Sort(got); strings.Join(got, " ") != want {
			t.Errorf("varve %s: %q, want %q", line, got, want)
		}
	}
	if out := must(t, "", "__complete", "topic", "describe", "-b", "127.0.0.1:1", ""); out != ":4\n" {
		t.Errorf("without a cluster: %q", out)
	}
}

func TestCompletionScripts(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := must(t, "", "completion", shell)
		if !strings.Contains(script, "__complete") {
			t.Errorf("%s: %.80q", shell, script)
		}
		path, err := exec.LookPath(shell)
		if err != nil {
			continue // the shell is not here: what cobra writes is what its own tests hold
		}
		cmd := exec.Command(path, "-n")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s -n: %v\n%s", shell, err, out)
		}
	}
	if code, _, errOut := varve(t, "", "completion", "tcsh"); code != exitUsage || !strings.Contains(errOut, "bash, zsh or fish") {
		t.Errorf("completion for tcsh: exit code %d, %q", code, errOut)
	}
}
