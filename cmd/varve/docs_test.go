package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// pages are what is generated from the command tree.
const (
	cliPage = "../../docs/cli.md"
	manPage = "../../docs/man/varve.1"
)

// withoutExample are commands of which no example can be run here, with the reason.
var withoutExample = map[string]string{"varve store lifecycle": "stores in memory and in directories have no such rules"}

// unstable are commands that print figures of the machine, or times: their example runs, and the page keeps what was printed
// once. The value says whether the machine may be found wanting.
var unstable = map[string]bool{
	"varve doctor": true, "varve debug bundle": true, "varve bench produce": false, "varve bench consume": false, "varve bench e2e": false, "varve bench tier": false,
	"varve broker": false, "varve dev": false, "varve demo": false, "varve store check": false, "varve store bench": false, "varve log dirs": false, "varve log dump": false,
	"varve log import": false, "varve log verify": false, "varve txn describe": false, "varve version": false,
}

// serving are commands that run until they are told to stop: as soon as they say that they are up.
var serving = map[string]bool{"varve broker": true, "varve dev": true}

// upWatcher ends a command that says that it serves.
type upWatcher struct {
	bytes.Buffer
	cancel context.CancelFunc
}

func (w *upWatcher) Write(b []byte) (int, error) {
	if w.cancel != nil && strings.Contains(string(b), "broker is up") {
		w.cancel()
	}
	return w.Buffer.Write(b)
}

// example is a command line with what it printed.
type example struct{ line, stdin, output string }

// examples is a run of the script on fresh nodes: one for all, one as the cluster that topics are adopted from.
type examples struct {
	node, kafka *broker.Node
	dir         string // where the commands run
	logs        [2]string
	topicID     string
	stdin       string
	printed     string
	found       map[string][]example // by the path of the command
}

// shownID stands for every topic id on the page.
const shownID = "Ms1pC4tQR0a-examples-w"

// runExamples runs the script.
func runExamples(t *testing.T) map[string][]example {
	t.Helper()
	script, err := os.ReadFile("testdata/examples.txt")
	if err != nil {
		t.Fatal(err)
	}
	var dirs [2]string
	dirs[0], dirs[1] = t.TempDir(), t.TempDir()
	e := &examples{dir: t.TempDir(), logs: [2]string{filepath.Join(dirs[0], "logs"), filepath.Join(dirs[1], "logs")}, found: map[string][]example{}}
	e.node = brokertest.Node{Dir: dirs[0], Bucket: mem.New(), YAML: "delegation.token.secret.key: a-key\n",
		Set: []string{"listeners=PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS"}}.Start(t)
	e.kafka = brokertest.Node{Dir: dirs[1]}.Start(t)
	must(t, "", "topic", "create", "shipments", "-b", e.kafka.KafkaAddr())
	must(t, "one\ntwo\n", "produce", "shipments", "-b", e.kafka.KafkaAddr())
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(e.dir, "home"))
	t.Chdir(e.dir)
	if err := os.WriteFile("ann.secret", []byte("a-password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(script)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		if rest := strings.TrimSpace(line[1:]); strings.ContainsRune("<>!", rune(line[0])) {
			e.direct(t, line[0], rest)
			continue
		}
		e.run(t, line)
	}
	return e.found
}

// direct does what stands between commands: '<' is what the next one reads, '>' a file for what the last one printed, and '!'
// is "begin ID", which leaves a transaction open, or "stop TOPIC", which stops the nodes and remembers the topic's id.
func (e *examples) direct(t *testing.T, what byte, rest string) {
	t.Helper()
	var err error
	verb, arg, _ := strings.Cut(rest, " ")
	switch {
	case what == '<':
		e.stdin, err = strconv.Unquote(`"` + rest + `"`)
	case what == '>':
		err = os.WriteFile(rest, []byte(e.printed), 0o600)
	case verb == "begin":
		begin(t, e.node.KafkaAddr(), arg)
	case verb == "stop":
		e.topicID = decode[topicDetail](t, "topic", "describe", arg, "-b", e.node.KafkaAddr()).ID
		err = errors.Join(e.node.Stop(t.Context()), e.kafka.Stop(t.Context()))
	default:
		t.Fatalf("!%s: want begin or stop", rest)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (e *examples) run(t *testing.T, line string) {
	t.Helper()
	args := exampleWords(strings.NewReplacer("localhost:9092", e.node.KafkaAddr(), "localhost:9644", e.node.AdminAddr(), "kafka-1:9092", e.kafka.KafkaAddr(),
		"/var/lib/varve/logs", e.logs[0], "/kafka-logs", e.logs[1], "/home/ann", e.dir, shownID, e.topicID).Replace(line))[1:]
	if args[0] == "__complete" {
		e.tab(t, line, args)
		return
	}
	cmd, _, err := rootCommand().Find(args)
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	path := cmd.CommandPath()
	if cmd.Flags().Lookup("brokers") != nil {
		addr := e.node.KafkaAddr()
		if strings.HasPrefix(path, "varve token ") { // nobody has logged in at the other listener
			addr = e.node.Addr("SASL_PLAINTEXT")
		}
		args = append(args, "--brokers", addr)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var out bytes.Buffer
	errOut := &upWatcher{}
	if serving[path] {
		errOut.cancel = cancel
	}
	if code := run(ctx, args, strings.NewReader(e.stdin), &out, errOut); code != exitOK && !unstable[path] {
		t.Fatalf("%s: exit code %d\n%s%s", line, code, &out, errOut)
	}
	e.printed = out.String()
	text := strings.ReplaceAll(errOut.String()+e.printed, e.logs[1], "/kafka-logs")
	text = strings.ReplaceAll(text, e.kafka.KafkaAddr(), "kafka-1:9092")
	e.found[path] = append(e.found[path], example{line, e.stdin, steady(text, e.node.KafkaAddr(), e.dir)})
	e.stdin = ""
}

// tab shows what a shell asks for when Tab is pressed behind a line, below 'varve completion'.
func (e *examples) tab(t *testing.T, line string, args []string) {
	t.Helper()
	if strings.HasSuffix(line, " _") {
		args[len(args)-1] = "" // a new word
	}
	names, _, _ := strings.Cut(must(t, "", args...), ":4")
	if names == "" {
		t.Errorf("%s completes nothing", line)
	}
	shown := strings.NewReplacer("__complete ", "", " -b localhost:9092", "").Replace(strings.TrimSuffix(line, "_")) + "⇥"
	e.found["varve completion"] = append(e.found["varve completion"], example{shown, "", strings.Join(strings.Fields(names), "  ")})
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
		return shownID + id[22:]
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
	if cmd.Hidden || cmd.Name() == "help" {
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
		"wants `--yes`. `varve completion bash|zsh|fish` prints completion, which asks the cluster for names.\n", root.Long)
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
			if _, ok := unstable[cmd.CommandPath()]; ok && outputOf(before, e.line) != "" {
				e.output = outputOf(before, e.line)
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
		path := cmd.CommandPath()
		if cmd.HasParent() && cmd.Runnable() && withoutExample[path] == "" && len(examples[path]) == 0 {
			t.Errorf("%s has no line in testdata/examples.txt", path)
		}
		if _, stands := unstable[path]; withoutExample[path] != "" && (stands || len(examples[path]) > 0) {
			t.Errorf("%s has an example now", path)
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

func firstDifference(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d:\n- %s\n+ %s", i+1, x[i], y[i])
		}
	}
	return "one is longer"
}
