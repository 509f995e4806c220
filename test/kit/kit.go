// Package kit runs a real varve process for tests that judge it from outside: the client
// tests and the chaos tests. It knows the command line and nothing of the broker's code.
//
// Make targets name the binary in VARVE_BIN and the tools beside it. A test that needs
// them is skipped where they are not named, and fails where they are named but missing.
package kit

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

// Binary is the varve under test. The test is skipped when no Make target named one.
func Binary(t *testing.T) string {
	t.Helper()
	bin := os.Getenv("VARVE_BIN")
	if bin == "" {
		t.Skip("VARVE_BIN names no binary: run 'make compat' or 'make chaos'")
	}
	return bin
}

// Broker is one running 'varve dev'.
type Broker struct {
	Addr  string   // of the Kafka listener, HOST:PORT
	Admin string   // of the admin listener
	Dir   string   // the data directory
	Env   []string // added to the environment of the next start

	t      *testing.T
	cmd    *exec.Cmd
	args   []string
	exited chan struct{}
	stderr *bytes.Buffer
}

// New prepares varve in dir on free ports; extra are further arguments of 'varve dev'.
func New(t *testing.T, dir string, extra ...string) *Broker {
	t.Helper()
	b := &Broker{t: t, Dir: dir, Addr: FreeAddr(t), Admin: FreeAddr(t)}
	b.args = append([]string{"dev", "--dir", dir, "--kafka", b.Addr, "--admin", b.Admin}, extra...)
	t.Cleanup(func() {
		if b.cmd != nil {
			b.Kill()
		}
		if t.Failed() && b.stderr != nil {
			t.Logf("the broker's log ends with:\n%s", tail(b.stderr.String(), 40))
		}
	})
	return b
}

// Start prepares varve as New does and starts it.
func Start(t *testing.T, dir string, extra ...string) *Broker {
	t.Helper()
	b := New(t, dir, extra...)
	b.Start()
	return b
}

// Start starts the process and waits until it is ready; after a Kill it is a restart.
func (b *Broker) Start() {
	b.t.Helper()
	b.stderr = &bytes.Buffer{}
	b.cmd = exec.Command(Binary(b.t), b.args...)
	b.cmd.Env = append(os.Environ(), b.Env...)
	b.cmd.Stderr = b.stderr
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.exited = make(chan struct{})
	go func(cmd *exec.Cmd, exited chan struct{}) { _ = cmd.Wait(); close(exited) }(b.cmd, b.exited)
	b.waitReady()
}

func (b *Broker) waitReady() {
	b.t.Helper()
	Eventually(b.t, time.Minute, "the broker is ready", func() error {
		select {
		case <-b.exited:
			b.t.Fatalf("varve ended before it was ready:\n%s", b.stderr)
		default:
		}
		res, err := http.Get("http://" + b.Admin + "/readyz")
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

// Kill is kill -9; it returns when the process is gone.
func (b *Broker) Kill() {
	_ = b.cmd.Process.Signal(syscall.SIGKILL)
	<-b.exited
}

// Pid is the process's id.
func (b *Broker) Pid() int { return b.cmd.Process.Pid }

// Quit ends the process as a crash of the Go runtime does, with all its goroutines in its log.
func (b *Broker) Quit() {
	_ = b.cmd.Process.Signal(syscall.SIGQUIT)
	<-b.exited
}

// Log is what the process has said, which must have ended.
func (b *Broker) Log() string { return b.stderr.String() }

// Bootstrap is Addr.
func (b *Broker) Bootstrap() string { return b.Addr }

// Exited is closed when the process has ended by itself or was killed.
func (b *Broker) Exited() <-chan struct{} { return b.exited }

// Stop ends the broker as an operator would, and fails when it does not end well.
func (b *Broker) Stop() {
	b.t.Helper()
	if err := b.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		b.t.Fatal(err)
	}
	<-b.exited
	if code := b.cmd.ProcessState.ExitCode(); code != 0 {
		b.t.Fatalf("varve ended with exit code %d on SIGTERM:\n%s", code, b.stderr)
	}
}

// Varve runs a client verb against the broker and returns its stdout.
func (b *Broker) Varve(args ...string) string {
	b.t.Helper()
	return Run(b.t, nil, Binary(b.t), append(args, "--brokers", b.Addr)...)
}

// Kcat runs kcat against the broker.
func (b *Broker) Kcat(stdin io.Reader, args ...string) string {
	b.t.Helper()
	return Run(b.t, stdin, "kcat", append([]string{"-b", b.Addr}, args...)...)
}

// Tool runs one of Kafka's command-line tools.
func (b *Broker) Tool(class string, args ...string) string {
	b.t.Helper()
	return Run(b.t, nil, "java", append(JavaArgs(b.t, class), args...)...)
}

// Run executes a command within two minutes and fails the test, with its stderr, when it fails.
func Run(t *testing.T, stdin io.Reader, name string, args ...string) string {
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

// FreeAddr is an address of this machine that nobody listens at.
func FreeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Eventually polls f until it returns nil; processes give no better signal.
func Eventually(t *testing.T, limit time.Duration, what string, f func() error) {
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
