package compat

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/varve-io/varve/test/kit"
)

// TestGroupsAndTransactionsMove takes a whole log directory from Apache Kafka to Varve and
// back: groups of every kind and transactions in every state are what they were, by Kafka's own
// tools, members and producers go on at the same address, and Kafka loads what Varve has made of it.
func TestGroupsAndTransactionsMove(t *testing.T) {
	kit.Binary(t)
	long := []string{"group.initial.rebalance.delay.ms=0", "group.consumer.max.session.timeout.ms=600000", "group.consumer.session.timeout.ms=600000"}
	k := kit.NewKafka(t, append(slices.Clone(long), "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1")...)
	var sets []string
	for _, s := range long {
		sets = append(sets, "--set", s)
	}
	w := &moving{t: t, addr: k.Addr, cl: client(t, k.Addr)}
	w.topics()
	w.groups()
	open, old := w.transactions()
	before := w.described()

	dir := filepath.Join(t.TempDir(), "node")
	b := kit.Start(t, dir, sets...)
	kit.Run(t, nil, kit.Binary(t), "topic", "adopt", "--brokers", b.Addr, "--source", k.Addr)
	k.Stop()
	b.Stop()
	logs := logDirOf(t, dir)
	kit.Run(t, nil, kit.Binary(t), "log", "import", logs, "--all", "--from", k.Dir)
	b = kit.New(t, dir, append(sets, "--kafka", k.Addr)...)
	b.Addr = k.Addr
	b.Start()
	w.equal("Varve", before, w.described())
	w.alive()
	w.goOn(open, old)
	after := w.described()
	b.Stop()

	w.back(logs, k.Dir)
	k.Start()
	w.equal("Kafka again", after, w.described())
	w.alive()
}

// moving is the clients of a broker whose state moves.
type moving struct {
	t    *testing.T
	addr string
	cl   *kgo.Client

	generations map[string]member // of classic groups
	modern      member            // of the group of the consumer protocol
}

// member is a member of a group, as it knows itself.
type member struct {
	id    string
	epoch int32
}

func (w *moving) fatal(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *moving) topics() {
	w.t.Helper()
	kit.Eventually(w.t, 30*time.Second, "the topic is created", func() error {
		_, err := kadm.NewClient(w.cl).CreateTopic(w.t.Context(), 3, 1, nil, "work")
		return err
	})
	w.produce(30)
}

func (w *moving) produce(n int) {
	w.t.Helper()
	cl := client(w.t, w.addr, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	defer cl.Close()
	for i := range n {
		w.fatal(cl.ProduceSync(w.t.Context(), &kgo.Record{Topic: "work", Partition: int32(i % 3), Value: fmt.Append(nil, i)}).FirstErr())
	}
}

// groups makes a group of each kind: one whose consumers have left, one with a static member, one
// of Connect's protocol type, one of the consumer protocol, one that only commits, and one that is deleted.
func (w *moving) groups() {
	adm := kadm.NewClient(w.cl)
	if n := w.read("left"); n != 30 {
		w.t.Fatalf("a group reads %d records", n)
	}
	for _, group := range []string{"simple", "deleted"} {
		var offsets kadm.Offsets
		offsets.AddOffset("work", 0, 5, -1)
		offsets.AddOffset("work", 2, 7, 0)
		res, err := adm.CommitOffsets(w.t.Context(), group, offsets)
		w.fatal(errors.Join(err, res.Error()))
	}
	gone, err := adm.DeleteGroup(w.t.Context(), "deleted")
	w.fatal(errors.Join(err, gone.Err))
	_, err = adm.DeleteOffsets(w.t.Context(), "simple", kadm.TopicsSet{"work": {2: {}}})
	w.fatal(err)
	static := "first"
	w.generations = map[string]member{
		"connect": w.join("connect", "connect", nil),
		"static":  w.join("static", "consumer", &static),
	}
	w.joinModern()
}

// join is a member of a classic group with a session that outlives the move.
func (w *moving) join(group, protocol string, instance *string) member {
	w.t.Helper()
	req := kmsg.NewPtrJoinGroupRequest()
	req.Group, req.ProtocolType, req.InstanceID = group, protocol, instance
	req.SessionTimeoutMillis, req.RebalanceTimeoutMillis = 600_000, 60_000
	req.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte("\x00\x00\x00\x00\x00\x01\x00\x04work\xff\xff\xff\xff")}}
	var resp *kmsg.JoinGroupResponse
	kit.Eventually(w.t, 30*time.Second, "a member joins", func() (err error) {
		if resp, err = req.RequestWith(w.t.Context(), w.cl); err != nil {
			return err
		}
		req.MemberID = resp.MemberID
		return kerr.ErrorForCode(resp.ErrorCode)
	})
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.Group, sync.MemberID, sync.Generation, sync.InstanceID = group, resp.MemberID, resp.Generation, instance
	sync.ProtocolType, sync.Protocol = &protocol, resp.Protocol
	sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: resp.MemberID,
		MemberAssignment: []byte("\x00\x00\x00\x00\x00\x01\x00\x04work\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff")}}
	got, err := sync.RequestWith(w.t.Context(), w.cl)
	w.fatal(err)
	w.fatal(kerr.ErrorForCode(got.ErrorCode))
	return member{resp.MemberID, resp.Generation}
}

