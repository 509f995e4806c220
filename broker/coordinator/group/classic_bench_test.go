package group

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// throng is a classic group and its members, which do what consumers do with the answers. Answers
// come on any goroutine; what members do then is in todo and done on one.
type throng struct {
	w       *crowd
	members []*throngMember
	todo    chan func()
	topics  []byte // what each subscribes to
}

type throngMember struct {
	id         string
	generation int32
	synced     bool
}

func (g *throng) then(f func()) { g.todo <- f }

func (g *throng) join(m *throngMember) {
	req := new(wire.JoinGroupRequest)
	req.Default()
	req.GroupID, req.MemberID, req.ProtocolType, req.SessionTimeoutMs, req.RebalanceTimeoutMs = "throng", m.id, consumerProtocol, 3_600_000, 3_600_000
	req.Protocols = []wire.JoinGroupRequestProtocol{{Name: "range", Metadata: g.topics}}
	m.synced = false
	g.w.c.Join(Client{ID: "c", Host: "/h", Version: 9}, req, func(r *wire.JoinGroupResponse) {
		g.then(func() {
			switch m.id = r.MemberID; kafka.Error(r.ErrorCode) {
			case kafka.MemberIDRequired, kafka.RebalanceInProgress:
				g.join(m)
			case kafka.NoError:
				m.generation = r.GenerationID
				g.sync(m, r)
			default:
				g.w.b.Fatalf("join: %v", kafka.Error(r.ErrorCode))
			}
		})
	})
}

// sync hands in 100 bytes for each member, from the leader.
func (g *throng) sync(m *throngMember, joined *wire.JoinGroupResponse) {
	req := new(wire.SyncGroupRequest)
	req.Default()
	req.GroupID, req.MemberID, req.GenerationID = "throng", m.id, m.generation
	if joined.Leader == m.id {
		for _, other := range joined.Members {
			req.Assignments = append(req.Assignments, wire.SyncGroupRequestAssignment{MemberID: other.MemberID, Assignment: make([]byte, 100)})
		}
	}
	g.w.c.Sync(req, func(r *wire.SyncGroupResponse) {
		g.then(func() {
			switch kafka.Error(r.ErrorCode) {
			case kafka.NoError:
				m.synced = true
			case kafka.RebalanceInProgress:
				g.join(m)
			default:
				g.w.b.Fatalf("sync: %v", kafka.Error(r.ErrorCode))
			}
		})
	})
}

// settle goes on, with a heartbeat of each member that is content, until all are in one generation.
func (g *throng) settle() {
	for {
		for len(g.todo) > 0 {
			(<-g.todo)()
		}
		content := 0
		for _, m := range g.members {
			if m.synced && m.generation == g.members[0].generation {
				content++
			}
		}
		if content == len(g.members) {
			return
		}
		for _, m := range g.members {
			if !m.synced {
				continue
			}
			req := &wire.HeartbeatRequest{GroupID: "throng", MemberID: m.id, GenerationID: m.generation}
			g.w.c.Heartbeat(req, func(code kafka.Error) {
				g.then(func() {
					if code == kafka.RebalanceInProgress && m.synced {
						g.join(m)
					}
				})
			})
		}
		(<-g.todo)()
	}
}

// BenchmarkClassicGroup has the members of a classic group join, with an initial delay of 0,
// then one more, for which all join again.
func BenchmarkClassicGroup(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprintf("members=%d", n), func(b *testing.B) {
			var first, second int64
			for b.Loop() {
				g := &throng{w: newCrowd(b, 1, 1), topics: bytes.Repeat([]byte{0}, 50), todo: make(chan func(), 4*n)}
				enter := func(n int) int64 {
					before := cpuNs()
					for range n {
						m := &throngMember{}
						g.members = append(g.members, m)
						g.then(func() { g.join(m) })
					}
					g.settle()
					return cpuNs() - before
				}
				first = enter(n)
				second = enter(1)
				g.w.c.Close()
			}
			b.ReportMetric(float64(first)/1e9, "cpu-s-to-join")
			b.ReportMetric(float64(second)/1e9, "cpu-s-one-more")
		})
	}
}
