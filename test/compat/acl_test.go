package compat

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-io/varve/test/kit"
)

// TestKafkaACLTool has Kafka's own tool make, show and take away rules of access.
func TestKafkaACLTool(t *testing.T) {
	b := kit.Start(t, filepath.Join(t.TempDir(), "node"),
		"--set", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "--set", "super.users=User:ANONYMOUS")
	for _, step := range []struct{ args, want string }{
		{"--add --allow-principal User:ann --producer --topic orders. --resource-pattern-type prefixed", "(principal=User:ann, host=*, operation=WRITE, permissionType=ALLOW)"},
		{"--add --deny-principal User:bob --deny-host 10.0.0.1 --operation Read --group g", "(principal=User:bob, host=10.0.0.1, operation=READ, permissionType=DENY)"},
		{"--list --topic orders.eu --resource-pattern-type match", "ResourcePattern(resourceType=TOPIC, name=orders., patternType=PREFIXED)"},
		{"--remove --force --topic orders. --resource-pattern-type prefixed", ""},
	} {
		out := b.Tool("org.apache.kafka.tools.AclCommand", append([]string{"--bootstrap-server", b.Addr}, strings.Fields(step.args)...)...)
		if !strings.Contains(out, step.want) {
			t.Errorf("%s printed %q, want %q", step.args, out, step.want)
		}
	}
	out := b.Tool("org.apache.kafka.tools.AclCommand", "--bootstrap-server", b.Addr, "--list")
	if strings.Contains(out, "orders.") || !strings.Contains(out, "principal=User:bob") {
		t.Errorf("what is left:\n%s", out)
	}
}
