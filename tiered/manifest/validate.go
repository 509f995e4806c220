package manifest

import (
	"errors"
	"fmt"
)

// ErrInvalid marks a manifest that breaks its own rules: a gap, an overlap, a size that cannot be.
var ErrInvalid = errors.New("invalid manifest")

// Validate checks one version by itself: live segments ascend without gap or
// overlap, the first holds Start, the last ends at Next, epochs ascend, and no object
// is both live and pending.
func (m *Manifest) Validate() error {
	switch {
	case m.Version == 0:
		return fmt.Errorf("%w: version 0", ErrInvalid)
	case m.Partition < 0 || m.OwnerEpoch < 0 || m.Start < 0 || m.Next < 0:
		return fmt.Errorf("%w: version %d: negative partition, epoch or offset", ErrInvalid, m.Version)
	case (m.Version == 1) != m.Parent.IsZero():
		return fmt.Errorf("%w: version %d: a parent token belongs to every version but the first", ErrInvalid, m.Version)
	case m.Token.IsZero():
		return fmt.Errorf("%w: version %d: no write token", ErrInvalid, m.Version)
	case m.Copy > CopyDisabled:
		return fmt.Errorf("%w: version %d: copy state %d", ErrInvalid, m.Version, m.Copy)
	}
	if err := m.validateChain(); err != nil {
		return fmt.Errorf("%w: version %d: %w", ErrInvalid, m.Version, err)
	}
	if err := m.validateRest(); err != nil {
		return fmt.Errorf("%w: version %d: %w", ErrInvalid, m.Version, err)
	}
	return nil
}

// validateChain checks that spills and live segments form one run of offsets.
func (m *Manifest) validateChain() error {
	at, first := int64(-1), int64(-1)
	for i, s := range m.Spills {
		if s.First >= s.Next || s.Count == 0 || at >= 0 && s.First != at {
			return fmt.Errorf("spill %d holds [%d, %d), the one before ends at %d", i, s.First, s.Next, at)
		}
		if first < 0 {
			first = s.Next
		}
		at = s.Next
	}
	for i, s := range m.Segments {
		if err := s.validate(len(m.Stores)); err != nil {
			return err
		}
		if at >= 0 && s.Base != at {
			return fmt.Errorf("segment %d starts at %d, the one before ends at %d", i, s.Base, at)
		}
		if first < 0 {
			first = s.Next
		}
		at = s.Next
	}
	switch {
	case at < 0 && m.Next > m.Start:
		return fmt.Errorf("no segments between start %d and next %d", m.Start, m.Next)
	case at >= 0 && at != m.Next:
		return fmt.Errorf("the last segment ends at %d, next is %d", at, m.Next)
	case at >= 0 && m.Start >= first:
		return fmt.Errorf("start %d lies above the first segment, which ends at %d", m.Start, first)
	case at >= 0 && m.Start < m.firstBase():
		return fmt.Errorf("start %d lies below the first segment at %d", m.Start, m.firstBase())
	}
	return nil
}

// firstBase is the lowest offset that a spill or live segment holds.
func (m *Manifest) firstBase() int64 {
	if len(m.Spills) > 0 {
		return m.Spills[0].First
	}
	return m.Segments[0].Base
}

// validate checks one segment by itself.
func (s Segment) validate(stores int) error {
	switch {
	case s.Base < 0 || s.Next <= s.Base:
		return fmt.Errorf("segment holds [%d, %d)", s.Base, s.Next)
	case s.Epoch < 0 || s.SizeBytes <= 0 || s.FooterBytes <= 0:
		return fmt.Errorf("segment %d: epoch %d, %d log bytes, %d footer bytes", s.Base, s.Epoch, s.SizeBytes, s.FooterBytes)
	case uint64(s.Location) > uint64(stores):
		return fmt.Errorf("segment %d: location %d of %d", s.Base, s.Location, stores)
	}
	return nil
}

// name is the part of an object's name that tells segments of one partition apart.
type name struct {
	base  int64
	epoch int32
	try   uint16
}

// validateRest checks epochs and pending deletes.
func (m *Manifest) validateRest() error {
	for i, e := range m.Epochs {
		if e.Epoch < 0 || e.Start < 0 || i > 0 && (e.Epoch <= m.Epochs[i-1].Epoch || e.Start <= m.Epochs[i-1].Start) {
			return fmt.Errorf("leader epoch %d at %d does not follow the one before", e.Epoch, e.Start)
		}
	}
	live := make(map[name]bool, len(m.Segments))
	for _, s := range m.Segments {
		live[name{s.Base, s.Epoch, s.Try}] = true
	}
	for _, p := range m.Pending {
		if err := p.validate(len(m.Stores)); err != nil {
			return err
		}
		if p.Reason > Diverged {
			return fmt.Errorf("pending segment %d: reason %d", p.Base, p.Reason)
		}
		n := name{p.Base, p.Epoch, p.Try}
		if live[n] {
			return fmt.Errorf("segment %d of epoch %d, try %d is live or pending twice", n.base, n.epoch, n.try)
		}
		live[n] = true
	}
	return nil
}

// ValidateSuccessor checks that next may follow m (nil: no version exists): the
// number, the parent token, the owner and the offsets never go back, a pending object
// never revives, and no live segment vanishes without becoming pending. A truncation,
// which alone lowers Next, leaves its cut segments pending as Diverged.
func (m *Manifest) ValidateSuccessor(next *Manifest) error {
	if m == nil {
		if next.Version != 1 {
			return fmt.Errorf("%w: version %d follows none", ErrInvalid, next.Version)
		}
		return nil
	}
	switch {
	case next.ID != m.ID:
		return fmt.Errorf("%w: another partition", ErrInvalid)
	case next.Version != m.Version+1 || next.Parent != m.Token:
		return fmt.Errorf("%w: version %d does not follow version %d", ErrInvalid, next.Version, m.Version)
	case next.OwnerEpoch < m.OwnerEpoch:
		return fmt.Errorf("%w: owner epoch falls from %d to %d", ErrInvalid, m.OwnerEpoch, next.OwnerEpoch)
	case next.OwnerEpoch == m.OwnerEpoch && next.Incarnation != m.Incarnation:
		return fmt.Errorf("%w: epoch %d has two owners", ErrInvalid, m.OwnerEpoch)
	case next.Start < m.Start:
		return fmt.Errorf("%w: start falls from %d to %d", ErrInvalid, m.Start, next.Start)
	}
	pending, live := map[name]Reason{}, map[name]bool{}
	for _, p := range next.Pending {
		pending[name{p.Base, p.Epoch, p.Try}] = p.Reason
	}
	for _, s := range next.Segments {
		live[name{s.Base, s.Epoch, s.Try}] = true
	}
	cut := false
	for _, s := range m.Segments {
		n := name{s.Base, s.Epoch, s.Try}
		reason, ok := pending[n]
		if !ok && !live[n] && len(next.Spills) == len(m.Spills) {
			return fmt.Errorf("%w: segment %d is dropped without becoming pending", ErrInvalid, s.Base)
		}
		cut = cut || ok && reason == Diverged
	}
	if next.Next < m.Next && !cut {
		return fmt.Errorf("%w: next falls from %d to %d without a truncation", ErrInvalid, m.Next, next.Next)
	}
	for _, p := range m.Pending {
		if live[name{p.Base, p.Epoch, p.Try}] {
			return fmt.Errorf("%w: pending segment %d revives", ErrInvalid, p.Base)
		}
	}
	return nil
}
