package replica

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/kafka"
)

// Session is the partitions that one client fetches again and again, and what it was told
// of each (KIP-227). A fetch of a session looks at the partitions of which there may be
// something to tell; one where nothing happened since costs neither a look nor an entry in
// the answer, however many there are.
//
// A session is safe for concurrent use, but has one fetch at a time: a second one ends the
// first. The owner closes it.
type Session struct {
	m  *Manager
	mu struct {
		sync.Mutex
		members   map[memberKey]*member
		active    []*member // of which there may be something to tell, in the order in which that came up
		turns     uint64    // given out
		fetch     *fetch    // the one under way
		committed bool      // as the last fetch was
		closed    bool
	}
}

// memberKey names a partition as the session's requests do: by topic id or by name.
type memberKey struct {
	topic string
	id    kafka.UUID
	index int32
}

func keyOf(fp *FetchPartition) memberKey {
	if fp.ByID {
		return memberKey{id: fp.TopicID, index: fp.Index}
	}
	return memberKey{topic: fp.Topic, index: fp.Index}
}

// member is one partition of a session. Session.mu guards it.
//
// A member that is not active watches its partition, and becomes active when something
// happens there. An active one may watch too, when a fetch waits for more bytes of it.
type member struct {
	s       *Session
	want    FetchPartition
	p       *Partition // that was watched last, nil = none
	version uint64     // grows with each thing that happens
	active  bool
	gone    bool   // forgotten, or the session was closed
	turn    uint64 // the lower, the earlier it is looked at; see sessionFetch.gather

	// What the client knows; -1 before the first answer and after an error.
	highWatermark, logStart int64
}

// SessionResult is the answer for one partition of a session.
type SessionResult struct {
	Topic   string // as the client named it; "" by id
	TopicID kafka.UUID
	Index   int32
	FetchResult
}

// NewSession begins a session with the partitions of a fetch that was answered with these
// results. If a partition was named twice, the last mention counts.
func (m *Manager) NewSession(partitions []FetchPartition, results []FetchResult) *Session {
	s := &Session{m: m}
	s.mu.members = make(map[memberKey]*member, len(partitions))
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range partitions {
		s.addLocked(&partitions[i]).tell(&results[i])
	}
	return s
}

// Len is the number of partitions.
func (s *Session) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.members)
}

// addLocked adds a partition, or changes what is wanted of it.
func (s *Session) addLocked(fp *FetchPartition) *member {
	key := keyOf(fp)
	e := s.mu.members[key]
	if e == nil {
		s.mu.turns++
		e = &member{s: s, turn: s.mu.turns, highWatermark: kafka.NoOffset, logStart: kafka.NoOffset}
		s.mu.members[key] = e
	}
	e.want = *fp
	e.changedLocked()
	return e
}

// changedLocked makes the next fetch look at the member.
func (e *member) changedLocked() {
	e.version++
	if !e.active {
		e.active = true
		e.s.mu.active = append(e.s.mu.active, e)
	}
}

// Update adds the partitions that a request names, or changes what it wants of them, and
// forgets others: those count by name or id and index only. It answers how many are left.
func (s *Session) Update(partitions, forget []FetchPartition) int {
	s.mu.Lock()
	var gone []*member
	for i := range partitions {
		s.addLocked(&partitions[i])
	}
	for i := range forget {
		key := keyOf(&forget[i])
		if e := s.mu.members[key]; e != nil {
			delete(s.mu.members, key)
			gone = append(gone, e)
		}
	}
	n := len(s.mu.members)
	s.leaveLocked(gone)
	s.mu.Unlock()
	unwatch(gone)
	return n
}

// leaveLocked takes members out; the caller unwatches them without the lock.
func (s *Session) leaveLocked(gone []*member) {
	if len(gone) == 0 {
		return
	}
	for _, e := range gone {
		e.gone = true
	}
	s.mu.active = slices.DeleteFunc(s.mu.active, func(e *member) bool { return e.gone })
}

// unwatch takes members that are gone off their partitions. Nobody changes p of those.
func unwatch(gone []*member) {
	for _, e := range gone {
		e.p.unwatch(e)
	}
}

// Close ends the session, and a fetch that is under way with FetchSessionIDNotFound.
func (s *Session) Close() {
	s.mu.Lock()
	gone := make([]*member, 0, len(s.mu.members))
	for _, e := range s.mu.members {
		gone = append(gone, e)
	}
	clear(s.mu.members)
	s.leaveLocked(gone)
	s.mu.closed = true
	f := s.mu.fetch
	s.mu.fetch = nil
	s.mu.Unlock()
	unwatch(gone)
	if f != nil {
		f.cancel()
	}
}

// Fetch reads the partitions of the session, as Manager.Fetch does those of params, whose
// list is ignored. done gets the partitions of which there is something to tell: records,
// an error, another high watermark or log start. It gets an error instead when a later
// fetch of the session (InvalidFetchSessionEpoch) or its end came first, and neither when
// ctx ended.
func (s *Session) Fetch(ctx context.Context, params FetchParams, done func([]SessionResult, error)) {
	f := &fetch{m: s.m, ctx: ctx, params: &params, deadline: time.Now().Add(params.MaxWait), session: &sessionFetch{s: s}}
	f.done = func(results []FetchResult) { done(f.session.finish(f, results)) }
	s.mu.Lock()
	earlier := s.mu.fetch
	s.mu.fetch = f
	if params.ReadCommitted != s.mu.committed { // what nobody may read at one level is there at the other
		s.mu.committed = params.ReadCommitted
		for _, e := range s.mu.members {
			e.changedLocked()
		}
	}
	s.mu.Unlock()
	if earlier != nil {
		earlier.cancel()
	}
	f.attempt()
}

