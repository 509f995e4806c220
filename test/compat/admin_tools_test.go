package compat

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-io/varve/test/kit"
)

// TestKafkaAdminTools runs Kafka's own tools for settings, partitions, elections, moves, features,
// client metrics, the quorum and the cluster.
func TestKafkaAdminTools(t *testing.T) {
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"))
	const tools = "org.apache.kafka.tools."
	// A tool, its arguments, and what it has to print.
	for _, step := range []struct{ tool, args, want string }{
		{tools + "TopicCommand", "--create --topic t --partitions 2", "Created topic t."},
		{tools + "TopicCommand", "--alter --topic t --partitions 3", ""},
		{tools + "TopicCommand", "--describe --topic t", "Partition: 2\tLeader: 1\tReplicas: 1\tIsr: 1\tElr: \tLastKnownElr:"},
		{"kafka.admin.ConfigCommand", "--alter --entity-type topics --entity-name t --add-config retention.ms=5000,cleanup.policy=[compact,delete]", "Completed updating config for topic t."},
		{"kafka.admin.ConfigCommand", "--describe --entity-type topics --entity-name t", "retention.ms=5000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=5000}"},
		{"kafka.admin.ConfigCommand", "--alter --entity-type brokers --entity-default --add-config log.retention.ms=600000", "Completed updating default config"},
		{"kafka.admin.ConfigCommand", "--describe --entity-type brokers --entity-default", "log.retention.ms=600000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=600000}"},
		{"kafka.admin.ConfigCommand", "--alter --entity-type brokers --entity-name 1 --add-config max.connections=5000", "Completed updating config for broker 1."},
		{"kafka.admin.ConfigCommand", "--describe --entity-type brokers --entity-name 1", "{DYNAMIC_BROKER_CONFIG:max.connections=5000, DEFAULT_CONFIG:max.connections=2147483647}"},
		{"kafka.admin.ConfigCommand", "--alter --entity-type broker-loggers --entity-name 1 --add-config root=WARN", "Completed updating config for broker-logger 1."},
		{"kafka.admin.ConfigCommand", "--alter --entity-type topics --entity-name t --delete-config retention.ms", "Completed updating config for topic t."},
		{tools + "LeaderElectionCommand", "--election-type preferred --topic t --partition 0", "Valid replica already elected for partitions t-0"},
		{tools + "reassign.ReassignPartitionsCommand", "--list", "No partition reassignments found."},
		{tools + "FeatureCommand", "describe", ""},
		{tools + "ClientMetricsCommand", "--alter --name m --interval 1000 --metrics org.apache", "Altered client metrics config for m."},
		{tools + "ClientMetricsCommand", "--describe --name m", "interval.ms=1000"},
		{tools + "MetadataQuorumCommand", "describe --status", "LeaderId:               1\n"},
		{tools + "MetadataQuorumCommand", "describe --replication", "Leader"},
	} {
		args := append([]string{"--bootstrap-server", b.Addr}, strings.Fields(step.args)...)
		if out := b.Tool(step.tool, args...); !strings.Contains(out, step.want) {
			t.Errorf("%s %s printed %q, want %q", step.tool, step.args, out, step.want)
		}
	}
	out := b.Tool(tools+"ClusterTool", "list-endpoints", "--bootstrap-server", b.Addr)
	if !strings.Contains(out, "unfenced") {
		t.Errorf("ClusterTool printed %q", out)
	}
	b.Stop()
}
