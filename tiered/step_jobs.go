package tiered

import (
	"fmt"
	"slices"

	"github.com/varve-io/varve/tiered/manifest"
)

// firstTry is where the try numbers of this incarnation begin: two incarnations that
// share an epoch by mistake then rarely meet on one object name.
func (m *machine) firstTry() uint16 {
	return (uint16(m.inc[0])<<8 | uint16(m.inc[1])) & 0x7fff
}

// raiseTry leaves the name of the last attempt behind for ever.
func (m *machine) raiseTry() { m.seg.Try++; m.lastTry = m.seg.Try }

// stepCopy takes the answers of an upload: select, find a free name, put, verify.
func (m *machine) stepCopy(ev event) command {
	switch m.phase {
	case copySelect:
		return m.selected(ev)
	case copyName:
		switch ev.answer {
		case failed:
			return m.rest(fmt.Errorf("look for a free name: %w", ev.err))
		case absent:
			m.phase = copyPut
			return command{op: opPutSegment, segment: m.seg}
		}
		if m.seg.Try == 0xffff {
			return m.rest(fmt.Errorf("segment %d: every name of epoch %d is taken", m.seg.Base, m.epoch))
		}
		m.raiseTry()
		return command{op: opHeadSegment, segment: m.seg}
	case copyPut:
		if ev.segment.Base != m.seg.Base { // nothing was sent
			return m.rest(fmt.Errorf("read the local segment %d: %w", m.seg.Base, ev.err))
		}
		m.seg, m.epochs = ev.segment, ev.epochs
		m.phase = copySettle
		if ev.answer == ok {
			m.phase = copyVerify
		} else {
			m.err = ev.err
		}
		return command{op: opVerifySegment, segment: m.seg}
	case copySettle:
		if ev.answer != ok { // a late arrival of this try is an orphan
			cause := m.err
			m.raiseTry()
			return m.rest(fmt.Errorf("upload of segment %d: %w", m.seg.Base, cause))
		}
		m.err = nil
	case copyVerify:
		if ev.answer != ok {
			m.raiseTry()
			return m.rest(fmt.Errorf("segment %d does not verify in the bucket: %w", m.seg.Base, ev.err))
		}
	}
	next := m.head.Clone()
	next.Segments = append(next.Segments, m.seg)
	next.Next = m.seg.Next
	next.Epochs = manifest.TrimEpochs(manifest.MergeEpochs(m.head.Epochs, m.epochs), next.Start, next.Next)
	return m.commit(next)
}

// selected checks the local log's offer against the manifest and names it.
func (m *machine) selected(ev event) command {
	switch ev.answer {
	case failed:
		return m.rest(ev.err)
	case absent:
		return m.rest(errNothing)
	}
	s, h := ev.segment, m.head
	fits := s.Base == h.Next
	if len(h.Segments) == 0 {
		fits = s.Base >= h.Next && s.Base <= h.Start && s.Next > h.Start
	}
	if !fits {
		return m.rest(fmt.Errorf("local segment [%d, %d) does not follow the manifest, which starts at %d and ends at %d: %w",
			s.Base, s.Next, h.Start, h.Next, manifest.ErrInvalid))
	}
	s.Epoch, s.FormatVersion = m.epoch, manifest.FooterVersion
	if m.tryBase != s.Base || m.lastTry == 0 {
		m.tryBase, m.lastTry = s.Base, m.firstTry()
	}
	s.Try = m.lastTry
	m.seg = s
	m.phase = copyName
	return command{op: opHeadSegment, segment: m.seg}
}

// expire raises the log start and moves what lies wholly below it to pending.
func (m *machine) expire() command {
	if m.job.offset <= m.head.Start {
		return m.rest(nil)
	}
	next := m.head.Clone()
	next.Start = m.job.offset
	next.Segments = nil
	for _, s := range m.head.Segments {
		if s.Next > next.Start {
			next.Segments = append(next.Segments, s)
			continue
		}
		next.Pending = append(next.Pending, manifest.Pending{Segment: s, SinceMs: m.job.nowMs, Reason: manifest.Expired})
	}
	next.Epochs = manifest.TrimEpochs(m.head.Epochs, next.Start, next.Next)
	return m.commit(next)
}

// truncate cuts every segment that reaches above the new end. The cut objects stay
// for the long grace: they may be the only copy of what an unclean election lost.
func (m *machine) truncate() command {
	if m.job.offset >= m.head.Next {
		return m.rest(nil)
	}
	next := m.head.Clone()
	next.Segments = nil
	next.Next = min(next.Start, m.job.offset)
	if len(m.head.Segments) > 0 {
		next.Next = min(next.Next, m.head.Segments[0].Base)
	}
	for _, s := range m.head.Segments {
		if s.Next <= m.job.offset {
			next.Segments, next.Next = append(next.Segments, s), s.Next
			continue
		}
		next.Pending = append(next.Pending, manifest.Pending{Segment: s, SinceMs: m.job.nowMs, Reason: manifest.Diverged})
	}
	next.Epochs = manifest.TrimEpochs(m.head.Epochs, next.Start, next.Next)
	return m.commit(next)
}

