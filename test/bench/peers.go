package main

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peer is one broker process under measurement.
type peer struct {
	name  string
	addr  string
	cmd   *exec.Cmd
	ready time.Duration // exec to the first ApiVersions answer
}

// clockTick is USER_HZ, the unit of CPU time in /proc; it is 100 on every Linux that Go runs on.
const clockTick = 100

// cpuSeconds is the user and system time that the process has used so far.
func (p *peer) cpuSeconds() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
	user, err1 := strconv.ParseFloat(f[11], 64)
	sys, err2 := strconv.ParseFloat(f[12], 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("unreadable /proc stat: %q", b)
	}
	return (user + sys) / clockTick, nil
}

// rssMiB is the resident memory of the process.
func (p *peer) rssMiB() float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, _ := strconv.ParseFloat(f[1], 64)
	return pages * float64(os.Getpagesize()) / (1 << 20)
}

func (p *peer) stop() {
	if p.cmd == nil || p.cmd.Process == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(30 * time.Second):
		_ = p.cmd.Process.Kill()
	}
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// launch starts a process with its output in a file and waits until probe succeeds.
func launch(name, addr, work string, probe func() error, argv ...string) (*peer, error) {
	log, err := os.Create(filepath.Join(work, name+".out"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	p := &peer{name: name, addr: addr, cmd: exec.Command(argv[0], argv[1:]...)}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	start := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for probe() != nil {
		if time.Since(start) > time.Minute {
			p.stop()
			return nil, fmt.Errorf("%s does not answer; its output is in %s", name, log.Name())
		}
		time.Sleep(time.Millisecond)
	}
	p.ready = time.Since(start)
	return p, nil
}

// answers asks ApiVersions v0: an open port alone proves nothing.
func answers(addr string) error {
	_, err := ask(addr, frame(18, 0, nil))
	return err
}

func startFloor(work string) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return launch("floor", addr, work, func() error { _, err := ask(addr, createTopicFrame("x", 1)); return err }, self, "floor", addr, work)
}

func startVarve(o options, work string) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	p, err := launch("varve", addr, work, func() error { return answers(addr) }, o.varve, "dev", "--dir", filepath.Join(work, "varve"), "--kafka", addr, "--admin", admin)
	if err != nil {
		return nil, err
	}
	for range 1000 {
		if res, err := http.Get("http://" + admin + "/readyz"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				return p, nil
			}
		}
		time.Sleep(time.Millisecond)
	}
	p.stop()
	return nil, fmt.Errorf("varve is not ready")
}

const kafkaProperties = `process.roles=broker,controller
node.id=1
controller.quorum.voters=1@%[2]s
listeners=PLAINTEXT://%[1]s,CONTROLLER://%[2]s
advertised.listeners=PLAINTEXT://%[1]s
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=%[3]s
offsets.topic.replication.factor=1
`

const log4jXML = `<Configuration status="ERROR"><Appenders><Console name="C" target="SYSTEM_ERR"/></Appenders><Loggers><Root level="INFO"><AppenderRef ref="C"/></Root></Loggers></Configuration>`

// startKafka formats and starts one combined KRaft node with the stock heap, collector and thread counts.
func startKafka(o options, work string) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	controller, err := freeAddr()
	if err != nil {
		return nil, err
	}
	props, log4j := filepath.Join(work, "server.properties"), filepath.Join(work, "log4j2.xml")
	if err := os.WriteFile(props, fmt.Appendf(nil, kafkaProperties, addr, controller, filepath.Join(work, "kafka")), 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(log4j, []byte(log4jXML), 0o600); err != nil {
		return nil, err
	}
	id := base64.RawURLEncoding.EncodeToString([]byte("varve-bench-0001"))
	jvm := []string{"-Dlog4j2.configurationFile=" + log4j, "-cp", o.jars + "/*"}
	format := exec.Command("java", append(jvm, "kafka.tools.StorageTool", "format", "-t", id, "-c", props)...)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("formatting Kafka's log dir: %w\n%s", err, out)
	}
	argv := append([]string{"java", "-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"}, jvm...)
	return launch("kafka", addr, work, func() error { return answers(addr) }, append(argv, "kafka.Kafka", props)...)
}
