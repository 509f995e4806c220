package consumer

import (
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// State is how far a member is on the way to its target, by the number that is stored.
type State int8

// The states.
const (
	Stable     State = 0 // it owns what it should, in its epoch
	Unrevoked  State = 1 // it has not said yet that it has given up what it must
	Unreleased State = 2 // others have not given up yet what it is to own
)

// The epochs of a member that mean something else.
const (
	JoinEpoch        int32 = 0
	LeaveEpoch       int32 = -1
	StaticLeaveEpoch int32 = -2 // a static member that will come back
)

// Classic is what a member of the classic protocol has said beyond what all members say.
type Classic struct {
	SessionTimeoutMs int32
	Protocols        []Protocol // the preferred one first
}

// Protocol is a classic protocol that a member supports, and what it says under it.
type Protocol struct {
	Name     string
	Metadata []byte
}

// Member is a member of a group. It is not changed in place.
type Member struct {
	ID                 string
	Instance           *string // nil for a dynamic member
	Rack               *string
	ClientID, Host     string
	RebalanceTimeoutMs int32    // -1: not known
	Topics             []string // subscribed by name: ascending, each once
	Regex              string   // subscribed by regular expression; empty for none
	Assignor           *string  // the assignor that it prefers
	Classic            *Classic // nil for a member of the consumer protocol

	Epoch, Previous int32
	State           State
	Assigned        Assignment // what it owns, or may begin to
	Revoking        Assignment // what it owned and must give up; nobody else may have it yet
}

// Said says whether both say the same of themselves; what they own and their epochs do not count.
func (m *Member) Said(o *Member) bool {
	return m.ID == o.ID && same(m.Instance, o.Instance) && same(m.Rack, o.Rack) && m.ClientID == o.ClientID && m.Host == o.Host &&
		m.RebalanceTimeoutMs == o.RebalanceTimeoutMs && slices.Equal(m.Topics, o.Topics) && m.Regex == o.Regex &&
		same(m.Assignor, o.Assignor) && m.Classic.equal(o.Classic)
}

// owns says whether both own the same in the same epochs.
func (m *Member) owns(o *Member) bool {
	return m.Epoch == o.Epoch && m.Previous == o.Previous && m.State == o.State && m.Assigned.equal(o.Assigned) && m.Revoking.equal(o.Revoking)
}

func (c *Classic) equal(o *Classic) bool {
	if c == nil || o == nil {
		return c == o
	}
	return c.SessionTimeoutMs == o.SessionTimeoutMs && slices.EqualFunc(c.Protocols, o.Protocols, func(a, b Protocol) bool {
		return a.Name == b.Name && slices.Equal(a.Metadata, b.Metadata)
	})
}

func same(a, b *string) bool { return a == b || a != nil && b != nil && *a == *b }

// Reconciled says whether the member owns its target of an epoch.
func (m *Member) Reconciled(epoch int32) bool { return m.State == Stable && m.Epoch == epoch }

// MayCommit says whether the member may commit an offset of a partition under an epoch. One
// from before its own counts as long as the partition has been the member's since then
// (KIP-1251): the commit may have been under way while the epoch grew.
func (m *Member) MayCommit(epoch int32, id kafka.UUID, partition int32) bool {
	if epoch == m.Epoch {
		return true
	}
	since, ok := m.Assigned.Epoch(id, partition)
	if !ok {
		since, ok = m.Revoking.Epoch(id, partition)
	}
	return ok && epoch >= since && epoch < m.Epoch
}
