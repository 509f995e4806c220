package judge

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// change is one operation on a setting; value "<null>" stands for null.
type change struct {
	op          kmsg.IncrementalAlterConfigOp
	name, value string
}

const (
	set, del, add, subtract = kmsg.IncrementalAlterConfigOpSet, kmsg.IncrementalAlterConfigOpDelete,
		kmsg.IncrementalAlterConfigOpAppend, kmsg.IncrementalAlterConfigOpSubtract
	null = "<null>"
)

func nullable(value string) *string {
	if value == null {
		return nil
	}
	return &value
}

// alterations is an IncrementalAlterConfigs of one resource.
func alterations(kind kmsg.ConfigResourceType, name string, changes ...change) *kmsg.IncrementalAlterConfigsRequest {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	r := kmsg.NewIncrementalAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for _, ch := range changes {
		r.Configs = append(r.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: ch.name, Op: ch.op, Value: nullable(ch.value)})
	}
	req.Resources = append(req.Resources, r)
	return req
}

// replacement is an AlterConfigs of one resource.
func replacement(kind kmsg.ConfigResourceType, name string, pairs ...string) *kmsg.AlterConfigsRequest {
	req := kmsg.NewPtrAlterConfigsRequest()
	r := kmsg.NewAlterConfigsRequestResource()
	r.ResourceType, r.ResourceName = kind, name
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Configs = append(r.Configs, kmsg.AlterConfigsRequestResourceConfig{Name: pairs[i], Value: nullable(pairs[i+1])})
	}
	req.Resources = append(req.Resources, r)
	return req
}

// settled waits until the broker shows a value of a setting, "" for one that is not set there,
// and records how it shows the others that are named.
func (s *side) settled(c *conn, what string, kind kmsg.ConfigResourceType, name, setting, value string, others ...string) {
	s.poll(fmt.Sprintf("%s of %s is %q", setting, name, value), func() bool {
		resp, ok := c.try(4, describe(kind, name, nil)).(*kmsg.DescribeConfigsResponse)
		if !ok || len(resp.Resources) != 1 {
			return false
		}
		for _, e := range resp.Resources[0].Configs {
			if e.Name == setting && e.Source != kmsg.ConfigSourceDefaultConfig && e.Source != kmsg.ConfigSourceStaticBrokerConfig {
				return e.Value != nil && *e.Value == value
			}
		}
		return value == ""
	})
	c.ask(what+", shown", 4, describe(kind, name, append(others, setting)))
}

