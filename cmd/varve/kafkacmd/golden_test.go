package kafkacmd_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/cmd/varve/kafkacmd"
	"github.com/varve-io/varve/test/kit"
)

const golden = "testdata/kafka-4.3.1.txt"

// settings are those that both brokers run with.
var settings = []string{
	"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS",
	"group.initial.rebalance.delay.ms=0", "num.partitions=1",
}

// command is one line of the script.
type command struct {
	line      string
	words     []string
	stdin     string
	file      [2]string // name and text
	unordered bool
}

// answer is what a command printed.
type answer struct {
	code        int
	stdout, err []string // err is its first line alone: behind it are stack traces and lists of options
}

// script reads the commands.
func script(t *testing.T) []command {
	t.Helper()
	b, err := os.ReadFile("testdata/script.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []command
	var next command
	for n, line := range strings.Split(string(b), "\n") {
		var err error
		words := splitWords(line)
		switch {
		case len(words) == 0 || strings.HasPrefix(line, "#"):
		case words[0] == "unordered":
			next.unordered = true
		case words[0] == "stdin":
			next.stdin, err = strconv.Unquote(strings.TrimPrefix(line, "stdin "))
		case words[0] == "file":
			next.file[0] = words[1]
			next.file[1], err = strconv.Unquote(strings.TrimPrefix(line, "file "+words[1]+" "))
		default:
			next.line, next.words = line, words
			list = append(list, next)
			next = command{}
		}
		if err != nil {
			t.Fatalf("line %d of the script: %v", n+1, err)
		}
	}
	return list
}

// splitWords splits at spaces outside of double quotes.
func splitWords(line string) []string {
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

// prepare makes the arguments of a command and the file that it reads.
func (c command) prepare(t *testing.T, addr, dir string) []string {
	t.Helper()
	if c.file[0] != "" {
		if err := os.WriteFile(filepath.Join(dir, c.file[0]), []byte(c.file[1]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var args []string
	for _, w := range c.words[1:] {
		if w == "@" {
			args = append(args, "--bootstrap-server", addr)
			continue
		}
		args = append(args, strings.ReplaceAll(w, "{tmp}", dir))
	}
	return args
}

// told makes an answer comparable: addresses, ids, times and directories get names, lines of logs and of
// the original's throw-away groups go.
func told(code int, stdout, stderr []byte, addr, dir string, unordered bool) answer {
	clean := func(b []byte) []string {
		s := strings.NewReplacer(addr, "127.0.0.1:PORT_", dir, "{tmp}").Replace(string(b))
		s = regexp.MustCompile(`TopicId: [A-Za-z0-9_-]{22}`).ReplaceAllString(s, "TopicId: ID")
		s = regexp.MustCompile(`CreateTime:\d{13}`).ReplaceAllString(s, "CreateTime:T")
		s = regexp.MustCompile(`(Configs: )min\.insync\.replicas=1,?`).ReplaceAllString(s, "$1") // set by KIP-966 in every new Kafka cluster
		lines := slices.DeleteFunc(strings.Split(strings.TrimSuffix(s, "\n"), "\n"), func(l string) bool {
			return strings.HasPrefix(l, "console-consumer-") || strings.HasPrefix(l, "[20") || strings.HasPrefix(l, "New offset (") || strings.HasPrefix(l, "\tat ") || strings.HasPrefix(l, "The consumer rebalance protocol") || strings.HasPrefix(l, "  min.insync.replicas=1 ")
		})
		return lines
	}
	trace := regexp.MustCompile(`^(?:java|org)\.[a-z.]+[A-Z]\w*(?:Exception|Error): `)
	a := answer{code: code, stdout: clean(stdout)}
	if i := slices.IndexFunc(a.stdout, trace.MatchString); i >= 0 {
		a.stdout = a.stdout[:i]
	}
	if unordered {
		for i, l := range a.stdout {
			a.stdout[i] = strings.TrimPrefix(l, " ")
		}
		slices.Sort(a.stdout)
	}
	shuffled := regexp.MustCompile(`supports operations|Valid states are|of these options|following scenarios`)
	for _, line := range clean(stderr) {
		if line != "" {
			for trace.MatchString(line) {
				line = trace.ReplaceAllString(line, "")
			}
			if shuffled.MatchString(line) { // lists that the original has in no order
				words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune("[], ", r) })
				slices.Sort(words)
				line = strings.Join(words, " ")
			}
			a.err = []string{line}
			break
		}
	}
	return a
}

func (a answer) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "exit %d\n", a.code)
	for _, l := range a.stdout {
		fmt.Fprintf(&b, "| %s\n", l)
	}
	for _, l := range a.err {
		fmt.Fprintf(&b, "! %s\n", l)
	}
	return b.String()
}

// TestAgainstTheOriginals runs the commands of the script on Varve and compares what they print with what
// Kafka's own tools have printed on Apache Kafka. VARVE_KAFKA_RECORD=1 with VARVE_KAFKA_JARS asks them anew.
func TestAgainstTheOriginals(t *testing.T) {
	commands := script(t)
	if os.Getenv("VARVE_KAFKA_RECORD") != "" {
		record(t, commands)
	}
	want := recorded(t)
	addr, dir := brokertest.Node{Set: settings}.Start(t).KafkaAddr(), t.TempDir()
	for i, c := range commands {
		if i >= len(want) || want[i].line != c.line {
			t.Fatalf("%q is not what was recorded: record again", c.line)
		}
		var stdout, stderr bytes.Buffer
		code := kafkacmd.Run(t.Context(), c.words[0], c.prepare(t, addr, dir), strings.NewReader(c.stdin), &stdout, &stderr)
		got := told(code, stdout.Bytes(), stderr.Bytes(), addr, dir, c.unordered).String()
		because, known := differences[c.line]
		switch {
		case got != want[i].text && !known:
			t.Errorf("$ %s\nVarve:\n%sKafka:\n%s", c.line, got, want[i].text)
		case got == want[i].text && known:
			t.Errorf("$ %s: is the same as Kafka's, and known to be different: %s", c.line, because)
		}
	}
}

// pair is a command and the text of its answer.
type pair struct{ line, text string }

func recorded(t *testing.T) []pair {
	t.Helper()
	b, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var list []pair
	for part := range strings.SplitSeq(string(b), "$ ") {
		if line, text, ok := strings.Cut(part, "\n"); ok && strings.HasPrefix(line, "kafka-") {
			list = append(list, pair{line, strings.TrimSuffix(text, "\n")})
		}
	}
	return list
}

// record runs the originals against Apache Kafka and writes what they print.
func record(t *testing.T, commands []command) {
	t.Helper()
	extra := slices.Clone(settings)
	addr, dir := kit.StartKafka(t, append(extra, "transaction.state.log.replication.factor=1", "share.coordinator.state.topic.replication.factor=1")...), t.TempDir()
	cmd := exec.Command("java", kit.JavaArgs(t, "testdata/Originals.java")...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReaderSize(out, 1<<20)
	var text strings.Builder
	for _, c := range commands {
		words := append([]string{c.words[0]}, c.prepare(t, addr, dir)...)
		fmt.Fprintf(in, "%s %s\n", base64.StdEncoding.EncodeToString([]byte(strings.Join(words, "\x00"))), base64.StdEncoding.EncodeToString([]byte(c.stdin)))
		line, err := answers.ReadString('\n')
		if err != nil {
			t.Fatalf("$ %s: %v", c.line, err)
		}
		parts := strings.Split(strings.TrimSpace(line)+"  ", " ")
		code, err := strconv.Atoi(parts[0])
		if err != nil {
			t.Fatalf("$ %s: %q", c.line, line)
		}
		stdout, _ := base64.StdEncoding.DecodeString(parts[1])
		stderr, _ := base64.StdEncoding.DecodeString(parts[2])
		fmt.Fprintf(&text, "$ %s\n%s\n", c.line, told(code, stdout, stderr, addr, dir, c.unordered))
	}
	in.Close()
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(golden, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
