package tiered

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/varve-io/varve/tiered/manifest"
)

// Limits of the copy loop.
const (
	copiesPerTurn = 16               // segments of one partition before another gets its turn
	firstBackoff  = time.Second      // after the first failure
	maxBackoff    = 5 * time.Minute  // after many
	idleWait      = 10 * time.Minute // bound on a turn that hangs in the store: T21
)

// Run looks after every led partition until ctx ends: at each interval, when Wake is
// called, and again at once while a partition has more to do. Errors are counted, logged
// and tried again later with growing waits; none ends Run.
func (m *Manager) Run(ctx context.Context) {
	work := make(chan *Partition)
	var done sync.WaitGroup
	for range m.o.Workers {
		done.Go(func() {
			for p := range work {
				m.turn(ctx, p)
			}
		})
	}
	defer done.Wait()
	defer close(work)
	tick := time.NewTicker(max(m.o.Interval, time.Millisecond))
	defer tick.Stop()
	var queue []*Partition
	for {
		var out chan *Partition
		var next *Partition
		if len(queue) > 0 {
			out, next = work, queue[0]
		}
		select {
		case <-ctx.Done():
			return
		case out <- next:
			queue = queue[1:]
		case <-m.wake:
			m.mu.Lock()
			queue = append(queue, m.mu.woken...)
			m.mu.woken = nil
			m.mu.Unlock()
		case <-tick.C:
			for p := range m.Partitions() {
				if p.enqueue(false) {
					queue = append(queue, p)
				}
			}
		}
	}
}

// enqueue marks p as waiting for a worker, unless it waits already or, unless forced, is
// told to wait after a failure.
func (p *Partition) enqueue(forced bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.queued || !forced && time.Now().Before(p.mu.notBefore) {
		return false
	}
	p.mu.queued = true
	return true
}

// Wake asks Run to look at p soon: a segment was rolled, a start was moved.
func (m *Manager) Wake(p *Partition) {
	if !p.enqueue(false) {
		return
	}
	m.mu.Lock()
	m.mu.woken = append(m.mu.woken, p)
	m.mu.Unlock()
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// Wake asks the manager's Run to look at p soon: see Manager.Wake. It never blocks.
func (p *Partition) Wake() { p.m.Wake(p) }

// turn is one look at p by a worker.
func (m *Manager) turn(ctx context.Context, p *Partition) {
	p.mu.Lock()
	p.mu.queued = false
	p.mu.Unlock()
	if p.ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, m.o.UploadTimeout+idleWait)
	defer cancel()
	more, err := p.tick(ctx)
	if err == nil && more {
		m.Wake(p)
	}
}

// Tick does what is due for p now and returns when nothing more is: copies, deletes,
// clean-ups. Run calls it by itself; tests and tools call it to get there at once.
func (m *Manager) Tick(ctx context.Context, p *Partition) error {
	for {
		more, err := p.tick(ctx)
		if err != nil || !more {
			return err
		}
	}
}

// tick does one turn's worth of work and keeps the books of success and failure.
func (p *Partition) tick(ctx context.Context) (more bool, err error) {
	more, err = p.work(ctx)
	if err != nil && (ctx.Err() != nil || p.ctx.Err() != nil) {
		return false, err
	}
	p.settle(err)
	return more, err
}

// work is what a leader has to do for a tiered partition.
func (p *Partition) work(ctx context.Context) (more bool, err error) {
	if err := p.acquire(ctx); err != nil {
		return false, err
	}
	defer func() { <-p.token }()
	if p.machine.stuck() {
		if err := p.doLocked(ctx, job{kind: jobLoad}); err != nil {
			return false, err
		}
	}
	if p.machine.fenced {
		return false, nil
	}
	if p.hasWork() && p.r.Config().RemoteStorageEnable && !p.r.Config().RemoteLogCopyDisable {
		if more, err = p.copyLocked(ctx); err != nil {
			return false, err
		}
	}
	return more, p.tidyLocked(ctx)
}

// hasWork says, from local knowledge alone, whether there may be something to copy. An
// idle partition costs one look at the bucket in an epoch, and no claim, for ever.
func (p *Partition) hasWork() bool {
	next := int64(0)
	if h := p.machine.head; h != nil {
		next = max(h.Next, h.Start)
	}
	stable := p.r.StableEnd()
	for _, s := range p.r.Log().Segments() {
		if !s.Active && s.Next > next && s.Next <= stable {
			return true
		}
	}
	p.setLag(0, 0)
	return false
}

