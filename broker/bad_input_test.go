package broker_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/broker/wire"
)

// sized is n in full size, which VARVE_BAD_INPUT=full asks for, or else few.
func sized(few, n int) int {
	if os.Getenv("VARVE_BAD_INPUT") == "full" {
		return n
	}
	return few
}

// rude is a connection of a client that may be up to no good.
type rude struct {
	t    testing.TB
	nc   net.Conn
	corr int32
}

func dialRude(t testing.TB, n *broker.Node) *rude {
	t.Helper()
	nc, err := net.Dial("tcp", n.KafkaAddr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &rude{t: t, nc: nc}
}

// send sends a request without waiting for the answer.
func (c *rude) send(version int16, req kmsg.Request) error {
	req.SetVersion(version)
	c.corr++
	_, err := c.nc.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("rude")).AppendRequest(nil, req, c.corr))
	return err
}

// receive reads the answer to a request.
func (c *rude) receive(req kmsg.Request) (kmsg.Response, error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Minute))
	b, err := readAnswer(c.nc)
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if b = b[4:]; resp.IsFlexible() && req.Key() != wire.KeyApiVersions {
		b = b[1:]
	}
	return resp, resp.ReadFrom(b)
}

// tell sends a request and reads its answer.
func tell[R kmsg.Response](c *rude, version int16, req kmsg.Request) R {
	c.t.Helper()
	if err := c.send(version, req); err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.receive(req)
	if err != nil {
		c.t.Fatalf("key %d v%d: %v", req.Key(), version, err)
	}
	return resp.(R)
}

// badInput is a node that is treated badly, beside a client that is not and has to notice
// nothing: it asks for Metadata and commits an offset all the while.
type badInput struct {
	t    *testing.T
	node *broker.Node
	errs *errorLog

	start   uint64 // bytes of live objects before
	stop    chan struct{}
	done    sync.WaitGroup
	served  atomic.Int64 // the good client's requests
	slowest atomic.Int64 // of them, in ns
}

// patienceOfOthers is what the good client waits for an answer at most. The machine is busy
// with the bad one, and perhaps with other tests.
const patienceOfOthers = 10 * time.Second

func treatBadly(t *testing.T, settings ...string) *badInput {
	t.Helper()
	b := &badInput{t: t, errs: &errorLog{}, stop: make(chan struct{})}
	b.node = brokertest.Node{FS: memfs.New(), Dir: "/varve", Logger: b.errs.logger(), Set: append([]string{
		"offsets.topic.num.partitions=4", "group.initial.rebalance.delay.ms=0"}, settings...)}.Start(t)
	_, adm := admin(t, b.node)
	if _, err := adm.CreateTopics(t.Context(), 4, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	good := dialRude(t, b.node)
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKey = "good"
	tell[*kmsg.FindCoordinatorResponse](good, 0, find)
	b.coordinated(good, "good")
	b.start = liveBytes()
	b.done.Go(func() {
		for {
			select {
			case <-b.stop:
				return
			default:
				b.beGood(good)
			}
		}
	})
	return b
}

// coordinated waits until the group's coordinator has loaded.
func (b *badInput) coordinated(c *rude, group string) {
	b.t.Helper()
	for range 1000 {
		if tell[*kmsg.OffsetCommitResponse](c, 9, commitOf(group, "")).Topics[0].Partitions[0].ErrorCode == 0 {
			return
		}
		runtime.Gosched()
	}
	b.t.Fatalf("group %s has no coordinator", group)
}

func commitOf(group, metadata string) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Offset, p.Metadata = 1, &metadata
	req.Topics = []kmsg.OffsetCommitRequestTopic{{Topic: "t", Partitions: []kmsg.OffsetCommitRequestTopicPartition{p}}}
	return req
}

func (b *badInput) beGood(c *rude) {
	start := time.Now()
	if m := tell[*kmsg.MetadataResponse](c, 12, kmsg.NewPtrMetadataRequest()); len(m.Brokers) != 1 {
		b.t.Errorf("the good client: Metadata %+v", m)
	}
	if r := tell[*kmsg.OffsetCommitResponse](c, 9, commitOf("good", "")); r.Topics[0].Partitions[0].ErrorCode != 0 {
		b.t.Errorf("the good client: OffsetCommit %+v", r)
	}
	b.slowest.Store(max(b.slowest.Load(), int64(time.Since(start))))
	b.served.Add(1)
}