// beat is a heartbeat of the member of the consumer protocol; first, it joins.
func (w *moving) beat(owns []kmsg.ConsumerGroupHeartbeatRequestTopic) *kmsg.ConsumerGroupHeartbeatResponse {
	w.t.Helper()
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch, req.Topics = "modern", w.modern.id, w.modern.epoch, owns
	if w.modern.epoch == 0 {
		req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 60_000, []string{"work"}
		req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	}
	resp, err := req.RequestWith(w.t.Context(), w.cl)
	w.fatal(err)
	if resp.ErrorCode != 0 {
		w.t.Fatalf("a heartbeat of the consumer protocol: %v, %v", kerr.ErrorForCode(resp.ErrorCode), resp.ErrorMessage)
	}
	w.modern.epoch = resp.MemberEpoch
	return resp
}

func (w *moving) joinModern() {
	w.modern.id = "0123456789012345678901"
	kit.Eventually(w.t, 30*time.Second, "the member gets its partitions", func() error {
		resp := w.beat(nil)
		if resp.Assignment == nil || len(resp.Assignment.Topics) == 0 {
			return errors.New("it has none")
		}
		var owns []kmsg.ConsumerGroupHeartbeatRequestTopic
		for _, topic := range resp.Assignment.Topics {
			owns = append(owns, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: topic.TopicID, Partitions: topic.Partitions})
		}
		w.beat(owns)
		return nil
	})
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.MemberID, commit.Generation = "modern", w.modern.id, w.modern.epoch
	id := w.topicID()
	commit.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "work", TopicID: id, Partitions: []kmsg.OffsetCommitRequestTopicPartition{{Partition: 1, Offset: 4, LeaderEpoch: 0}}}}
	resp, err := commit.RequestWith(w.t.Context(), w.cl)
	w.fatal(err)
	w.fatal(kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
}

func (w *moving) topicID() [16]byte {
	topics, err := kadm.NewClient(w.cl).ListTopics(w.t.Context(), "work")
	w.fatal(err)
	return topics["work"].ID
}

// transactions leaves one committed, one aborted, and two open: one of each version, the newer
// one with offsets of a group.
func (w *moving) transactions() (open, old *kgo.Client) {
	begin := func(id string, opts ...kgo.Opt) *kgo.Client {
		cl := client(w.t, w.addr, append(opts, kgo.TransactionalID(id), kgo.DefaultProduceTopic("work"), kgo.TransactionTimeout(10*time.Minute))...)
		w.fatal(cl.BeginTransaction())
		w.fatal(cl.ProduceSync(w.t.Context(), kgo.StringRecord("of "+id)).FirstErr())
		return cl
	}
	version1 := kgo.MaxVersions(kversion.V3_8_0())
	w.fatal(begin("committed").EndTransaction(w.t.Context(), kgo.TryCommit))
	w.fatal(begin("aborted").EndTransaction(w.t.Context(), kgo.TryAbort))
	w.fatal(begin("committed-1", version1).EndTransaction(w.t.Context(), kgo.TryCommit))
	open, old = begin("open"), begin("open-1", version1)
	id, epoch, err := open.ProducerID(w.t.Context())
	w.fatal(err)
	commit := kmsg.NewPtrTxnOffsetCommitRequest()
	commit.TransactionalID, commit.Group, commit.ProducerID, commit.ProducerEpoch = "open", "pending", id, epoch
	commit.Topics = []kmsg.TxnOffsetCommitRequestTopic{{Topic: "work", Partitions: []kmsg.TxnOffsetCommitRequestTopicPartition{{Partition: 0, Offset: 9, LeaderEpoch: -1}}}}
	kit.Eventually(w.t, 30*time.Second, "offsets of a transaction are taken", func() error {
		resp, err := commit.RequestWith(w.t.Context(), w.cl)
		if err != nil {
			return err
		}
		return kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	})
	return open, old
}

// read has a consumer of a group read what is left for it.
func (w *moving) read(group string) (n int) {
	w.t.Helper()
	assigned := make(chan struct{}, 8)
	cl := client(w.t, w.addr, kgo.ConsumerGroup(group), kgo.ConsumeTopics("work"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { assigned <- struct{}{} }))
	defer cl.Close()
	<-assigned
	n += len(pollAll(w.t, cl))
	w.fatal(cl.CommitUncommittedOffsets(w.t.Context()))
	return n
}

// volatile is what the tools say of the moment, and not of the state.
var volatile = regexp.MustCompile(`(?m)^(Warning:.*|Consumer group '.*' has no active members\.)$`)

