package tiered

import (
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/tiered/manifest"
)

// find looks for the newest version: from the one we know, or from a complete list.
func (m *machine) find() command {
	m.up, m.next, m.mine, m.claiming, m.unknown, m.again = nil, nil, nil, false, false, false
	if m.head != nil {
		m.phase = findProbe
		return command{op: opGetManifest, version: m.head.Version + 1}
	}
	m.phase = findList
	return command{op: opListManifests}
}

// stepFind walks up to the newest version. The order matters: first the version above
// is asked for, then the one below it is shown to be alive, which makes the first answer true.
func (m *machine) stepFind(ev event) command {
	if ev.answer == failed {
		return m.rest(fmt.Errorf("find the newest manifest: %w", ev.err))
	}
	switch m.phase {
	case findList:
		if len(ev.listed) == 0 {
			m.head, m.known = nil, true
			return m.found()
		}
		highest := slices.MaxFunc(ev.listed, func(a, b listed) int { return int(int64(a.version - b.version)) })
		// The very object that was listed: between the two requests it may have been cleaned,
		// and a sleeper's stray may stand in its place.
		m.phase = findGet
		return command{op: opGetManifest, version: highest.version, tag: highest.tag}
	case findGet:
		if ev.answer != ok {
			m.phase = findList
			return command{op: opListManifests}
		}
		m.head, m.known = ev.manifest, true
		return m.find()
	case findProbe:
		m.up = ev.manifest
		m.phase = findGenuine
		return command{op: opHeadManifest, version: m.head.Version}
	}
	if ev.answer == absent || ev.token != m.head.Token { // we slept past a clean-up
		return m.lookAgain()
	}
	if m.up == nil {
		return m.found()
	}
	m.head, m.claimed = m.up, false
	return m.find()
}

// found goes on with the newest version in m.head, or none.
func (m *machine) found() command {
	if h := m.head; h != nil {
		if h.OwnerEpoch > m.epoch || h.OwnerEpoch == m.epoch && h.Incarnation != m.inc {
			m.fenced, m.claimed = true, false
		}
		m.claimed = !m.fenced && h.OwnerEpoch == m.epoch
	}
	switch {
	case m.job.kind == jobLoad:
		return m.rest(nil)
	case m.fenced:
		return m.fence(fmt.Sprintf("epoch %d, incarnation %s owns version %d; we are epoch %d, incarnation %s",
			m.head.OwnerEpoch, m.head.Incarnation, m.head.Version, m.epoch, m.inc))
	case m.claimed:
		return m.body()
	}
	m.claiming = true
	if m.head == nil {
		if m.job.kind != jobClaim && m.job.kind != jobCopy && m.job.kind != jobExpire {
			return m.rest(nil) // nothing to tidy up: no claim for its own sake
		}
		return m.commit(&manifest.Manifest{ID: m.id, Start: m.job.offset})
	}
	return m.commit(m.head.Clone())
}

// commit writes next, a changed copy of head, as the version above head.
func (m *machine) commit(next *manifest.Manifest) command {
	next.Version, next.Parent = 1, kafka.UUID{}
	if m.head != nil {
		next.Version, next.Parent = m.head.Version+1, m.head.Token
	}
	next.OwnerEpoch, next.Incarnation, next.WrittenMs = m.epoch, m.inc, m.job.nowMs
	m.mine = nil
	return m.create(next)
}

// create sends next under a new token.
func (m *machine) create(next *manifest.Manifest) command {
	m.next = next.Clone()
	m.next.Token = m.token()
	err := m.next.Validate()
	if err == nil {
		err = m.head.ValidateSuccessor(m.next)
	}
	if err != nil {
		return m.rest(fmt.Errorf("refused to commit: %w", err))
	}
	m.mine = append(slices.Clip(m.mine), m.next.Token)
	m.phase = commitCreate
	return command{op: opPutManifest, manifest: m.next}
}

// check asks whether the version that we built on is still alive. If the clean-up has
// passed it, the number that we just created was free because its genuine holder is gone.
func (m *machine) check() command {
	m.phase = commitCheck
	if m.next.Version == 1 {
		return command{op: opListManifests}
	}
	return command{op: opHeadManifest, version: m.next.Version - 1}
}

// stepCommit takes the answers from the create to the proof that it counts.
func (m *machine) stepCommit(ev event) command {
	switch m.phase {
	case commitCreate:
		switch ev.answer {
		case ok:
			return m.check()
		case failed:
			m.unknown, m.cause = true, ev.err
		}
		m.phase = commitSettle
		return command{op: opGetManifest, version: m.next.Version}
	case commitSettle:
		return m.settle(ev)
	case commitCheck:
		switch {
		case ev.answer == failed:
			return m.wait(fmt.Errorf("check after the commit: %w", ev.err))
		case m.next.Version > 1 && ev.answer == ok && ev.token == m.head.Token:
			return m.committed()
		case m.next.Version > 1:
			return m.stray()
		case !slices.ContainsFunc(ev.listed, func(l listed) bool { return l.version > 1 }):
			return m.committed()
		}
		m.phase = commitSecond
		return command{op: opGetManifest, version: 2}
	case commitSecond:
		if ev.answer == failed {
			return m.wait(fmt.Errorf("check after the first commit: %w", ev.err))
		}
		if ev.answer == ok && ev.manifest.Parent == m.next.Token {
			return m.lookAgain() // ours was genuine, and another owner has built on it since
		}
		return m.stray()
	}
	if ev.answer == failed { // commitStray
		return m.wait(fmt.Errorf("remove our stray version %d: %w", m.next.Version, ev.err))
	}
	return m.lookAgain()
}

// lookAgain forgets what we knew and starts from a complete list. An owner that the
// clean-up has passed finds a newer owner there and is fenced; a newer leader whose claim
// was only slow finds the older owner's latest version and claims on top of it.
func (m *machine) lookAgain() command {
	m.head, m.known, m.claimed = nil, false, false
	return m.find()
}

// stray removes our version, which stands where a cleaned one stood.
func (m *machine) stray() command {
	m.phase = commitStray
	return command{op: opDeleteManifest, version: m.next.Version}
}

// settle finds out whose version stands where ours was to go.
func (m *machine) settle(ev event) command {
	switch {
	case ev.answer == failed:
		return m.wait(fmt.Errorf("outcome of commit %d unknown: %w", m.next.Version, ev.err))
	case ev.answer == absent && m.unknown && m.again:
		return m.wait(fmt.Errorf("commit %d: %w", m.next.Version, m.cause))
	case ev.answer == absent && m.unknown:
		m.unknown, m.again = false, true
		return m.create(m.next)
	case ev.answer == absent: // taken, then cleaned: we are far behind
		return m.find()
	case slices.Contains(m.mine, ev.manifest.Token):
		m.next = ev.manifest
		return m.check()
	}
	o := ev.manifest
	if o.OwnerEpoch > m.epoch || o.OwnerEpoch == m.epoch && o.Incarnation != m.inc {
		return m.fence(fmt.Sprintf("epoch %d, incarnation %s wrote version %d before us", o.OwnerEpoch, o.Incarnation, o.Version))
	}
	m.claimed = false
	return m.find() // an older owner came first: begin again on top of what it wrote, if that is genuine
}

// committed is reached when next is the truth.
func (m *machine) committed() command {
	m.head, m.known, m.claimed = m.next, true, true
	if m.claiming {
		m.next, m.mine, m.claiming, m.unknown, m.again = nil, nil, false, false, false
		return m.body()
	}
	return m.rest(nil)
}
