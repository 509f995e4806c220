package tiered

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/tiered/manifest"
)

// The model: a bucket, some machines with scripts, and every order in which their
// requests can reach the bucket. A machine's own thinking takes no time, so a request
// that waits is the same as a process that sleeps before sending it.

var errLost = errors.New("reply lost")

// modelKeep is how many versions the clean-up leaves: the least that is allowed.
const modelKeep = 2

// actor is one uploader: a machine, the command it is about to send, and its script.
type actor struct {
	m      machine
	cmd    command
	script []job
	crash  int    // how many more times it may crash
	relead int    // how many more times it may stop and lead again, in the same epoch
	asked  bool   // its job has sent a request
	floor  uint64 // the highest version committed when its job sent the first one
}

// world is one state of the model; it is copied, never changed in place.
type world struct {
	manifests map[uint64]*manifest.Manifest
	segments  map[string]manifest.Segment
	flight    []command // writes that the network still holds and may deliver at any time
	actors    []actor
	lost      int // how many more replies may be lost
	late      int // how many more writes may be delivered late
	epochs    int32
	committed map[uint64]kafka.UUID // versions that some machine was told count
	next      int64                 // highest Next that some machine was told counts
	trace     *step
}

// step is one move on the way to a state, for the report.
type step struct {
	actor   int
	epoch   int32
	op      op
	version uint64
	note    string
	up      *step
}

func (s step) with(note string) step { s.note = note; return s }

func (s *step) String() string {
	var lines []string
	for ; s != nil; s = s.up {
		lines = append(lines, fmt.Sprintf("actor %d (epoch %d): op %d version %d %s", s.actor, s.epoch, s.op, s.version, s.note))
	}
	slices.Reverse(lines)
	return strings.Join(lines, "\n")
}

// modelID is the partition that everybody fights for.
var modelID = manifest.ID{ClusterID: kafka.UUID{1}, TopicID: kafka.UUID{2}, Partition: 0}

// The local log that all uploaders share: closed segments of ten offsets, one leader epoch.
const modelSegments = 4

var modelEpochs = []manifest.EpochEntry{{Epoch: 0, Start: 0}}

// modelSelect answers opSelect from the log's end.
func modelSelect(h *manifest.Manifest) event {
	for base := int64(0); base < 10*modelSegments; base += 10 {
		if s := (manifest.Segment{Base: base, Next: base + 10, SizeBytes: 100, MaxTsMs: base}); len(h.Segments) > 0 && base == h.Next ||
			len(h.Segments) == 0 && base >= h.Next && s.Next > h.Start {
			return event{segment: s}
		}
	}
	return event{answer: absent}
}

func (w *world) clone(what step) *world {
	c := *w
	c.manifests, c.segments, c.committed = maps.Clone(w.manifests), maps.Clone(w.segments), maps.Clone(w.committed)
	c.actors, c.flight = slices.Clone(w.actors), slices.Clone(w.flight)
	what.up = w.trace
	c.trace = &what
	return &c
}

// apply does a command's effect and answers it.
func (w *world) apply(c command) event {
	switch c.op {
	case opListManifests:
		var ev event
		for v, m := range w.manifests {
			ev.listed = append(ev.listed, listed{version: v, tag: m.Token.Hex()})
		}
		return ev
	case opGetManifest, opHeadManifest:
		if m := w.manifests[c.version]; m != nil && (c.tag == "" || c.tag == m.Token.Hex()) {
			return event{manifest: m, token: m.Token}
		}
		return event{answer: absent}
	case opPutManifest:
		if w.manifests[c.manifest.Version] != nil {
			return event{answer: taken}
		}
		w.manifests[c.manifest.Version] = c.manifest
		return event{}
	case opDeleteManifest:
		delete(w.manifests, c.version)
		return event{}
	case opHeadSegment, opVerifySegment:
		if s, there := w.segments[modelID.SegmentKey(c.segment)]; !there {
			return event{answer: absent, err: errLost}
		} else if c.op == opVerifySegment && s != c.segment {
			return event{answer: differs, err: errLost}
		}
		return event{}
	case opPutSegment:
		s := c.segment
		s.FooterBytes = 7
		w.segments[modelID.SegmentKey(s)] = s
		return event{segment: s, epochs: modelEpochs}
	case opDeleteSegments:
		for _, s := range c.segments {
			delete(w.segments, modelID.SegmentKey(s))
		}
		return event{segments: c.segments}
	case opListSegments:
		var ev event
		for key := range w.segments {
			s, _ := modelID.ParseSegmentKey(key)
			ev.listed = append(ev.listed, listed{segment: s})
		}
		return ev
	}
	panic("unknown command")
}

