//go:build varvefault

package fault

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Enabled says whether the points exist in this build.
const Enabled = true

// Kind is what happens at a point.
type Kind uint8

// The kinds.
const (
	Kill  Kind = iota // SIGKILL to the own process: nothing is flushed, nothing is closed
	Error             // Err answers ErrInjected; Point does nothing
	Delay             // the caller waits for Action.Delay
	Drop              // Err answers ErrDropped; Point does nothing
)

// Action is what is armed at a point.
type Action struct {
	Kind  Kind
	Delay time.Duration
	Hit   int64 // act at this hit only, counted from 1 since arming; 0 acts at every hit
}

// Point is a moment at which the process can be killed or delayed.
func Point(name string) { _ = Err(name) }

// Err is a moment that can also fail with ErrInjected or ErrDropped.
func Err(name string) error {
	a, ok := points.hit(name)
	if !ok {
		return nil
	}
	switch a.Kind {
	case Kill:
		kill()
	case Delay:
		time.Sleep(a.Delay)
	case Error:
		return fmt.Errorf("%s: %w", name, ErrInjected)
	case Drop:
		return fmt.Errorf("%s: %w", name, ErrDropped)
	}
	return nil
}

// Arm sets what happens at a point and starts its count of hits anew. The function it
// returns disarms the point.
func Arm(name string, a Action) (disarm func()) {
	points.arm(name, a)
	return func() { points.disarm(name) }
}

// Hits is how often a point was passed since it was armed; 0 for one that is not armed.
func Hits(name string) int64 { return points.hits(name) }

// points is the one table of the process: a point has no argument to carry a table in.
var points = &registry{}

type registry struct {
	mu struct {
		sync.Mutex
		loaded bool // the environment has been read
		armed  map[string]*state
	}
}

type state struct {
	Action
	hits int64
}

// table is the map of armed points, with the environment read at first use. Callers hold mu.
func (r *registry) table() map[string]*state {
	if !r.mu.loaded {
		r.mu.loaded = true
		r.mu.armed = map[string]*state{}
		spec, err := Parse(os.Getenv("VARVE_FAULT"))
		if err != nil {
			panic("VARVE_FAULT: " + err.Error()) // a fault that silently never happens proves nothing
		}
		for name, a := range spec {
			r.mu.armed[name] = &state{Action: a}
		}
	}
	return r.mu.armed
}

func (r *registry) hit(name string) (Action, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.table()[name]
	if s == nil {
		return Action{}, false
	}
	s.hits++
	return s.Action, s.Hit == 0 || s.Hit == s.hits
}

func (r *registry) arm(name string, a Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table()[name] = &state{Action: a}
}

func (r *registry) disarm(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.table(), name)
}

func (r *registry) hits(name string) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.table()[name]; s != nil {
		return s.hits
	}
	return 0
}

// kill ends the process as kill -9 does and never returns.
func kill() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {}
}

// Parse reads the form of VARVE_FAULT: name=action pairs separated by semicolons, where an
// action is kill, error, drop or delay:DURATION, each with an optional :N that makes it act
// at the N-th hit only. Example: tier.after-put=kill;log.roll=error:3;log.append=delay:50ms.
func Parse(spec string) (map[string]Action, error) {
	armed := map[string]Action{}
	for pair := range strings.SplitSeq(spec, ";") {
		if pair = strings.TrimSpace(pair); pair == "" {
			continue
		}
		name, text, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%q is not name=action", pair)
		}
		a, err := parseAction(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		armed[name] = a
	}
	return armed, nil
}

func parseAction(text string) (Action, error) {
	words := strings.Split(text, ":")
	kinds := map[string]Kind{"kill": Kill, "error": Error, "delay": Delay, "drop": Drop}
	kind, ok := kinds[words[0]]
	if !ok {
		return Action{}, fmt.Errorf("%q is none of kill, error, drop, delay:DURATION", words[0])
	}
	a, rest := Action{Kind: kind}, words[1:]
	if kind == Delay {
		if len(rest) == 0 {
			return Action{}, fmt.Errorf("%q lacks the duration: delay:50ms", text)
		}
		d, err := time.ParseDuration(rest[0])
		if err != nil {
			return Action{}, err
		}
		a.Delay, rest = d, rest[1:]
	}
	switch len(rest) {
	case 0:
		return a, nil
	case 1:
		n, err := strconv.ParseInt(rest[0], 10, 64)
		if err != nil || n < 1 {
			return Action{}, fmt.Errorf("%q is not the number of a hit, counted from 1", rest[0])
		}
		a.Hit = n
		return a, nil
	default:
		return Action{}, fmt.Errorf("%q has words after the number of the hit", text)
	}
}
