package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore/mem"
)

// keysFile has the keys of what each read command prints with -o json; VARVE_WRITE=1 writes it. A key that is in it stays.
const keysFile = "testdata/json-keys.txt"

// withoutKeys are commands whose keys are not seen here, with the reason.
var withoutKeys = map[string]string{
	"varve log dump":        "its lines are of many kinds, which docs of each file explain",
	"varve store lifecycle": "stores in memory and in directories have no such rules",
}

// keyPaths lists the keys of a JSON value.
func keyPaths(v any, path string, into map[string]bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			into[path+key] = true
			keyPaths(value, path+key+".", into)
		}
	case []any:
		for _, value := range v {
			keyPaths(value, path, into)
		}
	}
}

func TestKeysOfJSONStay(t *testing.T) {
	dir := t.TempDir()
	node := brokertest.Node{Dir: dir, Bucket: mem.New(), YAML: "delegation.token.secret.key: a-key\n",
		Set: []string{"listeners=PLAINTEXT://127.0.0.1:0,SASL_PLAINTEXT://127.0.0.1:0", "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS"}}.Start(t)
	b := node.KafkaAddr()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	secret := dir + "/secret"
	if err := os.WriteFile(secret, []byte("a-password\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"topic create orders", "topic create other --config retention.ms=5", "acl create topic/orders --principal User:ann --allow read", "user set ann --new-password-file " + secret,
		"quota set user/ann --set producer_byte_rate=1048576", "group seek billing --topic orders --to end", "config set topic/orders --set retention.ms=7",
	} {
		must(t, "", append(strings.Fields(line), "-b", b)...)
	}
	must(t, "one\n", "produce", "orders", "-b", b)
	begin(t, b, "payments-1")
	must(t, "", "profile", "add", "here", "--brokers", b)
	must(t, "", "profile", "use", "here")
	if err := os.WriteFile(dir+"/billing.json", []byte(must(t, "", "group", "export", "billing")), 0o600); err != nil {
		t.Fatal(err)
	}
	asAnn := " --user ann --password-file " + secret + " -b " + node.Addr("SASL_PLAINTEXT")
	must(t, "", strings.Fields("token create --secret-file "+dir+"/job"+asAnn)...)
	keys, asked := map[string]bool{}, map[string]bool{}
	for _, line := range []string{
		"topic list", "topic describe orders", "group list", "group describe billing", "group lag", "group seek billing --topic orders --to start --dry-run", "group import copy " + dir + "/billing.json --dry-run", "txn list", "txn describe payments-1",
		"token create --renewer User:ops" + asAnn, "token list" + asAnn, "token renew --for 2h --secret-file " + dir + "/job" + asAnn, "user list", "acl list", "quota list", "config get topic/orders retention.ms", "config list topic/orders", "config diff topic/orders topic/other",
		"config docs retention", "cluster info", "cluster health", "cluster quorum", "tier status", "log dirs", "log verify " + dir + "/logs", "profile list", "version",
		"store check file://" + dir + "/store", "store bench --seconds 0.01 --size 1024 --range 1024 file://" + dir + "/store", "doctor --set node.id=1 --no-store --set log.dirs=" + dir + "/d",
		"bench produce --records 10", "bench consume --records 10", "bench e2e --records 5", "bench tier --records 3000 --segment-bytes 1048576 --reads 1",
	} {
		args := append(strings.Fields(line), "-o", "json")
		cmd, _, err := rootCommand().Find(args)
		if err != nil {
			t.Fatal(err)
		}
		code, out, errOut := varve(t, "", args...)
		var v any
		if err := json.Unmarshal([]byte(out), &v); err != nil || code != exitOK && code != exitUnhealthy {
			t.Errorf("varve %s: exit code %d, %v\n%s", line, code, err, errOut)
		}
		found := map[string]bool{}
		keyPaths(v, "", found)
		for key := range found {
			keys[cmd.CommandPath()+" "+key] = true
		}
		asked[cmd.CommandPath()] = len(found) > 0
	}
	walk(rootCommand(), func(cmd *cobra.Command) {
		if path := cmd.CommandPath(); cmd.Flags().Lookup("output") != nil && !asked[path] && withoutKeys[path] == "" {
			t.Errorf("the keys of %s -o json are not held", path)
		}
	})
	got := strings.Join(slices.Sorted(maps.Keys(keys)), "\n") + "\n"
	if os.Getenv("VARVE_WRITE") != "" {
		if err := os.WriteFile(keysFile, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(keysFile)
	if err != nil || got != string(want) {
		t.Error(fmt.Sprint(err), firstDifference(string(want), got))
	}
}