// end holds the node to its limits: live objects that the whole process has more than before,
// no error in the log, and a good client that has waited for nothing.
func (b *badInput) end(liveMore uint64) {
	b.t.Helper()
	live := liveBytes()
	close(b.stop)
	b.done.Wait()
	b.t.Logf("the good client: %d rounds, the slowest %v; %d KiB live before, %d KiB after", b.served.Load(),
		time.Duration(b.slowest.Load()).Round(time.Millisecond), b.start>>10, live>>10)
	if b.served.Load() == 0 || time.Duration(b.slowest.Load()) > patienceOfOthers {
		b.t.Errorf("another client had to wait for %v, in %d rounds", time.Duration(b.slowest.Load()), b.served.Load())
	}
	if live > b.start+liveMore {
		b.t.Errorf("%d KiB are live, %d before: want %d KiB more at most", live>>10, b.start>>10, liveMore>>10)
	}
	if lines := b.errs.take(); len(lines) > 0 {
		b.t.Errorf("the node logged:\n%s", strings.Join(lines, ""))
	}
}

func liveBytes() uint64 {
	runtime.GC()
	runtime.GC() // a pool keeps what is in it over one collection: decoders of zstd, 8 MiB each
	return allocated("/memory/classes/heap/objects:bytes")
}

// refused wants Kafka's code, and where the answer has room for one, a message.
func refused(t *testing.T, what string, code int16, want kafka.Error, message *string) {
	t.Helper()
	if kafka.Error(code) != want || message == nil || len(*message) < 20 {
		t.Errorf("%s: code %d, message %v; want %d and a message that helps", what, code, message, want)
	}
}

// TestR44BadInputLyingCounts sends each request at each version with counts and lengths that are
// larger than the frame: closed or refused, and next to nothing is allocated.
func TestR44BadInputLyingCounts(t *testing.T) {
	b := treatBadly(t)
	for api := range wire.APIs() {
		for v := api.MinVersion; v <= api.MaxVersion; v++ {
			for _, body := range [][]byte{bytes.Repeat([]byte{0xff, 0xff, 0xff, 0xff, 0x0f}, 8), bytes.Repeat([]byte{0x7f, 0xff, 0xff, 0xff}, 10),
				append(make([]byte, 9), 0x7f, 0xff, 0xff, 0xff, 0x7f), append([]byte{0, 0}, bytes.Repeat([]byte{0xfe, 0xff, 0xff, 0xff, 0x07}, 8)...)} {
				c := dialRude(t, b.node)
				frame := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
				frame = binary.BigEndian.AppendUint16(frame, uint16(api.Key))
				frame = binary.BigEndian.AppendUint16(frame, uint16(v))
				frame = append(append(frame, 0, 0, 0, 1, 0xff, 0xff), body...)
				if _, err := c.nc.Write(frame); err != nil {
					t.Fatal(err)
				}
				_ = c.nc.SetReadDeadline(time.Now().Add(answerWithin))
				if _, err := readAnswer(c.nc); isTimeout(err) {
					t.Errorf("%s v%d with %x: neither an answer nor a close", api.Name, v, body)
				}
				c.nc.Close()
			}
		}
	}
	b.end(16 << 20)
}

