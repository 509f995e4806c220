package config

// ConsumerGroup is the resolved settings of one group of the consumer protocol. Its times are
// within the broker's limits, and a session is longer than the time between two heartbeats.
type ConsumerGroup struct {
	SessionTimeoutMs int64
	HeartbeatMs      int32
	AssignmentMs     int64
}

// The settings of a group.
const (
	groupSession    = "consumer.session.timeout.ms"
	groupHeartbeat  = "consumer.heartbeat.interval.ms"
	groupAssignment = "consumer.assignment.interval.ms"
)

// limits are those of the setting of a group, and the middle of the names of the settings that
// they come from.
func (n *Node) limits(name string) (Limits, string) {
	switch name {
	case groupSession:
		return n.GroupConsumerLimits.Session, "session.timeout.ms"
	case groupHeartbeat:
		return n.GroupConsumerLimits.Heartbeat, "heartbeat.interval.ms"
	default:
		return n.GroupConsumerLimits.Assignment, "assignment.interval.ms"
	}
}

// ValidateGroup checks the settings of a group: names, types, ranges, the broker's limits, and
// that a session outlasts the time between two heartbeats. Errors wrap kafka.InvalidConfig.
func (n *Node) ValidateGroup(values map[string]string) error {
	var errs []error
	for _, name := range sortedNames(values) {
		s, ok := Lookup(name)
		if !ok || s.Scope&GroupScope == 0 {
			errs = append(errs, refuse(name, "%s is not a setting of a group%s", name, didYouMean(name, GroupScope)))
			continue
		}
		text, err := s.canonical(values[name])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if l, what := n.limits(name); integer(text) < l.MinMs || integer(text) > l.MaxMs {
			errs = append(errs, refuse(name, "%s (%s) must be at least group.consumer.min.%s (%d) and at most group.consumer.max.%s (%d)",
				name, text, what, l.MinMs, what, l.MaxMs))
		}
	}
	if len(errs) > 0 {
		return merge(errs...)
	}
	v := topicValues{n.layers, values}
	if session, heartbeat := v.int(groupSession), v.int(groupHeartbeat); session <= heartbeat {
		return refuse(groupSession, "%s (%d) must be more than %s (%d)", groupSession, session, groupHeartbeat, heartbeat)
	}
	return nil
}

// ConsumerGroup resolves the settings of a group: its own first, then the broker's. The limits
// of the broker may have changed since they were set: a time beyond them counts as the limit,
// and where a session would not outlast a heartbeat both times are the broker's.
func (n *Node) ConsumerGroup(overrides map[string]string) ConsumerGroup {
	if len(overrides) == 0 {
		return ConsumerGroup{n.GroupConsumerSessionTimeoutMs, n.GroupConsumerHeartbeatMs, n.GroupConsumerAssignmentMs}
	}
	v := topicValues{n.layers, overrides}
	within := func(name string) int64 {
		l, _ := n.limits(name)
		return min(max(v.int(name), l.MinMs), l.MaxMs)
	}
	g := ConsumerGroup{within(groupSession), int32(within(groupHeartbeat)), within(groupAssignment)}
	if g.SessionTimeoutMs <= int64(g.HeartbeatMs) {
		g.SessionTimeoutMs, g.HeartbeatMs = n.GroupConsumerSessionTimeoutMs, n.GroupConsumerHeartbeatMs
	}
	return g
}

// DescribeGroup is every setting of a group with the given overrides, sorted by name.
func (n *Node) DescribeGroup(overrides map[string]string) []Entry {
	return topicValues{n.layers, nil}.describeScope(GroupScope, DynamicGroup, overrides)
}
