package replica

import (
	"context"
	"errors"
	"fmt"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/lifecycle"
)

// reliefRollBytes is the size from which an active segment is closed for the sake of a full
// disk; Kafka's least segment.bytes.
const reliefRollBytes = 1 << 20

// Relieve frees room on the disks that are under pressure: tiered partitions have their
// closed segments uploaded at once, and give up local ones that the store holds, the oldest
// records first, until there is enough room. It says whether a disk was under pressure; on
// calm disks it costs one look at each. Errors are joined; what failed is tried at the next call.
func (m *Manager) Relieve(ctx context.Context) (pressed bool, err error) {
	var errs []error
	for _, d := range m.dirs.Pressure() {
		if d.Level == commitlog.Calm || ctx.Err() != nil {
			continue
		}
		pressed = true
		if err := m.relieve(ctx, d); err != nil {
			errs = append(errs, fmt.Errorf("free room in %s: %w", d.Path, err))
		}
	}
	return pressed, errors.Join(errs...)
}

// relieve evicts in one directory, and has closed and uploaded what could be evicted next.
func (m *Manager) relieve(ctx context.Context, d logdir.DirPressure) error {
	var errs []error
	var parts []*retained
	var spares []lifecycle.Spare
	for p := range m.Led() {
		r := p.retained()
		if r == nil || r.remote == nil || r.log.Dir() != d.Path {
			continue
		}
		s, err := r.State(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("partition %s: %w", r, err))
			continue
		}
		parts, spares = append(parts, r), append(spares, lifecycle.SpareOf(r.Policy(), s))
	}
	below, freed := lifecycle.Relieve(spares, d.WantBytes)
	var evicted []*commitlog.Log
	for i, r := range parts {
		if below[i] == 0 {
			continue
		}
		if err := r.EvictLocal(below[i]); err != nil {
			errs = append(errs, fmt.Errorf("partition %s: %w", r, err))
			continue
		}
		evicted = append(evicted, r.log)
	}
	if freed < d.WantBytes {
		for _, r := range parts {
			errs = append(errs, r.giveMore())
		}
	}
	if len(evicted) > 0 {
		errs = append(errs, m.dirs.Reclaim(d.Path, evicted))
		m.logger.Info("local segments were evicted early, because the disk fills", "dir", d.Path, "partitions", len(evicted), "bytes", freed)
	}
	return errors.Join(errs...)
}

// giveMore closes an active segment of some size, and has the store get what is closed.
func (r *retained) giveMore() error {
	segments := r.log.Segments()
	if n := len(segments); n > 0 && segments[n-1].SizeBytes >= reliefRollBytes {
		if err := r.Roll(); err != nil {
			return fmt.Errorf("partition %s: roll: %w", r, err)
		}
	}
	r.remote.Wake()
	return nil
}