// TestR45BadInputCompressionBombs sends batches and metrics that are small on the wire and huge
// behind it, to topics for which the broker has to look inside.
func TestR45BadInputCompressionBombs(t *testing.T) {
	b := treatBadly(t, "varve.produce.validation=full", "compression.type=lz4")
	plain := bytes.Repeat([]byte{0}, sized(48<<20, 320<<20)) // in full size: beyond batch.DefaultMaxBytes
	bombs := map[batch.Codec][]byte{}                        // built before memory is watched: a builder holds all of it
	for _, codec := range []batch.Codec{batch.Gzip, batch.Snappy, batch.Zstd} {
		builder := batch.Builder{Codec: codec, BaseTimestampMs: time.Now().UnixMilli()}
		builder.Append([]byte("k"), plain, nil, builder.BaseTimestampMs)
		bombs[codec] = bytes.Clone(builder.Bytes())
	}
	runtime.GC()
	peak := peakOf(t)
	for codec, bomb := range bombs {
		senders, clients := sync.WaitGroup{}, sized(4, 16)
		if len(bomb) > 1<<20 { // each client of this process holds it twice, and the request once more
			t.Logf("%v: %d KiB on the wire are more than a batch may have", codec, len(bomb)>>10)
			clients = 1
		}
		for range clients {
			senders.Go(func() {
				req := kmsg.NewPtrProduceRequest()
				req.Acks, req.TimeoutMillis = -1, 10_000
				p := kmsg.NewProduceRequestTopicPartition()
				p.Records = bytes.Clone(bomb)
				req.Topics = []kmsg.ProduceRequestTopic{{Topic: "t", Partitions: []kmsg.ProduceRequestTopicPartition{p}}}
				got := tell[*kmsg.ProduceResponse](dialRude(t, b.node), 9, req).Topics[0].Partitions[0]
				switch code := kafka.Error(got.ErrorCode); {
				case code == kafka.MessageTooLarge:
					refused(t, fmt.Sprint(codec), got.ErrorCode, code, got.ErrorMessage)
				case code != kafka.NoError || len(plain) > batch.DefaultMaxBytes:
					t.Errorf("%v: %+v", codec, got)
				}
			})
		}
		senders.Wait()
	}
	if most, limit := peak()-uint64(len(plain)), uint64(96<<20); most > limit {
		t.Errorf("%d MiB were live beside the bomb, %d at most are right", most>>20, limit>>20)
	}
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	push := kmsg.NewPtrPushTelemetryRequest()
	subscriptions := tell[*kmsg.GetTelemetrySubscriptionsResponse](dialRude(t, b.node), 0, kmsg.NewPtrGetTelemetrySubscriptionsRequest())
	push.ClientInstanceID, push.SubscriptionID, push.CompressionType = subscriptions.ClientInstanceID, subscriptions.SubscriptionID, 4
	push.Metrics = enc.EncodeAll(plain, nil)
	if r := tell[*kmsg.PushTelemetryResponse](dialRude(t, b.node), 0, push); r.ErrorCode == 0 {
		t.Errorf("metrics that are a bomb: %+v", r)
	}
	plain, bombs = nil, nil
	b.end(32 << 20)
}

// peakOf watches the live objects of the process until the answer is asked for.
func peakOf(t *testing.T) func() uint64 {
	var most atomic.Uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				most.Store(max(most.Load(), allocated("/gc/heap/live:bytes")))
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		t.Logf("%d MiB live at most", most.Load()>>20)
		return most.Load()
	}
}

// TestBadInputLargeMetadata: a megabyte of metadata with a commit, with a join and with a
// regular expression.
func TestBadInputLargeMetadata(t *testing.T) {
	b := treatBadly(t)
	c := dialRude(t, b.node)
	b.coordinated(c, "g")
	mega := strings.Repeat("m", 1<<20)
	short := commitOf("g", strings.Repeat("m", 32_000)) // what the old encoding can say
	if got := tell[*kmsg.OffsetCommitResponse](c, 2, short).Topics[0].Partitions[0].ErrorCode; kafka.Error(got) != kafka.OffsetMetadataTooLarge {
		t.Errorf("32,000 bytes with a commit: %d", got)
	}
	for v := int16(8); v <= 9; v++ {
		if got := tell[*kmsg.OffsetCommitResponse](c, v, commitOf("g", mega)).Topics[0].Partitions[0].ErrorCode; kafka.Error(got) != kafka.OffsetMetadataTooLarge {
			t.Errorf("a megabyte with a commit: %d", got)
		}
	}
	for round := range 3 { // a group whose record can't be written: its members are told, and nothing stays
		join := joinOf(fmt.Sprint("large", round), "", 1<<20)
		joined := tell[*kmsg.JoinGroupResponse](c, 5, join)
		join.MemberID = joined.MemberID
		joined = tell[*kmsg.JoinGroupResponse](c, 5, join)
		if joined.ErrorCode != 0 {
			t.Fatalf("join with a megabyte: %+v", joined.ErrorCode)
		}
		sync := kmsg.NewPtrSyncGroupRequest()
		sync.Group, sync.MemberID, sync.Generation = join.Group, joined.MemberID, joined.Generation
		sync.GroupAssignment = []kmsg.SyncGroupRequestGroupAssignment{{MemberID: joined.MemberID, MemberAssignment: make([]byte, 1<<20)}}
		if got := kafka.Error(tell[*kmsg.SyncGroupResponse](c, 3, sync).ErrorCode); got != kafka.UnknownServerError {
			t.Errorf("an assignment that no record can hold: %v, Kafka answers UNKNOWN_SERVER_ERROR", got)
		}
		leave := kmsg.NewPtrLeaveGroupRequest()
		leave.Group, leave.MemberID = join.Group, joined.MemberID
		tell[*kmsg.LeaveGroupResponse](c, 2, leave)
	}
	b.end(24 << 20)
}

