package broker_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"path/filepath"
	"reflect"
	"runtime/metrics"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/broker/wire"
	"github.com/varve-io/varve/objstore/mem"
)

// Limits of what one request may do to the node.
const (
	answerWithin   = 30 * time.Second // or the connection is closed; a request that may rest is left after restsAfter
	restsAfter     = 30 * time.Millisecond
	allocatedFloor = 96 << 20 // bytes allocated by the whole process meanwhile: floor + perByte × size
	allocatedByte  = 4 << 10
	liveAtMost     = 1 << 30 // bytes of live objects
	nodeLives      = 1500    // requests; then a new node takes over, so that what they created does not pile up
)

// mayRest are the keys whose answer may be a matter of time, or of other requests: Produce
// (acks=0 has none), Fetch, JoinGroup, SyncGroup.
var mayRest = map[int16]bool{wire.KeyProduce: true, wire.KeyFetch: true, wire.KeyJoinGroup: true, wire.KeySyncGroup: true}

// FuzzEveryRequest sends requests of every key at every version to a whole node: frames as the
// fuzzer makes them, or, with a seed, messages with fields of random and of well-known values.
// Each is answered or its connection closed, within bounds of time and memory; nothing panics
// and nothing is logged as an error; another client is served all the while.
func FuzzEveryRequest(f *testing.F) {
	for api := range wire.APIs() {
		for v := api.AdvertisedMin; v <= api.MaxVersion; v++ {
			f.Add(generated(rand.New(rand.NewPCG(uint64(api.Key), uint64(v))), api.Key, v), uint64(0))
			f.Add([]byte{byte(api.Key >> 8), byte(api.Key), byte(v >> 8), byte(v)}, uint64(v)+1)
		}
	}
	target := &fuzzNode{}
	f.Cleanup(target.stop)
	f.Fuzz(func(t *testing.T, frame []byte, seed uint64) {
		if seed != 0 && len(frame) >= 4 {
			key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
			row, ok := wire.Lookup(key)
			if !ok {
				return
			}
			if version < row.AdvertisedMin || version > row.MaxVersion {
				version = row.AdvertisedMin + int16(uint16(version)%uint16(row.MaxVersion-row.AdvertisedMin+1))
			}
			frame = generated(rand.New(rand.NewPCG(seed, 1)), key, version)
		}
		if len(frame) == 0 || len(frame) > 1<<20 {
			return
		}
		target.ready(t)
		target.send(t, frame)
	})
}

// fuzzNode is the node of the moment.
type fuzzNode struct {
	tb       *outliving
	node     *broker.Node
	errors   *errorLog
	bystand  net.Conn // the other client
	topicID  [16]byte
	requests int
}

// outliving is the TB of a node that outlives the test that starts it.
type outliving struct {
	testing.TB
	cleanups []func()
}

// Cleanup implements testing.TB.
func (o *outliving) Cleanup(f func()) { o.cleanups = append(o.cleanups, f) }

// Context implements testing.TB.
func (o *outliving) Context() context.Context { return context.Background() }

// errorLog keeps what is logged as an error.
type errorLog struct {
	mu struct {
		sync.Mutex
		lines []string
	}
}

// Write implements io.Writer.
func (l *errorLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.lines = append(l.mu.lines, string(b))
	return len(b), nil
}

// logger logs errors into l and drops the rest.
func (l *errorLog) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelError}))
}

func (l *errorLog) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := l.mu.lines
	l.mu.lines = nil
	return lines
}

func (n *fuzzNode) stop() {
	if n.node == nil {
		return
	}
	n.bystand.Close()
	for i := len(n.tb.cleanups) - 1; i >= 0; i-- {
		n.tb.cleanups[i]()
	}
	n.node = nil
}

// ready sees to it that a node runs which did not have too many requests yet.
func (n *fuzzNode) ready(t *testing.T) {
	t.Helper()
	if n.requests++; n.node != nil && n.requests%nodeLives != 0 {
		n.tb.TB = t
		return
	}
	n.stop()
	n.tb, n.errors = &outliving{TB: t}, &errorLog{}
	node := brokertest.Node{
		FS: memfs.New(), Dir: "/varve", Bucket: mem.New(),
		Logger: n.errors.logger(),
		Set: []string{"offsets.topic.num.partitions=2", "transaction.state.log.num.partitions=2",
			"group.initial.rebalance.delay.ms=0", "log.dirs=" + filepath.Join("/varve", "logs")},
	}
	var err error
	if n.node, err = node.Try(n.tb); err != nil {
		t.Fatal(err)
	}
	n.stock(t)
	if n.bystand, err = net.Dial("tcp", n.node.KafkaAddr()); err != nil {
		t.Fatal(err)
	}
}

