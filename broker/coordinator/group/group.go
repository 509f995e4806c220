// Package group is the group coordinator: groups of the classic and of the consumer protocol,
// and their committed offsets.
//
// It owns who is in a group, its generation or epoch and its state, the rebalance, the change
// from one protocol to the other, the offsets, their expiry, and the records in which Kafka
// stores them. It does not own the log, timers and the order of events (broker/coordinator),
// how partitions are assigned and change hands (consumer), nor versions and errors of requests
// as clients see them (broker/api). What members of the classic protocol tell each other is
// opaque, but for what consumers subscribe to and own.
//
// A Shard is a step function: state and event in; state, records, replies and timers out. It
// does no I/O and reads no clock, and belongs to its coordinator.Runtime. A Coordinator may be
// used from any goroutine.
//
// Rules: Kafka's group coordinator; KIP-345 (static members), KIP-394 (member ids), KIP-559,
// KIP-814, KIP-848 (consumer protocol), KIP-1082, KIP-1251, KIP-1263. Format: docs/formats/consumer-offsets.md.
package group

import (
	"slices"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// Config is the settings of groups. All times are in milliseconds.
type Config struct {
	InitialRebalanceDelayMs  int64
	MinSessionTimeoutMs      int32
	MaxSessionTimeoutMs      int32
	MaxSize                  int // of a group
	OffsetsRetentionMs       int64
	RetentionCheckIntervalMs int64
	OffsetMetadataMaxBytes   int
	NewMemberJoinTimeoutMs   int64 // how long a member's first join may take
}

// State is where a group is in its life, by Kafka's name.
type State string

// The states. A group that does not exist is Dead.
const (
	Empty               State = "Empty"
	PreparingRebalance  State = "PreparingRebalance"
	CompletingRebalance State = "CompletingRebalance"
	Stable              State = "Stable"
	Dead                State = "Dead"
)

// consumerProtocol is the class of protocols of consumers, whose subscriptions are known here.
const consumerProtocol = "consumer"

// classicType is the type of classic groups in ListGroups.
const classicType = "classic"

// group is one group. Whether it exists, and its offsets, have versions; everything else
// follows the records only when a group is loaded.
type group struct {
	id      string
	offsets *coordinator.Map[kafka.TopicPartition, offset]
	pending *coordinator.Map[kafka.TopicPartition, []pendingOffset] // of open transactions

	state, previous State
	stateSinceMs    int64 // -1: not known
	generation      int32
	protocolType    string  // "": there never was a member
	protocol        *string // what the members have chosen
	leader          string  // "": nobody
	subscribed      map[string]bool
	subscribedKnown bool // else the members' subscriptions could not be read

	members   []*member // in the order in which they came
	byID      map[string]*member
	instances map[string]*member // static members
	supported map[string]int     // how many members support each protocol
	joining   int                // members that wait in a join

	modern *modern // of the consumer protocol; then what follows, and what is above of members, is empty

	pendingJoin    map[string]bool // ids that were given out and have not joined yet
	pendingSync    map[string]bool // members that have not synced in this generation
	newMemberAdded bool            // during the initial delay
}

// member is a member of a group.
type member struct {
	id                 string
	instance           *string // nil for a dynamic member
	clientID, host     string
	sessionTimeoutMs   int32
	rebalanceTimeoutMs int32
	protocols          []wire.JoinGroupRequestProtocol // the preferred one first
	assignment         []byte
	fresh              bool // waits in its first join

	join func(*wire.JoinGroupResponse) // nil unless the member waits in a join
	sync func(*wire.SyncGroupResponse) // nil unless it waits in a sync
}

func newGroup(v *coordinator.Versions, id string, nowMs int64) *group {
	return &group{
		id: id, offsets: coordinator.NewMap[kafka.TopicPartition, offset](v),
		pending: coordinator.NewMap[kafka.TopicPartition, []pendingOffset](v), state: Empty, stateSinceMs: nowMs,
		byID: map[string]*member{}, instances: map[string]*member{}, supported: map[string]int{},
		pendingJoin: map[string]bool{}, pendingSync: map[string]bool{},
	}
}

// add puts a member into the group, which supports its protocols.
func (g *group) add(m *member, protocolType string) {
	if m.instance != nil {
		g.instances[*m.instance] = m
	}
	if len(g.members) == 0 {
		g.protocolType = protocolType
	}
	if g.leader == "" {
		g.leader = m.id
	}
	g.members = append(g.members, m)
	g.byID[m.id] = m
	g.count(m, 1)
	if m.join != nil {
		g.joining++
	}
	delete(g.pendingJoin, m.id)
}

// count counts the member's protocols in or out.
func (g *group) count(m *member, by int) {
	for _, p := range m.protocols {
		if g.supported[p.Name] += by; g.supported[p.Name] == 0 {
			delete(g.supported, p.Name)
		}
	}
}

// remove takes an id out of the group, a member's or one that was only given out.
func (g *group) remove(id string) {
	delete(g.pendingJoin, id)
	delete(g.pendingSync, id)
	m := g.byID[id]
	if m == nil {
		return
	}
	g.forget(m)
	g.members = slices.DeleteFunc(g.members, func(other *member) bool { return other == m })
	g.elect()
}

// forget is remove without the list of members and the leader.
func (g *group) forget(m *member) {
	delete(g.pendingSync, m.id)
	delete(g.byID, m.id)
	g.count(m, -1)
	if m.join != nil {
		g.joining--
	}
	if m.instance != nil && g.instances[*m.instance] == m {
		delete(g.instances, *m.instance)
	}
}

// elect makes the oldest member the leader where the leader has gone.
func (g *group) elect() {
	switch {
	case g.byID[g.leader] != nil:
	case len(g.members) > 0:
		g.leader = g.members[0].id
	default:
		g.leader = ""
	}
}

// waitInJoin has a member wait in a join, or not any more.
func (g *group) waitInJoin(m *member, reply func(*wire.JoinGroupResponse)) {
	switch {
	case reply != nil && m.join == nil:
		g.joining++
	case reply == nil && m.join != nil:
		g.joining--
	}
	m.join = reply
}

// allJoined says whether everybody waits in a join.
func (g *group) allJoined() bool { return len(g.members) == g.joining && len(g.pendingJoin) == 0 }

// canRebalance says whether a rebalance may begin.
func (g *group) canRebalance() bool {
	return g.state == Stable || g.state == CompletingRebalance || g.state == Empty
}

// transition changes the state.
func (g *group) transition(to State, nowMs int64) {
	g.previous, g.state, g.stateSinceMs = g.state, to, nowMs
}

// rebalanceTimeoutMs is the longest of the members'.
func (g *group) rebalanceTimeoutMs() int64 {
	longest := int32(0)
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeoutMs)
	}
	return int64(longest)
}