// described is what Kafka's tools, and its protocol, say of groups and transactions.
func (w *moving) described() map[string]string {
	w.t.Helper()
	out := map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, args := range [][]string{
		{groupTool, "--describe", "--all-groups", "--offsets"}, {groupTool, "--describe", "--all-groups", "--members", "--verbose"},
		{groupTool, "--describe", "--all-groups", "--state", "--verbose"}, {txnTool, "list"},
	} {
		args = append([]string{args[0], "--bootstrap-server", w.addr}, args[1:]...)
		java := append(kit.JavaArgs(w.t, args[0]), args[1:]...)
		wg.Go(func() {
			text := kit.Run(w.t, nil, "java", java...)
			lines := strings.Split(volatile.ReplaceAllString(text, ""), "\n")
			slices.Sort(lines)
			mu.Lock()
			defer mu.Unlock()
			out[strings.Join(args[2:], " ")] = strings.TrimSpace(strings.Join(lines, "\n"))
		})
	}
	adm := kadm.NewClient(w.cl)
	var txns kadm.DescribedTransactions
	var groups kadm.DescribedGroups
	// The client's connections are those to the broker before, until it notices.
	kit.Eventually(w.t, 30*time.Second, "groups and transactions are described", func() (err error) {
		if txns, err = adm.DescribeTransactions(w.t.Context(), "open", "open-1", "committed", "aborted", "committed-1"); err != nil {
			return err
		}
		groups, err = adm.DescribeGroups(w.t.Context(), "left", "static", "connect")
		return err
	})
	for _, g := range groups.Sorted() {
		for _, m := range g.Members {
			out["group "+g.Group+" member "+m.MemberID] = fmt.Sprintf("%t %s %s", m.InstanceID != nil, m.ClientID, m.ClientHost)
		}
		out["group "+g.Group] = fmt.Sprint(g.State, g.ProtocolType, g.Protocol, g.Err)
	}
	for _, x := range txns.Sorted() {
		out["transaction "+x.TxnID] = fmt.Sprint(x.State, x.ProducerID, x.ProducerEpoch, x.TimeoutMillis, x.StartTimestamp, x.Topics, x.Err)
	}
	wg.Wait()
	for _, open := range []string{"open", "open-1"} {
		if x := txns[open]; x.Err != nil {
			w.t.Errorf("transaction %s: %v", open, x.Err)
		}
	}
	return out
}

func (w *moving) equal(who string, want, got map[string]string) {
	w.t.Helper()
	for what := range want {
		if want[what] != got[what] {
			w.t.Errorf("%s: %s differs:\n%s\nwant\n%s", who, what, got[what], want[what])
		}
	}
	if len(got) != len(want) {
		w.t.Errorf("%s: %d answers, want %d", who, len(got), len(want))
	}
}

// alive has the members go on as if nothing had happened.
func (w *moving) alive() {
	w.t.Helper()
	for group, m := range w.generations {
		req := kmsg.NewPtrHeartbeatRequest()
		req.Group, req.MemberID, req.Generation = group, m.id, m.epoch
		resp, err := req.RequestWith(w.t.Context(), w.cl)
		w.fatal(err)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			w.t.Errorf("the member of group %s: %v", group, err)
		}
	}
	if resp := w.beat(nil); resp.Assignment != nil {
		w.t.Errorf("the member of the consumer protocol is assigned anew: %+v", resp.Assignment)
	}
}

// goOn ends the open transactions, and has consumers and producers go on.
func (w *moving) goOn(open, old *kgo.Client) {
	w.t.Helper()
	if n := w.read("left"); n != 5 {
		w.t.Errorf("a group reads %d records, want the 5 of transactions, which came after its commit", n)
	}
	w.fatal(open.EndTransaction(w.t.Context(), kgo.TryCommit))
	w.fatal(old.EndTransaction(w.t.Context(), kgo.TryAbort))
	kit.Eventually(w.t, 20*time.Second, "the offsets of the transaction count", func() error {
		got, err := kadm.NewClient(w.cl).FetchOffsets(w.t.Context(), "pending")
		if o, ok := got.Lookup("work", 0); err != nil || !ok || o.At != 9 {
			return fmt.Errorf("%+v, %v", got, err)
		}
		return nil
	})
	w.produce(6)
	if n := w.read("left"); n < 6 {
		w.t.Errorf("a group reads %d records after the move", n)
	}
	producer := client(w.t, w.addr, kgo.TransactionalID("new"))
	id, _, err := producer.ProducerID(w.t.Context())
	w.fatal(err)
	if id < 1_000_000_000 {
		w.t.Errorf("a new producer has id %d, which may have been handed out before", id)
	}
}

// back puts the files of partitions that Varve has written in the place of Kafka's.
func (w *moving) back(logs, kafka string) {
	w.t.Helper()
	entries, err := os.ReadDir(logs)
	w.fatal(err)
	for _, e := range entries {
		dst := filepath.Join(kafka, e.Name())
		if _, err := os.Stat(filepath.Join(dst, "partition.metadata")); err != nil {
			continue
		}
		for _, f := range glob(w.t, dst, "0*") {
			w.fatal(os.Remove(f))
		}
		for _, f := range append(glob(w.t, filepath.Join(logs, e.Name()), "0*"), filepath.Join(logs, e.Name(), "leader-epoch-checkpoint")) {
			raw, err := os.ReadFile(f)
			w.fatal(err)
			w.fatal(os.WriteFile(filepath.Join(dst, filepath.Base(f)), raw, 0o600))
		}
	}
}
