package judge

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// want is a request that somebody makes: of one API, at a range of versions.
type want struct {
	name     string
	min, max int16
	req      func(version int16) kmsg.Request
	take     taker // nil: every field
}

// matrix is what the wants of a script are about. Some users may do things with t, none, g, gone
// and x; nobody but super users, and those with rules for every name, with the others.
type matrix struct {
	s       *side
	t       string // a topic that is there
	id      [16]byte
	other   string // another one
	otherID [16]byte
	none    string // a topic that is not there
	never   string // another one
	g       string // a group with offsets
	others  string // another group with offsets
	gone    string // a group that is not there
	x       string // a transactional id
	y       string // another one
}

// newMatrix prepares topics, groups and coordinators.
func newMatrix(s *side) *matrix {
	m := &matrix{s: s, t: s.topic("t"), other: s.topic("other"), none: s.topic("none"), never: s.topic("never"), g: s.topic("g"),
		others: s.topic("others"), gone: s.topic("gone"), x: s.topic("x"), y: s.topic("y")}
	c := s.admin()
	defer c.close()
	m.id, m.otherID = s.filled(c, m.t, 2, []string{"a", "b"}), s.filled(c, m.other, 1, []string{"c"})
	for _, group := range []string{m.g, m.others} {
		s.coordinated(c, group)
		c.try(9, commitOf(group, offset{m.t, m.id, 0, 1, nil}, offset{m.other, m.otherID, 0, 1, nil}))
	}
	s.producer(c, m.x)
	s.producer(c, m.y)
	return m
}

// fixed makes a want of a request that is the same at every version.
func fixed(name string, low, high int16, req func() kmsg.Request) want {
	return want{name: name, min: low, max: high, req: func(int16) kmsg.Request { return req() }}
}

// wants are the requests of every API that rules of access are for.
func (m *matrix) wants() []want {
	return slices.Concat(m.data(), m.transactions(), m.groups(), m.members(), m.topics(), m.configs(), m.cluster(), m.security())
}

// data are those of records.
func (m *matrix) data() []want {
	return []want{
		fixed("produce", 3, 13, func() kmsg.Request {
			req := produceTo(m.t, m.id, 0, batchOf(m.s.base, "x").bytes())
			req.Topics = append(req.Topics, produceTo(m.other, m.otherID, 0, batchOf(m.s.base, "y").bytes()).Topics...)
			req.Topics = append(req.Topics, produceTo(m.none, bogusID, 0, batchOf(m.s.base, "z").bytes()).Topics...)
			return req
		}),
		fixed("produce without an answer of others", 3, 13, func() kmsg.Request {
			return produceTo(m.other, m.otherID, 0, batchOf(m.s.base, "y").bytes())
		}),
		fixed("fetch", 4, 18, func() kmsg.Request {
			req := alsoFetch(fetchFrom(m.t, m.id, 0, 0), m.other, m.otherID, 0, 0)
			req.MaxBytes, req.MinBytes = 1, 1
			return alsoFetch(alsoFetch(req, m.none, bogusID, 0, 0), m.t, m.id, 7, 0)
		}),
		fixed("fetch as a replica", 4, 14, func() kmsg.Request {
			req := fetchFrom(m.other, m.otherID, 0, 0)
			req.ReplicaID = 7
			return req
		}),
		fixed("list offsets", 1, 11, func() kmsg.Request {
			req := listOffsets(m.t, 0, -2)
			req.Topics = append(req.Topics, listOffsets(m.other, 0, -2).Topics...)
			req.Topics = append(req.Topics, listOffsets(m.none, 0, -2).Topics...)
			return req
		}),
		fixed("metadata", 4, 13, func() kmsg.Request {
			req := metadataOf(m.t, m.other, m.none, m.never)
			req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = true, true
			return req
		}),
		fixed("metadata by id", 12, 13, func() kmsg.Request {
			req := metadataByID(m.id, m.otherID, bogusID)
			req.IncludeTopicAuthorizedOperations = true
			return req
		}),
		fixed("metadata of all", 1, 13, func() kmsg.Request { return kmsg.NewPtrMetadataRequest() }),
		fixed("describe topic partitions", 0, 0, func() kmsg.Request {
			req := kmsg.NewPtrDescribeTopicPartitionsRequest()
			req.ResponsePartitionLimit = 100
			for _, name := range []string{m.never, m.none, m.other, m.t} {
				req.Topics = append(req.Topics, kmsg.DescribeTopicPartitionsRequestTopic{Topic: name})
			}
			return req
		}),
		fixed("epochs", 2, 4, func() kmsg.Request {
			req := kmsg.NewPtrOffsetForLeaderEpochRequest()
			req.ReplicaID = -1
			for _, name := range []string{m.t, m.other, m.none} {
				req.Topics = append(req.Topics, kmsg.OffsetForLeaderEpochRequestTopic{Topic: name,
					Partitions: []kmsg.OffsetForLeaderEpochRequestTopicPartition{{Partition: 0, CurrentLeaderEpoch: -1}}})
			}
			return req
		}),
		fixed("delete records", 0, 2, func() kmsg.Request {
			req := deleteRecords(m.t, 0)
			req.Topics = append(req.Topics, deleteRecords(m.other, 0).Topics...)
			req.Topics = append(req.Topics, deleteRecords(m.none, 0).Topics...)
			return req
		}),
		fixed("describe producers", 0, 0, func() kmsg.Request {
			req := kmsg.NewPtrDescribeProducersRequest()
			for _, name := range []string{m.t, m.other, m.none} {
				req.Topics = append(req.Topics, kmsg.DescribeProducersRequestTopic{Topic: name, Partitions: []int32{0}})
			}
			return req
		}),
	}
}

