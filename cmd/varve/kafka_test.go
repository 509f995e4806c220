package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/brokertest"
)

func TestKafkasScriptsAreVerbsAndNames(t *testing.T) {
	b := brokertest.Node{}.Start(t).KafkaAddr()
	if got := must(t, "", "kafka-topics", "--bootstrap-server", b, "--create", "--topic", "orders"); got != "Created topic orders.\n" {
		t.Errorf("as a verb: %q", got)
	}
	var out, errOut bytes.Buffer
	if code := runAs(t.Context(), []string{"/usr/local/bin/kafka-topics.sh", "--list", "--bootstrap-server", b}, strings.NewReader(""), &out, &errOut); code != exitOK || out.String() != "orders\n" {
		t.Errorf("by the name of the program: %d, %q, %q", code, &out, &errOut)
	}
	if code, _, errOut := varve(t, "", "kafka-topics", "--bootstrap-server", b); code != exitError || strings.Contains(errOut, "varve:") {
		t.Errorf("a failure: %d, %q", code, errOut)
	}
}
