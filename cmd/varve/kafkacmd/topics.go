package kafkacmd

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

func topicsTool() tool {
	return tool{
		name: "kafka-topics", about: "Create, delete, describe, or change topics, with the flags of Kafka's kafka-topics.sh.",
		options: []option{
			{"bootstrap-server", value, "Brokers, HOST:PORT,…; required."}, {"command-config", value, "File with settings of the client: TLS, login."},
			{"list", nothing, "List topics."}, {"create", nothing, "Create a topic."}, {"delete", nothing, "Delete topics."},
			{"alter", nothing, "Add partitions."}, {"describe", nothing, "Show topics, their partitions and settings."},
			{"topic", value, "The topic; a regular expression except for --create."}, {"topic-id", value, "The id of the topic to describe."},
			{"config", value, "Setting NAME=VALUE of the topic that is created."}, {"delete-config", value, "Without effect since Kafka 4.0."},
			{"partitions", value, "How many partitions the topic has, or is to have."}, {"replication-factor", value, "Replicas of each partition."},
			{"replica-assignment", value, "Brokers of the replicas: ID:ID for each partition, separated by commas."},
			{"under-replicated-partitions", nothing, "Describe under-replicated partitions alone."},
			{"unavailable-partitions", nothing, "Describe partitions without a leader alone."},
			{"under-min-isr-partitions", nothing, "Describe partitions below min.insync.replicas alone."},
			{"at-min-isr-partitions", nothing, "Describe partitions at min.insync.replicas alone."},
			{"topics-with-overrides", nothing, "Describe topics with settings of their own alone, without partitions."},
			{"if-exists", nothing, "Do nothing where there is no such topic."}, {"if-not-exists", nothing, "Do nothing where the topic exists."},
			{"exclude-internal", nothing, "Leave internal topics out."}, {"partition-size-limit-per-response", value, "Partitions in one answer."},
		},
		check: checkTopics,
		run:   runTopics,
		failed: func(c *call, err error) int {
			fmt.Fprintf(c.out, "Error while executing topic command : %v\n", plainly(err))
			return 1
		},
	}
}

// reports are the options that choose partitions.
func reports() []string {
	return []string{"under-replicated-partitions", "under-min-isr-partitions", "at-min-isr-partitions", "unavailable-partitions"}
}

func checkTopics(o *options) error {
	actions := []string{"alter", "create", "describe", "list", "delete"}
	if o.count(actions...) != 1 {
		return usagef("Command must include exactly one action: --list, --describe, --create, --alter or --delete")
	}
	if !o.has("bootstrap-server") {
		return argumentf("--bootstrap-server must be specified")
	}
	if !o.has("list") && !o.has("describe") {
		if err := o.require("topic"); err != nil {
			return err
		}
	}
	if o.has("alter") {
		if o.has("config") {
			return usagef("Option combination \"[[bootstrap-server], [config]]\" can't be used with option \"[alter]\" (To alter topic configurations, the kafka-configs tool can be used.)")
		}
		if err := o.require("partitions"); err != nil {
			return err
		}
	}
	type rule struct {
		name string
		with []string
	}
	rules := []rule{
		{"config", []string{"create", "alter"}}, {"partitions", []string{"create", "alter"}}, {"replication-factor", []string{"create"}},
		{"replica-assignment", []string{"create", "alter"}}, {"topics-with-overrides", []string{"describe"}}, {"if-exists", []string{"alter", "delete", "describe"}},
		{"if-not-exists", []string{"create"}}, {"exclude-internal", []string{"list", "describe"}},
	}
	for _, report := range reports() {
		rules = append(rules, rule{report, []string{"describe"}})
	}
	for _, r := range rules {
		others := slices.DeleteFunc(slices.Clone(actions), func(a string) bool { return slices.Contains(r.with, a) })
		if err := o.exclude(r.name, others...); err != nil {
			return err
		}
	}
	if o.has("create") {
		if err := o.exclude("replica-assignment", "partitions", "replication-factor"); err != nil {
			return err
		}
	}
	return o.exclude("topics-with-overrides", reports()...)
}

