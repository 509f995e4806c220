package coordinator

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
)

// words is a machine that keeps a value for each key.
type words struct {
	m        *Map[string, string]
	loaded   int
	unloaded error
}

func newWords(_, _ int32, v *Versions) *words { return &words{m: NewMap[string, string](v)} }

func (w *words) Replay(r Record) error {
	switch {
	case string(r.Key) == "poison":
		return errors.New("poison")
	case r.Value == nil:
		w.m.Delete(string(r.Key))
	default:
		w.m.Set(string(r.Key), string(r.Value))
	}
	return nil
}

func (w *words) Loaded(int64) Step { w.loaded++; return Step{} }

func (w *words) Unloaded(err error) []func() { w.unloaded = err; return nil }

// put sets keys to a value.
func put(value string, done func(error), keys ...string) func(*words, int64) Step {
	return func(w *words, _ int64) (st Step) {
		for _, k := range keys {
			w.m.Set(k, value)
			st.Records = append(st.Records, Record{[]byte(k), []byte(value)})
		}
		st.Done = func(_ int64, err error) Step { done(err); return Step{} }
		return st
	}
}

// fakeLog is a log in memory.
type fakeLog struct {
	sync.Mutex
	batches  [][]byte
	end      int64
	max      int
	refuse   func(n int) error // what becomes of the n-th batch
	n        int
	held     bool
	waiting  []func(error)
	readable chan struct{} // nil: at once
}

func (l *fakeLog) Bounds() (int64, int64) {
	l.Lock()
	defer l.Unlock()
	return 0, l.end
}

func (l *fakeLog) Read(off, _ int64) ([]byte, error) {
	if l.readable != nil {
		<-l.readable
	}
	l.Lock()
	defer l.Unlock()
	var out []byte
	for _, b := range l.batches {
		if h, _ := batch.ParseHeader(b); h.BaseOffset >= off {
			out = append(out, b...)
		}
	}
	return out, nil
}

func (l *fakeLog) MaxBatchBytes() int { return l.max }

func (l *fakeLog) Append(b []byte) (int64, error) {
	l.Lock()
	defer l.Unlock()
	l.n++
	if l.refuse != nil {
		if err := l.refuse(l.n); err != nil {
			return 0, err
		}
	}
	if len(b) > l.max {
		return 0, kafka.MessageTooLarge
	}
	batch.SetBaseOffset(b, l.end)
	h, err := batch.ParseHeader(b)
	if err != nil {
		return 0, err
	}
	l.batches = append(l.batches, b)
	l.end = h.LastOffset() + 1
	return l.end, nil
}

func (l *fakeLog) AppendVerified(b []byte, _ *commitlog.Verification) (int64, error) {
	return l.Append(b)
}

func (l *fakeLog) WriteMarker(m replica.Marker) (int64, error) { return l.Append(m.Batch(0)) }

func (l *fakeLog) Epoch() int32 { return 0 }

func (l *fakeLog) WhenCommitted(_ int64, f func(error)) bool {
	l.Lock()
	defer l.Unlock()
	if l.held {
		l.waiting = append(l.waiting, f)
	}
	return !l.held
}

// settle ends the wait of the first n batches.
func (l *fakeLog) settle(n int, err error) {
	l.Lock()
	fs := l.waiting[:n]
	l.waiting = l.waiting[n:]
	l.Unlock()
	for _, f := range fs {
		f(err)
	}
	synctest.Wait()
}

// counts is how many records each batch has.
func (l *fakeLog) counts() string {
	var out []string
	for _, b := range l.batches {
		h, _ := batch.ParseHeader(b)
		out = append(out, fmt.Sprint(h.Count))
	}
	return strings.Join(out, " ")
}

// world is a runtime with one shard.
type world struct {
	*Runtime[*words]
	t   *testing.T
	log *fakeLog
	mu  struct { // time in a bubble is no synchronization for the race detector
		sync.Mutex
		got []string // what events were told, in order
	}
}

