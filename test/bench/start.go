package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// startTimes is how long after exec a peer gave its first answers.
type startTimes struct{ apiVersions, produced, fetched time.Duration }

// starts shows how long each peer takes to be of use: on an empty directory, where a topic
// has to be created first, and again on what that start has left behind.
func starts(s *session) ([]result, error) {
	o := s.options
	var out []result
	kinds := []struct {
		name   string
		rounds int
		start  func(options, string) (*peer, error)
	}{{"varve", o.starts, startVarve}, {"kafka", min(o.starts, 2), startKafka}}
	if o.jars == "" {
		kinds = kinds[:1]
	}
	batch := encodeBatch(200, 100)
	for _, k := range kinds {
		var fresh, again []startTimes
		for i := range k.rounds {
			work := filepath.Join(o.work, fmt.Sprintf("start-%s-%d", k.name, i))
			if err := os.Mkdir(work, 0o700); err != nil {
				return nil, err
			}
			for _, times := range []*[]startTimes{&fresh, &again} {
				p, err := k.start(o, work)
				if err != nil {
					return nil, err
				}
				t, err := firstAnswers(p, batch, times == &fresh)
				p.stop()
				if err != nil {
					return nil, fmt.Errorf("starting %s: %w", k.name, err)
				}
				*times = append(*times, t)
			}
		}
		out = append(out, startResult(k.name+", empty directory", fresh), startResult(k.name+", restart with one topic", again))
	}
	return out, nil
}

// firstAnswers has a peer that just answered ApiVersions take one record and give it back.
func firstAnswers(p *peer, batch []byte, fresh bool) (startTimes, error) {
	const topic = "first"
	t := startTimes{apiVersions: p.ready}
	if fresh {
		if _, err := ask(p.addr, createTopicFrame(topic, 1, nil)); err != nil {
			return t, err
		}
	}
	var err error
	for range 5000 {
		if _, err = produce(p.addr, topic, batch, 1, 1); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err != nil {
		return t, err
	}
	t.produced = time.Since(p.begun)
	if err := fetch(p.addr, topic, 1<<20, -1, 1, batch); err != nil {
		return t, err
	}
	t.fetched = time.Since(p.begun)
	return t, nil
}

func startResult(what string, times []startTimes) result {
	cell := func(f func(startTimes) time.Duration) string {
		return spread("%.0f", column(times, func(t startTimes) float64 { return ms(f(t)) }))
	}
	return result{Name: what, Cells: []string{cell(func(t startTimes) time.Duration { return t.apiVersions }),
		cell(func(t startTimes) time.Duration { return t.produced }), cell(func(t startTimes) time.Duration { return t.fetched })}}
}

// demo runs 'varve demo' from exec to its end.
func demo(s *session) ([]result, error) {
	var seconds, mib []float64
	for range s.starts {
		cmd := exec.Command(s.varve, "demo")
		cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
		begun := time.Now()
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("varve demo: %w", err)
		}
		seconds = append(seconds, time.Since(begun).Seconds())
		mib = append(mib, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
	}
	return []result{{Name: "varve demo", Cells: []string{spread("%.2f", seconds), spread("%.0f", mib)}}}, nil
}
