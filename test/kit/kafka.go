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

// Kafka is an Apache Kafka that can be stopped and started again on its data.
type Kafka struct {
	Addr string // of its listener, HOST:PORT
	Dir  string // its log directory

	t      *testing.T
	props  string // its server.properties
	out    *os.File
	cmd    *exec.Cmd
	exited chan struct{}
}

// StartKafka runs Apache Kafka from its published jars for the length of the test: one
// node that is broker and controller, with a small heap and stock settings; extra are
// further lines of its server.properties. It returns the address of its listener.
func StartKafka(t *testing.T, extra ...string) string {
	t.Helper()
	return NewKafka(t, extra...).Addr
}

// NewKafka is StartKafka for tests that need more of it than its address.
func NewKafka(t *testing.T, extra ...string) *Kafka {
	t.Helper()
	return NewKafkaAt(t, FreeAddr(t), extra...)
}

// NewKafkaAt is NewKafka with a listener at an address that the caller has chosen: what extra says
// of listeners takes the place of what it has by itself.
func NewKafkaAt(t *testing.T, addr string, extra ...string) *Kafka {
	t.Helper()
	dir, controller := t.TempDir(), FreeAddr(t)
	k := &Kafka{t: t, Addr: addr, Dir: filepath.Join(dir, "data"), props: filepath.Join(dir, "server.properties")}
	props := fmt.Sprintf(kafkaProperties, k.Addr, controller, k.Dir)
	for _, line := range extra {
		props += line + "\n"
	}
	if err := os.WriteFile(k.props, []byte(props), 0o600); err != nil {
		t.Fatal(err)
	}
	id := base64.RawURLEncoding.EncodeToString([]byte("varve-judge-0001"))
	Run(t, nil, "java", append(JavaArgs(t, "kafka.tools.StorageTool"), "format", "-t", id, "-c", k.props)...)
	var err error
	if k.out, err = os.Create(filepath.Join(dir, "kafka.out")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.Kill() // nobody needs its data
		if out, err := os.ReadFile(k.out.Name()); t.Failed() && err == nil {
			t.Logf("Kafka's log ends with:\n%s", tail(string(out), 20))
		}
		k.out.Close()
	})
	k.Start()
	return k
}

// Start runs the process and waits until it answers; after a Stop it is a restart.
func (k *Kafka) Start() {
	k.t.Helper()
	cmd := exec.Command("java", append(JavaArgs(k.t, "kafka.Kafka"), k.props)...)
	cmd.Stdout, cmd.Stderr = k.out, k.out
	if err := cmd.Start(); err != nil {
		k.t.Fatal(err)
	}
	k.cmd, k.exited = cmd, make(chan struct{})
	go func(exited chan struct{}) { _ = cmd.Wait(); close(exited) }(k.exited)
	Eventually(k.t, time.Minute, "Kafka answers", func() error {
		select {
		case <-k.exited:
			k.t.Fatal("Kafka ended before it was ready")
		default:
		}
		return answers(k.Addr)
	})
}

// Stop ends Kafka in order.
func (k *Kafka) Stop() {
	k.t.Helper()
	if err := k.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		k.t.Fatal(err)
	}
	<-k.exited
}

// Kill is kill -9; it returns when the process is gone.
func (k *Kafka) Kill() {
	_ = k.cmd.Process.Signal(syscall.SIGKILL)
	<-k.exited
}

// Bootstrap is Addr.
func (k *Kafka) Bootstrap() string { return k.Addr }

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