// stock gives the node the topics that generated requests name.
func (n *fuzzNode) stock(t *testing.T) {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(n.node.KafkaAddr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	adm, compact := kadm.NewClient(client), "compact"
	if _, err := adm.CreateTopics(t.Context(), 2, 1, nil, "t", "u"); err != nil {
		t.Fatal(err)
	}
	if _, err := adm.CreateTopics(t.Context(), 1, 1, map[string]*string{"cleanup.policy": &compact}, "c"); err != nil {
		t.Fatal(err)
	}
	topics, err := adm.ListTopics(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	n.topicID = topics["t"].ID
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// send sends one frame on a connection of its own and holds the node to its limits.
func (n *fuzzNode) send(t *testing.T, frame []byte) {
	t.Helper()
	key := int16(-1)
	if len(frame) >= 2 {
		key = int16(binary.BigEndian.Uint16(frame))
	}
	frame = []byte(strings.ReplaceAll(string(frame), string(wellKnownID[:]), string(n.topicID[:])))
	before := allocated("/gc/heap/allocs:bytes")
	nc, err := net.Dial("tcp", n.node.KafkaAddr())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	wait := answerWithin
	if mayRest[key] {
		wait = restsAfter
	}
	_ = nc.SetWriteDeadline(time.Now().Add(answerWithin))
	if _, err := nc.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)); isTimeout(err) {
		t.Fatal(err)
	}
	_ = nc.SetReadDeadline(time.Now().Add(wait))
	if _, err := readAnswer(nc); isTimeout(err) && !mayRest[key] {
		t.Fatalf("neither an answer nor a close within %v", wait)
	}
	if got, most := allocated("/gc/heap/allocs:bytes")-before, uint64(allocatedFloor+allocatedByte*len(frame)); got > most {
		t.Fatalf("%d bytes allocated for a request of %d bytes", got, len(frame))
	}
	if got := allocated("/memory/classes/heap/objects:bytes"); got > liveAtMost {
		t.Fatalf("%d bytes are live", got)
	}
	n.checkBystander(t)
	if lines := n.errors.take(); len(lines) > 0 {
		t.Fatalf("the node logged:\n%s", strings.Join(lines, ""))
	}
}

// checkBystander has the other client ask for the versions and for a topic.
func (n *fuzzNode) checkBystander(t *testing.T) {
	t.Helper()
	_ = n.bystand.SetDeadline(time.Now().Add(answerWithin))
	req := kmsg.NewPtrApiVersionsRequest()
	if _, err := n.bystand.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 7)); err != nil {
		t.Fatalf("another client: %v", err)
	}
	if _, err := readAnswer(n.bystand); err != nil {
		t.Fatalf("another client: %v", err)
	}
	select {
	case err := <-n.node.Failed():
		t.Fatalf("the node failed: %v", err)
	default:
	}
}