// supports says whether a member with these protocols can be in the group.
func (g *group) supports(protocolType string, protocols []wire.JoinGroupRequestProtocol) bool {
	if g.state == Empty {
		return protocolType != "" && len(protocols) > 0
	}
	return g.protocolType == protocolType && slices.ContainsFunc(protocols, func(p wire.JoinGroupRequestProtocol) bool {
		return g.supported[p.Name] == len(g.members)
	})
}

// choose is the protocol for the next generation: of those that all members support, the one
// that most of them prefer. Of equals, the one that the oldest member prefers.
func (g *group) choose() string {
	votes := map[string]int{}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if g.supported[p.Name] == len(g.members) {
				votes[p.Name]++
				break
			}
		}
	}
	best := ""
	for _, p := range g.members[0].protocols {
		if n := votes[p.Name]; n > votes[best] {
			best = p.Name
		}
	}
	return best
}

// metadata is what the member tells the leader under a protocol.
func (m *member) metadata(protocol *string) []byte {
	for _, p := range m.protocols {
		if protocol != nil && p.Name == *protocol {
			return p.Metadata
		}
	}
	return nil
}

// matches says whether the member tells the same as before.
func (m *member) matches(protocols []wire.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(m.protocols, protocols, func(a, b wire.JoinGroupRequestProtocol) bool {
		return a.Name == b.Name && slices.Equal(a.Metadata, b.Metadata)
	})
}

// alive says whether the end of the member's session counts: one that waits for the others
// can't send heartbeats, but the first join has a limit.
func (m *member) alive() bool { return !m.fresh && (m.join != nil || m.sync != nil) }

// validate checks who a request comes from.
func (g *group) validate(memberID string, instance *string) kafka.Error {
	if instance != nil {
		m := g.instances[*instance]
		if m == nil {
			return kafka.UnknownMemberID
		}
		if m.id != memberID {
			return kafka.FencedInstanceID
		}
	}
	if g.byID[memberID] == nil {
		return kafka.UnknownMemberID
	}
	return kafka.NoError
}

// subscribe notes which topics the members read, as far as they are consumers. It follows
// every change of the generation.
func (g *group) subscribe() {
	g.subscribed, g.subscribedKnown = nil, false
	if g.protocolType != consumerProtocol {
		return
	}
	if len(g.members) > 0 && g.protocol == nil {
		return
	}
	topics := map[string]bool{}
	for _, m := range g.members {
		if !addTopics(topics, m.metadata(g.protocol)) {
			return
		}
	}
	g.subscribed, g.subscribedKnown = topics, true
}

// reads says whether the group is subscribed to a topic, as far as anybody knows.
func (g *group) reads(topic string) bool {
	if g.modern != nil {
		return g.modern.reads(topic)
	}
	if g.subscribedKnown {
		return g.subscribed[topic]
	}
	return g.protocolType == consumerProtocol
}
