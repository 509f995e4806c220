package main

import (
	"fmt"
	"os"
	"time"
)

// manyPartitions is what 5,000 partitions with a record each cost a broker with stock
// settings, and its restarts. Varve writes its checkpoint once a minute then, and lets go of
// files at the second one; idle CPU counts over a minute, so that there is one in it.
func manyPartitions(s *session) ([]result, error) {
	var out []result
	for _, k := range s.kinds() {
		b := scale{varve: s.varve, topics: 40, partitions: 125, records: 1, bytes: 100, rest: 130 * time.Second, idle: 60 * time.Second}
		r, err := b.measure(s.options, k.name, (*scale).manyFigures)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		out = append(out, result{Name: k.name, Cells: r})
	}
	return out, nil
}

func (s *scale) manyFigures(p *peer) (next *peer, cells []string, err error) {
	begun := time.Now()
	if err := s.create(p); err != nil {
		return p, nil, err
	}
	if err := s.served(p); err != nil {
		return p, nil, err
	}
	created := time.Since(begun)
	if err := s.fill(p, s.records); err != nil {
		return p, nil, err
	}
	idle, err := s.idleFigures(p)
	if err != nil {
		return p, nil, err
	}
	cells = append(cells, fmt.Sprintf("%.0f", idle.rssMiB), fmt.Sprint(idle.logFiles), fmt.Sprint(idle.maps), fmt.Sprintf("%.2f", idle.cpuMsPerSecond), seconds(created))
	for _, how := range []string{"clean stop", killed} {
		var r restartFigures
		if p, r, err = s.restart(p, how); err != nil {
			return p, nil, err
		}
		cells = append(cells, seconds(r.served))
	}
	return p, cells, nil
}

// recovery is the restart of a broker that is killed right after 5 GB were produced to 50
// partitions: as much as possible lies behind the last checkpoint.
func recovery(s *session) ([]result, error) {
	records := max(1, int(100*min(1, s.gib)))
	var out []result
	for _, k := range s.kinds() {
		b := scale{varve: s.varve, topics: 50, partitions: 1, records: records, bytes: 1_000_000}
		r, err := b.measure(s.options, k.name, (*scale).recoveryFigures)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.name, err)
		}
		out = append(out, result{Name: fmt.Sprintf("%s, %.1f GB", k.name, float64(b.topics*records)*float64(b.bytes)/1e9), Cells: r})
	}
	return out, nil
}

func (s *scale) recoveryFigures(p *peer) (next *peer, cells []string, err error) {
	if err := s.create(p); err != nil {
		return p, nil, err
	}
	if err := s.served(p); err != nil {
		return p, nil, err
	}
	if err := s.fill(p, s.records); err != nil {
		return p, nil, err
	}
	p, r, err := s.restart(p, killed)
	if err != nil {
		return p, nil, err
	}
	p, again, err := s.restart(p, "clean stop")
	return p, []string{seconds(r.answers), seconds(r.served), fmt.Sprintf("%.2f", r.cpuSeconds), seconds(r.fetched), seconds(again.served)}, err
}

// measure starts a broker of its own in a directory of its own, and ends it.
func (s *scale) measure(o options, name string, figures func(*scale, *peer) (*peer, []string, error)) ([]string, error) {
	var err error
	if s.work, err = os.MkdirTemp(o.work, "many-"+name+"-"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.work)
	if name == "kafka" {
		s.kafka = o.jars
	}
	p, err := s.start()
	if err != nil {
		return nil, err
	}
	p, cells, err := figures(s, p)
	p.stop()
	return cells, err
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()) }
