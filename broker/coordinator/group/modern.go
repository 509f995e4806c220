package group

import (
	"encoding/binary"
	"hash/fnv"
	"slices"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/group/consumer"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// The states of a group of the consumer protocol, beside Empty and Stable.
const (
	Assigning   State = "Assigning"   // the target assignment is older than the group
	Reconciling State = "Reconciling" // members are on their way to it
)

// modernType is the type of groups of the consumer protocol in ListGroups.
const modernType = "consumer"

// ConsumerConfig is the settings of one group of the consumer protocol. All times are in milliseconds.
type ConsumerConfig struct {
	SessionTimeoutMs     int64
	HeartbeatIntervalMs  int32
	AssignmentIntervalMs int64 // how long a target assignment lasts at least
	RegexRefreshMs       int64
	MaxSize              int
	Assignors            []string // the first one is the default
	Upgrade, Downgrade   bool     // from and to the classic protocol, while there are members
}

// epochs is the group's part of a group of the consumer protocol.
type epochs struct {
	group        int32
	hash         int64 // of the subscribed topics at that epoch
	assignment   int32 // the group epoch that the target was made for; -1: there is none
	assignmentMs int64 // when that was; 0: not known
	legacy       bool  // there is a record of the subscribed topics, of Kafka 4.0 or older
}

// expression is a regular expression that members subscribe with.
type expression struct {
	members  int      // how many
	resolved bool     // it was looked for topics
	topics   []string // what it matched, ascending
	version  int64    // of the metadata then
	atMs     int64
}

// turn is an event in a group of the consumer protocol.
type turn struct {
	*event
	g *group
}

func (e *event) on(g *group) *turn { return &turn{e, g} }

// partitionID names a partition of a topic that may have been replaced by one of its name.
type partitionID struct {
	topic kafka.UUID
	index int32
}

// modern is what makes a group one of the consumer protocol (KIP-848). Its maps have versions
// and their values are not changed in place; what is not in a map is found again by itself.
type modern struct {
	epochs  *coordinator.Map[struct{}, epochs]
	members *coordinator.Map[string, *consumer.Member]
	targets *coordinator.Map[string, consumer.Assignment]

	// What follows from the members.
	instances   *coordinator.Map[string, string]      // ids of static members
	owners      *coordinator.Map[partitionID, string] // who owns a partition, or has to give it up
	names       *coordinator.Map[string, int]         // how many are subscribed to a topic by name
	expressions *coordinator.Map[string, expression]

	checked   *metadata.Image // the subscribed topics were hashed as this image shows them
	resolving bool            // regular expressions are being looked for topics
	rejoining map[string]bool // classic members that were told to join again
}

func newModern(v *coordinator.Versions) *modern {
	return &modern{
		epochs: coordinator.NewMap[struct{}, epochs](v), members: coordinator.NewMap[string, *consumer.Member](v),
		targets: coordinator.NewMap[string, consumer.Assignment](v), instances: coordinator.NewMap[string, string](v),
		owners: coordinator.NewMap[partitionID, string](v), names: coordinator.NewMap[string, int](v),
		expressions: coordinator.NewMap[string, expression](v),
	}
}

// newModernGroup makes a group of the consumer protocol in the place of another one, or of none.
func newModernGroup(v *coordinator.Versions, id string, before *group) *group {
	g := newGroup(v, id, -1)
	g.protocolType = consumerProtocol
	g.modern = newModern(v)
	if before != nil {
		g.offsets = before.offsets
	}
	return g
}

func (m *modern) now() epochs {
	e, _ := m.epochs.Get(struct{}{})
	return e
}

func (m *modern) set(e epochs) { m.epochs.Set(struct{}{}, e) }

// put takes a member over, new or changed.
func (m *modern) put(member *consumer.Member) {
	old, ok := m.members.Get(member.ID)
	if !ok {
		old = &consumer.Member{}
	}
	m.members.Set(member.ID, member)
	if member.Instance != nil && (old.Instance == nil || *old.Instance != *member.Instance) {
		m.instances.Set(*member.Instance, member.ID)
	}
	if !slices.Equal(old.Topics, member.Topics) {
		m.countNames(old.Topics, -1)
		m.countNames(member.Topics, 1)
	}
	if old.Regex != member.Regex {
		m.countExpression(old.Regex, -1)
		m.countExpression(member.Regex, 1)
	}
	for _, had := range []consumer.Assignment{old.Assigned, old.Revoking} {
		for id, p := range had.All() {
			if !member.Assigned.Has(id, p) && !member.Revoking.Has(id, p) {
				m.disown(member.ID, partitionID{id, p})
			}
		}
	}
	for _, has := range []consumer.Assignment{member.Assigned, member.Revoking} {
		for id, p := range has.All() {
			if now, ok := m.owners.Get(partitionID{id, p}); !ok || now != member.ID {
				m.owners.Set(partitionID{id, p}, member.ID)
			}
		}
	}
}

func (m *modern) disown(member string, p partitionID) {
	if now, ok := m.owners.Get(p); ok && now == member {
		m.owners.Delete(p)
	}
}

// remove takes a member out, with its target.
func (m *modern) remove(id string) {
	m.targets.Delete(id)
	old, ok := m.members.Get(id)
	if !ok {
		return
	}
	m.members.Delete(id)
	if old.Instance != nil {
		if now, ok := m.instances.Get(*old.Instance); ok && now == id {
			m.instances.Delete(*old.Instance)
		}
	}
	m.countNames(old.Topics, -1)
	m.countExpression(old.Regex, -1)
	for _, had := range []consumer.Assignment{old.Assigned, old.Revoking} {
		for topic, p := range had.All() {
			m.disown(id, partitionID{topic, p})
		}
	}
}

func (m *modern) countNames(topics []string, by int) {
	for _, t := range topics {
		n, _ := m.names.Get(t)
		if n+by > 0 {
			m.names.Set(t, n+by)
		} else {
			m.names.Delete(t)
		}
	}
}

// countExpression counts a member's expression in or out. What it matched is kept as long as
// its record is.
func (m *modern) countExpression(text string, by int) {
	if text == "" {
		return
	}
	x, _ := m.expressions.Get(text)
	if x.members += by; x.members > 0 || x.resolved {
		m.expressions.Set(text, x)
	} else {
		m.expressions.Delete(text)
	}
}

// static is the static member of an instance.
func (m *modern) static(instance string) *consumer.Member {
	id, ok := m.instances.Get(instance)
	if !ok {
		return nil
	}
	member, _ := m.members.Get(id)
	return member
}

// ids are the ids of the members, ascending.
func (m *modern) ids() []string {
	out := make([]string, 0, m.members.Len())
	for id := range m.members.All() {
		out = append(out, id)
	}
	slices.Sort(out)
	return out
}

// classics is how many members speak the classic protocol.
func (m *modern) classics() int {
	n := 0
	for _, member := range m.members.All() {
		if member.Classic != nil {
			n++
		}
	}
	return n
}

// reads says whether a member is subscribed to a topic.
func (m *modern) reads(topic string) bool {
	if _, ok := m.names.Get(topic); ok {
		return true
	}
	for _, x := range m.expressions.All() {
		if x.members > 0 && x.has(topic) {
			return true
		}
	}
	return false
}

func (x expression) has(topic string) bool {
	_, ok := slices.BinarySearch(x.topics, topic)
	return ok
}

// subscribed says whether a member is subscribed to a topic, which exists.
func (m *modern) subscribed(member *consumer.Member, img *metadata.Image) func(kafka.UUID) bool {
	x, _ := m.expressions.Get(member.Regex)
	return func(id kafka.UUID) bool {
		t := img.TopicByID(id)
		if t == nil {
			return false
		}
		_, byName := slices.BinarySearch(member.Topics, t.Name)
		return byName || x.has(t.Name)
	}
}

// topics are the existing topics that anybody is subscribed to, by name.
func (m *modern) topics(img *metadata.Image) []*metadata.Topic {
	names := make([]string, 0, m.names.Len())
	for t := range m.names.All() {
		names = append(names, t)
	}
	for _, x := range m.expressions.All() {
		if x.members > 0 {
			names = append(names, x.topics...)
		}
	}
	slices.Sort(names)
	out := make([]*metadata.Topic, 0, len(names))
	for _, name := range slices.Compact(names) {
		if t := img.Topic(name); t != nil {
			out = append(out, t)
		}
	}
	return out
}

// hash tells the subscribed topics and the numbers of their partitions from others; 0 when
// there are none. The value means nothing to anybody else.
func (m *modern) hash(img *metadata.Image) int64 {
	topics := m.topics(img)
	if len(topics) == 0 {
		return 0
	}
	h := fnv.New64a()
	var b [4]byte
	for _, t := range topics {
		_, _ = h.Write(t.ID[:])
		binary.BigEndian.PutUint32(b[:], uint32(len(t.Partitions)))
		_, _ = h.Write(b[:])
	}
	return int64(h.Sum64())
}

// modernState is where a group is in its life, as committed or not.
func modernState(e epochs, members func(func(string, *consumer.Member) bool)) State {
	state := Empty
	for _, m := range members {
		switch {
		case e.group > e.assignment:
			return Assigning
		case !m.Reconciled(e.assignment):
			return Reconciling
		}
		state = Stable
	}
	return state
}

// empty says whether the group has no members; of a classic group, whether it is Empty.
func (g *group) empty() bool {
	if g.modern != nil {
		return g.modern.members.Len() == 0
	}
	return g.state == Empty
}
