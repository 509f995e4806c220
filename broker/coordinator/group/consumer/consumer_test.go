package consumer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func topicID(i int) (id kafka.UUID) {
	binary.BigEndian.PutUint32(id[:], uint32(i+1))
	return id
}

// check fails unless each partition of a topic with subscribers has one owner, who is subscribed.
func check(t *testing.T, s *Spec, out []Assignment) (loads []int) {
	t.Helper()
	owner := map[place]int{}
	index := map[kafka.UUID]int32{}
	for i, topic := range s.Topics {
		index[topic.ID] = int32(i)
	}
	for m, a := range out {
		for id, p := range a.All() {
			topic, ok := index[id]
			if !ok || p >= s.Topics[topic].Partitions || !s.subscribed(m, topic) {
				t.Fatalf("%s got %v-%d, which it can't have", s.Members[m].ID, id, p)
			}
			if other, ok := owner[place{id: id, partition: p}]; ok {
				t.Fatalf("%v-%d has two owners, %d and %d", id, p, other, m)
			}
			owner[place{id: id, partition: p}] = m
		}
		loads = append(loads, a.Count())
	}
	for i, topic := range s.Topics {
		wanted := false
		for m := range s.Members {
			wanted = wanted || s.subscribed(m, int32(i))
		}
		for p := range topic.Partitions {
			if _, ok := owner[place{id: topic.ID, partition: p}]; ok != wanted {
				t.Fatalf("topic %d partition %d: owned %v, subscribed %v", i, p, ok, wanted)
			}
		}
	}
	return loads
}

// moved counts the partitions that somebody had and somebody else got.
func moved(s *Spec, out []Assignment) (n int) {
	for m := range s.Members {
		for id, p := range s.Members[m].Current.All() {
			if !out[m].Has(id, p) {
				n++
			}
		}
	}
	return n
}

func spec(topics, partitions, members int) *Spec {
	s := &Spec{Homogeneous: true}
	for i := range topics {
		s.Topics = append(s.Topics, TopicSize{topicID(i), int32(partitions)})
	}
	for i := range members {
		s.Members = append(s.Members, Subscriber{ID: fmt.Sprintf("m%05d", i)})
	}
	return s
}

// TestUniformHomogeneous has members come and go: the numbers differ by one at most, and no
// partition moves that need not.
func TestUniformHomogeneous(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		s := spec(1+rng.IntN(5), 1+rng.IntN(20), 1+rng.IntN(12))
		for range 6 {
			out := Uniform(s)
			loads := check(t, s, out)
			if slices.Max(loads)-slices.Min(loads) > 1 {
				t.Fatalf("loads %v", loads)
			}
			// What a member has above its share is all that may move.
			most, must := slices.Max(loads), 0
			for m := range s.Members {
				must += max(0, s.Members[m].Current.Count()-most)
			}
			few := 0
			for m := range s.Members {
				few += max(0, slices.Min(loads)-s.Members[m].Current.Count())
			}
			if n := moved(s, out); n > must+few {
				t.Fatalf("%d moved, at most %d need to", n, must+few)
			}
			for m := range s.Members {
				s.Members[m].Current = out[m]
			}
			if again := Uniform(s); moved(s, again) != 0 {
				t.Fatal("the same again moves partitions")
			}
			if rng.IntN(2) == 0 && len(s.Members) > 1 {
				i := rng.IntN(len(s.Members))
				s.Members = slices.Delete(s.Members, i, i+1)
			} else {
				s.Members = append(s.Members, Subscriber{ID: fmt.Sprintf("n%05d", rng.IntN(1e5))})
				slices.SortFunc(s.Members, func(a, b Subscriber) int { return strings.Compare(a.ID, b.ID) })
			}
		}
	}
}

// TestUniformHeterogeneous: with any subscriptions, no single move makes the numbers more even,
// and the same again moves nothing.
func TestUniformHeterogeneous(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		s := spec(1+rng.IntN(6), 1+rng.IntN(9), 1+rng.IntN(8))
		s.Homogeneous = false
		for range 4 {
			for m := range s.Members {
				s.Members[m].Topics = nil
				for i := range s.Topics {
					if rng.IntN(2) == 0 {
						s.Members[m].Topics = append(s.Members[m].Topics, int32(i))
					}
				}
			}
			out := Uniform(s)
			loads := check(t, s, out)
			for i, topic := range s.Topics {
				for from := range s.Members {
					for to := range s.Members {
						if len(out[from].Partitions(topic.ID)) > 0 && s.subscribed(to, int32(i)) && loads[from]-loads[to] > 1 {
							t.Fatalf("one of topic %d could move from %d with %d to %d with %d", i, from, loads[from], to, loads[to])
						}
					}
				}
			}
			for m := range s.Members {
				s.Members[m].Current = out[m]
			}
			if again := Uniform(s); moved(s, again) != 0 {
				t.Fatal("the same again moves partitions")
			}
		}
	}
}

