package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// scale measures what many partitions cost one broker of Varve: their creation, memory,
// descriptors, maps and CPU time while nothing happens, and restarts.
type scale struct {
	varve, work        string
	topics, partitions int   // per topic
	records            int   // in each partition; 0 leaves them empty
	late               int   // more of them just before the kill -9
	bytes              int64 // of each record
	idle               time.Duration
	rest               time.Duration // before that
	kafka              string
	sets               multi
}

// restFigures is what a broker needs while nothing happens.
type restFigures struct {
	rssMiB                float64
	files, logFiles, maps int
	cpuMsPerSecond        float64
}

// restartFigures is how long a restart took, each from exec, but the stop.
type restartFigures struct {
	stopped, answers, served, fetched time.Duration
	cpuSeconds                        float64 // until all partitions were served
}

// multi is a repeatable flag.
type multi []string

func (m *multi) String() string     { return strings.Join(*m, " ") }
func (m *multi) Set(v string) error { *m = append(*m, v); return nil }

func scaleMain(args []string) error {
	var s scale
	fs := flag.NewFlagSet("scale", flag.ExitOnError)
	fs.StringVar(&s.varve, "varve", "bin/varve", "the varve binary")
	fs.StringVar(&s.work, "work", "", "directory for logs; empty: a temporary one")
	fs.IntVar(&s.topics, "topics", 40, "topics")
	fs.IntVar(&s.partitions, "partitions", 125, "partitions of each topic")
	fs.IntVar(&s.records, "records", 1, "records in each partition; 0 leaves them empty")
	fs.IntVar(&s.late, "late", 0, "records produced to each partition just before the kill -9")
	fs.Int64Var(&s.bytes, "bytes", 100, "bytes of each record")
	fs.DurationVar(&s.rest, "rest", 6*time.Second, "how long the broker gets to let go of files and garbage before idle figures count")
	fs.DurationVar(&s.idle, "idle", 20*time.Second, "how long idle CPU is counted")
	fs.StringVar(&s.kafka, "jars", "", "directory of Apache Kafka's jars: measure Kafka instead")
	fs.Var(&s.sets, "set", "a setting NAME=VALUE of the broker, repeatable")
	s.sets = multi{"log.flush.offset.checkpoint.interval.ms=2000"}
	_ = fs.Parse(args)
	if s.work == "" {
		dir, err := os.MkdirTemp("", "scale-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		s.work = dir
	}
	return s.run()
}

func (s *scale) start() (*peer, error) {
	if s.kafka != "" {
		return startKafka(options{jars: s.kafka}, s.work)
	}
	addr, err := freeAddr()
	if err != nil {
		return nil, err
	}
	argv := []string{s.varve, "broker", "--set", "log.dirs=" + filepath.Join(s.work, "varve"), "--set", "listeners=PLAINTEXT://" + addr}
	for _, set := range s.sets {
		argv = append(argv, "--set", set)
	}
	return launch("varve", addr, s.work, func() error { return answers(addr) }, argv...)
}

func (s *scale) run() error {
	p, err := s.start()
	if err != nil {
		return err
	}
	defer func() { p.stop() }()
	fmt.Printf("| %d topics × %d partitions, %d records each | |\n|---|---|\n", s.topics, s.partitions, s.records)
	begun := time.Now()
	if err := s.create(p); err != nil {
		return err
	}
	answered := time.Since(begun)
	if err := s.served(p); err != nil {
		return err
	}
	fmt.Printf("| created: answered · all have leaders and answer | %s · %s |\n", millis(answered), millis(time.Since(begun)))
	if s.records > 0 {
		begun = time.Now()
		if err := s.fill(p, s.records); err != nil {
			return err
		}
		fmt.Printf("| %d produced | %s |\n", s.records*s.topics*s.partitions, millis(time.Since(begun)))
	}
	if err := s.printIdle(p, "after that"); err != nil {
		return err
	}
	for _, how := range []string{"clean stop", killed} {
		var r restartFigures
		if p, r, err = s.restart(p, how); err != nil {
			return err
		}
		fmt.Printf("| %s (%s), from exec: ApiVersions · end offsets of all partitions · first record of each fetched · CPU until the second | %s · %s · %s · %.0f ms |\n",
			how, millis(r.stopped), millis(r.answers), millis(r.served), millis(r.fetched), 1000*r.cpuSeconds)
	}
	return s.printIdle(p, "after the restarts")
}

func millis(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }

// killed is a way to stop a broker; any other is a clean one.
const killed = "kill -9"

// restart stops the broker, starts it and waits for every partition.
func (s *scale) restart(p *peer, how string) (next *peer, r restartFigures, err error) {
	begun := time.Now()
	if how == killed {
		if err := s.fill(p, s.late); err != nil {
			return p, r, err
		}
		begun = time.Now()
		_ = p.cmd.Process.Signal(syscall.SIGKILL)
		_ = p.cmd.Wait()
	} else {
		p.stop()
	}
	r.stopped = time.Since(begun)
	if next, err = s.start(); err != nil {
		return p, r, err
	}
	r.answers = next.ready
	if err := s.served(next); err != nil {
		return next, r, err
	}
	r.served = time.Since(next.begun)
	if r.cpuSeconds, err = next.cpuSeconds(); err != nil {
		return next, r, err
	}
	if s.records > 0 {
		if err := s.fetchAll(next); err != nil {
			return next, r, err
		}
		r.fetched = time.Since(next.begun)
	}
	return next, r, nil
}

func (s *scale) printIdle(p *peer, when string) error {
	r, err := s.idleFigures(p)
	if err != nil {
		return err
	}
	fmt.Printf("| idle %s: RSS · descriptors (of logs) · maps · CPU | %.0f MiB · %d (%d) · %d · %.1f ms/s |\n", when, r.rssMiB, r.files, r.logFiles, r.maps, r.cpuMsPerSecond)
	return nil
}

// idleFigures looks at a broker that nobody asks for anything.
func (s *scale) idleFigures(p *peer) (r restFigures, err error) {
	time.Sleep(s.rest)
	cpu, err := p.cpuSeconds()
	if err != nil {
		return r, err
	}
	time.Sleep(s.idle)
	now, err := p.cpuSeconds()
	if err != nil {
		return r, err
	}
	if r.files, r.logFiles, err = descriptors(p.cmd.Process.Pid); err != nil {
		return r, err
	}
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.cmd.Process.Pid))
	r.rssMiB, r.maps, r.cpuMsPerSecond = p.rssMiB(), strings.Count(string(maps), "\n"), 1000*(now-cpu)/s.idle.Seconds()
	return r, err
}

