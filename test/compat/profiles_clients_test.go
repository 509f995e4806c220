package compat

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varve-io/varve/test/kit"
)

// program is one of the programs of TestClients.
func program(clients, family, dir string, args ...string) func(*testing.T, context.Context, profile, *regexp.Regexp) (string, error) {
	return func(t *testing.T, ctx context.Context, p profile, until *regexp.Regexp) (string, error) {
		env := []string{"NODE_PATH=" + filepath.Join(clients, "node_modules"), "KAFKAJS_NO_PARTITIONER_WARNING=1", p.environment(t, family)}
		return command{dir: dir, env: env, until: until}.run(ctx, args[0], append(args[1:], p.addr)...)
	}
}

// slowVisitors are the clients of 'make compat' and Kafka's own.
func slowVisitors(t *testing.T) []visitor {
	clients := os.Getenv("VARVE_CLIENTS")
	if clients == "" {
		t.Skip("VARVE_CLIENTS names no directory of installed clients: run 'make compat-secured'")
	}
	golang := filepath.Join(t.TempDir(), "golang")
	if out, err := (command{dir: "clients/golang"}).run(t.Context(), "go", "build", "-o", golang, "."); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	python := filepath.Join(clients, "python", "bin", "python")
	const create, write, reads, del, alter, configs = kadm.OpCreate, kadm.OpWrite, kadm.OpRead, kadm.OpDelete, kadm.OpAlter, kadm.OpAlterConfigs
	ops := func(ops ...kadm.ACLOperation) []kadm.ACLOperation { return ops }
	return []visitor{
		{name: "confluent-kafka", prefixes: []string{"confluent-"}, topics: ops(create, write, reads, alter, configs, del), groups: ops(reads, del), txns: ops(write),
			run: program(clients, "librdkafka", "clients", python, "confluent.py")},
		{name: "aiokafka", prefixes: []string{"aiokafka-"}, topics: ops(create, write, reads), groups: ops(reads), txns: ops(write),
			run: program(clients, "python", "clients", python, "aio.py")},
		{name: "kafka-python", prefixes: []string{"kafka-python-"}, topics: ops(create, write, reads, del), groups: ops(reads), txns: ops(write),
			run: program(clients, "python", "clients", python, "kafkapython.py")},
		{name: "kafkajs", prefixes: []string{"kafkajs-"}, topics: ops(create, write, reads, alter, configs, del), groups: ops(reads, del), txns: ops(write),
			run: program(clients, "kafkajs", "clients", "node", "kafkajs.js")},
		{name: "sarama-kafka-go", prefixes: []string{"sarama-", "kafka-go-"}, topics: ops(create, write, reads, configs, del), groups: ops(reads, del), txns: ops(write),
			cluster: ops(kadm.OpDescribe), run: program(clients, "golang", "clients/golang", golang)},
		{name: "Java", prefixes: []string{"java-"}, topics: ops(create, write, reads), groups: ops(reads), txns: ops(write), run: runJava},
	}
}

// runJava runs Kafka's own tools and our program on the Java client.
func runJava(t *testing.T, ctx context.Context, p profile, until *regexp.Regexp) (string, error) {
	config, topic := filepath.Join(t.TempDir(), "client.properties"), "java-"+strconv.FormatInt(time.Now().UnixNano(), 36)
	if err := os.WriteFile(config, []byte(p.java()+"default.api.timeout.ms=40000\nmax.block.ms=40000\n"), 0o600); err != nil {
		return "", err
	}
	source, err := filepath.Abs("testdata/AssignConsumer.java")
	if err != nil {
		return "", err
	}
	const tools, group = "org.apache.kafka.tools.", "--command-config"
	for _, step := range []struct {
		class, stdin, want string
		args               []string
	}{
		{tools + "TopicCommand", "", "Created topic", []string{"--bootstrap-server", p.addr, group, config, "--create", "--topic", topic, "--partitions", "1"}},
		{tools + "ConsoleProducer", "one\ntwo\nthree\n", "", []string{"--bootstrap-server", p.addr, group, config, "--topic", topic}},
		{tools + "consumer.ConsoleConsumer", "", "one\ntwo\nthree\n", []string{"--bootstrap-server", p.addr, group, config, "--topic", topic,
			"--group", topic, "--from-beginning", "--max-messages", "3", "--timeout-ms", "20000"}},
		{tools + "ProducerPerformance", "", "1000 records sent", []string{"--bootstrap-server", p.addr, group, config, "--topic", topic, "--num-records", "1000", "--record-size", "100",
			"--throughput", "-1", "--transactional-id", topic, "--transaction-duration-ms", "100"}},
		{source, "", "records=", []string{p.addr, topic, "0", "1003", config}},
	} {
		out, err := command{stdin: strings.NewReader(step.stdin), until: until, env: p.javaEnvironment()}.run(ctx, "java", append(kit.JavaArgs(t, step.class), step.args...)...)
		if err == nil && !strings.Contains(out, step.want) {
			err = fmt.Errorf("it does not say %q", step.want)
		}
		if err != nil {
			return out, fmt.Errorf("%s: %w", step.class, err)
		}
	}
	return "", nil
}