func readAnswer(nc net.Conn) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(nc, size[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(nc, b)
	return b, err
}

func isTimeout(err error) bool {
	ne := net.Error(nil)
	return errors.As(err, &ne) && ne.Timeout()
}

func allocated(name string) uint64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// wellKnownID stands for the id of topic t, which each node chooses anew.
var wellKnownID = [16]byte([]byte("the id of topic "))

// words are strings that mean something to the node.
var words = []string{"", "t", "u", "c", "g", "h", "x", "m", "a.b", "a_b", "..", "new", "1", "-1", "compact", "delete", "lz4",
	"consumer", "connect", "range", "uniform", "roundrobin", "stable", "Ongoing", "classic", "__consumer_offsets", "__transaction_state",
	"cleanup.policy", "retention.ms", "segment.bytes", "max.message.bytes", "log.retention.ms", "message.max.bytes", "interval.ms", "metrics", "match",
	"broker", "/varve/logs", "(a+)+$", "[a-z]{1000}", "(((((((((a{20}){20}){20}){20})", "t.*", "group.version", "transaction.version", "metadata.version",
	strings.Repeat("n", 249), strings.Repeat("n", 40_000)}

// numbers are integers that mean something, beside random ones.
var numbers = []int64{-3, -2, -1, 0, 0, 0, 1, 1, 2, 3, 4, 5, 8, 16, 32, 100, 6000, 45_000, 1 << 15, 1<<31 - 1, -1 << 31, 1<<63 - 1, -1 << 63}

// generated is the frame of a request with fields of random and of well-known values.
func generated(rng *rand.Rand, key, version int16) []byte {
	req := kmsg.RequestForKey(key)
	req.SetVersion(version)
	mean(rng, reflect.ValueOf(req).Elem(), "")
	req.SetVersion(version)
	id := kmsg.FormatterClientID(words[rng.IntN(12)])
	return kmsg.NewRequestFormatter(id).AppendRequest(nil, req, 1)[4:]
}

// mean fills a field.
func mean(rng *rand.Rand, v reflect.Value, name string) {
	if v.Type() == reflect.TypeFor[kmsg.Tags]() {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rng.IntN(2) == 0)
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		switch rng.IntN(4) {
		case 0:
			v.SetInt(rng.Int64() >> rng.IntN(64))
		case 1: // its default
		default:
			v.SetInt(numbers[rng.IntN(len(numbers))])
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(rng.Uint64())
	case reflect.Float64:
		v.SetFloat(rng.NormFloat64() * 1e9)
	case reflect.String:
		v.SetString(word(rng, name))
	case reflect.Array:
		id := [16]byte{}
		switch rng.IntN(4) {
		case 0:
			binary.BigEndian.PutUint64(id[8:], rng.Uint64())
		case 1, 2:
			id = wellKnownID
		}
		reflect.Copy(v, reflect.ValueOf(id))
	case reflect.Pointer:
		if v.SetZero(); rng.IntN(4) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			mean(rng, v.Elem(), name)
		}
	case reflect.Slice:
		meanSlice(rng, v, name)
	case reflect.Struct:
		if d, ok := v.Addr().Interface().(interface{ Default() }); ok {
			d.Default()
		}
		for i := range v.NumField() {
			mean(rng, v.Field(i), v.Type().Field(i).Name)
		}
	}
}

func meanSlice(rng *rand.Rand, v reflect.Value, name string) {
	switch {
	case v.Type().Elem().Kind() == reflect.Uint8 && strings.HasPrefix(name, "Record"):
		v.SetBytes(someBatch(rng))
	case v.Type().Elem().Kind() == reflect.Uint8:
		meta := kmsg.ConsumerMemberMetadata{Version: int16(rng.IntN(4)), Topics: []string{word(rng, ""), "t"}}
		b := meta.AppendTo(nil)
		v.SetBytes(b[:rng.IntN(len(b)+1)])
	case rng.IntN(8) == 0:
		v.SetZero()
	default:
		n := 1 + rng.IntN(3)
		if rng.IntN(50) == 0 {
			n = 300
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			mean(rng, v.Index(i), strings.TrimSuffix(name, "s"))
		}
	}
}

// word is a string for a field, more often than not one that names something.
func word(rng *rand.Rand, field string) string {
	likely := map[string][]string{
		"Topic": {"t", "t", "u", "c", "new"}, "Group": {"g", "h"}, "TransactionalID": {"x", "y"}, "MemberID": {"", "m", "n"}, "Member": {"m"},
		"ProtocolType": {"consumer"}, "InstanceID": {"i"}, "SubscribedTopicName": {"t"}, "ServerAssignor": {"uniform", "range"},
	}[field]
	if len(likely) > 0 && rng.IntN(4) > 0 {
		return likely[rng.IntN(len(likely))]
	}
	if rng.IntN(10) == 0 {
		return fmt.Sprint("r", rng.IntN(1000))
	}
	return words[rng.IntN(len(words))]
}

// someBatch is a record batch that is well formed more often than not.
func someBatch(rng *rand.Rand) []byte {
	b := batch.Builder{BaseTimestampMs: time.Now().UnixMilli()}
	if rng.IntN(2) == 0 {
		b.ProducerID, b.ProducerEpoch, b.BaseSequence = int64(rng.IntN(5)-1), int16(rng.IntN(3)-1), int32(rng.IntN(4)-1)
	}
	b.Attributes = batch.Attributes(rng.IntN(64)) &^ 7
	if rng.IntN(3) > 0 {
		b.Attributes = 0
	}
	for i := range 1 + rng.IntN(4) {
		b.Append([]byte(words[i]), []byte(word(rng, "")), nil, b.BaseTimestampMs+int64(i))
	}
	out := b.Bytes()
	if rng.IntN(4) == 0 {
		out[rng.IntN(len(out))] ^= byte(1 + rng.IntN(255))
	}
	return out
}