// descriptors counts what a process has open, and the files of segments among that.
func descriptors(pid int) (all, segments int, err error) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if name, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && (strings.HasSuffix(name, ".log") || strings.HasSuffix(name, "index")) {
			segments++
		}
	}
	return len(entries), segments, err
}

func (s *scale) topic(i int) string { return fmt.Sprintf("scale-%06d", i) }

// request asks for one thing on a connection of its own and reads the answer.
func (s *scale) request(p *peer, req kmsg.Request, version int16, read func([]byte) error) error {
	req.SetVersion(version)
	c, err := net.DialTimeout("tcp", p.addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Minute))
	if _, err := c.Write(frame(req.Key(), version, req.AppendTo(nil))); err != nil {
		return err
	}
	b, err := readFrame(c, nil)
	if err != nil {
		return err
	}
	return read(b[4:])
}

// create makes the topics, fewer than 10,000 partitions to a request: more are refused, as by Kafka.
func (s *scale) create(p *peer) error {
	each := max(1, 9_999/s.partitions)
	for next := 0; next < s.topics; next += each {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 60_000
		for i := next; i < min(s.topics, next+each); i++ {
			t := kmsg.NewCreateTopicsRequestTopic()
			t.Topic, t.NumPartitions, t.ReplicationFactor = s.topic(i), int32(s.partitions), 1
			req.Topics = append(req.Topics, t)
		}
		resp := kmsg.NewPtrCreateTopicsResponse()
		resp.SetVersion(4)
		if err := s.request(p, req, 4, resp.ReadFrom); err != nil {
			return err
		}
		for _, t := range resp.Topics {
			if t.ErrorCode != 0 {
				return fmt.Errorf("create %s: error %d", t.Topic, t.ErrorCode)
			}
		}
	}
	return nil
}

