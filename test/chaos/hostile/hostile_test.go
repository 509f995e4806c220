// Package hostile puts a live broker between good clients and attackers, in a process of its own with little
// memory, and checks that the good ones lose nothing and that nothing stays behind.
//
// 'make chaos-hostile' runs it; CHAOS_HOSTILE_SECONDS says for how long.
package hostile

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// addresses is what attackers are told of the broker.
func (n *node) addresses() string { return n.Addr + "," + n.tls + "," + n.sasl }

// mount has a process of its own mount each of these attacks; two of them hold connections.
func (n *node) mount(o *outside, kinds ...string) {
	var mix []string
	for _, kind := range kinds {
		if kind != "hold" {
			mix = append(mix, kind)
			continue
		}
		for i := range 2 {
			o.run(fmt.Sprintf("CHAOS_HOSTILE_HOLD=127.0.0.%d@%s", 2+i, n.Addr))
		}
	}
	if len(mix) > 0 {
		o.run("CHAOS_HOSTILE_ATTACK=" + strings.Join(mix, "+") + "@" + n.addresses())
	}
}

// lapUnder is what good clients see for some time.
func (n *node) lapUnder(t *testing.T, g *good, d time.Duration) lap {
	t.Helper()
	g.lap()
	pause(d)
	return g.lap()
}

// burned is what good clients see beside processes that attack nobody and burn what time is left.
func (n *node) burned(t *testing.T, g *good, group string, d time.Duration) lap {
	t.Helper()
	o := newOutside(t, group)
	for range 3 {
		o.run("CHAOS_HOSTILE_BURN=1")
	}
	pause(time.Second)
	l := n.lapUnder(t, g, d)
	o.end()
	return l
}

// settled waits until the broker has what it had before, and no more.
func (n *node) settled(t *testing.T, before figures) {
	t.Helper()
	kit.Eventually(t, 90*time.Second, "goroutines, descriptors and the heap are as before", func() error {
		if f := n.figures(t); f.goroutines > before.goroutines+20 || f.descriptors > before.descriptors+20 || f.heap > before.heap+64 {
			return fmt.Errorf("%+v, before %+v", f, before)
		}
		return nil
	})
}

// TestHostileKinds mounts each attack alone and tells what good clients see of it, and what it costs the broker.
func TestHostileKinds(t *testing.T) {
	length := lengthOf(t)
	n, rest := start(t, 0), leftOver(t)
	g := startGood(t, n.Addr)
	prefer(t)
	g.protect(t)
	pause(3 * time.Second)
	t.Logf("%-12s %v", "calm", n.lapUnder(t, g, length))
	t.Logf("%-12s %v", "burners", n.burned(t, g, rest, length))
	before := n.figures(t)
	for _, kind := range kinds {
		if only := os.Getenv("CHAOS_HOSTILE_KINDS"); only != "" && !slices.Contains(strings.Split(only, "+"), kind) {
			continue
		}
		o := newOutside(t, rest)
		n.mount(o, kind)
		pause(time.Second)
		begin := n.figures(t)
		var profiles sync.WaitGroup
		profiles.Go(func() { n.profile(t, kind+".cpu", fmt.Sprintf("profile?seconds=%d", int(length.Seconds())-1)) })
		l := n.lapUnder(t, g, length)
		profiles.Wait()
		n.profile(t, kind+".mutex", "mutex")
		n.profile(t, kind+".heap", "heap")
		end := n.figures(t)
		o.end()
		t.Logf("%-12s %v; broker %.2f CPUs, %.1f collections/s, heap %.0f MiB, rss %.0f MiB, connections %.0f, goroutines %.0f", kind, l,
			(end.cpu-begin.cpu)/length.Seconds(), (end.collections-begin.collections)/length.Seconds(), end.heap, end.rss, end.connections, end.goroutines)
		n.settled(t, before)
	}
}

// TestHostileMix is all of them at once.
func TestHostileMix(t *testing.T) { mix(t, lengthOf(t), 0) }

// TestR48HostileSqueezed is the mix against a broker that has a fifth of a processor.
func TestR48HostileSqueezed(t *testing.T) { mix(t, lengthOf(t), 20) }

func mix(t *testing.T, length time.Duration, processorPercent int) {
	n, rest := start(t, processorPercent), leftOver(t)
	g := startGood(t, n.Addr)
	prefer(t)
	g.protect(t)
	calm := min(30*time.Second, length/2)
	pause(3 * time.Second)
	alone, burned, before := n.lapUnder(t, g, calm), n.burned(t, g, rest, calm), n.figures(t)
	t.Logf("calm:    %v", alone)
	t.Logf("burners: %v; %v", burned, before)

	o := newOutside(t, rest)
	n.mount(o, kinds...)
	worst, begin, end := before, time.Now(), time.Now().Add(length)
	var profiles sync.WaitGroup
	profiles.Go(func() {
		n.profile(t, "mix.cpu", fmt.Sprintf("profile?seconds=%d", int(min(length, time.Minute).Seconds())-1))
	})
	for g.lap(); time.Now().Before(end); {
		pause(min(5*time.Second, time.Until(end)))
		worst = worst.max(n.figures(t))
	}
	attacked := g.lap()
	profiles.Wait()
	spent := n.figures(t).cpu - before.cpu
	o.end()
	t.Logf("attacked for %v: %v; p99 %.1f times that beside burners, %.1f times that alone; broker %.2f CPUs; at most %v", length, attacked,
		float64(attacked.p99)/float64(burned.p99), float64(attacked.p99)/float64(alone.p99), spent/time.Since(begin).Seconds(), worst)
	n.settled(t, before)
	g.finish(t)
	after := n.figures(t)
	t.Logf("afterwards: %v; connections closed by reason: %v", after, after.closed)
	if after.panics != 0 {
		t.Errorf("%v requests made their handlers panic", after.panics)
	}
	if killed := n.killed(t); killed != "0" {
		t.Errorf("the control group says oom_kill %s", killed)
	}
	n.Stop()
}

// pause waits: time is what passes here.
func pause(d time.Duration) { <-time.After(d) }