func joinOf(group, member string, metadata int) *kmsg.JoinGroupRequest {
	join := kmsg.NewPtrJoinGroupRequest()
	join.Group, join.MemberID, join.ProtocolType, join.SessionTimeoutMillis, join.RebalanceTimeoutMillis = group, member, "consumer", 30_000, 30_000
	join.Protocols = []kmsg.JoinGroupRequestProtocol{{Name: "range", Metadata: make([]byte, metadata)}}
	return join
}

func beatOf(group, member string, epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Group, req.MemberID, req.MemberEpoch, req.RebalanceTimeoutMillis = group, member, epoch, 30_000
	req.SubscribedTopicNames, req.Topics = []string{"t"}, []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return req
}

// TestBadInputRegexBombs: expressions that would cost much to match, or much to compile.
func TestBadInputRegexBombs(t *testing.T) {
	b := treatBadly(t)
	c := dialRude(t, b.node)
	b.coordinated(c, "r")
	for what, re := range map[string]string{
		"a megabyte": strings.Repeat("a", 1<<20), "nested repetitions": "((((a{30}){30}){30}){30})", "a large class, often": "[^x]{1000}{1000}",
		"not closed": "(((((", "a look-ahead": "(?=a)b", "deep": strings.Repeat("(", 2000) + strings.Repeat(")", 2000),
	} {
		req := beatOf("r", "m", 0)
		req.SubscribedTopicNames, req.SubscribedTopicRegex = nil, &re
		start := time.Now()
		r := tell[*kmsg.ConsumerGroupHeartbeatResponse](c, 1, req)
		refused(t, what, r.ErrorCode, kafka.InvalidRegularExpression, r.ErrorMessage)
		if took := time.Since(start); took > patienceOfOthers {
			t.Errorf("%s took %v", what, took)
		}
	}
	// What kills engines that go back is nothing special to this one.
	re := "(t+)+(t+)+(t+)+$"
	req := beatOf("r", "m", 0)
	req.SubscribedTopicNames, req.SubscribedTopicRegex = nil, &re
	if r := tell[*kmsg.ConsumerGroupHeartbeatResponse](c, 1, req); r.ErrorCode != 0 {
		t.Errorf("%s: %d", re, r.ErrorCode)
	}
	b.end(16 << 20)
}