func TestRange(t *testing.T) {
	s := spec(2, 5, 3)
	two := "i2"
	s.Members[2].Instance = &two
	out := Range(s)
	check(t, s, out)
	for m, want := range []string{"[2 3]", "[4]", "[0 1]"} {
		for _, topic := range s.Topics {
			if got := fmt.Sprint(out[m].Partitions(topic.ID)); got != want {
				t.Errorf("member %d has %s of a topic, want %s", m, got, want)
			}
		}
	}
	s = spec(3, 4, 3)
	s.Homogeneous = false
	s.Members[0].Topics, s.Members[1].Topics = []int32{0, 1}, []int32{1}
	check(t, s, Range(s))
}

func TestRegex(t *testing.T) {
	for _, tc := range []struct {
		text, topic string
		match       bool
	}{
		{"a.*", "abc", true}, {"a", "ab", false}, {"b", "ab", false}, {"a|ab", "ab", true}, {"ab?|b", "ab", true},
		{`\Qa.b`, "a.b", true}, {`\Qa.b`, "axb", false}, {"(?i)ABC", "abc", true}, {"", "a", false}, {"^a$", "a", true},
	} {
		re, err := CompileRegex(tc.text)
		if err != nil {
			t.Fatal(err)
		}
		if re.Match(tc.topic) != tc.match {
			t.Errorf("%q matches %q: %v, want %v", tc.text, tc.topic, !tc.match, tc.match)
		}
	}
	for _, bad := range []string{"(", `(?=a)`, `\1`, "a{1001}", "((a{100}){100})", strings.Repeat("a", 4097), "(a|b|c|d|e|f|g|h){500}", "a)|(b"} {
		if _, err := CompileRegex(bad); !errors.Is(err, kafka.InvalidRegularExpression) {
			t.Errorf("%.30q: %v, want INVALID_REGULAR_EXPRESSION", bad, err)
		}
	}
}

// world is a group as its coordinator and its members see it.
type world struct {
	t       *testing.T
	rng     *rand.Rand
	topics  []TopicSize
	members map[string]*Member
	targets map[string]Assignment
	clients map[string]*client
	epoch   int32
	next    int
}

// client is what a member does: it owns what it was told, and takes its time to give up.
type client struct {
	epoch int32
	owns  map[place]bool
	told  Assignment
}

func (w *world) owned(id kafka.UUID, p int32) bool {
	for _, m := range w.members {
		if m.Assigned.Has(id, p) || m.Revoking.Has(id, p) {
			return true
		}
	}
	return false
}

// assign makes the targets of a new epoch.
func (w *world) assign() {
	w.epoch++
	s := &Spec{Topics: w.topics, Homogeneous: false}
	for _, id := range slices.Sorted(maps.Keys(w.members)) {
		sub := Subscriber{ID: id, Current: w.targets[id]}
		for i := range w.topics {
			if slices.Contains(w.members[id].Topics, fmt.Sprint(i)) {
				sub.Topics = append(sub.Topics, int32(i))
			}
		}
		s.Members = append(s.Members, sub)
	}
	w.targets = map[string]Assignment{}
	for i, a := range Uniform(s) {
		w.targets[s.Members[i].ID] = a
	}
}

func (w *world) beat(id string) {
	m, c := w.members[id], w.clients[id]
	var reported builder
	for p := range c.owns {
		reported = append(reported, place{p.id, p.partition, 0})
	}
	owns := reported.assignment(false)
	next := Reconcile(m, Target{
		Epoch: w.epoch, Assignment: w.targets[id], Owned: w.owned, Reported: &owns,
		Subscribed: func(topic kafka.UUID) bool {
			return slices.ContainsFunc(m.Topics, func(name string) bool { return name == fmt.Sprint(binary.BigEndian.Uint32(topic[:4])-1) })
		},
	})
	w.members[id] = next
	c.epoch, c.told = next.Epoch, next.Assigned
	w.safe()
}

