package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// idleConnections is how many connections are open when memory is looked at.
var idleConnections = []int{1_000, 10_000}

const (
	// firstConnections come and go before anything counts: what serves connections at all is there.
	firstConnections = 100
	connectionsRest  = 3 * time.Second
)

// kind is a broker that a row starts for itself, again and again.
type kind struct {
	name  string
	start func(options, string) (*peer, error)
}

func (o options) kinds() []kind {
	k := []kind{{"varve", startVarve}, {"kafka", startKafka}}
	if o.jars == "" {
		return k[:1]
	}
	return k
}

// there is the kinds, and the same backwards: A-B-B-A.
func there(k []kind) []kind {
	back := slices.Clone(k)
	slices.Reverse(back)
	return append(slices.Clone(k), back...)
}

// memoryOfConnections is the RSS of a broker before anybody connects, in MiB, and what each
// of many connections adds, in KiB.
type memoryOfConnections struct {
	before float64
	each   []float64 // as in idleConnections
}

func connections(s *session) ([]result, error) {
	got := map[string][]memoryOfConnections{}
	for i, k := range there(s.kinds()) {
		work := filepath.Join(s.work, fmt.Sprintf("connections-%d", i))
		if err := os.Mkdir(work, 0o700); err != nil {
			return nil, err
		}
		p, err := k.start(s.options, work)
		if err != nil {
			return nil, err
		}
		m, err := connect(p)
		p.stop()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		got[k.name] = append(got[k.name], m)
	}
	var out []result
	for _, k := range s.kinds() {
		r := result{Name: k.name, Cells: []string{spread("%.0f", column(got[k.name], func(m memoryOfConnections) float64 { return m.before }))}}
		for i := range idleConnections {
			r.Cells = append(r.Cells, spread("%.1f", column(got[k.name], func(m memoryOfConnections) float64 { return m.each[i] })))
		}
		out = append(out, r)
	}
	return out, nil
}

// connect opens connections that ask once and then say nothing. In the end each of them must
// still be served.
func connect(p *peer) (m memoryOfConnections, err error) {
	hello := frame(18, 0, nil)
	talk := func(c net.Conn) error {
		_ = c.SetDeadline(time.Now().Add(30 * time.Second))
		if _, err := c.Write(hello); err != nil {
			return err
		}
		_, err := readFrame(c, nil)
		return err
	}
	for range firstConnections {
		if _, err := ask(p.addr, hello); err != nil {
			return m, err
		}
	}
	time.Sleep(connectionsRest)
	m.before = p.rssMiB()
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	for _, n := range idleConnections {
		for len(open) < n {
			c, err := net.Dial("tcp", p.addr)
			if err != nil {
				return m, err
			}
			open = append(open, c)
			if err := talk(c); err != nil {
				return m, fmt.Errorf("connection %d: %w", len(open), err)
			}
		}
		time.Sleep(connectionsRest)
		m.each = append(m.each, (p.rssMiB()-m.before)*1024/float64(n))
	}
	for i, c := range open {
		if err := talk(c); err != nil {
			return m, fmt.Errorf("connection %d after a rest: %w", i, err)
		}
	}
	return m, nil
}
