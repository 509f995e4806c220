package judge

import (
	"fmt"
	"reflect"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// topics are the requests that change topics; what could be done is only checked.
func (m *matrix) topics() []want {
	create := func(names ...string) *kmsg.CreateTopicsRequest {
		var all []kmsg.CreateTopicsRequestTopic
		for _, name := range names {
			all = append(all, newTopic(name, 1, 1))
		}
		req := createTopics(all...)
		req.ValidateOnly = true
		return req
	}
	return []want{
		fixed("create topics", 2, 4, func() kmsg.Request { return create(m.none, m.never, m.t) }),
		{"create topics and tell", 5, 7, func(int16) kmsg.Request { return create(m.none, m.never, m.t) }, withoutConfigs},
		{"delete topics", 1, 6, func(int16) kmsg.Request {
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.TimeoutMillis = 10_000
			for _, name := range []string{m.none, m.never} {
				req.TopicNames = append(req.TopicNames, name)
				req.Topics = append(req.Topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
			}
			req.Topics = append(req.Topics, kmsg.DeleteTopicsRequestTopic{TopicID: bogusID})
			return req
		}, nil},
		fixed("create partitions", 0, 3, func() kmsg.Request {
			req := growth(m.t, 5)
			req.ValidateOnly = true
			req.Topics = append(req.Topics, growth(m.other, 5).Topics...)
			req.Topics = append(req.Topics, growth(m.none, 5).Topics...)
			return req
		}),
		fixed("elect", 0, 2, func() kmsg.Request {
			req := kmsg.NewPtrElectLeadersRequest()
			req.TimeoutMillis = 10_000
			req.Topics = []kmsg.ElectLeadersRequestTopic{{Topic: m.t, Partitions: []int32{0}}, {Topic: m.none, Partitions: []int32{0}}}
			return req
		}),
		fixed("move", 0, 1, func() kmsg.Request {
			req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
			req.TimeoutMillis = 10_000
			req.Topics = []kmsg.AlterPartitionAssignmentsRequestTopic{{Topic: m.t, Partitions: []kmsg.AlterPartitionAssignmentsRequestTopicPartition{{Partition: 0}}}}
			return req
		}),
		fixed("moves", 0, 0, func() kmsg.Request { return kmsg.NewPtrListPartitionReassignmentsRequest() }),
		fixed("move logs", 1, 2, func() kmsg.Request {
			req := kmsg.NewPtrAlterReplicaLogDirsRequest()
			req.Dirs = []kmsg.AlterReplicaLogDirsRequestDir{{Dir: "/nowhere", Topics: []kmsg.AlterReplicaLogDirsRequestDirTopic{{Topic: m.t, Partitions: []int32{0}}}}}
			return req
		}),
		{"log dirs", 1, 4, func(int16) kmsg.Request {
			req := kmsg.NewPtrDescribeLogDirsRequest()
			req.Topics = []kmsg.DescribeLogDirsRequestTopic{{Topic: m.t, Partitions: []int32{0}}}
			return req
		}, dirErrors},
	}
}

// refused are requests that would change something if the users who make them were allowed to.
func (m *matrix) refused() []want {
	return []want{
		fixed("delete a topic", 1, 6, func() kmsg.Request {
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.TimeoutMillis, req.TopicNames = 10_000, []string{m.t, m.other}
			req.Topics = []kmsg.DeleteTopicsRequestTopic{{Topic: &m.t}, {Topic: &m.other}}
			return req
		}),
		fixed("delete a topic by id", 6, 6, func() kmsg.Request {
			req := kmsg.NewPtrDeleteTopicsRequest()
			req.TimeoutMillis = 10_000
			req.Topics = []kmsg.DeleteTopicsRequestTopic{{TopicID: m.id}, {TopicID: m.otherID}, {TopicID: bogusID}}
			return req
		}),
		fixed("metadata that would create", 4, 13, func() kmsg.Request {
			req := metadataOf(m.none, m.never)
			req.AllowAutoTopicCreation = true
			return req
		}),
		fixed("create a topic", 2, 7, func() kmsg.Request {
			return createTopics(newTopic(m.none, 1, 1), newTopic(m.t, 1, 1), newTopic(m.other, 1, 1))
		}),
		fixed("delete a group", 0, 2, func() kmsg.Request { return deleteOf(m.g, m.others) }),
		fixed("set a user", 0, 0, func() kmsg.Request { return setUsers(credential(m.s.topic("mallory"), scram256, 4096)) }),
		fixed("grow a topic", 0, 3, func() kmsg.Request { return growth(m.t, 9) }),
	}
}

// withoutConfigs takes an answer to CreateTopics apart, but for the settings themselves: scripts of
// topics compare those.
func withoutConfigs(f *fields, resp kmsg.Response) {
	r := resp.(*kmsg.CreateTopicsResponse)
	for i := range r.Topics {
		if len(r.Topics[i].Configs) > 0 {
			r.Topics[i].Configs = r.Topics[i].Configs[:0]
		}
	}
	f.message(r)
}

// dirErrors takes of an answer to DescribeLogDirs what rules of access change.
func dirErrors(f *fields, resp kmsg.Response) {
	r := resp.(*kmsg.DescribeLogDirsResponse)
	f.put("ErrorCode", errorName(r.ErrorCode))
	f.put("Dirs", fmt.Sprint(len(r.Dirs)))
	for i := range r.Dirs {
		f.put("Topics", fmt.Sprint(len(r.Dirs[i].Topics)))
	}
}

// configs are the requests about settings.
func (m *matrix) configs() []want {
	const logger, metrics, group = 8, 16, 32
	var all []want
	for _, of := range []struct {
		what        string
		kind        kmsg.ConfigResourceType
		resource    string
		name, value string
	}{
		{"a topic", kmsg.ConfigResourceTypeTopic, m.t, "retention.ms", "5000"}, {"another's topic", kmsg.ConfigResourceTypeTopic, m.other, "retention.ms", "5000"},
		{"no topic", kmsg.ConfigResourceTypeTopic, m.none, "retention.ms", "5000"}, {"a broker", kmsg.ConfigResourceTypeBroker, "1", "max.connections", "5000"},
		{"the cluster", kmsg.ConfigResourceTypeBroker, "", "max.connections", "5000"}, {"a group", group, m.g, "consumer.session.timeout.ms", "50000"},
		{"another's group", group, m.others, "consumer.session.timeout.ms", "50000"}, {"metrics", metrics, m.none, "interval.ms", "5000"},
		{"log levels", logger, "1", "root", "WARN"},
	} {
		if of.kind != logger {
			all = append(all, fixed("configs of "+of.what, 1, 4, func() kmsg.Request { return describe(of.kind, of.resource, []string{of.name}) }))
		} else {
			all = append(all, fixed("configs of "+of.what, 1, 4, func() kmsg.Request { return describe(of.kind, of.resource, []string{}) }))
		}
		all = append(all, fixed("alter configs of "+of.what, 0, 1, func() kmsg.Request {
			req := alterations(of.kind, of.resource, change{set, of.name, of.value})
			req.ValidateOnly = true
			return req
		}))
		if of.kind == kmsg.ConfigResourceTypeTopic {
			all = append(all, fixed("replace configs of "+of.what, 0, 2, func() kmsg.Request {
				req := replacement(of.kind, of.resource, of.name, of.value)
				req.ValidateOnly = true
				return req
			}))
		}
	}
	return append(all, fixed("list config resources", 0, 1, func() kmsg.Request { return kmsg.NewPtrListConfigResourcesRequest() }))
}

// cluster are the requests about the cluster.
func (m *matrix) cluster() []want {
	return []want{
		fixed("describe the cluster", 0, 2, func() kmsg.Request {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.EndpointType, req.IncludeClusterAuthorizedOperations = 1, true
			return req
		}),
		{"describe the quorum", 0, 2, func(int16) kmsg.Request {
			req := kmsg.NewPtrDescribeQuorumRequest()
			req.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
			return req
		}, errorCodes},
		fixed("features", 0, 2, func() kmsg.Request {
			req := kmsg.NewPtrUpdateFeaturesRequest()
			req.ValidateOnly = true
			return req
		}),
		fixed("unregister", 0, 0, func() kmsg.Request {
			req := kmsg.NewPtrUnregisterBrokerRequest()
			req.BrokerID = 99
			return req
		}),
	}
}

// errorCodes takes nothing but the errors of an answer.
func errorCodes(f *fields, resp kmsg.Response) { errorsIn(f, "", reflect.ValueOf(resp).Elem()) }

func errorsIn(f *fields, path string, v reflect.Value) {
	for i := range v.NumField() {
		name, e := v.Type().Field(i).Name, v.Field(i)
		switch {
		case name == "ErrorCode":
			f.put(path+name, errorName(int16(e.Int())))
		case e.Kind() == reflect.Slice && e.Type().Elem().Kind() == reflect.Struct:
			for j := range e.Len() {
				errorsIn(f, fmt.Sprintf("%s%s[%d].", path, name, j), e.Index(j))
			}
		}
	}
}

// security are the requests about rules, users and quotas.
func (m *matrix) security() []want {
	return []want{
		fixed("describe rules", 1, 3, func() kmsg.Request { return describeRules(ruleOf(m.s.topic("whoever"), 3, 2, m.t)) }),
		fixed("create rules", 1, 3, func() kmsg.Request {
			return createRules(ruleOf(m.s.topic("whoever"), 3, 2, m.t), ruleOf(m.s.topic("whoever"), 3, 2, ""))
		}),
		fixed("delete rules", 1, 3, func() kmsg.Request { return deleteRules(ruleOf(m.s.topic("nobody"), 3, 2, m.t)) }),
		fixed("describe quotas", 0, 1, func() kmsg.Request { return describeQuotas(true, quotaComponent("user", 0, m.s.topic("nobody"))) }),
		fixed("alter quotas", 0, 1, func() kmsg.Request {
			req := kmsg.NewPtrAlterClientQuotasRequest()
			req.ValidateOnly = true
			req.Entries = append(req.Entries, quotaEntry([]string{"user", m.s.topic("nobody")}, quotaOp("producer_byte_rate", 1000)))
			return req
		}),
		{"create a token for somebody", 3, 3, func(int16) kmsg.Request {
			user, name := "User", m.s.topic("somebody")
			return createTokenFor(&user, &name)
		}, delegationShape},
		{"renew no token", 1, 2, func(int16) kmsg.Request { return renewToken([]byte("no secret"), -1) }, delegationShape},
		{"end no token", 1, 2, func(int16) kmsg.Request { return expireToken([]byte("no secret"), -1) }, delegationShape},
		{"describe the tokens of nobody", 1, 3, func(int16) kmsg.Request { return describeTokens(m.s.topic("nobody")) }, delegationShape},
		fixed("describe users", 0, 0, func() kmsg.Request { return describeUsers(m.s.topic("nobody")) }),
		fixed("alter users", 0, 0, func() kmsg.Request {
			req := kmsg.NewPtrAlterUserSCRAMCredentialsRequest()
			req.Deletions = append(req.Deletions, kmsg.AlterUserSCRAMCredentialsRequestDeletion{Name: m.s.topic("nobody"), Mechanism: 1})
			return req
		}),
	}
}
