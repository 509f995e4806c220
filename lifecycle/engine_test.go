package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"reflect"
	"slices"
	"testing"
)

// scripted is a Partition that keeps a journal of what was asked of it.
type scripted struct {
	name    string
	policy  Policy
	state   State
	claimed bool
	fail    map[string]error
	journal []string
}

func (p *scripted) String() string { return p.name }
func (p *scripted) Policy() Policy { return p.policy }

func (p *scripted) State(context.Context) (State, error) {
	s := p.state
	s.Remote.Claimed = p.claimed
	return s, p.fail["state"]
}

func (p *scripted) did(what string, args ...any) error {
	p.journal = append(p.journal, fmt.Sprint(append([]any{what}, args...)...))
	return p.fail[what]
}

func (p *scripted) Claim(context.Context) error {
	p.claimed = p.fail["claim"] == nil
	return p.did("claim")
}
func (p *scripted) Roll() error                               { return p.did("roll") }
func (p *scripted) SetStart(_ context.Context, o int64) error { return p.did("start", o) }
func (p *scripted) EvictLocal(o int64) error                  { return p.did("evict", o) }
func (p *scripted) failing(what string, err error) *scripted {
	p.fail = map[string]error{what: err}
	return p
}
func walkOver(ps ...Partition) func() iter.Seq[Partition] {
	return func() iter.Seq[Partition] { return slices.Values(ps) }
}
func newTestEngine(ps ...Partition) *Engine {
	return NewEngine(walkOver(ps...), nil, slog.New(slog.DiscardHandler))
}

// expiring is a tiered partition of which one remote segment, still local too, is old.
func expiring(name string) *scripted {
	old := Segment{Base: 0, Next: 10, SizeBytes: 100, MaxTimestampMs: 1000}
	return &scripted{
		name: name,
		policy: Policy{Delete: true, Tiered: true, RetentionMs: 1000, RetentionBytes: Unlimited,
			LocalRetentionMs: SameAsRetention, LocalRetentionBytes: SameAsRetention},
		state: State{
			HighWatermark: 20,
			Local:         []Segment{old, {Base: 10, Next: 20, SizeBytes: 100, MaxTimestampMs: 4900, Active: true}},
			Remote:        Remote{Known: true, Next: 10, SizeBytes: 100, Segments: slices.Values([]Segment{old})},
		},
	}
}

func TestEngineClaimsThenPlansAgain(t *testing.T) {
	p := expiring("a-0")
	if err := newTestEngine(p).Tick(t.Context(), 5000); err != nil {
		t.Fatal(err)
	}
	if want := []string{"claim", "start10", "evict10"}; !reflect.DeepEqual(p.journal, want) {
		t.Errorf("did %q, want %q", p.journal, want)
	}
}

func TestEngineRemovesNothingWhenTheClaimFails(t *testing.T) {
	fenced := errors.New("fenced")
	p := expiring("a-0").failing("claim", fenced)
	if err := newTestEngine(p).Tick(t.Context(), 5000); !errors.Is(err, fenced) {
		t.Errorf("tick answered %v", err)
	}
	if want := []string{"claim"}; !reflect.DeepEqual(p.journal, want) {
		t.Errorf("did %q, want %q", p.journal, want)
	}
}

func TestEngineKeepsLocalDataWhenTheStartCannotMove(t *testing.T) {
	down := errors.New("bucket is down")
	p := expiring("a-0").failing("start", down)
	p.claimed = true
	if err := newTestEngine(p).Tick(t.Context(), 5000); !errors.Is(err, down) {
		t.Errorf("tick answered %v", err)
	}
	if want := []string{"start10"}; !reflect.DeepEqual(p.journal, want) {
		t.Errorf("did %q, want %q", p.journal, want)
	}
}

func TestEngineGoesOnAfterAPartitionFailed(t *testing.T) {
	down := errors.New("bucket is down")
	bad, good := expiring("a-0").failing("state", down), expiring("b-0")
	err := newTestEngine(bad, good).Tick(t.Context(), 5000)
	if !errors.Is(err, down) {
		t.Errorf("tick answered %v", err)
	}
	if want := []string{"claim", "start10", "evict10"}; !reflect.DeepEqual(good.journal, want) {
		t.Errorf("did %q, want %q", good.journal, want)
	}
}

func TestEngineStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p := expiring("a-0")
	if err := newTestEngine(p).Tick(ctx, 5000); !errors.Is(err, context.Canceled) {
		t.Errorf("tick answered %v", err)
	}
	if len(p.journal) > 0 {
		t.Errorf("did %q after the cancel", p.journal)
	}
}

func TestEngineReportsWhatItDid(t *testing.T) {
	p := expiring("a-0")
	var seen []string
	e := NewEngine(walkOver(p), func(name string, a Actions) { seen = append(seen, name+" "+describe(a)) }, slog.New(slog.DiscardHandler))
	if err := e.Tick(t.Context(), 5000); err != nil {
		t.Fatal(err)
	}
	want := []string{"a-0 claim because tier-claim", "a-0 start=10 evict=10 because retention.ms"}
	if !reflect.DeepEqual(seen, want) {
		t.Errorf("saw %q, want %q", seen, want)
	}
}