// transactions are those of producers. Their producers are unknown, so that nothing comes of them.
func (m *matrix) transactions() []want {
	unknown := func(id string) *producer { return &producer{s: m.s, id: id, pid: 987654, epoch: 3} }
	both := func(each func(id string) want) []want {
		a, b := each(m.x), each(m.y)
		b.name += " of others"
		return []want{a, b}
	}
	return slices.Concat(
		[]want{fixed("producer id", 0, 5, func() kmsg.Request {
			req := kmsg.NewPtrInitProducerIDRequest()
			req.ProducerID, req.ProducerEpoch, req.TransactionTimeoutMillis = -1, -1, 1000
			return req
		})},
		both(func(id string) want {
			return fixed("transactional id", 3, 5, func() kmsg.Request {
				req := unknown(id).init()
				req.ProducerID, req.ProducerEpoch = 987654, 3
				return req
			})
		}),
		both(func(id string) want {
			return fixed("add partitions", 0, 5, func() kmsg.Request {
				req := unknown(id).add(m.t, 0)
				req.Topics = append(req.Topics, kmsg.AddPartitionsToTxnRequestTopic{Topic: m.other, Partitions: []int32{0}}, kmsg.AddPartitionsToTxnRequestTopic{Topic: m.none, Partitions: []int32{0}})
				txn := &req.Transactions[0]
				txn.Topics = append(txn.Topics, kmsg.AddPartitionsToTxnRequestTransactionTopic{Topic: m.other, Partitions: []int32{0}})
				return req
			})
		}),
		both(func(id string) want {
			return fixed("add a partition", 0, 3, func() kmsg.Request { return unknown(id).add(m.t, 0) })
		}),
		both(func(id string) want {
			return fixed("add offsets", 0, 4, func() kmsg.Request { return unknown(id).addOffsets(m.g) })
		}),
		both(func(id string) want {
			return fixed("add offsets to another's group", 0, 4, func() kmsg.Request { return unknown(id).addOffsets(m.others) })
		}),
		both(func(id string) want {
			return fixed("end", 0, 5, func() kmsg.Request { return unknown(id).end(true) })
		}),
		both(func(id string) want {
			return fixed("produce in a transaction", 3, 13, func() kmsg.Request { return unknown(id).send(m.other, m.otherID, 0, 0) })
		}),
		both(func(id string) want {
			return fixed("commit offsets in a transaction", 0, 5, func() kmsg.Request {
				req := unknown(id).commitOffset(m.g, m.t, m.id, 0, 1)
				req.Topics = append(req.Topics, unknown(id).commitOffset(m.g, m.other, m.otherID, 0, 1).Topics...)
				return req
			})
		}),
		[]want{
			fixed("describe transactions", 0, 0, func() kmsg.Request {
				req := kmsg.NewPtrDescribeTransactionsRequest()
				req.TransactionalIDs = []string{m.x, m.y, m.gone}
				return req
			}),
			fixed("list transactions", 0, 2, func() kmsg.Request { return kmsg.NewPtrListTransactionsRequest() }),
			fixed("write markers", 1, 2, func() kmsg.Request {
				req := kmsg.NewPtrWriteTxnMarkersRequest()
				marker := kmsg.NewWriteTxnMarkersRequestMarker()
				marker.ProducerID = 987654
				marker.Topics = append(marker.Topics, kmsg.WriteTxnMarkersRequestMarkerTopic{Topic: m.none, Partitions: []int32{0}})
				req.Markers = append(req.Markers, marker)
				return req
			}),
		})
}

