package chaos

import (
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// points are the named fault points at which a broker built with -tags varvefault kills
// itself, each at its third hit, with what the topic needs for that point to be reached.
var points = []struct{ name, config string }{
	{"log.append", ""},
	{"log.roll", ""},
	{"log.snapshot", ""},
	{"tier.after-put", ""},
	{"tier.after-verify", ""},
	{"tier.after-commit", ""},
	{"tier.evict", ""},
	{"tier.delete", "retention.bytes=4194304"},
}

// enough records fill several segments, so that the tier has something to show.
const enough = 20_000

// TestKillAtEveryPoint kills the broker once at each named point while a producer writes.
func TestKillAtEveryPoint(t *testing.T) {
	kit.Binary(t)
	for _, point := range points {
		t.Run(point.name, func(t *testing.T) {
			b := setup(t, point.config)
			b.Kill()
			b.Env = []string{"VARVE_FAULT=" + point.name + "=kill:3"}
			b.Start()
			p := startProducer(t, b.Addr)
			select {
			case <-b.Exited():
			case <-time.After(60 * time.Second):
				t.Fatalf("the broker did not reach %s within a minute", point.name)
			}
			b.Env = nil
			b.Start()
			p.atLeast(t, enough)
			n := p.finish(t)
			checkAll(t, b.Addr, n)
			checkTier(t, b)
		})
	}
}
