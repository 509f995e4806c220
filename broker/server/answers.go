package server

import "sync"

// What the caller of answers.answer has to do.
const (
	queued       = iota // nothing: a writer is at work or comes by
	becomeWriter        // write what is answered
	discard             // the connection has ended
)

// answers is the queue of one connection's requests in order of arrival. Answers come in
// any order and leave in this one.
//
// At most one goroutine writes at a time. While the connection's goroutine works through a
// burst of requests (corked), answers gather and it writes them together at the end of the
// burst; at other times whoever answers the oldest request starts a writer.
type answers struct {
	// wake has a value when something changed for the connection's goroutine. Only that
	// goroutine receives from it.
	wake chan struct{}
	mu   struct {
		sync.Mutex
		queue     []*Request // [head:] in order of arrival
		head      int
		waiting   int   // queued and not answered
		exclusive int   // of these, the ones that share with no other: 0 or 1
		bytes     int64 // frame bytes of all queued
		unsent    int64 // memory of the answers that the peer has not taken, file ranges excluded
		sending   int64 // of that, what the writer has in hand
		corked    bool
		writing   bool
		writes    int // answers taken by the writer and not yet sent
		closed    bool
		closing   bool // a queued request ends the connection
		why       error
	}
}

// push queues r and corks, if its turn has come. The error says that the connection ends.
func (a *answers) push(r *Request, limits *Limits) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := len(a.mu.queue) - a.mu.head
	switch {
	case a.mu.closed:
		return false, errConnClosed
	case a.mu.closing:
		return false, errClosing
	case r.exclusive && a.mu.waiting > 0, a.mu.exclusive > 0:
		return false, nil
	case n >= limits.InFlightRequests, n > 0 && a.mu.bytes+int64(r.size) > limits.InFlightBytes:
		return false, nil
	case r.Conn.mutedFor() > 0:
		return false, nil // by an earlier request, which muted it before it was answered
	case a.mu.unsent > limits.UnsentBytes:
		return false, nil // a small request may have a large answer, which a peer may never read
	}
	if a.mu.head > 0 && len(a.mu.queue) == cap(a.mu.queue) {
		m := copy(a.mu.queue, a.mu.queue[a.mu.head:])
		clear(a.mu.queue[m:])
		a.mu.queue, a.mu.head = a.mu.queue[:m], 0
	}
	a.mu.queue = append(a.mu.queue, r)
	a.mu.waiting++
	a.mu.bytes += int64(r.size)
	if r.exclusive {
		a.mu.exclusive++
	}
	a.mu.corked = true
	return true, nil
}

// answer marks r, which is queued, as answered.
func (a *answers) answer(r *Request) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.answered = true
	a.mu.waiting--
	if r.exclusive {
		a.mu.exclusive--
	}
	if a.mu.closed {
		return discard
	}
	a.mu.unsent += r.memory()
	if r.end != nil {
		a.mu.closing = true
	}
	a.signal()
	return a.mayWriteLocked()
}

// uncork ends the burst; true makes the caller the writer.
func (a *answers) uncork() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.corked = false
	return a.mayWriteLocked() == becomeWriter
}

// mayWriteLocked makes the caller the writer if there is something to write and nobody
// else does it.
func (a *answers) mayWriteLocked() int {
	if a.mu.corked || a.mu.writing || a.mu.closed || !a.readyLocked() {
		return queued
	}
	a.mu.writing = true
	return becomeWriter
}

// readyLocked says whether the oldest request is answered.
func (a *answers) readyLocked() bool {
	return a.mu.head < len(a.mu.queue) && a.mu.queue[a.mu.head].answered
}

// take moves answers that may leave now into batch, oldest first; the ones taken before
// count as sent. Zero ends the caller's time as writer.
func (a *answers) take(batch []*Request) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.mu.writes = 0
	a.mu.unsent -= a.mu.sending
	a.mu.sending = 0
	n := 0
	for n < len(batch) && a.readyLocked() && !a.mu.closed {
		r := a.mu.queue[a.mu.head]
		a.mu.queue[a.mu.head] = nil
		a.mu.head++
		a.mu.bytes -= int64(r.size)
		a.mu.sending += r.memory()
		batch[n] = r
		n++
		if r.end != nil {
			break // nothing leaves after it
		}
	}
	if a.mu.head == len(a.mu.queue) {
		a.mu.head, a.mu.queue = 0, a.mu.queue[:0]
		if cap(a.mu.queue) > 64 {
			a.mu.queue = nil
		}
	}
	a.mu.writes = n
	a.mu.writing = n > 0
	a.signal()
	return n
}

// empty says whether every request is answered and every answer sent.
func (a *answers) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.closed || a.mu.head == len(a.mu.queue) && a.mu.writes == 0
}

// awaitWriter waits until nobody writes; the queue is closed and so is the socket, so the
// writer ends soon.
func (a *answers) awaitWriter() {
	for a.isWriting() {
		<-a.wake
	}
}

func (a *answers) isWriting() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.writing
}

// signal wakes the connection's goroutine, or its next wait.
func (a *answers) signal() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// close ends the queue: answers that have not left are dropped and their files released.
// It reports whether this call ended it.
func (a *answers) close(why error) bool {
	a.mu.Lock()
	if a.mu.closed {
		a.mu.Unlock()
		return false
	}
	a.mu.closed, a.mu.why = true, why
	rest := a.mu.queue[a.mu.head:]
	a.mu.queue, a.mu.head = nil, 0
	a.signal()
	var drop []*Request
	for _, r := range rest {
		if r.answered {
			drop = append(drop, r)
		}
	}
	a.mu.Unlock()
	for _, r := range drop {
		r.traced(r.done, why)
		r.releasePieces()
	}
	return true
}

// reason is why the queue was closed.
func (a *answers) reason() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.why
}