// served waits until every partition answers with its end offset.
func (s *scale) served(p *peer) error {
	begun := time.Now()
	for next := 0; next < s.topics; {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		last := min(s.topics, next+max(1, 20_000/s.partitions))
		for i := next; i < last; i++ {
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = s.topic(i)
			for j := range s.partitions {
				part := kmsg.NewListOffsetsRequestTopicPartition()
				part.Partition, part.Timestamp, part.CurrentLeaderEpoch = int32(j), -1, -1
				t.Partitions = append(t.Partitions, part)
			}
			req.Topics = append(req.Topics, t)
		}
		resp := kmsg.NewPtrListOffsetsResponse()
		resp.SetVersion(5)
		if err := s.request(p, req, 5, resp.ReadFrom); err != nil {
			return err
		}
		good := true
		for _, t := range resp.Topics {
			for _, part := range t.Partitions {
				good = good && part.ErrorCode == 0
			}
		}
		if good {
			next = last
		} else if time.Since(begun) > 10*time.Minute {
			return fmt.Errorf("partitions of topics %d to %d are not served", next, last)
		} else {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// fill produces the records, a request per topic.
func (s *scale) fill(p *peer, records int) error {
	record := encodeBatch(int(s.bytes), int(s.bytes))
	for range records {
		for i := range s.topics {
			for from := 0; from < s.partitions; {
				to := min(s.partitions, from+max(1, 64<<20/len(record)))
				req := kmsg.NewPtrProduceRequest()
				req.Acks, req.TimeoutMillis = -1, 60_000
				t := kmsg.NewProduceRequestTopic()
				t.Topic = s.topic(i)
				for j := from; j < to; j++ {
					part := kmsg.NewProduceRequestTopicPartition()
					part.Partition, part.Records = int32(j), record
					t.Partitions = append(t.Partitions, part)
				}
				req.Topics = append(req.Topics, t)
				resp := kmsg.NewPtrProduceResponse()
				resp.SetVersion(8)
				if err := s.request(p, req, 8, resp.ReadFrom); err != nil {
					return err
				}
				for _, part := range resp.Topics[0].Partitions {
					if part.ErrorCode != 0 {
						return fmt.Errorf("produce to %s-%d: error %d", t.Topic, part.Partition, part.ErrorCode)
					}
				}
				from = to
			}
		}
	}
	return nil
}

// fetchAll reads the first batch of every partition.
func (s *scale) fetchAll(p *peer) error {
	size := encodeBatch(int(s.bytes), int(s.bytes))
	want := int32(binary.BigEndian.Uint32(size[8:])) + 12
	for i := range s.topics {
		for from := 0; from < s.partitions; {
			to := min(s.partitions, from+max(1, int(64<<20/int64(want))))
			req := kmsg.NewPtrFetchRequest()
			req.ReplicaID, req.MaxBytes, req.SessionEpoch, req.MinBytes = -1, 1<<30, -1, 1
			t := kmsg.NewFetchRequestTopic()
			t.Topic = s.topic(i)
			for j := from; j < to; j++ {
				part := kmsg.NewFetchRequestTopicPartition()
				part.Partition, part.PartitionMaxBytes, part.CurrentLeaderEpoch = int32(j), want, -1
				t.Partitions = append(t.Partitions, part)
			}
			req.Topics = append(req.Topics, t)
			resp := kmsg.NewPtrFetchResponse()
			resp.SetVersion(11)
			if err := s.request(p, req, 11, resp.ReadFrom); err != nil {
				return err
			}
			for _, part := range resp.Topics[0].Partitions {
				if part.ErrorCode != 0 || len(part.RecordBatches) < int(want) {
					return fmt.Errorf("fetch from %s-%d: error %d, %d bytes", t.Topic, part.Partition, part.ErrorCode, len(part.RecordBatches))
				}
			}
			from = to
		}
	}
	return nil
}
