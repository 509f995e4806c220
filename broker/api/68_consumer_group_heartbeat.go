package api

import (
	"regexp"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// ConsumerGroupHeartbeat, versions 0 and 1 (KIP-848): joins a group of the consumer protocol,
// stays in it, or leaves it, by the epoch that the member says it is in.
//
//   - The answer has the member's new epoch and, when it has changed or was asked for, its
//     assignment. It waits until that is committed in the offsets topic, and for nothing else.
//   - Every error has a message.
//   - UNSUPPORTED_VERSION while the feature group.version is off.
//   - 1: subscription by regular expression; the member draws its id itself (KIP-1082).
func (a groups) consumerGroupHeartbeat(r *server.Request) error {
	req := new(wire.ConsumerGroupHeartbeatRequest)
	if err := read(r, req); err != nil {
		return err
	}
	if a.o.Cluster.Image().Feature(metadata.GroupVersion) < 1 {
		resp := new(wire.ConsumerGroupHeartbeatResponse)
		resp.Default()
		resp.ErrorCode, resp.ErrorMessage = int16(kafka.UnsupportedVersion), new("The feature group.version is off: groups of the consumer protocol are not served.")
		reply(r, resp)
		return nil
	}
	if err := a.mayHeartbeat(r, req); err != nil {
		resp := new(wire.ConsumerGroupHeartbeatResponse)
		resp.Default()
		resp.ErrorCode, resp.ErrorMessage = a.failure(err)
		reply(r, resp)
		return nil
	}
	a.o.Groups.ConsumerHeartbeat(memberClient(r), req, func(resp *wire.ConsumerGroupHeartbeatResponse) { reply(r, resp) })
	return nil
}

// mayHeartbeat says why the client may not be in the group, or subscribe to what it names. A
// regular expression is refused if it matches a topic that the client may not describe.
func (a groups) mayHeartbeat(r *server.Request, req *wire.ConsumerGroupHeartbeatRequest) error {
	if err := a.by(r).group(kafka.OpRead, req.GroupID); err != nil || a.o.Authorizer == nil {
		return err
	}
	for _, name := range req.SubscribedTopicNames {
		if err := a.by(r).topic(kafka.OpDescribe, name); err != nil {
			return err
		}
	}
	if req.SubscribedTopicRegex == nil || *req.SubscribedTopicRegex == "" {
		return nil
	}
	expr, err := regexp.Compile(`\A(?:` + *req.SubscribedTopicRegex + `)\z`)
	if err != nil {
		return nil // which the coordinator says
	}
	for t := range a.o.Cluster.Image().Topics() {
		if !expr.MatchString(t.Name) {
			continue
		}
		if err := a.by(r).topic(kafka.OpDescribe, t.Name); err != nil {
			return err
		}
	}
	return nil
}
