package main

import (
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
)

func TestACLVerbs(t *testing.T) {
	b := brokertest.Node{Set: []string{
		"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS",
	}}.Start(t).KafkaAddr()
	must(t, "", "acl", "create", "topic/orders", "--principal", "User:ann", "--allow", "read,describe", "-b", b)
	must(t, "", "acl", "create", "topic/tmp-*", "--principal", "User:*", "--deny", "delete", "--host", "10.0.0.7", "-b", b)
	must(t, "", "acl", "create", "cluster", "--principal", "User:ann", "--allow", "idempotent-write", "-b", b)
	if rows := decode[[]aclRow](t, "acl", "list", "-b", b); len(rows) != 4 {
		t.Errorf("acl list: %+v", rows)
	}
	rows := decode[[]aclRow](t, "acl", "list", "topic/tmp-*", "-b", b)
	if len(rows) != 1 || rows[0] != (aclRow{"topic/tmp-*", "User:*", "10.0.0.7", "deny", "delete"}) {
		t.Errorf("acl list of a prefix: %+v", rows)
	}
	if rows := decode[[]aclRow](t, "acl", "list", "--operation", "idempotent-write", "-b", b); len(rows) != 1 || rows[0].Resource != "cluster" {
		t.Errorf("acl list of an operation: %+v", rows)
	}
	must(t, "", "acl", "delete", "--principal", "User:ann", "--dry-run", "-b", b)
	if rows := decode[[]aclRow](t, "acl", "list", "-b", b); len(rows) != 4 {
		t.Errorf("after a dry run: %+v", rows)
	}
	must(t, "", "acl", "delete", "--principal", "User:ann", "--yes", "-b", b)
	if rows := decode[[]aclRow](t, "acl", "list", "-b", b); len(rows) != 1 {
		t.Errorf("after a deletion: %+v", rows)
	}
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"acl", "create", "orders", "--principal", "User:ann", "--allow", "read", "-b", b}, exitUsage, "topic/NAME"},
		{[]string{"acl", "create", "topic/orders", "--allow", "read", "-b", b}, exitUsage, "--principal"},
		{[]string{"acl", "create", "topic/orders", "--principal", "User:ann", "--allow", "fly", "-b", b}, exitUsage, "idempotent-write"},
		{[]string{"acl", "create", "topic/orders", "--principal", "ann", "--allow", "read", "-b", b}, exitError, "INVALID_REQUEST"},
		{[]string{"acl", "delete", "topic/orders", "-b", b}, exitUsage, "--yes"},
		{[]string{"acl", "delete", "--yes", "-b", b}, exitUsage, "--principal"},
	} {
		if code, _, errOut := varve(t, "", c.args...); code != c.code || !strings.Contains(errOut, c.want) {
			t.Errorf("varve %s: exit code %d, %q", strings.Join(c.args, " "), code, errOut)
		}
	}
}
