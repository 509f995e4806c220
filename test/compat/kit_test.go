// Package compat drives a real varve process with clients that Varve's authors did not
// write: kcat (librdkafka), Kafka's own command-line tools and its Java client.
//
// The tests run when VARVE_COMPAT=1 ('make compat' sets it and installs the tools); a tool
// that is missing then fails the run. Nothing here may import the broker: what is judged
// is the process and its files.
package compat

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// varveBinary is the varve under test, built by 'make compat'.
func varveBinary(t *testing.T) string {
	t.Helper()
	if os.Getenv("VARVE_COMPAT") == "" {
		t.Skip("needs kcat, a JDK and Kafka's jars: run 'make compat'")
	}
	bin := os.Getenv("VARVE_BIN")
	if bin == "" {
		t.Fatal("VARVE_BIN names no binary: run 'make compat'")
	}
	return bin
}

// broker is one running 'varve dev'.
type broker struct {
	t      *testing.T
	cmd    *exec.Cmd
	args   []string
	env    []string
	addr   string
	admin  string
	dir    string
	exited chan struct{}
	stderr *bytes.Buffer
}

// startBroker starts varve in dir on free ports; extra are further arguments of 'varve dev'.
func startBroker(t *testing.T, dir string, extra ...string) *broker {
	t.Helper()
	b := &broker{t: t, dir: dir, addr: freeAddr(t), admin: freeAddr(t)}
	b.args = append([]string{"dev", "--dir", dir, "--kafka", b.addr, "--admin", b.admin}, extra...)
	b.start()
	t.Cleanup(func() {
		b.kill()
		if t.Failed() {
			t.Logf("the broker's log ends with:\n%s", tail(b.stderr.String(), 40))
		}
	})
	return b
}

func (b *broker) start() {
	b.t.Helper()
	b.stderr = &bytes.Buffer{}
	b.cmd = exec.Command(varveBinary(b.t), b.args...)
	b.cmd.Env = append(os.Environ(), b.env...)
	b.cmd.Stderr = b.stderr
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { _ = cmd.Wait(); close(exited) }(b.cmd, b.exited)
	b.waitReady()
}

func (b *broker) waitReady() {
	b.t.Helper()
	eventually(b.t, 20*time.Second, "the broker is ready", func() error {
		select {
		case <-b.exited:
			b.t.Fatalf("varve ended before it was ready:\n%s", b.stderr)
		default:
		}
		res, err := http.Get("http://" + b.admin + "/readyz")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			body, _ := io.ReadAll(res.Body)
			return fmt.Errorf("%s: %s", res.Status, body)
		}
		return nil
	})
}

// kill is kill -9; it returns when the process is gone.
func (b *broker) kill() {
	_ = b.cmd.Process.Signal(syscall.SIGKILL)
	<-b.exited
}

// restart starts the same command line again.
func (b *broker) restart() {
	b.t.Helper()
	b.start()
}

// stop ends the broker as an operator would, and fails when it does not end well.
func (b *broker) stop() {
	b.t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	<-b.exited
	if code := b.cmd.ProcessState.ExitCode(); code != 0 {
		b.t.Fatalf("varve ended with exit code %d on SIGTERM:\n%s", code, b.stderr)
	}
}

// varve runs a client verb against the broker and returns its stdout.
func (b *broker) varve(args ...string) string {
	b.t.Helper()
	return run(b.t, nil, varveBinary(b.t), append(args, "--brokers", b.addr)...)
}

// kcat runs kcat against the broker.
func (b *broker) kcat(stdin io.Reader, args ...string) string {
	b.t.Helper()
	return run(b.t, stdin, "kcat", append([]string{"-b", b.addr}, args...)...)
}

// tool runs one of Kafka's command-line tools.
func (b *broker) tool(class string, args ...string) string {
	b.t.Helper()
	return run(b.t, nil, "java", append(javaArgs(b.t, class), args...)...)
}

func javaArgs(t *testing.T, class string) []string {
	t.Helper()
	jars := os.Getenv("VARVE_KAFKA_JARS")
	if jars == "" {
		t.Fatal("VARVE_KAFKA_JARS names no directory: run 'make compat'")
	}
	log4j, err := filepath.Abs("testdata/log4j2.xml")
	if err != nil {
		t.Fatal(err)
	}
	return []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=" + log4j, "-cp", jars + "/*", class}
}

// run executes a command within two minutes and fails the test, with its stderr, when it fails.
func run(t *testing.T, stdin io.Reader, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errOut
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, tail(out.String(), 20), tail(errOut.String(), 20))
	}
	return out.String()
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually polls f until it returns nil; processes give no better signal.
func eventually(t *testing.T, limit time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v: %v", what, limit, err)
		}
		<-tick.C
	}
}