// deleteDue begins the second phase of a deletion.
func (m *machine) deleteDue() command {
	var due []manifest.Segment
	for _, p := range m.head.Pending {
		grace := m.job.graceMs
		if p.Reason == manifest.Diverged {
			grace = m.job.longMs
		}
		if m.job.nowMs-p.SinceMs >= grace {
			due = append(due, p.Segment)
		}
	}
	if len(due) == 0 {
		return m.rest(nil)
	}
	m.phase = deletePending
	return command{op: opDeleteSegments, segments: due}
}

// stepDelete commits the removal of what the bucket says is gone, key by key.
func (m *machine) stepDelete(ev event) command {
	if len(ev.segments) == 0 {
		return m.rest(fmt.Errorf("delete expired segments: %w", ev.err))
	}
	next := m.head.Clone()
	next.Pending = slices.DeleteFunc(next.Pending, func(p manifest.Pending) bool { return contains(ev.segments, p.Segment) })
	return m.commit(next)
}

// stepClean removes old versions one by one, ascending, each confirmed before the next.
func (m *machine) stepClean(ev event) command {
	switch m.phase {
	case cleanList:
		if ev.answer == failed {
			return m.rest(fmt.Errorf("list manifests: %w", ev.err))
		}
		slices.SortFunc(ev.listed, func(a, b listed) int { return int(int64(a.version - b.version)) })
		m.victims = nil
		for _, l := range ev.listed {
			if l.version+m.keep > m.head.Version || m.job.nowMs-l.modifiedMs < m.job.graceMs {
				break
			}
			m.victims = append(m.victims, l.version)
		}
		m.stale = max(0, len(ev.listed)-len(m.victims)-int(m.keep))
	case cleanDelete:
		if ev.answer == failed {
			return m.rest(fmt.Errorf("delete manifest %d: %w", m.victims[0], ev.err))
		}
		m.phase = cleanConfirm
		return command{op: opHeadManifest, version: m.victims[0]}
	case cleanConfirm:
		switch ev.answer {
		case failed:
			return m.rest(fmt.Errorf("confirm that manifest %d is gone: %w", m.victims[0], ev.err))
		case ok: // a sleeper's stray has taken the number: the next pass removes it
			return m.rest(fmt.Errorf("manifest %d: %w", m.victims[0], errStillThere))
		}
		m.victims = m.victims[1:]
	}
	if len(m.victims) == 0 {
		return m.rest(nil)
	}
	m.phase = cleanDelete
	return command{op: opDeleteManifest, version: m.victims[0]}
}

// stepOrphans removes objects that no manifest of this or a later epoch can refer to:
// those of older epochs, whose owners can commit no more, and our own given-up tries.
// Each is seen in two passes and is older than the grace before it goes.
func (m *machine) stepOrphans(ev event) command {
	if m.phase == orphanDelete {
		m.orphans = len(ev.segments)
		m.loose -= m.orphans
		if ev.answer == failed {
			return m.rest(fmt.Errorf("delete orphans: %w", ev.err))
		}
		return m.rest(nil)
	}
	m.orphans = 0
	if ev.answer == failed {
		return m.rest(fmt.Errorf("list segments: %w", ev.err))
	}
	var suspect, due []manifest.Segment
	m.loose = 0
	for _, l := range ev.listed {
		s := l.segment
		if !m.orphan(s) {
			continue
		}
		m.loose++
		if m.job.nowMs-l.modifiedMs < m.job.graceMs {
			continue
		}
		if contains(m.suspect, s) {
			due = append(due, s)
		}
		suspect = append(suspect, s)
	}
	m.suspect = suspect
	if len(due) == 0 {
		return m.rest(nil)
	}
	m.phase = orphanDelete
	return command{op: opDeleteSegments, segments: due}
}

// orphan says whether nothing refers to s, or ever will.
func (m *machine) orphan(s manifest.Segment) bool {
	if m.head == nil { // no version exists yet: older epochs never will make one
		return s.Epoch < m.epoch
	}
	if contains(m.head.Segments, s) || slices.ContainsFunc(m.head.Pending, func(p manifest.Pending) bool { return same(p.Segment, s) }) {
		return false
	}
	if s.Epoch != m.epoch {
		return s.Epoch < m.epoch
	}
	return s.Base < m.head.Next || s.Base == m.tryBase && s.Try < m.lastTry
}

// same says whether two segments name one object.
func same(a, b manifest.Segment) bool {
	return a.Base == b.Base && a.Epoch == b.Epoch && a.Try == b.Try
}

// contains says whether list names s's object.
func contains(list []manifest.Segment, s manifest.Segment) bool {
	return slices.ContainsFunc(list, func(x manifest.Segment) bool { return same(x, s) })
}
