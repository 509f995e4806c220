package kit

import (
	"context"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

//go:embed log4j2.xml
var log4j2 []byte

// JavaArgs are the arguments of java that run a class (or a source file) with Kafka's jars.
func JavaArgs(t *testing.T, class string) []string {
	t.Helper()
	return javaArgs(t, jars(t, "VARVE_KAFKA_JARS"), class)
}

// AppArgs are the arguments of java that run a class with the jars of Kafka Streams and
// Kafka Connect and with the classes below the directories.
func AppArgs(t *testing.T, class string, dirs ...string) []string {
	t.Helper()
	return javaArgs(t, strings.Join(append(dirs, jars(t, "VARVE_KAFKA_APPS")), ":"), class)
}

// Javac compiles a source file with the jars of Kafka Streams and Kafka Connect and returns
// the directory of its classes: what is started many times should not be compiled each time.
func Javac(t *testing.T, source string) string {
	t.Helper()
	dir := t.TempDir()
	Run(t, nil, "javac", "-cp", jars(t, "VARVE_KAFKA_APPS"), "-d", dir, source)
	return dir
}

// jars is the class path of the directory that a variable names.
func jars(t *testing.T, variable string) string {
	t.Helper()
	dir := os.Getenv(variable)
	if dir == "" {
		t.Skip(variable + " names no directory: run 'make compat'")
	}
	return dir + "/*"
}

func javaArgs(t *testing.T, classpath, class string) []string {
	t.Helper()
	log4j := filepath.Join(t.TempDir(), "log4j2.xml")
	if err := os.WriteFile(log4j, log4j2, 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{"-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dlog4j2.configurationFile=" + log4j, "-cp", classpath, class}
}

// Process is a program that runs beside the broker: an application, a worker.
type Process struct {
	t      *testing.T
	cmd    *exec.Cmd
	out    string      // the file that takes its stdout and stderr
	ended  atomic.Bool // by the test
	exited chan struct{}
}

// StartProcess starts a program for the length of the test at most. What it prints is in the
// test's log when that fails, unless the test has ended it before.
func StartProcess(t *testing.T, name string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(name, args...), out: filepath.Join(t.TempDir(), "out"), exited: make(chan struct{})}
	out, err := os.Create(p.out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p.cmd.Stdout, p.cmd.Stderr = out, out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.cmd.Wait(); close(p.exited) }()
	t.Cleanup(func() {
		ended := p.ended.Load()
		p.Kill()
		if t.Failed() && !ended {
			t.Logf("a process of %s printed at its end:\n%s", filepath.Base(name), tail(p.Output(), 25))
		}
	})
	return p
}

// Output is what it has printed until now.
func (p *Process) Output() string {
	out, err := os.ReadFile(p.out)
	if err != nil {
		p.t.Errorf("%v", err)
	}
	return string(out)
}

// Await waits until it has printed the text.
func (p *Process) Await(limit time.Duration, text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), limit)
	defer cancel()
	if !p.AwaitUntil(ctx, text) {
		p.t.Fatalf("the process has not printed %q within %v", text, limit)
	}
}

// AwaitUntil waits until it has printed the text; false: ctx or the process has ended before that.
func (p *Process) AwaitUntil(ctx context.Context, text string) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.Output(), text) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		case <-p.exited:
			return false
		}
	}
	return true
}

// Exited is closed when the process has ended.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Kill is kill -9; it returns when the process is gone.
func (p *Process) Kill() {
	p.ended.Store(true)
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	<-p.exited
}

// Stop asks the process to end, and fails when it takes longer than a minute.
func (p *Process) Stop() {
	p.t.Helper()
	p.ended.Store(true)
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(time.Minute):
		p.t.Fatal("the process does not end on SIGTERM")
	}
}

// Server is a broker that tests kill and start again.
type Server interface {
	Bootstrap() string // the address of its listener
	Kill()
	Start()
}

// StartServer starts varve in a directory of the test, or, to see whose fault something is,
// Apache Kafka if VARVE_AGAINST is "kafka". Settings are NAME=VALUE and have to be known to both.
func StartServer(t *testing.T, settings ...string) Server {
	t.Helper()
	if os.Getenv("VARVE_AGAINST") == "kafka" {
		return NewKafka(t, append(settings, "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1")...)
	}
	var args []string
	for _, s := range settings {
		args = append(args, "--set", s)
	}
	return Start(t, filepath.Join(t.TempDir(), "node"), args...)
}
