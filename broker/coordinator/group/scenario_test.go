package group

import (
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/coordinator/scenario"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/wire"
)

var update = flag.Bool("update", false, "write what the scenarios come to into their files")

// TestScenarios plays the files of testdata. A line is something that happens, with words
// NAME=VALUE; the indented lines behind it are all that comes of it: answers (<-), records (+)
// and tombstones (-) in the log. See play for the words.
func TestScenarios(t *testing.T) { scenario.Files(t, *update, playAll) }

// stage is a coordinator with one shard, on a log in memory.
type stage struct {
	t        *testing.T
	cfg      Config
	consumer ConsumerConfig
	img      *metadata.Image
	log      *memoryLog
	c        *Coordinator
	ids      int

	mu struct { // time in a bubble is no synchronization for the race detector
		sync.Mutex
		out []string
	}
}

func playAll(t *testing.T, text string) string {
	s := &stage{t: t, log: newMemoryLog(), cfg: Config{
		MinSessionTimeoutMs: 6000, MaxSessionTimeoutMs: 1_800_000, MaxSize: 1000, OffsetsRetentionMs: 7 * 24 * 3600_000,
		RetentionCheckIntervalMs: 600_000, OffsetMetadataMaxBytes: 20, NewMemberJoinTimeoutMs: 300_000,
	}}
	s.consumer = ConsumerConfig{
		SessionTimeoutMs: 45_000, HeartbeatIntervalMs: 5000, RegexRefreshMs: 600_000, MaxSize: 1000,
		Assignors: []string{"uniform", "range"}, Upgrade: true, Downgrade: true,
	}
	s.img = &metadata.Image{}
	s.start()
	defer func() { s.c.Close() }()
	return scenario.Lines(text, s.play, func() []string {
		s.mu.Lock()
		defer s.mu.Unlock()
		out := append(s.mu.out, s.log.Take()...)
		s.mu.out = nil
		return out
	})
}