func newWorld(t *testing.T, log *fakeLog) *world {
	if log.max == 0 {
		log.max = 1 << 20
	}
	w := &world{t: t, log: log, Runtime: New(Options[*words]{
		Name: "test", New: newWords, CommitTimeout: func() time.Duration { return 5 * time.Second }, Now: time.Now,
		Logger: slog.New(slog.DiscardHandler),
	})}
	w.Lead(0, log)
	synctest.Wait()
	return w
}

func (w *world) note(name string) func(error) {
	return func(err error) { w.say(name + " " + kafka.Code(err).Name()) }
}

func (w *world) say(line string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mu.got = append(w.mu.got, line)
}

func (w *world) put(name, value string, keys ...string) {
	w.Do(0, put(value, w.note(name), keys...), func(err error) { w.say(name + " refused " + kafka.Code(err).Name()) })
}

// want checks what events were told since the last time.
func (w *world) want(lines ...string) {
	w.t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got, want := strings.Join(w.mu.got, ", "), strings.Join(lines, ", "); got != want {
		w.t.Errorf("events were told %q, want %q", got, want)
	}
	w.mu.got = nil
}

// state checks the speculative and the committed state.
func (w *world) state(speculative, committed string) {
	w.t.Helper()
	text := func(all func(func(string, string) bool)) string {
		m := maps.Collect(all)
		return strings.TrimSuffix(strings.TrimPrefix(fmt.Sprint(m), "map["), "]")
	}
	asked := false
	w.Do(0, func(m *words, _ int64) Step {
		asked = true
		if got := text(m.m.All()); got != speculative {
			w.t.Errorf("speculative state %q, want %q", got, speculative)
		}
		if got := text(m.m.AllCommitted()); got != committed {
			w.t.Errorf("committed state %q, want %q", got, committed)
		}
		for k, v := range m.m.AllCommitted() {
			if got, ok := m.m.Committed(k); !ok || got != v {
				w.t.Errorf("Committed(%s) = %q, %v; want %q", k, got, ok, v)
			}
		}
		return Step{}
	}, func(err error) { w.t.Errorf("the shard refuses: %v", err) })
	synctest.Wait()
	if !asked {
		w.t.Error("the shard did not handle an event")
	}
}

func TestCommitAndReadCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeLog{})
		w.put("a", "1", "x", "y")
		w.want("a NONE")
		w.log.held = true
		w.put("b", "2", "x")
		w.put("c", "3", "z")
		w.Do(0, func(m *words, _ int64) Step { m.m.Delete("y"); return Step{Records: []Record{{Key: []byte("y")}}} }, w.note("d"))
		w.want()
		w.state("x:2 z:3", "x:1 y:1")
		w.log.settle(1, nil)
		w.want("b NONE")
		w.state("x:2 z:3", "x:2 y:1")
		w.log.settle(2, nil)
		w.want("c NONE")
		w.state("x:2 z:3", "x:2 z:3")

		w.log.held = false
		w.Lead(0, w.log) // another epoch reads the log
		synctest.Wait()
		w.state("x:2 z:3", "x:2 z:3")
		w.Close()
	})
}

// Events that come while one is worked on share the next batch.
func TestEventsShareABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeLog{})
		w.Do(0, func(*words, int64) Step {
			return Step{Replies: []func(){func() {
				for i := range 5 {
					w.put(fmt.Sprint(i), "v", fmt.Sprint("k", i))
				}
			}}}
		}, nil)
		w.want("0 NONE", "1 NONE", "2 NONE", "3 NONE", "4 NONE")
		if got := w.log.counts(); got != "5" {
			t.Errorf("batches of %s records, want one of 5", got)
		}
	})
}

// A batch that could not be written takes its events back, and none that were written before.
func TestFailedAppend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeLog{held: true, refuse: func(n int) error {
			if n == 2 {
				return kafka.KafkaStorageError
			}
			return nil
		}})
		w.put("a", "1", "x")
		w.put("b", "2", "x", "y")
		w.want("b KAFKA_STORAGE_ERROR")
		w.state("x:1", "")
		w.put("c", "3", "y")
		w.log.settle(2, nil)
		w.want("a NONE", "c NONE")
		w.state("x:1 y:3", "x:1 y:3")
	})
}

