package server

import (
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// strangers bounds how many processors are at work at once for peers that have not logged in: handshakes of TLS, whose keys
// and signatures cost a broker far more than whoever sends the same first message again and again, and logins. The
// others are for those who are known, however many strangers come. Nobody has a place while it waits for a peer.
type strangers struct {
	places chan struct{}
	waits  atomic.Int64 // for a place, because all were taken
	waited atomic.Int64 // in ns
}

func newStrangers() *strangers {
	return &strangers{places: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
}

// enter takes a place, and waits for one in the order of coming; false: stop came first.
func (g *strangers) enter(stop <-chan struct{}) bool {
	select {
	case g.places <- struct{}{}:
		return true
	default:
	}
	began := time.Now()
	defer func() { g.waited.Add(int64(time.Since(began))) }()
	g.waits.Add(1)
	select {
	case g.places <- struct{}{}:
		return true
	case <-stop:
		return false
	}
}

func (g *strangers) leave() { <-g.places }

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
	if !s.with.enter(s.stop) {
		return net.ErrClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.Load() || s.mu.inside {
		s.with.leave()
		return nil
	}
	s.mu.inside = true
	if !time.Now().Before(s.deadline) {
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (s *shaking) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.inside {
		s.mu.inside = false
		s.with.leave()
	}
}

// end says that the handshake is over.
func (s *shaking) end() {
	s.over.Store(true)
	s.leave()
}
