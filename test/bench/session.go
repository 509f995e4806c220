package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"
)

// session is one run: what was asked for, what is done, and the peers that the rows share.
type session struct {
	options
	done  []result
	peers []*peer
	warm  bool // the JVM has compiled what it runs
}

func run(o options) error {
	todo, err := chosen(o.rows)
	if err != nil {
		return err
	}
	s := &session{options: o}
	if s.done, err = readResults(o.results); err != nil {
		return err
	}
	if o.work == "" {
		if s.work, err = os.MkdirTemp("", "varve-bench"); err != nil {
			return err
		}
		defer os.RemoveAll(s.work)
	}
	defer s.stopPeers()
	for i, r := range todo {
		if slices.ContainsFunc(s.done, func(d result) bool { return d.Row == r.id }) {
			fmt.Fprintf(os.Stderr, "[%d/%d] %s is in %s\n", i+1, len(todo), r.id, o.results)
			continue
		}
		begun := time.Now()
		fmt.Fprintf(os.Stderr, "[%d/%d] %s …\n", i+1, len(todo), r.id)
		got, err := r.run(s)
		if err != nil {
			return fmt.Errorf("%s: %w", r.id, err)
		}
		for _, g := range got {
			g.Row, g.Section = r.id, r.section
			s.done = append(s.done, g)
			fmt.Fprintf(os.Stderr, "        %s: %s   (%.0f s, PSI cpu %s)\n", g.Name, strings.Join(g.Cells, " | "), time.Since(begun).Seconds(), pressure())
		}
		if err := writeResults(o.results, s.done); err != nil {
			return err
		}
	}
	printTables(os.Stdout, s.done)
	return nil
}

// pressure is how much of the last ten seconds some task waited for a CPU, in per cent: a
// measure of who else was on the machine.
func pressure() string {
	b, err := os.ReadFile("/proc/pressure/cpu")
	if err != nil {
		return "unknown"
	}
	if _, rest, ok := strings.Cut(string(b), "avg10="); ok {
		value, _, _ := strings.Cut(rest, " ")
		return value + " %"
	}
	return "unknown"
}

// shared starts the peers that rows share: Varve, Kafka when its jars are there, the floor.
func (s *session) shared() ([]*peer, error) {
	if s.peers != nil {
		return s.peers, nil
	}
	v, err := startVarve(s.options, s.work)
	if err != nil {
		return nil, err
	}
	s.peers = append(s.peers, v)
	if s.jars != "" {
		k, err := startKafka(s.options, s.work)
		if err != nil {
			return nil, err
		}
		s.peers = append(s.peers, k)
	}
	f, err := startFloor(s.work)
	if err != nil {
		return nil, err
	}
	s.peers = append(s.peers, f)
	return s.peers, nil
}

// warmed is the shared peers, after the JVM has moved what it needs to compile its code.
func (s *session) warmed() ([]*peer, error) {
	peers, err := s.shared()
	if err != nil || s.warm {
		return peers, err
	}
	s.warm = true
	return peers, warmUp(s.options, peers)
}

// brokers is the shared peers that speak Kafka's protocol.
func (s *session) brokers() ([]*peer, error) {
	peers, err := s.warmed()
	return slices.DeleteFunc(slices.Clone(peers), func(p *peer) bool { return p.name == "floor" }), err
}

func (s *session) stopPeers() {
	for _, p := range s.peers {
		p.stop()
	}
	s.peers = nil
}

// interleave takes samples of the peers in the order A B C C B A, again and again.
func interleave[S any](s *session, peers []*peer, one func(*peer) (S, error)) (map[string][]S, error) {
	got := map[string][]S{}
	order := append(slices.Clone(peers), reversed(peers)...)
	for range (s.pairs + 1) / 2 {
		for _, p := range order {
			sample, err := one(p)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			got[p.name] = append(got[p.name], sample)
		}
	}
	return got, nil
}

func reversed(p []*peer) []*peer {
	q := slices.Clone(p)
	slices.Reverse(q)
	return q
}

// idle shows what each peer costs before it has done anything.
func idle(s *session) ([]result, error) {
	const settle, span = 5 * time.Second, 20 * time.Second
	if s.warm {
		s.stopPeers() // they have worked; begin again
		s.warm = false
	}
	peers, err := s.shared()
	if err != nil {
		return nil, err
	}
	time.Sleep(settle)
	before := make([]float64, len(peers))
	for i, p := range peers {
		if before[i], err = p.cpuSeconds(); err != nil {
			return nil, err
		}
	}
	time.Sleep(span)
	var out []result
	for i, p := range peers {
		c, err := p.cpuSeconds()
		if err != nil {
			return nil, err
		}
		out = append(out, result{Name: p.name, Cells: []string{
			fmt.Sprintf("%.0f", p.rssMiB()), fmt.Sprintf("%.2f", (c-before[i])*1000/span.Seconds())}})
	}
	return out, nil
}
