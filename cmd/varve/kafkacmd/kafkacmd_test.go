package kafkacmd

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/varve-io/varve/broker/brokertest"
)

func TestOptionsAreReadAsTheOriginalsDo(t *testing.T) {
	known := []option{{"topic", value, ""}, {"topic-id", value, ""}, {"list", nothing, ""}, {"state", maybe, ""}, {"config", value, ""}}
	o, err := parse(known, []string{"--topic", "a", "-topic=b", "--conf=x=y", "--state", "--list", "stray"})
	if err != nil || !slices.Equal(o.all("topic"), []string{"a", "b"}) || o.last("config") != "x=y" || !o.has("list") || !o.has("state") || o.last("state") != "" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parse(known, []string{"--state", "Empty"}); err != nil || o.last("state") != "Empty" {
		t.Errorf("%+v, %v", o, err)
	}
	for _, bad := range [][]string{{"--top", "x"}, {"--nope"}, {"--topic"}} {
		if o, err := parse(known, bad); err == nil {
			t.Errorf("%q gave %+v", bad, o)
		}
	}
}

func TestToolsAreFoundByTheNameOfTheProgram(t *testing.T) {
	for argv0, want := range map[string]string{"/opt/kafka/bin/kafka-topics.sh": "kafka-topics", "kafka-acls": "kafka-acls", "/usr/bin/varve": "", "kafka-storage.sh": ""} {
		if name, ok := Tool(argv0); ok != (want != "") || ok && name != want {
			t.Errorf("%s: %q, %t", argv0, name, ok)
		}
	}
}

func TestNumbersAndTimesAreJavas(t *testing.T) {
	for f, want := range map[float64]string{0: "0.0", 1024: "1024.0", 0.5: "0.5", 1048576: "1048576.0", 1e7: "1.0E7", 52428800: "5.24288E7", 0.0001: "1.0E-4"} {
		if got := javaDouble(f); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
	for s, want := range map[string]time.Duration{"PT1H": time.Hour, "P1DT2H3M4.5S": 26*time.Hour + 3*time.Minute + 4500*time.Millisecond, "p2d": 48 * time.Hour} {
		if got, err := isoDuration(s); err != nil || got != want {
			t.Errorf("%s: %v, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "P", "1h", "PT"} {
		if d, err := isoDuration(bad); err == nil {
			t.Errorf("%q is %v", bad, d)
		}
	}
}

func TestSettingsOfClients(t *testing.T) {
	file := filepath.Join(t.TempDir(), "client.properties")
	text := "# a comment\nsecurity.protocol = SASL_SSL\nsasl.mechanism: SCRAM-SHA-512\nsasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n" +
		"  username=\"ann\" password=\"a\\\"b\";\nssl.endpoint.identification.algorithm=\nbare\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p := properties{}
	if err := p.load(file); err != nil {
		t.Fatal(err)
	}
	opts, err := p.secure()
	if err != nil || len(opts) != 2 {
		t.Errorf("%d options, %v", len(opts), err)
	}
	m, err := p.login()
	if err != nil || m.Name() != (scram.Auth{}).AsSha512Mechanism().Name() {
		t.Errorf("login: %v, %v", m, err)
	}
	if _, set := p["bare"]; !set || p["sasl.mechanism"] != "SCRAM-SHA-512" {
		t.Errorf("%v", p)
	}
	for _, bad := range []properties{
		{"security.protocol": "SASL_PLAINTEXT"}, {"security.protocol": "SSL", "ssl.truststore.location": "x.jks"},
		{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "GSSAPI", "sasl.jaas.config": `x required username="a" password="b";`},
	} {
		if _, err := bad.secure(); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestAskedBeforeRulesGo(t *testing.T) {
	addr := brokertest.Node{Set: []string{"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS"}}.Start(t).KafkaAddr()
	acls := func(stdin string, args ...string) string {
		var out, errOut bytes.Buffer
		if code := Run(t.Context(), "kafka-acls", append(args, "--bootstrap-server", addr), strings.NewReader(stdin), &out, &errOut); code != 0 {
			t.Fatalf("kafka-acls %q: %d\n%s%s", args, code, &out, &errOut)
		}
		return out.String()
	}
	acls("", "--add", "--allow-principal", "User:ann", "--operation", "Read", "--topic", "t")
	for answer, left := range map[string]bool{"n\n": true, "": true} {
		if acls(answer, "--remove", "--topic", "t"); strings.Contains(acls("", "--list"), "User:ann") != left {
			t.Errorf("after %q", answer)
		}
	}
	if acls("Y\n", "--remove", "--topic", "t"); strings.Contains(acls("", "--list"), "User:ann") {
		t.Error("the rule is still there after Y")
	}
}

func TestNobodyListens(t *testing.T) {
	for _, name := range Names() {
		args := map[string][]string{
			"kafka-topics": {"--list"}, "kafka-configs": {"--describe", "--topic", "t"}, "kafka-consumer-groups": {"--list"},
			"kafka-console-producer": {"--topic", "t"}, "kafka-console-consumer": {"--topic", "t"}, "kafka-acls": {"--list"},
		}[name]
		var out, errOut bytes.Buffer
		Run(t.Context(), name, append(args, "--bootstrap-server", "127.0.0.1:1"), strings.NewReader(""), &out, &errOut)
		if !strings.Contains(out.String()+errOut.String(), "no broker answers at 127.0.0.1:1") {
			t.Errorf("%s: %s%s", name, &out, &errOut)
		}
	}
}