// advance lets actor i think after an answer until it wants something from the bucket.
func (w *world) advance(i int, c command) error {
	a := &w.actors[i]
	for {
		if a.m.claimed && a.m.head != nil {
			if err := w.believe(a); err != nil {
				return err
			}
		}
		switch {
		case c.op == opSelect:
			c = a.m.step(modelSelect(a.m.head))
			continue
		case c.op != opNone:
			a.cmd = c
			return nil
		case a.m.stuck():
			c = a.m.resume()
			continue
		case a.m.fenced:
			a.script = nil
		case a.m.err != nil && !errors.Is(a.m.err, errNothing):
			if !errors.Is(a.m.err, errLost) && !errors.Is(a.m.err, errStillThere) {
				return fmt.Errorf("actor %d: %w", i, a.m.err)
			}
		default:
			if a.script[0].kind == jobLoad && (a.m.head == nil && a.floor > 0 || a.m.head != nil && a.m.head.Version < a.floor) {
				return fmt.Errorf("actor %d loaded an older version than %d, which was committed before", i, a.floor)
			}
			a.script = a.script[1:]
		}
		if len(a.script) == 0 {
			a.cmd = command{}
			return nil
		}
		a.asked, a.floor = false, 0
		c = a.m.start(a.script[0])
	}
}

// believe checks what a machine takes for committed against what all others were told.
func (w *world) believe(a *actor) error {
	h := a.m.head
	if t, there := w.committed[h.Version]; there && t != h.Token {
		return fmt.Errorf("version %d was committed twice", h.Version)
	}
	if t, there := w.committed[h.Version-1]; there && t != h.Parent {
		return fmt.Errorf("version %d was built on something else than the committed version %d", h.Version, h.Version-1)
	}
	w.committed[h.Version] = h.Token
	w.next = max(w.next, h.Next)
	return nil
}

// check holds in every state.
func (w *world) check() error {
	var top *manifest.Manifest
	for _, m := range w.manifests {
		if top == nil || m.Version > top.Version {
			top = m
		}
	}
	if top == nil {
		if len(w.committed) > 0 {
			return errors.New("every manifest is gone")
		}
		return nil
	}
	if err := top.Validate(); err != nil {
		return err
	}
	if top.Next < w.next {
		return fmt.Errorf("version %d ends at %d, but %d was reported as committed", top.Version, top.Next, w.next)
	}
	for v := range w.committed {
		if v > top.Version {
			return fmt.Errorf("committed version %d is gone, the highest is %d", v, top.Version)
		}
	}
	for _, s := range top.Segments {
		if got := w.segments[modelID.SegmentKey(s)]; got != s {
			return fmt.Errorf("live segment %d of epoch %d, try %x is missing", s.Base, s.Epoch, s.Try)
		}
	}
	return nil
}

// hasher writes values of a state in a compact form.
type hasher struct{ b []byte }

func (h *hasher) num(list ...int64) {
	for _, n := range list {
		h.b = binary.AppendVarint(h.b, n)
	}
}

func (h *hasher) bool(list ...bool) {
	for _, v := range list {
		if v {
			h.b = append(h.b, 1)
		} else {
			h.b = append(h.b, 0)
		}
	}
}

func (h *hasher) segments(list []manifest.Segment) {
	h.num(int64(len(list)))
	for _, s := range list {
		h.num(s.Base, int64(s.Epoch), int64(s.Try))
	}
}