// start starts a coordinator on what is in the log.
func (s *stage) start() {
	s.c = New(Options{
		Config: func() Config { return s.cfg }, Consumer: func(string) ConsumerConfig { return s.consumer }, CommitTimeout: func() time.Duration { return 5 * time.Second },
		NewID: func() string { s.ids++; return strconv.Itoa(s.ids) }, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	s.c.partitions.Store(1)
	s.c.image.Store(s.img)
	s.c.rt.Lead(0, s.log)
	synctest.Wait()
}

func (s *stage) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.out = append(s.mu.out, fmt.Sprintf(format, args...))
}

// play does one line. The group is "g" where the line names none.
func (s *stage) play(verb string, w scenario.Words) {
	group := w.Or("group", "g")
	switch verb {
	case "set": // a setting
		s.set(w)
	case "wait": // let time go by: wait 3s
		d, err := time.ParseDuration(w[""])
		if err != nil {
			s.t.Fatal(err)
		}
		<-time.After(d)
	case "restart": // the process ends, another one reads the log
		s.c.Close()
		s.start()
	case "hold": // the high watermark stays where it is
		s.log.Hold()
	case "release": // and moves on
		s.log.Release()
	case "refuse": // the next append fails
		s.log.Refuse(scenario.ErrorNamed(w[""]))
	case "join":
		s.join(w)
	case "sync":
		s.sync(w)
	case "heartbeat":
		req := &wire.HeartbeatRequest{GroupID: group, MemberID: w["member"], GenerationID: int32(w.Int("generation", 0)), GroupInstanceID: w.Optional("instance")}
		s.c.Heartbeat(req, func(code kafka.Error) { s.say("<- %s", code.Name()) })
	case "leave":
		s.leave(group, w)
	case "commit":
		s.commit(group, w)
	default:
		s.playAdmin(verb, group, w)
	}
}

func (s *stage) playAdmin(verb, group string, w scenario.Words) {
	switch verb {
	case "fetch": // all offsets of the group
		s.c.FetchAll(group, Stranger(), func(offsets []PartitionOffset, code kafka.Error) {
			lines := []string{}
			for _, o := range offsets {
				lines = append(lines, fmt.Sprintf("%s: %s", o.TopicPartition, o.Offset.text()))
			}
			slices.Sort(lines)
			s.say("<- %s", strings.Join(append([]string{code.Name()}, lines...), ", "))
		})
	case "fetch-one": // one partition
		s.c.Fetch(group, Stranger(), []kafka.TopicPartition{partition(w["partition"])}, func(o []Offset, code kafka.Error) {
			s.say("<- %s %s", code.Name(), o[0].text())
		})
	case "describe":
		s.c.Describe(group, func(g wire.DescribeGroupsResponseGroup) {
			s.say("<- %s %s type=%s protocol=%s", kafka.Error(g.ErrorCode).Name(), g.GroupState, g.ProtocolType, g.ProtocolData)
			for _, m := range g.Members {
				s.say("     %s%s client=%s%s metadata=%s assignment=%s", m.MemberID, instance(m.GroupInstanceID), m.ClientID, m.ClientHost, plain(m.MemberMetadata), shareText(m.MemberAssignment))
			}
		})
	case "list":
		var states, types []string
		if v := w["states"]; v != "" {
			states = strings.Split(v, ",")
		}
		if v := w["types"]; v != "" {
			types = strings.Split(v, ",")
		}
		s.c.List(states, types, func(groups []Listed, code kafka.Error) {
			lines := []string{}
			for _, g := range groups {
				lines = append(lines, fmt.Sprintf("%s (%s %s %s)", g.ID, g.ProtocolType, g.State, g.Type))
			}
			slices.Sort(lines)
			s.say("<- %s", strings.Join(append([]string{code.Name()}, lines...), ", "))
		})
	case "txn-commit", "end":
		s.playTxn(verb, group, w)
	case "delete":
		s.c.Delete(group, func(code kafka.Error) { s.say("<- %s", code.Name()) })
	case "delete-offset":
		s.c.DeleteOffsets(group, []kafka.TopicPartition{partition(w["partition"])}, s.sayCommit)
	case "topic-deleted":
		s.c.rt.Do(0, func(sh *Shard, nowMs int64) coordinator.Step {
			return sh.TopicsDeleted(nowMs, map[string]bool{w[""]: true})
		}, func(err error) { s.say("<- %v", err) })
	default:
		s.playConsumer(verb, group, w)
	}
}

func (s *stage) set(w scenario.Words) {
	s.cfg.InitialRebalanceDelayMs = int64(w.Int("initial-delay", int(s.cfg.InitialRebalanceDelayMs)))
	s.cfg.MaxSize = w.Int("max-size", s.cfg.MaxSize)
	s.consumer.MaxSize = w.Int("consumer-max-size", s.consumer.MaxSize)
	s.consumer.AssignmentIntervalMs = int64(w.Int("assignment-interval", int(s.consumer.AssignmentIntervalMs)))
	if v, ok := w["migration"]; ok {
		s.consumer.Upgrade, s.consumer.Downgrade = v == "upgrade" || v == "bidirectional", v == "downgrade" || v == "bidirectional"
	}
	s.cfg.OffsetsRetentionMs = int64(w.Int("retention-minutes", int(s.cfg.OffsetsRetentionMs/60_000))) * 60_000
}

// join: as= names the answer; protocols=NAME:METADATA,…; a metadata of "topics:A+B" is a
// consumer's subscription.
func (s *stage) join(w scenario.Words) {
	req := &wire.JoinGroupRequest{
		GroupID: w.Or("group", "g"), MemberID: w["member"], GroupInstanceID: w.Optional("instance"), ProtocolType: w.Or("type", "consumer"),
		SessionTimeoutMs: int32(w.Int("session", 10_000)), RebalanceTimeoutMs: int32(w.Int("rebalance", 60_000)),
	}
	for _, p := range strings.Split(w.Or("protocols", "range:t"), ",") {
		if name, metadata, _ := strings.Cut(p, ":"); name != "none" {
			req.Protocols = append(req.Protocols, wire.JoinGroupRequestProtocol{Name: name, Metadata: subscription(metadata)})
		}
	}
	client := Client{ID: w.Or("client", "c"), Host: "/h", Version: int16(w.Int("version", 9))}
	s.c.Join(client, req, func(r *wire.JoinGroupResponse) {
		line := fmt.Sprintf("<- %s %s", w["as"], kafka.Error(r.ErrorCode).Name())
		if r.MemberID != "" {
			line += " member=" + r.MemberID
		}
		if r.ErrorCode == 0 {
			line += fmt.Sprintf(" generation=%d protocol=%s/%s leader=%s", r.GenerationID, *r.ProtocolType, *r.ProtocolName, r.Leader)
		}
		if r.SkipAssignment {
			line += " skip"
		}
		for _, m := range r.Members {
			line += fmt.Sprintf(" [%s%s %s]", m.MemberID, instance(m.GroupInstanceID), plain(m.Metadata))
		}
		s.say("%s", line)
	})
}

// sync: as= names the answer; assign=MEMBER:TEXT,… is the leader's.
func (s *stage) sync(w scenario.Words) {
	req := &wire.SyncGroupRequest{
		GroupID: w.Or("group", "g"), MemberID: w["member"], GenerationID: int32(w.Int("generation", 0)),
		GroupInstanceID: w.Optional("instance"), ProtocolType: w.Optional("type"), ProtocolName: w.Optional("protocol"),
	}
	for _, a := range strings.Split(w["assign"], ",") {
		if id, text, ok := strings.Cut(a, ":"); ok {
			req.Assignments = append(req.Assignments, wire.SyncGroupRequestAssignment{MemberID: id, Assignment: classicShare(text)})
		}
	}
	s.c.Sync(req, func(r *wire.SyncGroupResponse) {
		s.say("<- %s %s assignment=%s", w["as"], kafka.Error(r.ErrorCode).Name(), shareText(r.Assignment))
	})
}

// leave: members=ID,… ; an id behind @ is an instance's.
func (s *stage) leave(group string, w scenario.Words) {
	var members []wire.LeaveGroupRequestMember
	for _, id := range strings.Split(w["members"], ",") {
		m := wire.LeaveGroupRequestMember{MemberID: id}
		if inst, ok := strings.CutPrefix(id, "@"); ok {
			m = wire.LeaveGroupRequestMember{GroupInstanceID: &inst}
		}
		members = append(members, m)
	}
	s.c.Leave(group, members, func(members []wire.LeaveGroupResponseMember, code kafka.Error) {
		line := "<- " + code.Name()
		for _, m := range members {
			line += fmt.Sprintf(" [%s%s %s]", m.MemberID, instance(m.GroupInstanceID), kafka.Error(m.ErrorCode).Name())
		}
		s.say("%s", line)
	})
}

// commit: offsets=TOPIC-PARTITION:OFFSET:METADATA,…
func (s *stage) commit(group string, w scenario.Words) { s.c.Commit(s.commitOf(group, w), s.sayCommit) }

func (s *stage) commitOf(group string, w scenario.Words) Commit {
	c := Commit{
		GroupID: group, MemberID: w["member"], Instance: w.Optional("instance"), Generation: int32(w.Int("generation", -1)),
		RetentionTimeMs: int64(w.Int("retention-ms", -1)), Old: w["version"] == "8",
	}
	for _, o := range strings.Split(w["offsets"], ",") {
		f := strings.Split(o+"::", ":")
		at, _ := strconv.Atoi(f[1])
		c.Offsets = append(c.Offsets, PartitionOffset{TopicPartition: partition(f[0]), TopicID: s.topicID(f[0]), Offset: Offset{At: int64(at), LeaderEpoch: 3, Metadata: f[2]}})
	}
	return c
}

// playTxn: txn-commit is commit with a transaction of producer=, end ends it: end producer=7 commit.
func (s *stage) playTxn(verb, group string, w scenario.Words) {
	producer := int64(w.Int("producer", 0))
	if verb == "end" {
		s.c.EndTxn(0, replica.Marker{ProducerID: producer, Commit: w[""] == "commit"}, func(err error) { s.say("<- %s", kafka.Code(err).Name()) })
		return
	}
	s.c.CommitTxn(TxnCommit{Commit: s.commitOf(group, w), Txn: coordinator.Txn{ProducerID: producer}}, s.sayCommit)
}

func (s *stage) sayCommit(r CommitResult) {
	line := "<- " + r.Err.Name()
	for _, code := range r.Errors {
		line += " " + code.Name()
	}
	s.say("%s", line)
}

func (o Offset) text() string {
	text := strings.TrimSpace(fmt.Sprintf("%d epoch %d %s", o.At, o.LeaderEpoch, o.Metadata))
	if o.Unstable {
		text += " unstable"
	}
	return text
}

func partition(s string) kafka.TopicPartition {
	i := strings.LastIndex(s, "-")
	n, err := strconv.Atoi(s[i+1:])
	if err != nil {
		panic(err)
	}
	return kafka.TopicPartition{Topic: s[:i], Partition: int32(n)}
}

func instance(id *string) string {
	if id == nil {
		return ""
	}
	return "@" + *id
}

// subscription is metadata as the file writes it.
func subscription(s string) []byte {
	if told, ok := strings.CutPrefix(s, "sub="); ok {
		return classicSubscription(told)
	}
	topics, ok := strings.CutPrefix(s, "topics:")
	if !ok {
		return []byte(s)
	}
	list := strings.Split(topics, "+")
	b := []byte{0, 3, 0, 0, 0, byte(len(list))}
	for _, t := range list {
		b = append(b, 0, byte(len(t)))
		b = append(b, t...)
	}
	return append(b, "user data"...)
}

// plain is metadata as the file writes it.
func plain(b []byte) string {
	if len(b) < 2 || b[0] != 0 {
		return string(b)
	}
	topics := map[string]bool{}
	if !addTopics(topics, b) {
		return "garbage"
	}
	return "topics:" + strings.Join(slices.Sorted(maps.Keys(topics)), "+")
}

// memoryLog is the log under the shard. It takes batches of transactions, and their ends.
type memoryLog struct{ scenario.Log }

func newMemoryLog() *memoryLog {
	return &memoryLog{scenario.Log{Unordered: "- offset", Text: func(h batch.Header, r batch.Record) string {
		kind, _, _ := batch.ParseControl(r)
		switch {
		case h.IsControl():
			return fmt.Sprintf("+ marker producer=%d %s", h.ProducerID, map[batch.ControlKind]string{batch.Commit: "commit", batch.Abort: "abort"}[kind])
		case h.IsTransactional():
			return fmt.Sprintf("%s producer=%d", recordText(r), h.ProducerID)
		}
		return recordText(r)
	}}}
}

func (l *memoryLog) AppendVerified(b []byte, _ *commitlog.Verification) (int64, error) {
	return l.Append(b)
}

func (l *memoryLog) WriteMarker(m replica.Marker) (int64, error) { return l.Append(m.Batch(0)) }

func (l *memoryLog) Epoch() int32 { return 0 }

// recordText is a record in words.
func recordText(r batch.Record) string {
	must := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	kind, key, err := open(r.Key)
	must(err)
	if kind > groupKey {
		return modernRecordText(kind, key, r.Value)
	}
	version, value, _ := open(r.Value)
	sign := "+"
	if r.Value == nil {
		sign = "-"
	}
	if kind == groupKey {
		var k wire.GroupMetadataKey
		must(read(&k, kind, key))
		line := fmt.Sprintf("%s group %s", sign, k.Group)
		if r.Value == nil {
			return line
		}
		var v wire.GroupMetadataValue
		must(read(&v, version, value))
		line += fmt.Sprintf(" type=%s generation=%d", v.ProtocolType, v.Generation)
		if v.Protocol != nil {
			line += " protocol=" + *v.Protocol
		}
		if v.Leader != nil {
			line += " leader=" + *v.Leader
		}
		for _, m := range v.Members {
			line += fmt.Sprintf(" [%s%s %s %s]", m.MemberID, instance(m.GroupInstanceID), plain(m.Subscription), shareText(m.Assignment))
		}
		return line
	}
	var k wire.OffsetCommitKey
	must(read(&k, kind, key))
	line := fmt.Sprintf("%s offset %s %s-%d", sign, k.Group, k.Topic, k.Partition)
	if r.Value == nil {
		return line
	}
	var v wire.OffsetCommitValue
	must(read(&v, version, value))
	return fmt.Sprintf("%s: %s v%d", line, Offset{At: v.Offset, LeaderEpoch: v.LeaderEpoch, Metadata: v.Metadata}.text(), version)
}
