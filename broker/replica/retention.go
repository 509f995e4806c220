package replica

import (
	"context"
	"fmt"
	"iter"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/lifecycle"
	"github.com/varve-io/varve/tiered/manifest"
)

// Retained walks over the partitions that this broker leads, for lifecycle.Engine. What it
// yields is good for one tick.
func (m *Manager) Retained() iter.Seq[lifecycle.Partition] {
	return func(yield func(lifecycle.Partition) bool) {
		for p := range m.Led() {
			if r := p.retained(); r != nil && !yield(r) {
				return
			}
		}
	}
}

// retained is a partition as retention sees it in one leader epoch.
type retained struct {
	p      *Partition
	log    *commitlog.Log
	remote RemoteLog
	cfg    *config.Topic
}

// retained is nil while the partition waits for its manifest: there is nothing to retain
// in its log yet.
func (p *Partition) retained() *retained {
	p.lead.RLock()
	defer p.lead.RUnlock()
	if p.heal.Load() != healed {
		return nil
	}
	return &retained{p: p, log: p.lead.log, remote: p.lead.remote, cfg: p.lead.cfg}
}

// String implements lifecycle.Partition.
func (r *retained) String() string { return r.p.tp.String() }

// Policy implements lifecycle.Partition.
func (r *retained) Policy() lifecycle.Policy {
	return lifecycle.Policy{
		Delete:      r.cfg.CleanupDelete,
		RetentionMs: r.cfg.RetentionMs, RetentionBytes: r.cfg.RetentionBytes,
		LocalRetentionMs: r.cfg.LocalRetentionMs, LocalRetentionBytes: r.cfg.LocalRetentionBytes,
		Tiered: r.cfg.RemoteStorageEnable, CopyDisabled: r.cfg.RemoteLogCopyDisable,
	}
}

// State implements lifecycle.Partition. A tiered log whose active segment has reached
// segment.ms is rolled first: without appends nothing else would, and the store would
// never get the segment.
func (r *retained) State(ctx context.Context) (lifecycle.State, error) {
	if r.remote != nil {
		if err := r.log.MaybeRollByTime(); err != nil {
			return lifecycle.State{}, fmt.Errorf("roll by segment.ms: %w", err)
		}
	}
	s := lifecycle.State{Start: r.log.LogStart(), HighWatermark: r.p.HighWatermark()}
	for _, seg := range r.log.Segments() {
		s.Local = append(s.Local, lifecycle.Segment{
			Base: seg.Base, Next: seg.Next, SizeBytes: seg.SizeBytes, MaxTimestampMs: seg.MaxTimestampMs, Active: seg.Active,
		})
	}
	if err := r.log.Err(); err != nil {
		return lifecycle.State{}, err
	}
	if r.remote == nil {
		return s, nil
	}
	v := r.remote.View()
	if !v.Known {
		var err error
		if v, err = r.remote.Load(ctx); err != nil {
			return lifecycle.State{}, fmt.Errorf("read the manifest: %w", err)
		}
	}
	if v.Segments > 0 {
		s.Start = v.Start
	}
	s.Remote = lifecycle.Remote{
		Known: v.Known, Claimed: v.Owned, Next: v.Next, SizeBytes: v.Bytes, Segments: remoteSegments(r.remote.Manifest()),
	}
	return s, nil
}

// remoteSegments walks over what a manifest holds, oldest first. A spilled range goes as
// one: its segments are not in the manifest.
func remoteSegments(m *manifest.Manifest) iter.Seq[lifecycle.Segment] {
	return func(yield func(lifecycle.Segment) bool) {
		if m == nil {
			return
		}
		for _, s := range m.Spills {
			if !yield(lifecycle.Segment{Base: s.First, Next: s.Next, SizeBytes: s.LogBytes, MaxTimestampMs: s.MaxTsMs}) {
				return
			}
		}
		for _, s := range m.Segments {
			if !yield(lifecycle.Segment{Base: s.Base, Next: s.Next, SizeBytes: s.SizeBytes, MaxTimestampMs: s.MaxTsMs}) {
				return
			}
		}
	}
}

// Claim implements lifecycle.Partition.
func (r *retained) Claim(ctx context.Context) error {
	if r.remote == nil {
		return fmt.Errorf("no object store is configured for this tiered topic: %w", kafka.KafkaStorageError)
	}
	return r.remote.Claim(ctx)
}

// Roll implements lifecycle.Partition.
func (r *retained) Roll() error {
	if err := r.log.Roll(); err != nil {
		return err
	}
	if r.remote != nil {
		r.remote.Wake()
	}
	return nil
}

// SetStart implements lifecycle.Partition. A crash between the two moves leaves the
// manifest ahead, which is what the next leader believes.
func (r *retained) SetStart(ctx context.Context, offset int64) error {
	if r.remote != nil {
		if err := r.remote.Expire(ctx, min(offset, r.remote.View().Next)); err != nil {
			return err
		}
	}
	return r.log.SetStart(offset)
}

// EvictLocal implements lifecycle.Partition. What lies below the log start belongs to no
// reader any more; above it the store has the last word on what it holds.
func (r *retained) EvictLocal(offset int64) error {
	if r.remote == nil || offset <= r.log.LogStart() {
		_, err := r.log.EvictBelow(offset)
		return err
	}
	_, err := r.remote.EvictLocal(offset)
	return err
}
