package kit

import (
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

const kafkaProperties = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=%[3]s
offsets.topic.replication.factor=1
`

// StartKafka runs Apache Kafka from its published jars for the length of the test: one
// node that is broker and controller, with a small heap and stock settings; extra are
// further lines of its server.properties. It returns the address of its listener.
func StartKafka(t *testing.T, extra ...string) string {
	t.Helper()
	dir, addr, controller := t.TempDir(), freeAddr(t), freeAddr(t)
	props := fmt.Sprintf(kafkaProperties, addr, controller, filepath.Join(dir, "data"))
	for _, line := range extra {
		props += line + "\n"
	}
	file := filepath.Join(dir, "server.properties")
	if err := os.WriteFile(file, []byte(props), 0o600); err != nil {
		t.Fatal(err)
	}
	id := base64.RawURLEncoding.EncodeToString([]byte("varve-judge-0001"))
	Run(t, nil, "java", append(JavaArgs(t, "kafka.tools.StorageTool"), "format", "-t", id, "-c", file)...)

	log, err := os.Create(filepath.Join(dir, "kafka.out"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("java", append(JavaArgs(t, "kafka.Kafka"), file)...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL) // nobody needs its data
		<-exited
		if out, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("Kafka's log ends with:\n%s", tail(string(out), 20))
		}
		log.Close()
	})
	Eventually(t, time.Minute, "Kafka answers", func() error {
		select {
		case <-exited:
			t.Fatal("Kafka ended before it was ready")
		default:
		}
		return answers(addr)
	})
	return addr
}

// answers asks ApiVersions v0: a port that is open proves nothing.
func answers(addr string) error {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	if _, err := c.Write([]byte("\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x01\xff\xff")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 10))
	return err
}
