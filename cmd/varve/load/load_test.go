package load

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker/brokertest"
)

func TestQuantiles(t *testing.T) {
	var h histogram
	var all []float64
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		d := time.Duration(math.Exp(rng.Float64() * 30)) // from 1 ns to three hours
		h.add(d)
		all = append(all, float64(d)/1e6)
	}
	slices.Sort(all)
	qs := []float64{0.01, 0.5, 0.95, 0.99, 0.999, 1}
	for i, got := range h.quantiles(nil, qs...) {
		if want := all[int(qs[i]*float64(len(all)))-1]; got < want || got > want*1.017 {
			t.Errorf("quantile %v is %v ms, want %v ms to within 1.7 %%", qs[i], got, want)
		}
	}
	before := h.counted()
	h.add(7 * time.Millisecond)
	if got := h.quantiles(before, 0.5)[0]; got < 7 || got > 7.2 {
		t.Errorf("the median of what came since is %v ms, want 7", got)
	}
	h.add(-time.Second)
	h.add(math.MaxInt64)
	if l := h.latency(); l.Max != float64(math.MaxInt64)/1e6 {
		t.Errorf("max is %v", l.Max)
	}
}

func TestPayloads(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("to be, or not to be\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for spec, want := range map[string][2]float64{"random": {0.95, 1.05}, "compressible:4": {3, 4.5}, "file:" + file: {5, 1000}} {
		p, err := ParsePayload(spec, 1000)
		if err != nil {
			t.Fatal(err)
		}
		var batch []byte
		value := make([]byte, 1000)
		for seq := range int64(100) {
			crc := p.fill(value, 9, seq, 5)
			if s, ours, intact := readStamp(value); !ours || !intact || s != (stamp{9, seq, 5, crc}) {
				t.Fatalf("%s: record %d says %+v, %v, %v", spec, seq, s, ours, intact)
			}
			batch = append(batch, value...)
		}
		var small bytes.Buffer
		enc := gzip.NewWriter(&small)
		if _, err := enc.Write(batch); err != nil || enc.Close() != nil {
			t.Fatal(err)
		}
		if ratio := float64(len(batch)) / float64(small.Len()); ratio < want[0] || ratio > want[1] {
			t.Errorf("%s: a batch becomes a %.2f-th, want %v", spec, ratio, want)
		}
	}
	for _, spec := range []string{"", "zeros", "compressible", "compressible:0.5", "file:/nosuch"} {
		if _, err := ParsePayload(spec, 100); err == nil {
			t.Errorf("%q is a payload", spec)
		}
	}
}

func TestWhatIsReadIsChecked(t *testing.T) {
	p, err := ParsePayload("random", 100)
	if err != nil {
		t.Fatal(err)
	}
	record := func(offset int64) *kgo.Record {
		value := make([]byte, 100)
		p.fill(value, 1, offset, 0)
		return &kgo.Record{Offset: offset, Value: value}
	}
	reader := func() *reading {
		return newReading(&run{id: 1, temporary: true}, newMeter(), map[int32]*span{0: {0, 3}})
	}
	c := reader()
	if err := c.take(0, []*kgo.Record{record(0), record(1)}); err != nil {
		t.Fatal(err)
	}
	if err := c.take(0, []*kgo.Record{record(0), record(1), record(2), record(3)}); err != nil { // again, and behind the end
		t.Fatal(err)
	}
	select {
	case <-c.whole:
	default:
		t.Error("all is read, and it goes on")
	}
	if row := c.row("x"); row.Records != 3 || row.Verified != 3 || row.Bytes != 300 {
		t.Errorf("%+v", row)
	}
	if err := reader().take(0, []*kgo.Record{record(0), record(2)}); err == nil || !strings.Contains(err.Error(), "offset 2 came where 1 was due") {
		t.Errorf("a record that is missing: %v", err)
	}
	bad := record(0)
	bad.Value[99] ^= 1
	if err := reader().take(0, []*kgo.Record{bad}); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a bit that flipped: %v", err)
	}
	wrote := newMeter()
	wrote.done(3, 300, 7)
	if err := c.same(wrote); err == nil {
		t.Error("three other records are the same")
	}
}

// stall is a connection that sends nothing between two times.
type stall struct {
	net.Conn
	from, to time.Time
}

func (s stall) Write(b []byte) (int, error) {
	if now := time.Now(); now.After(s.from) && now.Before(s.to) {
		<-time.After(s.to.Sub(now))
	}
	return s.Conn.Write(b)
}

func TestWhatWaitsForAStallIsCounted(t *testing.T) {
	addr := brokertest.Node{}.Start(t).KafkaAddr()
	payload, err := ParsePayload("random", 100)
	if err != nil {
		t.Fatal(err)
	}
	var from time.Time
	connect := func(_ context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
		from = time.Now().Add(100 * time.Millisecond)
		return kgo.NewClient(append(opts, kgo.SeedBrokers(addr), kgo.Dialer(func(ctx context.Context, network, host string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, host)
			return stall{conn, from, from.Add(400 * time.Millisecond)}, err
		}))...)
	}
	rows, err := Plan{
		Connect: connect, Progress: io.Discard, Partitions: 1, Replication: 1, Duration: 500 * time.Millisecond, Rate: 1000, Clients: 1, RecordBytes: 100, Payload: payload,
		BatchBytes: 1 << 10, Codec: kgo.NoCompression(), Acks: kgo.AllISRAcks(), Idempotent: true,
	}.Produce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if row := rows[0]; row.Records != 500 || row.Verified != 500 || row.Latency.P50 < 100 || row.Latency.Max < 300 {
		t.Errorf("with a stall of 400 ms in 500 ms: %+v, %+v", row, row.Latency)
	}
}
