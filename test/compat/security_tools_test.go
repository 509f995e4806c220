package compat

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/test/kit"
)

// TestSecurityToolsAsKafka runs Kafka's tools for rules of access, users and quotas against Apache
// Kafka and against Varve, and compares what they print: lines as sets, for most come from hash tables.
func TestSecurityToolsAsKafka(t *testing.T) {
	if os.Getenv("VARVE_COMPAT_SECURED") == "" {
		t.Skip("it takes a minute: run 'make compat-secured'")
	}
	const acls, configs = "org.apache.kafka.tools.AclCommand", "kafka.admin.ConfigCommand"
	const authorizer = "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"
	ours := kit.Start(t, filepath.Join(t.TempDir(), "node"), "--set", authorizer, "--set", "super.users=User:ANONYMOUS").Addr
	theirs := kit.StartKafka(t, authorizer, "super.users=User:ANONYMOUS")
	for _, step := range []struct{ tool, args string }{
		{acls, "--add --allow-principal User:ann --producer --topic orders. --resource-pattern-type prefixed"},
		{acls, "--add --allow-principal User:ann --consumer --topic orders --group g"},
		{acls, "--add --deny-principal User:bob --deny-host 10.0.0.1 --operation Read --operation Describe --group g"},
		{acls, "--add --allow-principal User:* --operation All --transactional-id x"},
		{acls, "--add --allow-principal User:ann --operation ClusterAction --cluster"},
		{acls, "--list"},
		{acls, "--list --topic orders.eu --resource-pattern-type match"},
		{acls, "--list --principal User:bob"},
		{acls, "--remove --force --topic orders. --resource-pattern-type prefixed"},
		{acls, "--remove --force --allow-principal User:ann --operation Read --topic orders"},
		{acls, "--list"},
		{configs, "--alter --entity-type users --entity-name ann --add-config SCRAM-SHA-512=[iterations=8192,password=secret],SCRAM-SHA-256=[password=secret]"},
		{configs, "--alter --entity-type users --entity-name ann --add-config SCRAM-SHA-512=[iterations=8192,password=secret]"},
		{configs, "--alter --entity-type users --entity-name ann --add-config SCRAM-SHA-256=[password=secret]"},
		{configs, "--alter --entity-type users --entity-name bob --add-config SCRAM-SHA-256=[iterations=4095,password=secret]"},
		{configs, "--describe --entity-type users --entity-name ann"},
		{configs, "--alter --entity-type users --entity-name ann --delete-config SCRAM-SHA-256"},
		{configs, "--alter --entity-type users --entity-name nobody --delete-config SCRAM-SHA-256"},
		{configs, "--describe --entity-type users"},
		{configs, "--alter --entity-type users --entity-name ann --add-config producer_byte_rate=1048576,request_percentage=50.5"},
		{configs, "--alter --entity-type users --entity-name ann --entity-type clients --entity-default --add-config consumer_byte_rate=2048"},
		{configs, "--alter --entity-type ips --entity-name 10.0.0.1 --add-config connection_creation_rate=5"},
		{configs, "--alter --entity-type users --entity-name ann --add-config no_such_rate=1"},
		{configs, "--describe --entity-type users --entity-name ann"},
		{configs, "--describe --entity-type users --entity-type clients"},
		{configs, "--describe --entity-type ips"},
		{configs, "--alter --entity-type users --entity-name ann --delete-config producer_byte_rate"},
		{configs, "--describe --entity-type users"},
	} {
		run := func(addr string) string {
			out, err := command{}.run(t.Context(), "java", append(append(kit.JavaArgs(t, step.tool), "--bootstrap-server", addr), strings.Fields(step.args)...)...)
			if err != nil {
				out += "\n" + err.Error()
			}
			return printed(out, addr)
		}
		if a, b := run(theirs), run(ours); a != b {
			t.Errorf("%s %s\nApache Kafka:\n%s\nVarve:\n%s", step.tool, step.args, a, b)
		} else {
			t.Logf("%s %s\n%s", step.tool, step.args, a)
		}
	}
}

// printed makes the outputs of two brokers comparable.
func printed(out, addr string) string {
	lines := strings.Split(strings.ReplaceAll(out, addr, "ADDR"), "\n")
	var kept []string
	for _, line := range lines {
		line = strings.TrimSpace(code.ReplaceAllString(stamp.ReplaceAllString(line, ""), ""))
		if strings.HasPrefix(line, "at ") || line == "" { // of a stack trace
			continue
		}
		if _, list, ok := strings.Cut(line, " are "); ok && strings.Contains(line, "=") {
			parts := strings.Split(list, ", ")
			slices.Sort(parts)
			line = strings.TrimSuffix(line, list) + strings.Join(parts, ", ")
		}
		kept = append(kept, line)
	}
	slices.Sort(kept)
	return strings.Join(kept, "\n")
}

var (
	stamp = regexp.MustCompile(`^\[[^\]]*\] `)           // the time at the head of a line of log
	code  = regexp.MustCompile(`: [A-Z]+(_[A-Z]+)+: .*`) // an error's name, which Varve puts behind a message
)