func runTopics(c *call) error {
	if c.o.has("delete-config") {
		fmt.Fprintln(c.err, "delete-config option is no longer supported and deprecated since version 4.0. The config will be fully removed in future releases.")
	}
	cl, err := c.connect([]string{"command-config"}, nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	switch {
	case c.o.has("create"):
		return c.createTopic(cl)
	case c.o.has("alter"):
		return c.alterTopics(cl)
	case c.o.has("delete"):
		return c.deleteTopics(cl)
	case c.o.has("list"):
		names, err := c.topicNames(cl)
		if err == nil {
			fmt.Fprintln(c.out, strings.Join(names, "\n"))
		}
		return err
	default:
		return c.describeTopics(cl)
	}
}

func (c *call) createTopic(cl *kgo.Client) error {
	name := c.o.last("topic")
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, -1, -1
	for _, opt := range []struct {
		name string
		set  func(n int64)
	}{{"partitions", func(n int64) { topic.NumPartitions = int32(n) }}, {"replication-factor", func(n int64) { topic.ReplicationFactor = int16(n) }}} {
		if !c.o.has(opt.name) {
			continue
		}
		n, err := c.o.number(opt.name)
		switch {
		case err != nil:
			return err
		case opt.name == "partitions" && n < 1:
			return argumentf("The partitions must be greater than 0")
		case opt.name == "replication-factor" && (n < 1 || n > 32767):
			return argumentf("The replication factor must be between 1 and 32767 inclusive")
		}
		opt.set(n)
	}
	assigned, err := parseAssignment(c.o.last("replica-assignment"))
	if err != nil {
		return err
	}
	for i, brokers := range assigned {
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, kmsg.CreateTopicsRequestTopicReplicaAssignment{Partition: int32(i), Replicas: brokers})
	}
	for _, pair := range c.o.all("config") {
		k, v, ok := strings.Cut(pair, "=")
		if k, v = strings.TrimSpace(k), strings.TrimSpace(v); !ok || k == "" || v == "" || strings.Contains(v, "=") {
			return argumentf("requirement failed: Invalid topic config: all configs to be added must be in the format \"key=val\".")
		}
		topic.Configs = append(topic.Configs, kmsg.CreateTopicsRequestTopicConfig{Name: k, Value: &v})
	}
	if strings.ContainsAny(name, "._") {
		fmt.Fprintln(c.out, "WARNING: Due to limitations in metric names, topics with a period ('.') or underscore ('_') could collide. To avoid issues it is best to use either, but not both.")
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.TimeoutMillis = append(req.Topics, topic), int32(answerTimeout.Milliseconds())
	resp, err := req.RequestWith(c.ctx, cl)
	if err == nil && len(resp.Topics) == 1 {
		err = told(kerr.ErrorForCode(resp.Topics[0].ErrorCode), resp.Topics[0].ErrorMessage)
		if c.o.has("if-not-exists") && resp.Topics[0].ErrorCode == kerr.TopicAlreadyExists.Code {
			return nil
		}
	}
	if err == nil {
		fmt.Fprintf(c.out, "Created topic %s.\n", name)
	}
	return err
}

// parseAssignment reads --replica-assignment: the brokers of each partition.
func parseAssignment(s string) ([][]int32, error) {
	if s == "" {
		return nil, nil
	}
	var list [][]int32
	for i, part := range strings.Split(s, ",") {
		var brokers []int32
		for _, word := range strings.Split(part, ":") {
			id, err := strconv.ParseInt(strings.TrimSpace(word), 10, 32)
			if err != nil {
				return nil, argumentf("For input string: %q", word)
			}
			if slices.Contains(brokers, int32(id)) {
				return nil, argumentf("Partition replica lists may not contain duplicate entries: %d", id)
			}
			brokers = append(brokers, int32(id))
		}
		if i > 0 && len(brokers) != len(list[0]) {
			return nil, argumentf("Partition %d has different replication factor: %s", i, strings.ReplaceAll(fmt.Sprint(brokers), " ", ", "))
		}
		list = append(list, brokers)
	}
	return list, nil
}

// topicNames lists the topics that --topic and --exclude-internal choose, by name.
func (c *call) topicNames(cl *kgo.Client) ([]string, error) {
	list, err := kadm.NewClient(cl).ListTopicsWithInternal(c.ctx)
	if err != nil {
		return nil, err
	}
	var want *regexp.Regexp
	if c.o.has("topic") {
		s := strings.Trim(strings.ReplaceAll(strings.TrimSpace(c.o.last("topic")), ",", "|"), `"'`)
		if want, err = regexp.Compile("^(?:" + s + ")$"); err != nil {
			return nil, argumentf("%s is an invalid regex.", s)
		}
	}
	var names []string
	for _, t := range list.Sorted() {
		if (want == nil || want.MatchString(t.Topic)) && !(t.IsInternal && c.o.has("exclude-internal")) {
			names = append(names, t.Topic)
		}
	}
	return names, nil
}

// existing is topicNames, and an error where --topic names none that exists.
func (c *call) existing(cl *kgo.Client) ([]string, error) {
	names, err := c.topicNames(cl)
	if err == nil && c.o.last("topic") != "" && len(names) == 0 && !c.o.has("if-exists") {
		err = argumentf("Topic '%s' does not exist as expected", c.o.last("topic"))
	}
	return names, err
}

func (c *call) alterTopics(cl *kgo.Client) error {
	total, err := c.o.number("partitions")
	if err != nil {
		return err
	}
	assigned, err := parseAssignment(c.o.last("replica-assignment"))
	if err != nil {
		return err
	}
	names, err := c.existing(cl)
	if err != nil || len(names) == 0 {
		return err
	}
	now, err := kadm.NewClient(cl).ListTopicsWithInternal(c.ctx, names...)
	if err != nil {
		return err
	}
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = int32(answerTimeout.Milliseconds())
	for _, name := range names {
		topic := kmsg.CreatePartitionsRequestTopic{Topic: name, Count: int32(total)}
		for i := len(now[name].Partitions); i < len(assigned); i++ {
			topic.Assignment = append(topic.Assignment, kmsg.CreatePartitionsRequestTopicAssignment{Replicas: assigned[i]})
		}
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(c.ctx, cl)
	if err != nil {
		return err
	}
	for _, t := range resp.Topics {
		if t.ErrorCode != 0 {
			return told(kerr.ErrorForCode(t.ErrorCode), t.ErrorMessage)
		}
	}
	return nil
}

func (c *call) deleteTopics(cl *kgo.Client) error {
	names, err := c.existing(cl)
	if err != nil || len(names) == 0 {
		return err
	}
	deleted, err := kadm.NewClient(cl).DeleteTopics(c.ctx, names...)
	if err != nil {
		return err
	}
	for _, t := range deleted.Sorted() {
		if t.Err != nil {
			return told(t.Err, &t.ErrMessage)
		}
	}
	return nil
}

func (c *call) describeTopics(cl *kgo.Client) error {
	var names []string
	var err error
	if id := c.o.last("topic-id"); id != "" && strings.Trim(id, "A") != "" {
		names, err = c.topicOfID(cl, id)
	} else {
		names, err = c.existing(cl)
	}
	if err != nil || len(names) == 0 {
		return err
	}
	topics, err := c.partitionsOf(cl, names)
	if err != nil {
		return err
	}
	configs, err := describeConfigs(c.ctx, cl, kmsg.ConfigResourceTypeTopic, names, false)
	if err != nil {
		return err
	}
	for i, t := range topics {
		if t.ErrorCode != 0 {
			return plainly(kerr.ErrorForCode(t.ErrorCode))
		}
		c.describeTopic(&t, configs[i])
	}
	return nil
}

// topicOfID is the name of the topic with the id.
func (c *call) topicOfID(cl *kgo.Client, id string) ([]string, error) {
	list, err := kadm.NewClient(cl).ListTopicsWithInternal(c.ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range list.Sorted() {
		if base64.RawURLEncoding.EncodeToString(t.ID[:]) == id {
			return []string{t.Topic}, nil
		}
	}
	if c.o.has("if-exists") {
		return nil, nil
	}
	return nil, argumentf("TopicId '%s' does not exist as expected", id)
}

// partitionsOf asks for topics with all of their partitions, a piece at a time.
func (c *call) partitionsOf(cl *kgo.Client, names []string) ([]kmsg.DescribeTopicPartitionsResponseTopic, error) {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 2000
	if c.o.has("partition-size-limit-per-response") {
		n, err := c.o.number("partition-size-limit-per-response")
		if err != nil {
			return nil, err
		}
		req.ResponsePartitionLimit = int32(n)
	}
	for _, name := range names {
		req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
	}
	var topics []kmsg.DescribeTopicPartitionsResponseTopic
	for {
		resp, err := req.RequestWith(c.ctx, cl)
		if err != nil {
			return nil, err
		}
		for _, t := range resp.Topics {
			if n := len(topics); n > 0 && *topics[n-1].Topic == *t.Topic {
				topics[n-1].Partitions = append(topics[n-1].Partitions, t.Partitions...)
			} else {
				topics = append(topics, t)
			}
		}
		if resp.NextCursor == nil {
			slices.SortFunc(topics, func(a, b kmsg.DescribeTopicPartitionsResponseTopic) int { return cmp.Compare(*a.Topic, *b.Topic) })
			return topics, nil
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
}

func (c *call) describeTopic(t *kmsg.DescribeTopicPartitionsResponseTopic, configs []setting) {
	var own []string
	minISR := 1
	for _, s := range configs {
		if s.Name == "min.insync.replicas" && s.Value != nil {
			minISR, _ = strconv.Atoi(*s.Value)
		}
		if s.Source != kmsg.ConfigSourceDefaultConfig {
			own = append(own, s.Name+"="+s.text())
		}
	}
	chosen := c.o.count(reports()...) > 0
	overrides := c.o.has("topics-with-overrides")
	if !chosen && (!overrides || len(own) > 0) && len(t.Partitions) > 0 {
		fmt.Fprintf(c.out, "Topic: %s\tTopicId: %s\tPartitionCount: %d\tReplicationFactor: %d\tConfigs: %s\n", *t.Topic,
			base64.RawURLEncoding.EncodeToString(t.TopicID[:]), len(t.Partitions), len(t.Partitions[0].Replicas), strings.Join(own, ","))
	}
	if overrides {
		return
	}
	for _, p := range t.Partitions {
		wanted := !chosen || c.o.has("under-replicated-partitions") && len(p.ISR) < len(p.Replicas) || c.o.has("unavailable-partitions") && p.LeaderID < 0 ||
			c.o.has("under-min-isr-partitions") && (p.LeaderID < 0 || len(p.ISR) < minISR) || c.o.has("at-min-isr-partitions") && len(p.ISR) == minISR
		if !wanted {
			continue
		}
		leader := "none"
		if p.LeaderID >= 0 {
			leader = strconv.Itoa(int(p.LeaderID))
		}
		fmt.Fprintf(c.out, "\tTopic: %s\tPartition: %d\tLeader: %s\tReplicas: %s\tIsr: %s\tElr: %s\tLastKnownElr: %s\n", *t.Topic, p.Partition, leader,
			ids(p.Replicas), ids(p.ISR), ids(p.EligibleLeaderReplicas), ids(p.LastKnownELR))
	}
}

// ids are broker ids with commas.
func ids(list []int32) string {
	words := make([]string, len(list))
	for i, id := range list {
		words[i] = strconv.Itoa(int(id))
	}
	return strings.Join(words, ",")
}
