package server

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// strangers bounds how many processors are at work at once for peers that have not logged in: handshakes of TLS, whose keys
// and signatures cost a broker far more than whoever sends the same first message again and again, and logins. The
// others are for those who are known, however many strangers come. Nobody has a place while it waits for a peer.
//
// They have a quarter of the processors, which is some 900 handshakes a second of two. Where that is not even one, the one place
// stays empty after each use, as long as it takes to make it that part.
type strangers struct {
	places chan struct{}
	rest   float64      // how long a place stays empty, in times of its use
	waits  atomic.Int64 // for a place, because all were taken
	waited atomic.Int64 // in ns
}

// longestRest is that of a place: the process may itself have stood still while it was used.
const longestRest = 250 * time.Millisecond

func newStrangers(processors float64) *strangers {
	share := processors / 4
	return &strangers{places: make(chan struct{}, max(1, int(share))), rest: max(0, 1/share-1)}
}

// enter takes a place, and waits for one in the order of coming; not ok: stop came first.
func (g *strangers) enter(stop <-chan struct{}) (since time.Time, ok bool) {
	select {
	case g.places <- struct{}{}:
		return time.Now(), true
	default:
	}
	began := time.Now()
	g.waits.Add(1)
	select {
	case g.places <- struct{}{}:
		ok = true
	case <-stop:
	}
	since = time.Now()
	g.waited.Add(int64(since.Sub(began)))
	return since, ok
}

// leave gives a place back that somebody has had since then.
func (g *strangers) leave(since time.Time) {
	if g.rest == 0 {
		<-g.places
		return
	}
	used := float64(time.Since(since))
	time.AfterFunc(min(longestRest, time.Duration(used*g.rest)), func() { <-g.places })
}

// shaking is the socket below a TLS handshake, which has a place among the strangers whenever it does not wait for its
// peer. Once that is over it is the socket and nothing more.
type shaking struct {
	net.Conn
	with     *strangers
	stop     <-chan struct{}
	deadline time.Time // of the handshake: one that came too late while it waited is not worth its cost any more
	over     atomic.Bool
	mu       struct { // who closes the connection may write an alert beside the handshake's end
		sync.Mutex
		inside bool
		since  time.Time
	}
}

// Read implements net.Conn.
func (s *shaking) Read(b []byte) (int, error) {
	if s.over.Load() {
		return s.Conn.Read(b)
	}
	s.leave()
	n, err := s.Conn.Read(b)
	if err == nil {
		err = s.enter()
	}
	return n, err
}

// Write implements net.Conn.
func (s *shaking) Write(b []byte) (int, error) {
	if s.over.Load() {
		return s.Conn.Write(b)
	}
	s.leave()
	n, err := s.Conn.Write(b)
	if err == nil {
		err = s.enter()
	}
	return n, err
}

func (s *shaking) enter() error {
	since, ok := s.with.enter(s.stop)
	if !ok {
		return net.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.Load() || s.mu.inside {
		s.with.leave(since)
		return nil
	}
	s.mu.inside, s.mu.since = true, since
	if !since.Before(s.deadline) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (s *shaking) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.inside {
		s.mu.inside = false
		s.with.leave(s.mu.since)
	}
}

// end says that the handshake is over.
func (s *shaking) end() {
	s.over.Store(true)
	s.leave()
}