// An event whose records have no room beside those before it goes into a batch of its own; if
// those can't be written, it is taken back with them, because it has seen what they did.
func TestFullBatch(t *testing.T) {
	for _, failing := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, &fakeLog{max: 400})
			if failing {
				w.log.refuse = func(n int) error {
					if n == 1 {
						return kafka.NotEnoughReplicas
					}
					return nil
				}
			}
			long := strings.Repeat("v", 200)
			w.Do(0, func(*words, int64) Step {
				return Step{Replies: []func(){func() { w.put("a", long, "x"); w.put("b", long, "y"); w.put("c", "short", "z") }}}
			}, nil)
			if !failing {
				w.want("a NONE", "b NONE", "c NONE")
				if got := w.log.counts(); got != "1 2" {
					t.Errorf("batches of %s records", got)
				}
				return
			}
			w.want("a NOT_ENOUGH_REPLICAS", "b NOT_ENOUGH_REPLICAS", "c NONE")
			w.state("z:short", "z:short")
		})
	}
}

// What is too large for one batch is refused whole, unless it may be divided.
func TestDivisible(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeLog{max: 400})
		keys := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
		long := strings.Repeat("v", 40)
		w.put("whole", long, keys...)
		w.want("whole MESSAGE_TOO_LARGE")
		w.state("", "")
		w.Do(0, func(m *words, now int64) Step {
			st := put(long, w.note("divided"), keys...)(m, now)
			st.Divisible = true
			return st
		}, nil)
		w.want("divided NONE")
		if got := w.log.counts(); got != "4 4 4" {
			t.Errorf("batches of %s records", got)
		}

		// If a later part can't be written, the log has the truth, and is read again.
		w.log.refuse = func(n int) error {
			if n == 6 {
				return kafka.KafkaStorageError
			}
			return nil
		}
		w.Do(0, func(m *words, now int64) Step {
			st := put(strings.Repeat("w", 40), w.note("torn"), keys...)(m, now)
			st.Divisible = true
			return st
		}, nil)
		w.want("torn KAFKA_STORAGE_ERROR")
		w.Do(0, func(m *words, _ int64) Step {
			for i, k := range keys {
				want := map[bool]byte{true: 'w', false: 'v'}[i < 4]
				if v, _ := m.m.Committed(k); v[0] != want || m.loaded != 1 {
					t.Errorf("%s is %s, want %c: what the log has", k, v, want)
				}
			}
			return Step{}
		}, func(err error) { t.Error(err) })
	})
}

func TestLoading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &fakeLog{}
		w := newWorld(t, log)
		w.put("a", "1", "x", "y")
		w.Resign(0)
		w.put("b", "2", "x")
		w.want("a NONE", "b refused NOT_COORDINATOR")

		log.readable = make(chan struct{})
		w.Lead(0, log)
		synctest.Wait()
		w.put("c", "3", "x")
		w.want("c refused COORDINATOR_LOAD_IN_PROGRESS")
		close(log.readable)
		synctest.Wait()
		w.state("x:1 y:1", "x:1 y:1")

		// What is in the log counts when the in-sync set has it.
		log.held = true
		w.Lead(0, log)
		synctest.Wait()
		w.put("d", "4", "x")
		w.want("d refused COORDINATOR_LOAD_IN_PROGRESS")
		log.held = false
		log.settle(1, nil)
		w.state("x:1 y:1", "x:1 y:1")

		// A shard that is ended while it loads.
		log.readable = make(chan struct{})
		w.Lead(0, log)
		synctest.Wait()
		w.Resign(0)
		close(log.readable)
		synctest.Wait()

		// One that can't be loaded is not served, and others are.
		w.Lead(1, &fakeLog{max: 100})
		log.readable = nil
		w.Lead(0, log)
		synctest.Wait()
		w.put("e", "5", "poison")
		w.Lead(0, log)
		synctest.Wait()
		w.put("f", "6", "x")
		w.want("e NONE", "f refused NOT_COORDINATOR")
		if up, busy, down := w.counts(); up != 1 || busy != 0 || down != 1 {
			t.Errorf("%d shards active, %d loading, %d failed", up, busy, down)
		}
		w.Close()
		w.put("g", "7", "x")
		w.want("g refused NOT_COORDINATOR")
	})
}