func (h *hasher) manifest(m *manifest.Manifest) {
	if m == nil {
		h.num(-1)
		return
	}
	h.b = append(h.b, m.Token[:]...)
	h.b = append(h.b, m.Parent[:]...)
	h.num(int64(m.Version), int64(m.OwnerEpoch), int64(m.Incarnation[0]), m.Start, m.Next)
	h.segments(m.Segments)
	for _, p := range m.Pending {
		h.num(p.Base, int64(p.Epoch), int64(p.Try))
	}
}

func (h *hasher) command(c command) {
	h.num(int64(c.op), int64(c.version), c.segment.Base, int64(c.segment.Epoch), int64(c.segment.Try))
	h.b = append(h.b, c.tag...)
	h.segments(c.segments)
	h.manifest(c.manifest)
}

func (h *hasher) machine(m *machine) {
	h.num(int64(m.epoch), int64(m.inc[0]), int64(m.nonce), int64(m.phase), int64(m.tokens), int64(m.lastTry), m.tryBase, m.seg.Base, int64(m.seg.Try), int64(len(m.mine)))
	h.bool(m.claimed, m.fenced, m.claiming, m.unknown, m.again)
	for _, t := range m.mine {
		h.b = append(h.b, t[:]...)
	}
	for _, v := range m.victims {
		h.num(int64(v))
	}
	h.segments(m.suspect)
	h.manifest(m.head)
	h.manifest(m.up)
	h.manifest(m.next)
}

// key tells states apart.
func (w *world) key() (k [16]byte) {
	h := &hasher{b: make([]byte, 0, 1024)}
	for _, v := range slices.Sorted(maps.Keys(w.manifests)) {
		h.manifest(w.manifests[v])
	}
	for _, s := range slices.Sorted(maps.Keys(w.segments)) {
		h.b = append(h.b, s[len(modelID.SegmentPrefix()):]...)
	}
	for _, v := range slices.Sorted(maps.Keys(w.committed)) {
		t := w.committed[v]
		h.b = append(h.b, t[:]...)
	}
	h.num(int64(len(w.flight)))
	for _, c := range w.flight {
		h.command(c)
	}
	for i := range w.actors {
		a := &w.actors[i]
		h.command(a.cmd)
		h.machine(&a.m)
		h.num(int64(len(a.script)), int64(a.crash), int64(a.relead), int64(a.floor))
		h.bool(a.asked)
	}
	h.num(int64(w.lost), int64(w.late), int64(w.epochs))
	sum := sha256.Sum256(h.b)
	return [16]byte(sum[:])
}

// ask notes what was committed when a load begins to look.
func (w *world) ask(i int) {
	a := &w.actors[i]
	if a.asked || len(a.script) == 0 || a.script[0].kind != jobLoad {
		return
	}
	a.asked = true
	for v := range w.committed {
		a.floor = max(a.floor, v)
	}
}

