package main

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// openLoop sends single records of 1 KiB on a fixed schedule, whether or not the broker keeps
// up, with acks=all and no linger, and takes the time from the moment when a record was due.
type openLoop struct {
	id, name    string
	rate        int // records per second, over all connections
	partitions  int32
	connections int
	acks        bool // until it is acknowledged; else until a waiting consumer has it
	// configs of the topic, by peer.
	configs map[string]map[string]string
}

// latencies of one sample, in milliseconds, and how many records a second were really sent.
type latencies struct{ p50, p99, p999 float64 }

func (l openLoop) run(s *session) ([]result, error) {
	peers, err := s.brokers()
	if err != nil {
		return nil, err
	}
	got, err := interleave(s, peers, func(p *peer) (latencies, error) { return l.sample(s.options, p) })
	if err != nil {
		return nil, err
	}
	of := func(name string, f func(latencies) float64) []float64 { return column(got[name], f) }
	p50, p99, p999 := func(l latencies) float64 { return l.p50 }, func(l latencies) float64 { return l.p99 }, func(l latencies) float64 { return l.p999 }
	cell := func(name string) string {
		if len(got[name]) == 0 {
			return "–"
		}
		return fmt.Sprintf("%.2f · %.2f · %.2f", median(of(name, p50)), median(of(name, p99)), median(of(name, p999)))
	}
	mid, high := estimate(ratios(of("varve", p50), of("kafka", p50))), estimate(ratios(of("varve", p99), of("kafka", p99)))
	aa, noisy := control(of("varve", p50))
	r := result{Name: l.name, Cells: []string{cell("varve"), cell("kafka"), mid.String(), high.String(), aa}}
	if mid.N > 0 {
		r.Plots = []plot{{What: l.name + ", p50", Ratio: mid, Noisy: noisy}, {What: l.name + ", p99", Ratio: high, Noisy: noisy}}
	}
	return []result{r}, nil
}

// settling is the part of a sample at its beginning that does not count.
const settling = 0.2

func (l openLoop) sample(o options, p *peer) (latencies, error) {
	if err := calm(o.work); err != nil {
		return latencies{}, err
	}
	topic, remove, err := newTopic(p.addr, l.partitions, l.configs[p.name])
	if err != nil {
		return latencies{}, err
	}
	defer remove()
	perConn := int(o.seconds * float64(l.rate) / float64(l.connections))
	interval := time.Duration(float64(time.Second) * float64(l.connections) / float64(l.rate))
	var mu sync.Mutex
	var all []float64
	note := func(i int, ms float64) {
		if float64(i) >= settling*float64(perConn) {
			mu.Lock()
			all = append(all, ms)
			mu.Unlock()
		}
	}
	errs := make(chan error, 2*l.connections+1)
	begin := time.Now().Add(100 * time.Millisecond)
	waits := 0
	for c := range l.connections {
		conn, err := net.Dial("tcp", p.addr)
		if err != nil {
			return latencies{}, err
		}
		defer conn.Close()
		_ = conn.SetDeadline(begin.Add(time.Duration(o.seconds*float64(time.Second)) + time.Minute))
		start := begin.Add(interval * time.Duration(c) / time.Duration(l.connections))
		due := func(i int) time.Time { return start.Add(interval * time.Duration(i)) }
		ours := (l.partitions + int32(l.connections) - 1 - int32(c)) / int32(l.connections)
		go func() {
			errs <- sendOnSchedule(conn, topic, perConn, due, func(i int) int32 { return int32(c) + int32(l.connections)*(int32(i)%ours) })
		}()
		go func() {
			errs <- acknowledged(conn, topic, perConn, func(i int) {
				if l.acks {
					note(i, ms(time.Since(due(i))))
				}
			})
		}()
		waits += 2
	}
	if !l.acks {
		go func() { errs <- consume(p.addr, topic, perConn*l.connections, note) }()
		waits++
	}
	for range waits {
		if err := <-errs; err != nil {
			return latencies{}, err
		}
	}
	slices.Sort(all)
	return latencies{quantile(all, 0.5), quantile(all, 0.99), quantile(all, 0.999)}, nil
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// stamped is a batch of one 1 KiB record whose value begins with a time; at says where.
func stamped() (b []byte, at int) {
	b = encodeBatch(batchHeader+1, 1024)
	return b, len(b) - 1 - 1024 // the value, then the number of headers
}

// sendOnSchedule sends n records, each when it is due and with that time in it.
func sendOnSchedule(conn net.Conn, topic string, n int, due func(int) time.Time, partition func(int) int32) error {
	runtime.LockOSThread() // the thread sleeps by itself: the runtime's timers round up to a millisecond
	defer runtime.UnlockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // ns; by default 50 µs late, which would count as the broker's
	b, at := stamped()
	for i := range n {
		for wait := time.Until(due(i)); wait > 0; wait = time.Until(due(i)) {
			ts := unix.NsecToTimespec(wait.Nanoseconds())
			_ = unix.Nanosleep(&ts, nil)
		}
		binary.BigEndian.PutUint64(b[at:], uint64(due(i).UnixNano()))
		binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
		if _, err := conn.Write(produceFrame(topic, partition(i), b)); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged reads n answers, and tells of each.
func acknowledged(conn net.Conn, topic string, n int, tell func(int)) error {
	in := bufio.NewReader(conn)
	var buf []byte
	var err error
	for i := range n {
		if buf, err = readFrame(in, buf); err != nil {
			return err
		}
		if code := int16(binary.BigEndian.Uint16(buf[4+4+2+len(topic)+4+4:])); code != 0 {
			return fmt.Errorf("produce answered error %d", code)
		}
		tell(i)
	}
	return nil
}

// consume fetches n stamped records from partition 0 as they come, and tells how old each is.
func consume(addr, topic string, n int, tell func(i int, ms float64)) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Minute))
	one, at := stamped()
	in := bufio.NewReaderSize(c, 256<<10)
	var buf []byte
	for i := 0; i < n; {
		if _, err := c.Write(fetchFrame(topic, 0, int64(i), 1<<20, 500)); err != nil {
			return err
		}
		if buf, err = readFrame(in, buf); err != nil {
			return err
		}
		now := time.Now().UnixNano()
		head := 4 + 4 + 2 + 4 + 4 + 2 + len(topic) + 4 // as in reader.answer, without the size
		if code := int16(binary.BigEndian.Uint16(buf[head+4:])); code != 0 {
			return fmt.Errorf("fetch answered error %d", code)
		}
		records := buf[head+4+2+8+8+8+4+4+4:]
		for ; len(records) >= len(one); records = records[len(one):] {
			if base := int64(binary.BigEndian.Uint64(records)); base != int64(i) {
				return fmt.Errorf("offset %d came where %d was due", base, i)
			}
			tell(i, float64(now-int64(binary.BigEndian.Uint64(records[at:])))/1e6)
			i++
		}
		if len(records) > 0 {
			return fmt.Errorf("%d bytes behind the last batch: %w", len(records), io.ErrUnexpectedEOF)
		}
	}
	return nil
}
