package api

import (
	"container/heap"
	"container/list"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
)

// sessionRest is how long a fetch session is safe from a larger one after it was made, and
// from any other while it is in use. Source: Kafka's MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS.
const sessionRest = 2 * time.Minute

// sessionCache holds the fetch sessions of all clients, at most as many as there are slots.
// When it is full, a new session takes the place of the one that was unused for longest, if
// that is longer than sessionRest; else of the smallest that is older than that, if the new
// one is larger; else there is none. Source: Kafka's FetchSessionCacheShard.
//
// It is safe for concurrent use. Sessions are made and closed with no lock held.
type sessionCache struct {
	mu struct {
		sync.Mutex
		byID       map[int32]*fetchSession
		used       list.List   // of *fetchSession, the one unused for longest first
		old        sessionHeap // those older than sessionRest, the smallest first
		partitions int
		evictions  int64
	}
}

// fetchSession is one session; sessionCache.mu guards it.
type fetchSession struct {
	id      int32
	epoch   int32 // of the next request
	byID    bool  // its topics go by id
	set     *replica.Session
	size    int // partitions, when it was last used
	created time.Time
	last    time.Time     // used
	used    *list.Element // nil when it is not in the cache any more
	old     int           // place in the heap, -1 = not there
}

// sessionHeap has the smallest session on top.
type sessionHeap []*fetchSession

func (h sessionHeap) Len() int { return len(h) }
func (h sessionHeap) Less(i, j int) bool {
	return h[i].size < h[j].size || h[i].size == h[j].size && h[i].id < h[j].id
}
func (h sessionHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].old, h[j].old = i, j
}

// Push implements heap.Interface.
func (h *sessionHeap) Push(x any) {
	s := x.(*fetchSession)
	s.old = len(*h)
	*h = append(*h, s)
}

// Pop implements heap.Interface.
func (h *sessionHeap) Pop() any {
	n := len(*h) - 1
	s := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	s.old = -1
	return s
}

// nextEpoch follows epoch; it never becomes one of the special ones.
func nextEpoch(epoch int32) int32 {
	if epoch == math.MaxInt32 {
		return newSession + 1
	}
	return epoch + 1
}

// create finds a place for a session of size partitions and makes it with set, which takes
// its time; it answers noSessionID when there is none.
func (c *sessionCache) create(slots, size int, byID bool, set func() *replica.Session) int32 {
	now := time.Now()
	c.mu.Lock()
	_, ok := c.victimLocked(slots, size, now)
	c.mu.Unlock()
	if !ok {
		return noSessionID
	}
	s := &fetchSession{epoch: newSession + 1, byID: byID, created: now, old: -1, set: set()}
	evicted, ok := c.add(s, slots, size, now)
	if !ok {
		s.set.Close()
		return noSessionID
	}
	if evicted != nil {
		evicted.set.Close()
	}
	return s.id
}

// add puts a new session in, and answers the one that lost its slot to it.
func (c *sessionCache) add(s *fetchSession, slots, size int, now time.Time) (evicted *fetchSession, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if evicted, ok = c.victimLocked(slots, size, now); !ok {
		return nil, false
	}
	if evicted != nil {
		c.dropLocked(evicted)
		c.mu.evictions++
	}
	if c.mu.byID == nil {
		c.mu.byID = map[int32]*fetchSession{}
	}
	for s.id == noSessionID || c.mu.byID[s.id] != nil {
		s.id = rand.Int32()
	}
	c.mu.byID[s.id] = s
	s.used = c.mu.used.PushBack(s)
	c.touchLocked(s, size, now)
	return evicted, true
}

// victimLocked says whether there is a slot for a session of size partitions, and which
// session has to go for it, nil for none.
func (c *sessionCache) victimLocked(slots, size int, now time.Time) (victim *fetchSession, ok bool) {
	if len(c.mu.byID) < slots {
		return nil, true
	}
	if slots <= 0 {
		return nil, false
	}
	if idle := c.mu.used.Front().Value.(*fetchSession); now.Sub(idle.last) > sessionRest {
		return idle, true
	}
	if len(c.mu.old) > 0 && c.mu.old[0].size < size {
		return c.mu.old[0], true
	}
	return nil, false
}

// touchLocked notes that a session is used, and its size.
func (c *sessionCache) touchLocked(s *fetchSession, size int, now time.Time) {
	c.mu.used.MoveToBack(s.used)
	c.mu.partitions += size - s.size
	s.last, s.size = now, size
	switch {
	case s.old >= 0:
		heap.Fix(&c.mu.old, s.old)
	case now.Sub(s.created) > sessionRest:
		heap.Push(&c.mu.old, s)
	}
}

// dropLocked takes a session out; the caller closes it without the lock.
func (c *sessionCache) dropLocked(s *fetchSession) {
	delete(c.mu.byID, s.id)
	c.mu.used.Remove(s.used)
	s.used = nil
	if s.old >= 0 {
		heap.Remove(&c.mu.old, s.old)
	}
	c.mu.partitions -= s.size
}

// next finds the session of an incremental request and counts the request in.
func (c *sessionCache) next(id, epoch int32, byID bool) (*fetchSession, kafka.Error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.mu.byID[id]
	switch {
	case s == nil:
		return nil, kafka.FetchSessionIDNotFound
	case s.epoch != epoch:
		return nil, kafka.InvalidFetchSessionEpoch
	case s.byID != byID:
		return nil, kafka.FetchSessionTopicIDError
	}
	s.epoch = nextEpoch(epoch)
	c.touchLocked(s, s.size, time.Now())
	return s, kafka.NoError
}

// resize notes how many partitions a session has after its update; one that has none left
// is closed.
func (c *sessionCache) resize(s *fetchSession, size int) {
	if size == 0 {
		c.close(s.id)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.used != nil { // else it was evicted meanwhile
		c.touchLocked(s, size, time.Now())
	}
}

// close ends a session; an unknown id is no error.
func (c *sessionCache) close(id int32) {
	c.mu.Lock()
	s := c.mu.byID[id]
	if s != nil {
		c.dropLocked(s)
	}
	c.mu.Unlock()
	if s != nil {
		s.set.Close()
	}
}

// FetchSessions is the fetch sessions of the moment, the partitions in them, and how many
// sessions lost their slot to others since the start.
func (a *API) FetchSessions() (sessions, partitions int, evictions int64) {
	c := &a.sessions
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.byID), c.mu.partitions, c.mu.evictions
}