// work has a client do what it was told: give up now or later, and begin only what is its own.
func (w *world) work(id string) {
	c := w.clients[id]
	for p := range c.owns {
		if !c.told.Has(p.id, p.partition) {
			delete(c.owns, p)
		}
	}
	for topic, p := range c.told.All() {
		c.owns[place{id: topic, partition: p}] = true
	}
	w.safe()
}

// safe fails if two clients own a partition, or it is assigned to two members.
func (w *world) safe() {
	w.t.Helper()
	owner, assigned := map[place]string{}, map[place]string{}
	for id, c := range w.clients {
		for p := range c.owns {
			if other, ok := owner[p]; ok {
				w.t.Fatalf("%v is read by %s and %s", p, id, other)
			}
			owner[p] = id
		}
	}
	for id, m := range w.members {
		for topic, p := range m.Assigned.All() {
			at := place{id: topic, partition: p}
			if other, ok := assigned[at]; ok {
				w.t.Fatalf("%v is assigned to %s and %s", at, id, other)
			}
			assigned[at] = id
		}
	}
}

func (w *world) join() {
	id := fmt.Sprintf("m%04d", w.next)
	w.next++
	m := &Member{ID: id}
	w.subscribe(m)
	w.members[id], w.clients[id] = m, &client{owns: map[place]bool{}}
	w.assign()
}

func (w *world) subscribe(m *Member) {
	m.Topics = nil
	for i := range w.topics {
		if w.rng.IntN(3) > 0 {
			m.Topics = append(m.Topics, fmt.Sprint(i))
		}
	}
}

func (w *world) any() string {
	ids := slices.Sorted(maps.Keys(w.members))
	return ids[w.rng.IntN(len(ids))]
}

// TestReconciliation plays groups in which anything happens in any order: no partition is in
// two hands, and when nothing more happens everybody has its target after a few heartbeats.
func TestReconciliation(t *testing.T) {
	for seed := range uint64(150) {
		w := &world{t: t, rng: rand.New(rand.NewPCG(seed, 5)), members: map[string]*Member{}, targets: map[string]Assignment{}, clients: map[string]*client{}}
		for i := range 1 + w.rng.IntN(4) {
			w.topics = append(w.topics, TopicSize{topicID(i), int32(1 + w.rng.IntN(6))})
		}
		for range 120 {
			switch n := w.rng.IntN(20); {
			case n == 0 && len(w.members) < 7 || len(w.members) == 0:
				w.join()
			case n == 1: // it leaves, or is fenced, and stops
				id := w.any()
				delete(w.members, id)
				delete(w.clients, id)
				w.assign()
			case n == 2: // it changes its subscription
				id := w.any()
				m := *w.members[id]
				w.subscribe(&m)
				w.members[id] = &m
				w.assign()
			case n == 3: // a topic grows
				w.topics[w.rng.IntN(len(w.topics))].Partitions++
				w.assign()
			case n < 12:
				w.beat(w.any())
			default:
				w.work(w.any())
			}
		}
		settle(w)
		for id, m := range w.members {
			if !m.Reconciled(w.epoch) || !m.Assigned.Same(w.targets[id]) {
				t.Fatalf("seed %d: %s is in epoch %d state %d, the group in %d", seed, id, m.Epoch, m.State, w.epoch)
			}
		}
	}
}

// settle lets everybody do three heartbeats: one to give up, one to say so, one to get.
func settle(w *world) {
	for range 3 {
		for _, id := range slices.Sorted(maps.Keys(w.members)) {
			w.beat(id)
			w.work(id)
		}
	}
}

// BenchmarkUniform measures the assignment of 10,000 partitions to 1,000 members, one of
// which has just joined.
func BenchmarkUniform(b *testing.B) {
	for _, homogeneous := range []bool{true, false} {
		b.Run(fmt.Sprintf("homogeneous=%v", homogeneous), func(b *testing.B) {
			s := spec(100, 100, 1000)
			s.Homogeneous = homogeneous
			for m := range s.Members {
				for i := range s.Topics {
					if (m+i)%10 != 0 {
						s.Members[m].Topics = append(s.Members[m].Topics, int32(i))
					}
				}
			}
			out := Uniform(s)
			for m := range s.Members[:999] {
				s.Members[m].Current = out[m]
			}
			b.ReportAllocs()
			for b.Loop() {
				Uniform(s)
			}
		})
	}
}

// BenchmarkRange is BenchmarkUniform for the other assignor.
func BenchmarkRange(b *testing.B) {
	s := spec(100, 100, 1000)
	b.ReportAllocs()
	for b.Loop() {
		Range(s)
	}
}