// alterScript: IncrementalAlterConfigs of topics and of what has no settings, at every version (A2).
func alterScript(s *side) {
	c := s.conn()
	defer c.close()
	topic := kmsg.ConfigResourceTypeTopic
	for v := int16(0); v <= 1; v++ {
		name := s.topic(fmt.Sprint("t", v))
		s.create(name, 1, "retention.ms", "5000", "segment.bytes", "2000000")
		other := s.topic(fmt.Sprint("other", v))
		s.create(other, 1)
		on := func(what string, changes ...change) { c.ask(what, v, alterations(topic, name, changes...)) }

		on("set", change{set, "retention.ms", "6000"}, change{set, "max.message.bytes", "2000"})
		s.settled(c, "set", topic, name, "retention.ms", "6000", "max.message.bytes", "segment.bytes")
		on("delete", change{del, "max.message.bytes", null}, change{del, "segment.ms", null}, change{set, "retention.ms", "7000"})
		s.settled(c, "delete", topic, name, "retention.ms", "7000", "max.message.bytes", "segment.ms")
		on("append to the default", change{add, "cleanup.policy", "compact"}, change{set, "retention.ms", "7001"})
		s.settled(c, "append", topic, name, "retention.ms", "7001", "cleanup.policy")
		on("append what is there", change{add, "cleanup.policy", "compact,delete"}, change{set, "retention.ms", "7002"})
		s.settled(c, "append again", topic, name, "retention.ms", "7002", "cleanup.policy")
		on("subtract", change{subtract, "cleanup.policy", "delete"}, change{set, "retention.ms", "7003"})
		s.settled(c, "subtract", topic, name, "retention.ms", "7003", "cleanup.policy")
		on("subtract what is not there", change{subtract, "cleanup.policy", "delete"}, change{set, "retention.ms", "7004"})
		s.settled(c, "subtract nothing", topic, name, "retention.ms", "7004", "cleanup.policy")

		on("append a bad item", change{add, "cleanup.policy", "shred"})
		on("append to no list", change{add, "retention.ms", "5"})
		on("subtract from no list", change{subtract, "compression.type", "zstd"})
		on("append to an unknown setting", change{add, "no.such", "5"})
		on("unknown setting", change{set, "no.such", "5"})
		on("delete an unknown setting", change{del, "no.such", null})
		on("a broker's setting", change{set, "log.retention.ms", "5"})
		on("no number", change{set, "retention.ms", "x"})
		on("out of range", change{set, "retention.ms", "-2"})
		on("empty number", change{set, "retention.ms", ""})
		on("null", change{set, "retention.ms", null})
		on("append null", change{add, "cleanup.policy", null})
		on("a setting twice", change{set, "retention.ms", "1"}, change{set, "retention.ms", "2"})
		on("set and delete", change{set, "retention.ms", "1"}, change{del, "retention.ms", null})
		on("one good, one bad", change{set, "retention.ms", "9999"}, change{set, "segment.bytes", "1"})
		on("lags that cross", change{set, "min.compaction.lag.ms", "10"}, change{set, "max.compaction.lag.ms", "5"})
		on("delete with a value", change{del, "segment.bytes", "5"})
		on("nothing")
		on("empty setting name", change{set, "", "5"})
		validate := alterations(topic, name, change{set, "retention.ms", "8888"})
		validate.ValidateOnly = true
		c.ask("validate only", v, validate)
		validate = alterations(topic, name, change{set, "retention.ms", "x"})
		validate.ValidateOnly = true
		c.ask("validate only, bad", v, validate)
		on("last", change{set, "retention.bytes", "77"})
		s.settled(c, "after what was refused", topic, name, "retention.bytes", "77", "retention.ms", "segment.bytes", "cleanup.policy")

		c.ask("unknown topic", v, alterations(topic, s.topic("nowhere"), change{set, "retention.ms", "5"}))
		c.ask("unknown topic, bad setting", v, alterations(topic, s.topic("nowhere"), change{set, "no.such", "5"}))
		c.ask("invalid topic", v, alterations(topic, "a b", change{set, "retention.ms", "5"}))
		c.ask("empty topic", v, alterations(topic, "", change{set, "retention.ms", "5"}))
		two := alterations(topic, name, change{set, "retention.ms", "9001"})
		two.Resources = append(two.Resources, alterations(topic, other, change{set, "retention.ms", "x"}).Resources...)
		two.Resources = append(two.Resources, alterations(topic, s.topic("nowhere"), change{set, "retention.ms", "1"}).Resources...)
		c.ask("one good, two bad", v, two)
		s.settled(c, "the good one", topic, name, "retention.ms", "9001")
		two = alterations(topic, name, change{set, "retention.ms", "9002"})
		two.Resources = append(two.Resources, alterations(topic, name, change{set, "segment.ms", "9002"}).Resources...)
		two.Resources = append(two.Resources, alterations(topic, other, change{set, "retention.ms", "9002"}).Resources...)
		c.ask("a resource twice", v, two)
		s.settled(c, "beside a resource twice", topic, other, "retention.ms", "9002")
		c.ask("no resources", v, kmsg.NewPtrIncrementalAlterConfigsRequest())
		for _, kind := range []kmsg.ConfigResourceType{0, 1, 3, 5, 99} {
			c.ask(fmt.Sprint("resource type ", int8(kind)), v, alterations(kind, "1", change{set, "retention.ms", "5"}))
		}
		for _, op := range []kmsg.IncrementalAlterConfigOp{4, -1} {
			c.ask(fmt.Sprint("operation ", int8(op)), v, alterations(kmsg.ConfigResourceTypeBroker, "1", change{op, "max.connections", "500"}))
		}
	}
	s.unsupported(c, 44, 2)
}

// replaceScript: AlterConfigs of topics, at every version (A2).
func replaceScript(s *side) {
	c := s.conn()
	defer c.close()
	topic := kmsg.ConfigResourceTypeTopic
	for v := int16(0); v <= 2; v++ {
		name := s.topic(fmt.Sprint("t", v))
		s.create(name, 1, "retention.ms", "5000", "segment.bytes", "2000000")
		c.ask("replace", v, replacement(topic, name, "retention.ms", "6000"))
		s.settled(c, "replace", topic, name, "retention.ms", "6000", "segment.bytes")
		for what, pairs := range map[string][]string{
			"unknown setting": {"no.such", "1"}, "no number": {"retention.ms", "x"}, "null": {"retention.ms", null},
			"twice": {"retention.ms", "1", "retention.ms", "2"}, "one good, one bad": {"retention.ms", "1", "segment.bytes", "1"},
		} {
			c.ask(what, v, replacement(topic, name, pairs...))
		}
		validate := replacement(topic, name, "retention.ms", "9")
		validate.ValidateOnly = true
		c.ask("validate only", v, validate)
		c.ask("unknown topic", v, replacement(topic, s.topic("nowhere"), "retention.ms", "1"))
		c.ask("empty topic", v, replacement(topic, "", "retention.ms", "1"))
		for _, kind := range []kmsg.ConfigResourceType{0, 8, 99} {
			c.ask(fmt.Sprint("resource type ", int8(kind)), v, replacement(kind, "1", "root", "INFO"))
		}
		c.ask("all gone", v, replacement(topic, name))
		s.settled(c, "all gone", topic, name, "retention.ms", "")
	}
	s.unsupported(c, 33, 3)
}

