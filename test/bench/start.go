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

// starts prints how long each peer takes to be of use: on an empty directory, where a topic
// has to be created first, and again on what that start has left behind.
func starts(o options) error {
	fmt.Println("| start | ApiVersions, ms | first acknowledged Produce, ms | first fetched record, ms |\n|---|---|---|---|")
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
				return err
			}
			for _, times := range []*[]startTimes{&fresh, &again} {
				p, err := k.start(o, work)
				if err != nil {
					return err
				}
				t, err := firstAnswers(p, batch, times == &fresh)
				p.stop()
				if err != nil {
					return fmt.Errorf("starting %s: %w", k.name, err)
				}
				*times = append(*times, t)
			}
		}
		printStarts(k.name+", empty directory", fresh)
		printStarts(k.name+", restart with one topic", again)
	}
	return demo(o)
}

// firstAnswers has a peer that just answered ApiVersions take one record and give it back.
func firstAnswers(p *peer, batch []byte, fresh bool) (startTimes, error) {
	const topic = "first"
	t := startTimes{apiVersions: p.ready}
	if fresh {
		if _, err := ask(p.addr, createTopicFrame(topic, 1)); err != nil {
			return t, err
		}
	}
	if err := waitLeader(p.addr, topic, batch); err != nil {
		return t, err
	}
	t.produced = time.Since(p.begun)
	if err := fetch(p.addr, topic, 1<<20, -1, 1, batch); err != nil {
		return t, err
	}
	t.fetched = time.Since(p.begun)
	return t, nil
}

func printStarts(what string, times []startTimes) {
	column := func(f func(startTimes) time.Duration) string {
		var v []float64
		for _, t := range times {
			v = append(v, float64(f(t).Microseconds())/1000)
		}
		return spread("%.0f", v)
	}
	fmt.Printf("| %s | %s | %s | %s |\n", what, column(func(t startTimes) time.Duration { return t.apiVersions }),
		column(func(t startTimes) time.Duration { return t.produced }), column(func(t startTimes) time.Duration { return t.fetched }))
}

// demo runs 'varve demo' from exec to its end.
func demo(o options) error {
	var seconds, mib []float64
	for range o.starts {
		cmd := exec.Command(o.varve, "demo")
		cmd.Stdout, cmd.Stderr = io.Discard, os.Stderr
		begun := time.Now()
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("varve demo: %w", err)
		}
		seconds = append(seconds, time.Since(begun).Seconds())
		mib = append(mib, float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024)
	}
	fmt.Printf("\nvarve demo: %s s, largest RSS %s MiB\n", spread("%.2f", seconds), spread("%.0f", mib))
	return nil
}
