package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// pages are what is generated from the command tree.
const (
	cliPage = "../../docs/cli.md"
	manPage = "../../docs/man/varve.1"
)

// mine are the parts of the tree whose every command has an example.
var mine = []string{"acl", "cheat", "cluster", "config", "debug", "doctor", "group", "profile", "quota", "token", "topic", "user", "consume", "produce",
	"kafka-topics", "kafka-configs", "kafka-consumer-groups", "kafka-console-producer", "kafka-console-consumer", "kafka-acls"}

// withoutExample are commands of those that only print what is on another page, or need a second cluster.
var withoutExample = map[string]bool{"varve config docs": true, "varve topic adopt": true}

// unstable are commands that print figures of the machine: their example runs, and the page keeps what was printed once.
var unstable = map[string]bool{"varve doctor": true, "varve debug bundle": true}

// example is a command line with what it printed.
type example struct{ line, stdin, output string }

// runExamples runs the script on a fresh node; by the path of the command.
func runExamples(t *testing.T) map[string][]example {
	t.Helper()
	node := brokertest.Node{Bucket: mem.New(), YAML: "delegation.token.secret.key: a-key\n", Set: []string{"listeners=PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS"}}.Start(t)
	script, err := os.ReadFile("testdata/examples.txt")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "home"))
	t.Chdir(dir)
	if err := os.WriteFile("ann.secret", []byte("a-password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	found := map[string][]example{}
	stdin, printed := "", ""
	for line := range strings.Lines(string(script)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == '>':
			if err := os.WriteFile(strings.TrimSpace(line[1:]), []byte(printed), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		case line[0] == '<':
			if stdin, err = strconv.Unquote(`"` + strings.TrimSpace(line[1:]) + `"`); err != nil {
				t.Fatal(err)
			}
			continue
		}
		args := exampleWords(strings.NewReplacer("localhost:9092", node.KafkaAddr(), "localhost:9644", node.AdminAddr()).Replace(line))[1:]
		cmd, _, err := rootCommand().Find(args)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if cmd.Flags().Lookup("brokers") != nil {
			addr := node.KafkaAddr()
			if strings.HasPrefix(cmd.CommandPath(), "varve token ") { // nobody has logged in at the other listener
				addr = node.Addr("SASL_PLAINTEXT")
			}
			args = append(args, "--brokers", addr)
		}
		var out, errOut bytes.Buffer
		code := run(t.Context(), args, strings.NewReader(stdin), &out, &errOut)
		if code != exitOK && !unstable[cmd.CommandPath()] {
			t.Fatalf("%s: exit code %d\n%s%s", line, code, &out, &errOut)
		}
		printed = out.String()
		text := steady(errOut.String()+printed, node.KafkaAddr(), dir)
		found[cmd.CommandPath()] = append(found[cmd.CommandPath()], example{line, stdin, text})
		stdin = ""
	}
	return found
}

func exampleWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// steady gives what changes from run to run the same text.
func steady(s, addr, dir string) string {
	s = strings.ReplaceAll(s, addr, "127.0.0.1:19092")
	s = regexp.MustCompile(`(?:/\w+)*/Test\w+/\d+`).ReplaceAllString(strings.ReplaceAll(s, dir, "/home/ann"), "/var/lib/varve")
	s = regexp.MustCompile(`\b(?:[A-Za-z0-9_-]{22})(\s|$)`).ReplaceAllStringFunc(s, func(id string) string {
		if !regexp.MustCompile(`[A-Z]`).MatchString(id) || !regexp.MustCompile(`[a-z]`).MatchString(id) {
			return id
		}
		return "Ms1pC4tQR0a-examples-w" + id[22:]
	})
	s = regexp.MustCompile(`[A-Za-z0-9+/]{86}==`).ReplaceAllString(s, strings.Repeat("examplesecret+", 7)[:86]+"==")
	s = regexp.MustCompile(`\b20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ`).ReplaceAllString(s, "2026-11-30T06:00:00Z")
	s = regexp.MustCompile(`(high watermark +|epoch +)\d+`).ReplaceAllString(s, "${1}42")
	s = regexp.MustCompile(`(?m)^(1 +leader +)\d+`).ReplaceAllString(s, "${1}42")
	var lines []string
	for line := range strings.SplitSeq(strings.TrimRight(s, "\n"), "\n") {
		if !regexp.MustCompile(`VARVE_\w+: \w+ is ignored`).MatchString(line) { // the test's own environment
			lines = append(lines, strings.TrimRight(line, " \t"))
		}
	}
	return strings.Join(lines, "\n")
}

// walk visits the commands that a user sees.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	if cmd.Hidden || cmd.Name() == "help" || cmd.Name() == "completion" {
		return
	}
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