// alterBroker: dynamic settings of this broker and of all, which are gone again at the end.
// Settings that topics take are left alone: other scripts look at them.
func alterBroker(s *side, c *conn) {
	broker := kmsg.ConfigResourceTypeBroker
	for v := int16(0); v <= 1; v++ {
		on := func(what, name string, changes ...change) {
			c.ask("alter: "+what, v, alterations(broker, name, changes...))
		}
		on("default", "", change{set, "remote.fetch.max.wait.ms", "600"})
		s.settled(c, "default", broker, "", "remote.fetch.max.wait.ms", "600")
		on("this broker", "1", change{set, "remote.fetch.max.wait.ms", "700"})
		s.settled(c, "this broker", broker, "1", "remote.fetch.max.wait.ms", "700")
		on("read-only", "1", change{set, "node.id", "5"})
		on("read-only default", "", change{set, "num.partitions", "5"})
		on("no number", "1", change{set, "remote.fetch.max.wait.ms", "x"})
		on("out of range", "", change{set, "remote.fetch.max.wait.ms", "0"})
		on("append to no list", "1", change{add, "remote.fetch.max.wait.ms", "5"})
		on("null", "1", change{set, "remote.fetch.max.wait.ms", null})
		on("twice", "1", change{set, "remote.fetch.max.wait.ms", "5"}, change{set, "remote.fetch.max.wait.ms", "5"})
		for _, name := range []string{"2", "-1", "x"} {
			on("broker "+name, name, change{set, "remote.fetch.max.wait.ms", "5"})
		}
		validate := alterations(broker, "1", change{set, "remote.fetch.max.wait.ms", "900"})
		validate.ValidateOnly = true
		c.ask("alter: validate only", v, validate)
		on("delete", "1", change{del, "remote.fetch.max.wait.ms", null})
		s.settled(c, "delete", broker, "1", "remote.fetch.max.wait.ms", "600")
		on("delete the default", "", change{del, "remote.fetch.max.wait.ms", null})
		s.settled(c, "delete the default", broker, "1", "remote.fetch.max.wait.ms", "")
		on("delete what is not set", "1", change{del, "max.connections", null})
	}
	for v := int16(0); v <= 2; v++ {
		c.ask("replace: set", v, replacement(broker, "1", "max.connections.per.ip", "100000"))
		s.settled(c, "replace: set", broker, "1", "max.connections.per.ip", "100000")
		c.ask("replace: read-only", v, replacement(broker, "1", "node.id", "5"))
		c.ask("replace: no number", v, replacement(broker, "1", "max.connections.per.ip", "x"))
		c.ask("replace: all gone", v, replacement(broker, "1"))
		s.settled(c, "replace: all gone", broker, "1", "max.connections.per.ip", "")
	}
}

// groupNames are the settings of groups of the consumer protocol.
var groupNames = []string{"consumer.session.timeout.ms", "consumer.heartbeat.interval.ms", "consumer.assignment.interval.ms"}

// groupSettings sets those of a group to values within the broker's limits and beyond them.
func (s *side) groupSettings(c *conn, v int16) {
	group, name := kmsg.ConfigResourceTypeGroupConfig, s.topic("group")
	on := func(what string, changes ...change) {
		c.ask("group: "+what, v, alterations(group, name, changes...))
	}
	on("set", change{set, groupNames[0], "50000"}, change{set, groupNames[1], "6000"}, change{set, groupNames[2], "0"})
	s.settled(c, "group set", group, name, groupNames[0], "50000", groupNames[1:]...)
	for what, ch := range map[string]change{
		"short session": {set, groupNames[0], "44999"}, "long session": {set, groupNames[0], "60001"}, "no session": {set, groupNames[0], "0"},
		"short heartbeat": {set, groupNames[1], "4999"}, "long heartbeat": {set, groupNames[1], "15001"}, "long assignment": {set, groupNames[2], "15001"},
		"no number": {set, groupNames[0], "x"}, "append": {add, groupNames[0], "1"}, "the broker's name": {set, "group." + groupNames[0], "50000"},
	} {
		on(what, ch)
	}
	on("delete", change{del, groupNames[0], null}, change{del, groupNames[1], null})
	if v == 0 {
		on("delete all", change{del, groupNames[2], null})
		s.settled(c, "group delete all", group, name, groupNames[2], "")
	}
	s.settled(c, "group delete", group, name, groupNames[0], "", groupNames[1:]...)
}