// moves are all states that can come next.
func (w *world) moves() ([]*world, error) {
	var out []*world
	add := func(c *world, i int, cmd command) error {
		if err := c.advance(i, cmd); err != nil {
			return fmt.Errorf("%w\n%v", err, c.trace)
		}
		out = append(out, c)
		return nil
	}
	for i := range w.actors {
		a := &w.actors[i]
		if a.cmd.op == opNone {
			continue
		}
		name := step{actor: i, epoch: a.m.epoch, op: a.cmd.op, version: a.cmd.version}
		if a.cmd.manifest != nil {
			name.version = a.cmd.manifest.Version
		}
		c := w.clone(name)
		c.ask(i)
		if err := add(c, i, c.actors[i].m.step(c.apply(a.cmd))); err != nil {
			return nil, err
		}
		write := a.cmd.op == opPutManifest || a.cmd.op == opPutSegment || a.cmd.op == opDeleteManifest
		if write && w.lost > 0 {
			c := w.clone(name.with("reply lost"))
			c.lost--
			ev := c.apply(a.cmd)
			if err := add(c, i, c.actors[i].m.step(event{answer: failed, err: errLost, segment: ev.segment, epochs: modelEpochs})); err != nil {
				return nil, err
			}
		}
		if a.cmd.op == opPutManifest || a.cmd.op == opPutSegment {
			if w.late > 0 {
				c := w.clone(name.with("delivered late"))
				c.late--
				c.flight = append(c.flight, a.cmd)
				s := a.cmd.segment
				s.FooterBytes = 7
				if err := add(c, i, c.actors[i].m.step(event{answer: failed, err: errLost, segment: s, epochs: modelEpochs})); err != nil {
					return nil, err
				}
			}
		}
		if a.crash > 0 {
			c := w.clone(name.with("crashes"))
			c.epochs++
			b := &c.actors[i]
			b.crash--
			b.m = newMachine(c.epochs, byte(0x40+c.epochs))
			if err := add(c, i, b.m.start(b.script[0])); err != nil {
				return nil, err
			}
		}
	}
	for i := range w.actors {
		if w.actors[i].relead == 0 || w.actors[i].cmd.op == opNone {
			continue
		}
		c := w.clone(step{actor: i, note: "stops and leads again"})
		b := &c.actors[i]
		b.relead--
		nonce := b.m.nonce + 0x10000
		if len(b.script) > 1 {
			b.script = b.script[1:] // the one in hand is given up
		}
		b.m = newMachine(b.m.epoch, b.m.inc[0])
		b.m.nonce = nonce
		if err := add(c, i, b.m.start(b.script[0])); err != nil {
			return nil, err
		}
	}
	for i := range w.flight {
		c := w.clone(step{actor: -1, note: "a late write arrives"})
		c.flight = slices.Delete(c.flight, i, i+1)
		c.apply(w.flight[i])
		out = append(out, c)
	}
	return out, nil
}

func newMachine(epoch int32, inc byte) machine {
	return machine{id: modelID, epoch: epoch, inc: kafka.UUID{inc, 1}, nonce: uint64(epoch)<<8 | uint64(inc), keep: modelKeep}
}

// finish lets a last owner tidy up alone, after which manifest and bucket match exactly.
func (w *world) finish() error {
	for len(w.flight) > 0 {
		w.apply(w.flight[0])
		w.flight = w.flight[1:]
	}
	w.lost, w.late = 0, 0
	a := actor{m: newMachine(1000, 0x77), script: []job{{kind: jobClaim}, {kind: jobDelete}, {kind: jobOrphans}, {kind: jobOrphans}, {kind: jobClean}, {kind: jobLoad}}}
	w.actors = append(slices.Clone(w.actors), a)
	i := len(w.actors) - 1
	cmd := w.actors[i].m.start(a.script[0])
	for {
		if err := w.advance(i, cmd); err != nil {
			return err
		}
		if w.actors[i].cmd.op == opNone {
			break
		}
		cmd = w.actors[i].m.step(w.apply(w.actors[i].cmd))
	}
	m := &w.actors[i].m
	if m.fenced || m.head == nil {
		return errors.New("the last owner is fenced")
	}
	if len(w.manifests) > modelKeep {
		return fmt.Errorf("%d versions are left", len(w.manifests))
	}
	if len(m.head.Pending) > 0 || len(w.segments) != len(m.head.Segments) {
		return fmt.Errorf("%d objects for %d live segments, %d pending", len(w.segments), len(m.head.Segments), len(m.head.Pending))
	}
	return w.check()
}