// markdown writes the command tree as Markdown.
func markdown(root *cobra.Command, examples map[string][]example, before string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The command line\n\nGenerated by `make gen` from the commands and from `cmd/varve/testdata/examples.txt`, whose lines were run on a live node.\n\n"+
		"%s\n\nRead commands take `-o table|wide|json|yaml|name`; the keys of JSON and YAML stay as they are. `--dry-run` changes nothing, what destroys\n"+
		"wants `--yes`. `varve completion bash|zsh|fish` prints completion, which asks the cluster for names of topics and groups.\n", root.Long)
	walk(root, func(cmd *cobra.Command) {
		if cmd == root {
			return
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", cmd.CommandPath(), strings.TrimSpace(firstNonEmpty(cmd.Long, cmd.Short)))
		if cmd.Runnable() && !cmd.DisableFlagParsing {
			fmt.Fprintf(&b, "\n```\n%s\n\n%s```\n", cmd.UseLine(), ownFlags(cmd))
		}
		for _, e := range examples[cmd.CommandPath()] {
			input := ""
			if e.stdin != "" {
				input = fmt.Sprintf("printf %q | ", e.stdin)
			}
			fmt.Fprintf(&b, "\n```console\n$ %s%s\n", input, e.line)
			if kept := outputOf(before, e.line); unstable[cmd.CommandPath()] && kept != "" {
				e.output = kept
			}
			fmt.Fprintf(&b, "%s\n```\n", e.output)
		}
	})
	return b.Bytes()
}

// outputOf is what a page has below a command line; "" without it.
func outputOf(page, line string) string {
	_, rest, ok := strings.Cut(page, "\n$ "+line+"\n")
	text, _, ended := strings.Cut(rest, "\n```")
	if !ok || !ended {
		return ""
	}
	return text
}

func firstNonEmpty(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// ownFlags are the flags of a command without those that say how to connect.
func ownFlags(cmd *cobra.Command) string {
	var kept []string
	connection := false
	for line := range strings.SplitSeq(strings.TrimRight(cmd.LocalFlags().FlagUsages(), "\n"), "\n") {
		skip := strings.Contains(line, "--help")
		for _, name := range append(profileFlags(), "profile") {
			if strings.Contains(line, "--"+name+" ") {
				skip, connection = true, connection || name == "brokers"
			}
		}
		if !skip {
			kept = append(kept, line)
		}
	}
	if connection {
		kept = append(kept, "      and --brokers, --profile, --tls…, --user…: how to connect, see 'varve profile'")
	}
	if len(kept) == 0 {
		return ""
	}
	return strings.Join(kept, "\n") + "\n"
}

// man writes the command tree as a manual page.
func man(root *cobra.Command) []byte {
	escape := func(s string) string {
		s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
		return regexp.MustCompile(`(?m)^([.'])`).ReplaceAllString(s, `\&$1`)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, ".TH VARVE 1\n.SH NAME\nvarve \\- %s\n.SH SYNOPSIS\n.B varve\n.I COMMAND\n[FLAG...]\n.SH DESCRIPTION\n.nf\n%s\n.fi\n.SH COMMANDS\n", escape(root.Short), escape(root.Long))
	walk(root, func(cmd *cobra.Command) {
		if !cmd.Runnable() || cmd == root {
			return
		}
		fmt.Fprintf(&b, ".SS %s\n.nf\n%s\n", escape(cmd.UseLine()), escape(strings.TrimSpace(firstNonEmpty(cmd.Long, cmd.Short))))
		if !cmd.DisableFlagParsing {
			fmt.Fprintf(&b, "\n%s", escape(ownFlags(cmd)))
		}
		if cmd.Example != "" {
			fmt.Fprintf(&b, "\n%s\n", escape(cmd.Example))
		}
		fmt.Fprint(&b, ".fi\n")
	})
	return b.Bytes()
}

// TestGeneratedPages runs the examples on a live node and compares docs/cli.md and docs/man/varve.1 with the command
// tree and with what the examples have printed. VARVE_WRITE=1 ('make gen') writes the pages anew.
func TestGeneratedPages(t *testing.T) {
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	examples := runExamples(t)
	walk(rootCommand(), func(cmd *cobra.Command) {
		path := strings.Fields(cmd.CommandPath())
		if cmd.Runnable() && len(path) > 1 && contains(mine, path[1]) && !withoutExample[cmd.CommandPath()] && len(examples[cmd.CommandPath()]) == 0 {
			t.Errorf("%s has no line in testdata/examples.txt", cmd.CommandPath())
		}
	})
	before, err := os.ReadFile(filepath.Join(here, cliPage))
	if err != nil && os.Getenv("VARVE_WRITE") == "" {
		t.Fatal(err)
	}
	for name, want := range map[string][]byte{cliPage: markdown(rootCommand(), examples, string(before)), manPage: man(rootCommand())} {
		path := filepath.Join(here, name)
		if os.Getenv("VARVE_WRITE") != "" {
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what the commands are and print: run 'make gen' (%v)\n%s", name, err, firstDifference(string(got), string(want)))
		}
	}
}

func contains(list []string, s string) bool {
	for _, one := range list {
		if one == s {
			return true
		}
	}
	return false
}

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d:\n- %s\n+ %s", i+1, x[i], y[i])
		}
	}
	return "one is longer"
}