// Who waits for the in-sync set is answered in time, and when the leadership is lost.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeLog{held: true})
		w.put("a", "1", "x")
		<-time.After(6 * time.Second)
		w.want("a REQUEST_TIMED_OUT")
		w.state("x:1", "")
		w.put("b", "2", "y")
		// An event without records waits for those before it.
		w.Do(0, func(*words, int64) Step {
			return Step{Done: func(_ int64, err error) Step { w.note("r")(err); return Step{} }}
		}, nil)
		w.want()
		w.log.settle(2, nil)
		w.want("b NONE", "r NONE")
		w.put("c", "3", "z")
		w.log.settle(1, kafka.NotLeaderOrFollower)
		w.want("c NOT_COORDINATOR")
		w.put("d", "4", "z")
		w.want("d refused NOT_COORDINATOR")
	})
}

func TestTimers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeLog{})
		key := TimerKey{"s", "t"}
		set := func(name string, after time.Duration) {
			w.Do(0, func(*words, int64) Step {
				return Step{Timers: []Timer{{Key: key, After: after, Fire: func(int64) Step { w.say(name); return Step{} }}}}
			}, nil)
		}
		set("first", time.Second)
		set("second", 2*time.Second) // in place of the first
		<-time.After(1500 * time.Millisecond)
		w.want()
		<-time.After(time.Second)
		w.want("second")
		set("stopped", time.Second)
		w.Do(0, func(*words, int64) Step { return Step{Timers: []Timer{{Key: key}}} }, nil)
		<-time.After(2 * time.Second)
		w.want()
		set("late", time.Second)
		w.Resign(0)
		<-time.After(2 * time.Second)
		w.want()
	})
}

// A machine that panics is replaced by one that has read the log.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &fakeLog{})
		w.put("a", "1", "x")
		w.log.held = true
		w.put("b", "2", "y")
		w.log.held = false
		w.Do(0, func(m *words, _ int64) Step {
			m.m.Set("x", "half")
			w.put("c", "3", "z") // waits for its turn, which does not come
			panic("bad event")
		}, nil)
		w.want("a NONE", "c refused NOT_COORDINATOR", "b NOT_COORDINATOR")
		w.state("x:1 y:2", "x:1 y:2")
	})
}

// The two states of a Map are those of plain maps that are copied at each change.
func TestVersionsModel(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 7))
		v := &Versions{}
		m := NewMap[int, int](v)
		history := []map[int]int{{}} // after each change that is not committed; [0] is the committed state
		for range 100 {
			now := maps.Clone(history[len(history)-1])
			switch k := rng.IntN(5); rng.IntN(6) {
			case 0, 1, 2:
				n := rng.IntN(100)
				m.Set(k, n)
				now[k] = n
				history = append(history, now)
			case 3:
				if _, ok := now[k]; ok {
					delete(now, k)
					history = append(history, now)
				}
				m.Delete(k)
			case 4:
				n := rng.IntN(len(history))
				v.commit(v.position() - int64(len(history)-1-n))
				history = history[n:]
			case 5:
				n := rng.IntN(len(history))
				v.rollback(v.position() - int64(n))
				history = history[:len(history)-n]
			}
			if got, want := maps.Collect(m.All()), history[len(history)-1]; !maps.Equal(got, want) {
				t.Fatalf("seed %d: speculative %v, want %v", seed, got, want)
			}
			if got, want := maps.Collect(m.AllCommitted()), history[0]; !maps.Equal(got, want) {
				t.Fatalf("seed %d: committed %v, want %v", seed, got, want)
			}
			if m.Len() != len(history[len(history)-1]) {
				t.Fatalf("seed %d: Len %d", seed, m.Len())
			}
		}
	}
}