// explore visits every reachable state and returns how many there are.
func explore(t *testing.T, w *world, final func(*world) error) int {
	t.Helper()
	w.manifests, w.segments, w.committed = map[uint64]*manifest.Manifest{}, map[string]manifest.Segment{}, map[uint64]kafka.UUID{}
	for i := range w.actors {
		a := &w.actors[i]
		w.epochs = max(w.epochs, a.m.epoch)
		if err := w.advance(i, a.m.start(a.script[0])); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[[16]byte]bool{w.key(): true}
	todo := []*world{w}
	for len(todo) > 0 {
		w := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		next, err := w.moves()
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range next {
			if err := n.check(); err != nil {
				t.Fatalf("%v\n%v", err, n.trace)
			}
			if k := n.key(); !seen[k] {
				seen[k] = true
				todo = append(todo, n)
			}
		}
		if len(next) == 0 {
			if err := final(w); err != nil {
				t.Fatalf("%v\n%v", err, w.trace)
			}
			if err := w.clone(step{actor: -1, note: "the end"}).finish(); err != nil {
				t.Fatalf("after a tidy-up: %v\n%v", err, w.trace)
			}
		}
	}
	return len(seen)
}

var (
	copyJob   = job{kind: jobCopy}
	cleanJob  = job{kind: jobClean}
	orphanJob = job{kind: jobOrphans}
	deleteJob = job{kind: jobDelete}
	claimJob  = job{kind: jobClaim}
	loadJob   = job{kind: jobLoad}
)

// newestWins says that the machine of the highest epoch is never fenced.
func newestWins(w *world) error {
	best := slices.MaxFunc(w.actors, func(a, b actor) int { return int(a.m.epoch - b.m.epoch) })
	if best.m.fenced {
		return fmt.Errorf("epoch %d, the newest, is fenced", best.m.epoch)
	}
	return nil
}

// TestInterleavings runs uploaders against each other in every order (T5, T6, T23–T26,
// T39, T43): no gap, no overlap, no version that counts twice, no live object lost, the
// older one fenced, the newest never.
func TestInterleavings(t *testing.T) {
	cases := []struct {
		name       string
		lost, late int
		actors     []actor
	}{
		{"two epochs", 0, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, copyJob, cleanJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, copyJob, cleanJob}}}},
		{"three epochs", 0, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, cleanJob}},
			{m: newMachine(3, 0x33), script: []job{copyJob, cleanJob}}}},
		{"a sleeper through clean-ups", 0, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, copyJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, copyJob, copyJob, cleanJob, copyJob, cleanJob}}}},
		{"two sleepers one version apart", 0, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{claimJob}},
			{m: newMachine(2, 0x22), script: []job{claimJob}},
			{m: newMachine(3, 0x33), script: []job{copyJob, copyJob, copyJob, cleanJob}}}},
		{"lost replies", 2, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, cleanJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, copyJob, cleanJob}}}},
		{"late writes", 0, 1, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, copyJob, cleanJob, orphanJob, orphanJob}}}},
		{"expiry and deletes", 0, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, {kind: jobExpire, offset: 10}, deleteJob, cleanJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, {kind: jobExpire, offset: 20}, deleteJob, orphanJob, orphanJob}}}},
		{"crash and restart", 0, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, copyJob, cleanJob}, crash: 2}}},
		{"crash, restart and a rival", 1, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, cleanJob}, crash: 1},
			{m: newMachine(2, 0x22), script: []job{copyJob, copyJob, cleanJob}}}},
		{"a sleeping owner's orphans", 0, 0, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, orphanJob, orphanJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, copyJob}}}},
		{"led again in the same epoch", 0, 1, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, orphanJob, orphanJob, copyJob}, relead: 1}}},
		{"lost and late", 1, 1, []actor{
			{m: newMachine(1, 0x11), script: []job{copyJob, cleanJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, orphanJob, orphanJob}}}},
		{"readers", 0, 0, []actor{
			{m: newMachine(9, 0x99), script: []job{loadJob, loadJob, loadJob}},
			{m: newMachine(2, 0x22), script: []job{copyJob, copyJob, cleanJob, copyJob, cleanJob, copyJob, cleanJob}}}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if raceEnabled && len(c.actors)+c.lost > 2 {
				t.Skip("one goroutine, many states: the race detector only slows it down")
			}
			n := explore(t, &world{actors: c.actors, lost: c.lost, late: c.late}, newestWins)
			t.Logf("%d states", n)
		})
	}
}

// TestTwins is a data directory that was copied: one epoch, two incarnations. Whoever
// claims first stays the owner, the other never commits.
func TestTwins(t *testing.T) {
	n := explore(t, &world{actors: []actor{
		{m: newMachine(3, 0x11), script: []job{copyJob, copyJob, cleanJob}},
		{m: newMachine(3, 0x22), script: []job{copyJob, copyJob, cleanJob}},
	}}, func(w *world) error {
		if w.actors[0].m.fenced == w.actors[1].m.fenced {
			return errors.New("exactly one of the twins must be fenced")
		}
		return nil
	})
	t.Logf("%d states", n)
}
