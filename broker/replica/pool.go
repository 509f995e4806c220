package replica

import "sync"

// pool runs jobs on a bounded number of goroutines that exist only while there are jobs.
type pool struct {
	workers int
	pending int // jobs that may wait, 0 for any number
	mu      struct {
		sync.Mutex
		queue   []func()
		head    int
		running int
		closed  bool
		idle    sync.WaitGroup
	}
}

func newPool(workers, pending int) *pool { return &pool{workers: workers, pending: pending} }

// submit queues job; it says no when too many wait, or after close.
func (p *pool) submit(job func()) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.closed || p.pending > 0 && len(p.mu.queue)-p.mu.head >= p.pending {
		return false
	}
	if p.mu.head > 0 && len(p.mu.queue) == cap(p.mu.queue) {
		n := copy(p.mu.queue, p.mu.queue[p.mu.head:])
		clear(p.mu.queue[n:])
		p.mu.queue, p.mu.head = p.mu.queue[:n], 0
	}
	p.mu.queue = append(p.mu.queue, job)
	if p.mu.running < p.workers {
		p.mu.running++
		p.mu.idle.Go(p.work)
	}
	return true
}

// work runs jobs until there are none.
func (p *pool) work() {
	for {
		p.mu.Lock()
		if p.mu.head == len(p.mu.queue) {
			p.mu.running--
			p.mu.queue, p.mu.head = nil, 0
			p.mu.Unlock()
			return
		}
		job := p.mu.queue[p.mu.head]
		p.mu.queue[p.mu.head] = nil
		p.mu.head++
		p.mu.Unlock()
		job()
	}
}

// close takes no more jobs and waits for those that it has.
func (p *pool) close() {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	p.mu.idle.Wait()
}