// copyLocked uploads segment after segment. It claims only when there is one to upload.
func (p *Partition) copyLocked(ctx context.Context) (more bool, err error) {
	for range copiesPerTurn {
		if !p.machine.known {
			if err := p.doLocked(ctx, job{kind: jobLoad}); err != nil {
				return false, err
			}
			if p.machine.fenced {
				return false, nil
			}
		}
		h := p.machine.head
		if h == nil {
			h = &manifest.Manifest{Start: p.r.Log().LogStart()}
		}
		if len(h.Segments) == 0 && p.machine.head != nil && p.r.Log().LogStart() > h.Start {
			// Nothing lies between the manifest's start and the log's: no record is lost by it.
			if err := p.doLocked(ctx, job{kind: jobExpire, offset: p.r.Log().LogStart()}); err != nil {
				return false, err
			}
			continue
		}
		_, count, bytes, err := p.offer().choose(h)
		p.setLag(count, bytes)
		if errors.Is(err, errNothing) || h.Copy != manifest.CopyActive {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		before := len(h.Segments)
		if err := p.doLocked(ctx, job{kind: jobCopy}); err != nil {
			if errors.Is(err, errNothing) {
				return false, nil
			}
			return false, err
		}
		if h = p.machine.head; h != nil && len(h.Segments) > before {
			p.m.metrics.uploads.Inc()
			if f := p.m.o.Events.Uploaded; f != nil {
				f(p.tp, h.Segments[len(h.Segments)-1])
			}
		}
	}
	return true, nil
}

// tidyLocked deletes what is due and cleans up now and then. It claims only when there is
// something to tidy. A partition on which nothing happens costs no request.
func (p *Partition) tidyLocked(ctx context.Context) error {
	if !p.machine.claimed {
		if due, err := p.leftOvers(ctx); err != nil || !due {
			return err
		}
		if err := p.doLocked(ctx, job{kind: jobClaim}); err != nil {
			return err
		}
	}
	var errs []error
	if len(p.machine.head.Pending) > 0 {
		errs = append(errs, p.doLocked(ctx, p.deleteJob()))
	}
	if !p.machine.claimed {
		return errors.Join(errs...)
	}
	version := p.machine.head.Version
	if p.cleaned.due(p.m.o.CleanInterval, version, p.machine.stale > 0) {
		errs = append(errs, p.forget(&p.cleaned, p.doLocked(ctx, p.m.cleanJob())))
	}
	if p.swept.due(max(p.m.o.OrphanGrace, p.m.o.CleanInterval), version, p.machine.loose > 0) {
		errs = append(errs, p.forget(&p.swept, p.doLocked(ctx, p.m.orphanJob())))
	}
	return errors.Join(errs...)
}

// forget lets a job that failed run again although nothing has changed since.
func (p *Partition) forget(t *turnOf, err error) error {
	if err != nil {
		t.version = 0
	}
	return err
}

// setLag notes what waits for its upload.
func (p *Partition) setLag(count int, bytes int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.lagCount, p.mu.lagBytes = count, bytes
}

// settle keeps the books: after a failure the next look waits, longer each time and by
// chance, so that a thousand partitions do not come back in step when a store does.
func (p *Partition) settle(err error) {
	p.mu.Lock()
	if err == nil || errors.Is(err, ErrFenced) {
		p.mu.failures, p.mu.failing, p.mu.notBefore = 0, time.Time{}, time.Time{}
		p.mu.Unlock()
		return
	}
	if p.mu.failures++; p.mu.failures == 1 {
		p.mu.failing = time.Now()
	}
	limit := min(maxBackoff, firstBackoff<<min(p.mu.failures-1, 20))
	wait := limit/2 + rand.N(limit/2)
	p.mu.notBefore = time.Now().Add(wait)
	n, diverged := p.mu.failures, errors.Is(err, ErrDiverged) && !p.mu.diverged
	p.mu.diverged = p.mu.diverged || diverged
	p.mu.Unlock()

	p.m.o.Logger.Warn("tiering of a partition failed and will be tried again", "partition", p.tp.String(), "failures", n, "wait", wait, "error", err)
	if f := p.m.o.Events.Failed; f != nil {
		f(p.tp, "tick", err)
	}
	if f := p.m.o.Events.Diverged; f != nil && diverged {
		f(p.tp, p.r.Log().End(), p.View().Next, err)
	}
}
