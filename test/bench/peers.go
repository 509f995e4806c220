package main

import (
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// peer is one broker process under measurement.
type peer struct {
	name  string
	addr  string
	cmd   *exec.Cmd
	begun time.Time     // just before exec
	ready time.Duration // exec to the first ApiVersions answer
}

// cpuSeconds is the user and system time that all threads of the process, ended ones too,
// have used so far. The process's CPU clock counts nanoseconds; /proc counts ticks of
// 10 ms, which is as much as a short sample or an idle minute takes.
func (p *peer) cpuSeconds() (float64, error) {
	var ts unix.Timespec
	clock := int32(^p.cmd.Process.Pid<<3 | 2) // MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED)
	if err := unix.ClockGettime(clock, &ts); err != nil {
		return 0, fmt.Errorf("CPU clock of %s: %w", p.name, err)
	}
	return time.Duration(ts.Nano()).Seconds(), nil
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
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// patience is how long a broker may take to start, and to stop: Kafka with 5,000 partitions
// needs half a minute for each on two free cores.
const patience = 4 * time.Minute

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
	p.begun = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	for probe() != nil {
		if time.Since(p.begun) > patience {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
			out, _ := os.ReadFile(log.Name())
			return nil, fmt.Errorf("%s does not answer; its output ends with %s", name, out[max(0, len(out)-2000):])
		}
		time.Sleep(time.Millisecond)
	}
	p.ready = time.Since(p.begun)
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
	return launch("floor", addr, work, func() error { _, err := ask(addr, createTopicFrame("x", 1, nil)); return err }, self, "floor", addr, work)
}

// startVarve starts 'varve dev' with its data in work, which may hold those of an earlier start.
func startVarve(o options, work string) (*peer, error) {
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	admin, err := freeAddr()
	if err != nil {
		return nil, err
	}
	return launch("varve", addr, work, func() error { return answers(addr) },
		o.varve, "dev", "--dir", filepath.Join(work, "varve"), "--kafka", addr, "--admin", admin)
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
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
`

const log4jXML = `<Configuration status="ERROR"><Appenders><Console name="C" target="SYSTEM_ERR"/></Appenders><Loggers><Root level="INFO"><AppenderRef ref="C"/></Root></Loggers></Configuration>`

// startKafka starts one combined KRaft node with the stock heap, collector and thread
// counts; its log dir in work is formatted unless an earlier start has done so.
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
	format := exec.Command("java", append(jvm, "kafka.tools.StorageTool", "format", "--ignore-formatted", "-t", id, "-c", props)...)
	if out, err := format.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("formatting Kafka's log dir: %w\n%s", err, out)
	}
	argv := append([]string{"java", "-Xms1g", "-Xmx1g", "-server", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
		"-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent", "-Djava.awt.headless=true"}, jvm...)
	return launch("kafka", addr, work, func() error { return answers(addr) }, append(argv, "kafka.Kafka", props)...)
}
