package server

import (
	"sync"
	"time"
)

// pace spreads the connections that are accepted: max.connection.creation.rate of them in a second, of which those
// of one second may come at once. It is shared by all listeners.
type pace struct {
	mu struct {
		sync.Mutex
		every time.Duration // between two of them; 0: as they come
		next  time.Time     // when the next one would be due
	}
}

// set changes the rate; ≤ 0 is none.
func (p *pace) set(perSecond int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.every = 0
	if perSecond > 0 {
		p.mu.every = time.Second / time.Duration(perSecond) // 0 for a rate that nobody reaches
	}
}

// take counts a connection and says how long to wait before the next one is accepted.
func (p *pace) take(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.every == 0 {
		return 0
	}
	if idle := now.Add(-time.Second); p.mu.next.Before(idle) {
		p.mu.next = idle
	}
	p.mu.next = p.mu.next.Add(p.mu.every)
	return p.mu.next.Sub(now)
}