// TestBadInputLargeGroup: ten thousand members of one group, in both protocols. Others are
// served meanwhile, and of a group that has gone nothing stays.
func TestBadInputLargeGroup(t *testing.T) {
	t.Run("consumer", func(t *testing.T) {
		b := treatBadly(t)
		members := sized(500, 10_000)
		var joined sync.WaitGroup
		for w := range 8 {
			joined.Go(func() {
				c := dialRude(t, b.node)
				for i := w; i < members; i += 8 {
					if r := tell[*kmsg.ConsumerGroupHeartbeatResponse](c, 1, beatOf("large", fmt.Sprint("m", i), 0)); r.ErrorCode != 0 {
						t.Errorf("member %d: %d", i, r.ErrorCode)
						return
					}
				}
			})
		}
		joined.Wait()
		c := dialRude(t, b.node)
		for i := range members {
			tell[*kmsg.ConsumerGroupHeartbeatResponse](c, 1, beatOf("large", fmt.Sprint("m", i), -1))
		}
		b.end(uint64(32<<20 + 4<<10*members))
	})
	t.Run("classic", func(t *testing.T) {
		b := treatBadly(t)
		const members = 300 // a connection each: a join waits
		conns := make([]*rude, members)
		for i := range conns {
			conns[i] = dialRude(t, b.node)
			if err := conns[i].send(2, joinOf("large", "", 4096)); err != nil {
				t.Fatal(err)
			}
		}
		for i, c := range conns {
			c.nc.Close()
			conns[i] = nil
		}
		b.end(uint64(32<<20 + 64<<10*members))
	})
	t.Run("limit", func(t *testing.T) {
		b := treatBadly(t, "group.max.size=2", "group.consumer.max.size=2")
		c := dialRude(t, b.node)
		for i := range 3 {
			r := tell[*kmsg.ConsumerGroupHeartbeatResponse](c, 1, beatOf("small", fmt.Sprint("m", i), 0))
			if i < 2 && r.ErrorCode != 0 {
				t.Errorf("member %d: %d", i, r.ErrorCode)
			}
			if i == 2 {
				refused(t, "the third member", r.ErrorCode, kafka.GroupMaxSizeReached, r.ErrorMessage)
			}
		}
		b.end(16 << 20)
	})
}

// TestBadInputJoinAndLeave: a client that joins and leaves as fast as it can.
func TestBadInputJoinAndLeave(t *testing.T) {
	b := treatBadly(t)
	for protocol, round := range map[string]func(c *rude, i int) error{
		"consumer": func(c *rude, i int) error {
			m := fmt.Sprint("m", i)
			for _, epoch := range []int32{0, -1} {
				if r := tell[*kmsg.ConsumerGroupHeartbeatResponse](c, 1, beatOf("storm", m, epoch)); r.ErrorCode != 0 {
					return fmt.Errorf("epoch %d: %d", epoch, r.ErrorCode)
				}
			}
			return nil
		},
		"classic": func(c *rude, i int) error {
			joined := tell[*kmsg.JoinGroupResponse](c, 3, joinOf("classic storm", "", 100))
			if joined.ErrorCode != 0 {
				return fmt.Errorf("join: %d", joined.ErrorCode)
			}
			leave := kmsg.NewPtrLeaveGroupRequest()
			leave.Group, leave.MemberID = "classic storm", joined.MemberID
			if r := tell[*kmsg.LeaveGroupResponse](c, 2, leave); r.ErrorCode != 0 {
				return fmt.Errorf("leave: %d", r.ErrorCode)
			}
			return nil
		},
	} {
		c := dialRude(t, b.node)
		b.coordinated(c, "x")
		rounds := sized(500, 20_000)
		start := time.Now()
		for i := range rounds {
			if err := round(c, i); err != nil {
				t.Fatalf("%s, round %d: %v", protocol, i, err)
			}
		}
		t.Logf("%s: %d joins and leaves, %.0f a second", protocol, rounds, float64(rounds)/time.Since(start).Seconds())
	}
	b.end(uint64(24<<20 + sized(0, 20_000)*4<<10)) // what they wrote lies in the files, which are in memory here
}

// TestBadInputNeverReads: clients that ask and ask, and never read an answer.
func TestBadInputNeverReads(t *testing.T) {
	b := treatBadly(t)
	_, adm := admin(t, b.node)
	for i := range 20 {
		if _, err := adm.CreateTopics(t.Context(), 50, 1, nil, fmt.Sprint("wide", i)); err != nil {
			t.Fatal(err)
		}
	}
	for range sized(8, 64) {
		c := dialRude(t, b.node)
		_ = c.nc.SetWriteDeadline(time.Now().Add(time.Second))
		sent := 0
		for sent < 200_000 && c.send(12, kmsg.NewPtrMetadataRequest()) == nil {
			sent++
		}
		if sent == 200_000 {
			t.Error("all requests were taken from a client that reads no answer")
		}
	}
	b.end(uint64(sized(8, 64)) * 16 << 20)
}