// resourcesScript: settings of client metrics subscriptions and of groups, and the listing of
// what has settings.
func resourcesScript(s *side) {
	c := s.conn()
	defer c.close()
	metrics, group := kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigResourceTypeGroupConfig
	name := s.topic("sub")
	for v := int16(0); v <= 1; v++ {
		on := func(what string, changes ...change) {
			c.ask("metrics: "+what, v, alterations(metrics, name, changes...))
		}
		on("set", change{set, "interval.ms", "1000"}, change{set, "metrics", "org.apache"})
		s.settled(c, "metrics", metrics, name, "interval.ms", "1000", "metrics", "match")
		on("all", change{set, "metrics", "x,y"}, change{set, "interval.ms", "2000"}, change{set, "match", "client_id=a.*"})
		s.settled(c, "metrics all", metrics, name, "interval.ms", "2000", "metrics", "match")
		on("append", change{add, "metrics", "x"})
		for what, ch := range map[string]change{
			"short interval": {set, "interval.ms", "99"}, "long interval": {set, "interval.ms", "3600001"}, "no number": {set, "interval.ms", "x"},
			"unknown": {set, "no.such", "1"}, "match without value": {set, "match", "client_id"}, "match of what": {set, "match", "size=1"},
			"match no pattern": {set, "match", "client_id=("}, "append to no list": {add, "interval.ms", "5"}, "all metrics": {set, "metrics", "*"},
		} {
			on(what, ch)
		}
		c.ask("metrics: no name", v, alterations(metrics, "", change{set, "interval.ms", "1000"}))
		if v == 0 {
			on("delete", change{del, "interval.ms", null}, change{del, "metrics", null}, change{del, "match", null})
			s.settled(c, "metrics delete", metrics, name, "interval.ms", "")
		}
		s.groupSettings(c, v)
		c.ask("group: unknown setting", v, alterations(group, s.topic("g"), change{set, "no.such", "1"}))
		c.ask("group: no name", v, alterations(group, "", change{set, "consumer.session.timeout.ms", "50000"}))
	}
	for v := int16(1); v <= 4; v++ {
		c.ask("metrics of no such name", v, describe(metrics, s.topic("none"), nil))
		c.ask("metrics of no name", v, describe(metrics, "", nil))
		c.ask("group of no name", v, describe(group, "", nil))
		c.ask("group without settings", v, describe(group, s.topic("none"), groupNames))
		c.ask("loggers of no broker", v, describe(kmsg.ConfigResourceTypeBrokerLogger, "", nil))
		c.ask("loggers of another broker", v, describe(kmsg.ConfigResourceTypeBrokerLogger, "2", nil))
		c.ask("root logger", v, describe(kmsg.ConfigResourceTypeBrokerLogger, "1", []string{"root"}))
	}
	logger := kmsg.ConfigResourceTypeBrokerLogger
	for v := int16(0); v <= 1; v++ {
		on := func(what, name string, changes ...change) {
			c.ask("logger: "+what, v, alterations(logger, name, changes...))
		}
		on("set", "1", change{set, "root", "INFO"})
		on("level", "1", change{set, "root", "LOUD"})
		on("unknown", "1", change{set, "no.such.logger", "INFO"})
		on("delete root", "1", change{del, "root", null})
		on("append", "1", change{add, "root", "INFO"})
		on("other broker", "2", change{set, "root", "INFO"})
		on("no broker", "", change{set, "root", "INFO"})
	}
	for v := int16(0); v <= 1; v++ {
		types := [][]int8{nil}
		if v == 1 {
			types = [][]int8{{2}, {4}, {8}, {16}, {32}, {4, 8}, {0}, {1}, {99}, {4, 99}}
		}
		for _, t := range types {
			req := kmsg.NewPtrListConfigResourcesRequest()
			req.ResourceTypes = t
			c.ask(fmt.Sprint("list ", t), v, req)
		}
	}
	s.unsupported(c, 74, 2)
}
