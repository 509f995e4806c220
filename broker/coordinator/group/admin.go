package group

import (
	"fmt"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// Listed is a group in a list.
type Listed struct {
	ID, ProtocolType, Type string
	State                  State
	Members                int
}

// List lists the groups in the given states and of the given types; empty means all. Case
// does not count. It is in no order.
func (s *Shard) List(states, types []string) []Listed {
	among := func(name string, list []string) bool {
		return len(list) == 0 || slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, name) })
	}
	var out []Listed
	for id, g := range s.groups.AllCommitted() {
		l := Listed{ID: id, ProtocolType: g.protocolType, Type: classicType, State: g.state, Members: len(g.members)}
		if g.modern != nil {
			now, _ := g.modern.epochs.Committed(struct{}{})
			l.Type, l.State = modernType, modernState(now, g.modern.members.AllCommitted())
			l.Members = g.modern.members.Len()
		}
		if among(l.Type, types) && among(string(l.State), states) {
			out = append(out, l)
		}
	}
	return out
}

// Describe describes a classic group; one that does not exist is Dead, with an error.
func (s *Shard) Describe(id string) wire.DescribeGroupsResponseGroup {
	var out wire.DescribeGroupsResponseGroup
	out.Default()
	out.GroupID, out.GroupState = id, string(Dead)
	g, ok := s.groups.Committed(id)
	if !ok || g.modern != nil {
		text := fmt.Sprintf("Group %s not found.", id)
		if ok {
			text = fmt.Sprintf("Group %s is not a classic group.", id)
		}
		out.ErrorCode, out.ErrorMessage = int16(kafka.GroupIDNotFound), &text
		return out
	}
	out.GroupState, out.ProtocolType = string(g.state), g.protocolType
	stable := g.state == Stable
	if stable && g.protocol != nil {
		out.ProtocolData = *g.protocol
	}
	for _, m := range g.members {
		d := wire.DescribeGroupsResponseMember{
			MemberID: m.id, GroupInstanceID: m.instance, ClientID: m.clientID, ClientHost: m.host, MemberAssignment: m.assignment,
		}
		if stable {
			d.MemberMetadata = m.metadata(g.protocol)
		}
		out.Members = append(out.Members, d)
	}
	return out
}

// Delete deletes a group without members, and its offsets.
func (s *Shard) Delete(nowMs int64, id string, reply func(kafka.Error)) coordinator.Step {
	e := s.event(nowMs)
	e.step.Divisible = true
	code := kafka.NoError
	switch g, ok := s.groups.Get(id); {
	case !ok:
		code = kafka.GroupIDNotFound
	case !g.empty():
		code = kafka.NonEmptyGroup
	default:
		e.deleteGroup(g)
	}
	e.after(func(_ *event, err error) {
		if code == kafka.NoError {
			code = codeOf(err)
		}
		reply(code)
	})
	return e.done()
}