// groups are those about groups from outside.
func (m *matrix) groups() []want {
	return []want{
		fixed("coordinator of a group", 0, 6, func() kmsg.Request { return coordinatorOf(0, m.g, m.others) }),
		fixed("coordinator of others", 0, 3, func() kmsg.Request { return coordinatorOf(0, m.others) }),
		fixed("coordinator of a transaction", 1, 6, func() kmsg.Request { return coordinatorOf(1, m.x, m.y) }),
		fixed("commit", 2, 10, func() kmsg.Request {
			return commitOf(m.g, offset{m.t, m.id, 0, 1, nil}, offset{m.other, m.otherID, 0, 1, nil}, offset{m.none, bogusID, 0, 1, nil})
		}),
		fixed("commit in another's group", 2, 10, func() kmsg.Request { return commitOf(m.others, offset{m.t, m.id, 0, 1, nil}) }),
		fixed("offsets", 1, 10, func() kmsg.Request {
			req := fetchOf(m.g, m.t, m.id, 0)
			more := fetchOf(m.g, m.other, m.otherID, 0)
			req.Topics = append(req.Topics, more.Topics...)
			req.Groups[0].Topics = append(req.Groups[0].Topics, more.Groups[0].Topics...)
			return req
		}),
		fixed("all offsets", 2, 10, func() kmsg.Request { return fetchOf(m.g, "", [16]byte{}) }),
		fixed("all offsets of two groups", 8, 10, func() kmsg.Request {
			req := fetchOf(m.g, "", [16]byte{})
			req.Groups = append(req.Groups, fetchOf(m.others, "", [16]byte{}).Groups...)
			return req
		}),
		fixed("describe groups", 0, 6, func() kmsg.Request {
			req := describeOf(m.g, m.others, m.gone)
			req.IncludeAuthorizedOperations = true
			return req
		}),
		fixed("describe consumer groups", 0, 1, func() kmsg.Request {
			req := describeConsumerOf(m.g, m.others, m.gone)
			req.IncludeAuthorizedOperations = true
			return req
		}),
		fixed("list groups", 0, 5, func() kmsg.Request { return kmsg.NewPtrListGroupsRequest() }),
		fixed("delete groups", 0, 2, func() kmsg.Request { return deleteOf(m.gone, m.never) }),
		fixed("delete offsets", 0, 0, func() kmsg.Request {
			req := kmsg.NewPtrOffsetDeleteRequest()
			req.Group = m.g
			for _, name := range []string{m.t, m.other, m.none} {
				req.Topics = append(req.Topics, kmsg.OffsetDeleteRequestTopic{Topic: name, Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 5}}})
			}
			return req
		}),
	}
}

func coordinatorOf(kind int8, keys ...string) *kmsg.FindCoordinatorRequest {
	req := kmsg.NewPtrFindCoordinatorRequest()
	req.CoordinatorType, req.CoordinatorKey, req.CoordinatorKeys = kind, keys[0], keys
	return req
}

// members are those of members, who are unknown, so that nothing comes of them.
func (m *matrix) members() []want {
	var all []want
	for what, group := range map[string]string{"": m.g, " of others": m.others} { // none of which changes anything
		all = append(all,
			fixed("join"+what, 0, 9, func() kmsg.Request { return joinOf(group, "nobody", m.t) }),
			fixed("heartbeat"+what, 0, 4, func() kmsg.Request { return heartbeatOf(group, "nobody", 1) }),
			fixed("leave"+what, 0, 5, func() kmsg.Request { return leaveOf(group, "nobody") }),
			fixed("sync"+what, 0, 5, func() kmsg.Request { return syncOf(group, "nobody", 1) }),
			fixed("beat"+what, 0, 1, func() kmsg.Request { return beatOf(group, "nobody", 5, m.t) }),
		)
	}
	return append(all,
		fixed("beat with another's topic", 0, 1, func() kmsg.Request { return beatOf(m.g, "nobody", 5, m.t, m.other) }),
		fixed("beat with no topic", 0, 1, func() kmsg.Request { return beatOf(m.g, "nobody", 5, m.none) }))
}

// asks makes a request of a user, and records the answer.
func (w want) asks(c *conn, who string, version int16) {
	name := who + ": " + w.name
	if w.take == nil {
		c.ask(name, version, w.req(version))
		return
	}
	resp := c.try(version, w.req(version))
	if resp == nil {
		c.s.note(fmt.Sprintf("v%d %s", version, name), "closed")
		return
	}
	c.s.taken(fmt.Sprintf("v%d %s", version, name), resp, w.take)
}
