package tiered

import (
	"context"
	"slices"
	"time"
)

// leftOvers says whether earlier epochs left something to remove. The first owner of an
// epoch that has nothing to upload would never learn of an upload that a crash cut short,
// so the bucket is asked once in each epoch, when all that is old in it is old enough.
func (p *Partition) leftOvers(ctx context.Context) (bool, error) {
	if h := p.machine.head; h != nil && len(h.Pending) > 0 {
		return true, nil
	}
	if p.looked || p.epoch == 0 || p.r.Log().End() == 0 || time.Since(p.since) < p.m.o.OrphanGrace {
		return false, nil
	}
	if err := p.doLocked(ctx, job{kind: jobLoad}); err != nil {
		return false, err
	}
	ev := p.exec(ctx, command{op: opListSegments})
	if ev.answer == failed {
		return false, ev.err
	}
	p.looked = true
	if h := p.machine.head; h != nil && len(h.Pending) > 0 {
		return true, nil
	}
	return slices.ContainsFunc(ev.listed, func(l listed) bool {
		return p.machine.orphan(l.segment)
	}), nil
}
