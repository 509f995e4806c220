package compat

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/varve-io/varve/test/kit"
)

// TestClients runs programs on clients that we did not write, see docs/clients.md. Each checks
// what it gets back and fails by itself.
func TestClients(t *testing.T) {
	clients := os.Getenv("VARVE_CLIENTS")
	if clients == "" {
		t.Skip("VARVE_CLIENTS names no directory of installed clients: run 'make compat'")
	}
	b := kit.Start(t, filepath.Join(t.TempDir(), "data"), "--set", "group.initial.rebalance.delay.ms=0")
	python := filepath.Join(clients, "python", "bin", "python")
	for _, tt := range []struct {
		name string
		dir  string
		args []string
	}{
		{"confluent-kafka", "clients", []string{python, "confluent.py"}},
		{"aiokafka", "clients", []string{python, "aio.py"}},
		{"kafka-python", "clients", []string{python, "kafkapython.py"}},
		{"kafkajs", "clients", []string{"node", "kafkajs.js"}},
		{"sarama and kafka-go", "clients/golang", []string{"go", "run", "."}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), tt.args[0], append(tt.args[1:], b.Addr)...)
			cmd.Dir = tt.dir
			cmd.Env = append(os.Environ(), "NODE_PATH="+filepath.Join(clients, "node_modules"), "KAFKAJS_NO_PARTITIONER_WARNING=1")
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}