// arrived implements watcher. Without a fetch under way it watches no longer: the next one
// looks at the member anyway.
func (e *member) arrived(bytes int64, look bool) (keep bool) {
	e.s.mu.Lock()
	if e.gone {
		e.s.mu.Unlock()
		return false
	}
	e.changedLocked()
	f := e.s.mu.fetch
	e.s.mu.Unlock()
	return f != nil && f.arrived(bytes, look)
}

// tell notes what the client is told of the partition, and says whether that is anything
// new. Source: Kafka's CachedPartition.
func (e *member) tell(res *FetchResult) (news bool) {
	news = res.bytes() > 0 || res.Err != nil || res.Diverging != nil || !e.knows(res)
	e.highWatermark, e.logStart = res.HighWatermark, res.LogStart
	if res.Err != nil {
		e.highWatermark = kafka.NoOffset // so that its end is told when the error has passed
	}
	return news
}

// knows says whether the client knows the offsets of a result.
func (e *member) knows(res *FetchResult) bool {
	return e.highWatermark == res.HighWatermark && e.logStart == res.LogStart
}

// sessionFetch is what a fetch of a session keeps beside its partitions.
type sessionFetch struct {
	s        *Session
	members  []*member // of the fetch's partitions
	versions []uint64  // of the members when they were gathered
}

// gather takes the active members into the fetch, which is busy. Their order is that of the
// session, where a member whose records were sent goes to the end: when they became active
// says nothing, since a partition's news may come later than they are true. Source: KIP-227.
func (sf *sessionFetch) gather(f *fetch) {
	s := sf.s
	s.mu.Lock()
	n := len(s.mu.active)
	if byTurn := func(a, b *member) int { return cmp.Compare(a.turn, b.turn) }; !slices.IsSortedFunc(s.mu.active, byTurn) {
		slices.SortFunc(s.mu.active, byTurn)
	}
	sf.members = append(sf.members[:0], s.mu.active...)
	sf.versions = slices.Grow(sf.versions[:0], n)[:n]
	f.params.Partitions = slices.Grow(f.params.Partitions[:0], n)[:n]
	for i, e := range sf.members {
		sf.versions[i], f.params.Partitions[i] = e.version, e.want
	}
	s.mu.Unlock()
	f.parts, f.errs = slices.Grow(f.parts[:0], n)[:n], slices.Grow(f.errs[:0], n)[:n]
	f.seen = slices.Grow(f.seen[:0], n)[:n]
	if f.results = slices.Grow(f.results[:0], n)[:n]; f.results == nil {
		f.results = []FetchResult{} // nil would say that the client has gone
	}
	for i := range f.parts {
		f.parts[i], f.errs[i] = f.m.find(&f.params.Partitions[i])
		f.seen[i] = seen{}
	}
}

// rest puts the members of a busy fetch to rest of which there is nothing to tell. Before
// that they watch their partitions, and so do the others if the fetch will wait. It says
// whether a partition has moved on since it was read.
func (sf *sessionFetch) rest(f *fetch, waits bool) (moved bool) {
	for i, e := range sf.members {
		p := f.parts[i]
		if p == nil || !waits && !f.seen[i].nothing || !e.join(p) {
			f.seen[i].nothing = false
			continue
		}
		if p.watch(e, f.seen[i]) {
			moved, f.seen[i].nothing = true, false
		}
	}
	s := sf.s
	var gone []*member
	s.mu.Lock()
	for i, e := range sf.members {
		if e.gone {
			gone = append(gone, e) // its watch may have come after the end of its session
		} else if f.seen[i].nothing && e.version == sf.versions[i] && e.knows(&f.results[i]) {
			e.active = false
		}
	}
	s.mu.active = slices.DeleteFunc(s.mu.active, func(e *member) bool { return !e.active })
	s.mu.Unlock()
	unwatch(gone)
	return moved
}

// join notes that the member is about to watch p, and says no when it is gone.
func (e *member) join(p *Partition) bool {
	e.s.mu.Lock()
	old := e.p
	if e.gone {
		e.s.mu.Unlock()
		return false
	}
	e.p = p
	e.s.mu.Unlock()
	if old != p {
		old.unwatch(e) // a deleted topic's
	}
	return true
}

// finish ends the fetch: it picks what there is to tell. results is nil when nobody waits
// for the answer.
func (sf *sessionFetch) finish(f *fetch, results []FetchResult) (out []SessionResult, err error) {
	s := sf.s
	s.mu.Lock()
	if closed := s.mu.closed; s.mu.fetch != f {
		s.mu.Unlock()
		for i := range results {
			results[i].release()
		}
		if closed {
			return nil, kafka.FetchSessionIDNotFound
		}
		return nil, kafka.InvalidFetchSessionEpoch
	}
	s.mu.fetch = nil
	if results == nil {
		s.mu.Unlock()
		return nil, nil
	}
	out = make([]SessionResult, 0, len(results))
	for i := range results {
		e := sf.members[i]
		if results[i].bytes() > 0 { // behind the others, whose turn it is
			s.mu.turns++
			e.turn = s.mu.turns
		}
		if e.tell(&results[i]) {
			fp := &f.params.Partitions[i]
			out = append(out, SessionResult{Topic: fp.Topic, TopicID: fp.TopicID, Index: fp.Index, FetchResult: results[i]})
		}
	}
	s.mu.Unlock()
	sf.rest(f, false)
	return out, nil
}
