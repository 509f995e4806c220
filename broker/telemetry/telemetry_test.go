package telemetry

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

func message(n protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), b)
}

// metric is a Metric message: a gauge, or a sum of the given temporality.
func metric(name string, temporality uint64, values ...float64) []byte {
	field, data := protowire.Number(fieldGauge), []byte(nil)
	if temporality > 0 {
		field = fieldSum
		data = protowire.AppendVarint(protowire.AppendTag(nil, fieldTemporality, protowire.VarintType), temporality)
	}
	for i, v := range values {
		point := protowire.AppendFixed64(protowire.AppendTag(nil, 3, protowire.Fixed64Type), 77) // a time, passed over
		if i%2 == 0 {
			point = protowire.AppendFixed64(protowire.AppendTag(point, fieldAsDouble, protowire.Fixed64Type), math.Float64bits(v))
		} else {
			point = protowire.AppendFixed64(protowire.AppendTag(point, fieldAsInt, protowire.Fixed64Type), uint64(int64(v)))
		}
		data = append(data, message(fieldDataPoints, point)...)
	}
	return append(message(fieldName, []byte(name)), message(field, data)...)
}

// data is a MetricsData message.
func data(metrics ...[]byte) []byte {
	var scope []byte
	for _, m := range metrics {
		scope = append(scope, message(fieldMetrics, m)...)
	}
	return message(fieldResourceMetrics, message(fieldScopeMetrics, scope))
}

// rig is a Manager with a clock and subscriptions.
type rig struct {
	*Manager
	t   *testing.T
	at  time.Time
	reg *prometheus.Registry
	img *metadata.Image
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, at: time.UnixMilli(1_000_000_000_000), reg: prometheus.NewRegistry(), img: &metadata.Image{}}
	r.Manager = New(func() time.Time { return r.at }, r.reg)
	return r
}

func (r *rig) subscription(name string, settings map[string]string) {
	r.t.Helper()
	img, d, err := r.img.Apply(r.img.Version()+1, []metadata.Record{metadata.ConfigRecord{Resource: metadata.ConfigResource{Type: metadata.ClientMetricsResource, Name: name}, Config: settings}})
	if err != nil {
		r.t.Fatal(err)
	}
	r.img = img
	r.Apply(img, d)
}

var java = Client{ID: "app-1", SoftwareName: "apache-kafka-java", SoftwareVersion: "4.3.1", Host: "10.0.0.1", Port: "4711"}

func TestSubscriptionsAreJoined(t *testing.T) {
	r := newRig(t)
	first, err := r.Subscribe(kafka.UUID{}, java)
	if err != nil || first.InstanceID.IsZero() || len(first.Metrics) != 0 || first.IntervalMs != defaultIntervalMs {
		t.Fatalf("without subscriptions: %+v, %v", first, err)
	}
	r.subscription("a", map[string]string{"metrics": "org.apache,x.", "interval.ms": "60000", "match": "client_software_name=apache.*,client_id=app-[0-9]"})
	r.subscription("b", map[string]string{"metrics": "x.,b.", "interval.ms": "1000", "match": "client_source_address=10\\.0\\.0\\.1"})
	r.subscription("c", map[string]string{"metrics": "*", "match": "client_id=app"})
	r.at = r.at.Add(5 * time.Minute)
	got, err := r.Subscribe(first.InstanceID, java)
	if err != nil || fmt.Sprint(got.Metrics) != "[b. org.apache x.]" || got.IntervalMs != 1000 || got.ID == first.ID || got.InstanceID != first.InstanceID {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := r.Subscribe(first.InstanceID, java); !errors.Is(err, kafka.ThrottlingQuotaExceeded) {
		t.Errorf("asked again at once: %v", err)
	}
	r.subscription("c", map[string]string{"metrics": "*"})
	r.at = r.at.Add(time.Second)
	if got, err := r.Subscribe(first.InstanceID, java); err != nil || fmt.Sprint(got.Metrics) != "[*]" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestPush(t *testing.T) {
	r := newRig(t)
	r.subscription("a", map[string]string{"metrics": "lag,sent", "interval.ms": "1000"})
	sub, err := r.Subscribe(kafka.UUID{}, java)
	if err != nil {
		t.Fatal(err)
	}
	push := Push{InstanceID: sub.InstanceID, SubscriptionID: sub.ID}
	take := func(change func(*Push)) error {
		p := push
		change(&p)
		return r.Take(p, java)
	}
	body := data(metric("lag.max", 0, 3, 9, 4), metric("sent.total", 1, 5, 6), metric("sent.all", 2, 100), metric("other", 0, 1), message(fieldName, []byte("lag.histogram")))
	if err := take(func(p *Push) { p.Metrics = body }); err != nil {
		t.Fatal(err)
	}
	if err := take(func(p *Push) { p.Metrics = body }); !errors.Is(err, kafka.ThrottlingQuotaExceeded) {
		t.Errorf("too early: %v", err)
	}
	r.at = r.at.Add(time.Second)
	enc, _ := zstd.NewWriter(nil)
	if err := take(func(p *Push) { p.Metrics, p.Codec = enc.EncodeAll(body, nil), batch.Zstd }); err != nil {
		t.Fatal(err)
	}
	want := `
# HELP varve_client_telemetry_accumulated The total of a sum that clients pushed (KIP-714), over all its points.
# TYPE varve_client_telemetry_accumulated untyped
varve_client_telemetry_accumulated{client_id="app-1",metric="sent.all"} 100
varve_client_telemetry_accumulated{client_id="app-1",metric="sent.total"} 22
# HELP varve_client_telemetry_value The last value of a gauge that clients pushed (KIP-714), the largest of its points.
# TYPE varve_client_telemetry_value untyped
varve_client_telemetry_value{client_id="app-1",metric="lag.max"} 9
`
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "varve_client_telemetry_accumulated", "varve_client_telemetry_value"); err != nil {
		t.Error(err)
	}
	for _, tt := range []struct {
		name string
		want kafka.Error
		f    func(*Push)
	}{
		{"no instance", kafka.InvalidRequest, func(p *Push) { p.InstanceID = kafka.UUID{} }},
		{"another subscription", kafka.UnknownSubscriptionID, func(p *Push) { p.SubscriptionID++ }},
		{"codec 5", kafka.UnsupportedCompressionType, func(p *Push) { p.Codec = 5 }},
		{"too large", kafka.TelemetryTooLarge, func(p *Push) { p.Metrics = make([]byte, MaxPushBytes+1) }},
		{"no protobuf", kafka.InvalidRecord, func(p *Push) { p.Metrics = []byte{0xff} }},
		{"not compressed", kafka.InvalidRecord, func(p *Push) { p.Metrics, p.Codec = body, batch.Gzip }},
		{"a bomb", kafka.InvalidRecord, func(p *Push) { p.Metrics, p.Codec = enc.EncodeAll(make([]byte, 64<<20), nil), batch.Zstd }},
		{"many metrics", kafka.InvalidRecord, func(p *Push) { p.Metrics = data(slices.Repeat([][]byte{metric("x", 0, 1)}, maxPoints+1)...) }},
		{"last", kafka.NoError, func(p *Push) { p.Terminating = true }},
		{"after the last", kafka.InvalidRequest, func(*Push) {}},
	} {
		r.at = r.at.Add(time.Second)
		if err := take(tt.f); kafka.Code(err) != tt.want {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want.Name())
		}
	}
}

// What clients can make the broker keep is bounded, and goes when they are gone.
func TestBounds(t *testing.T) {
	r := newRig(t)
	r.subscription("a", map[string]string{"metrics": "*", "interval.ms": "1000"})
	sub, err := r.Subscribe(kafka.UUID{}, java)
	if err != nil {
		t.Fatal(err)
	}
	var metrics [][]byte
	for i := range maxSeries + 10 {
		metrics = append(metrics, metric(fmt.Sprint("m", i), 0, 1))
	}
	if err := r.Take(Push{InstanceID: sub.InstanceID, SubscriptionID: sub.ID, Metrics: data(metrics...)}, java); err != nil {
		t.Fatal(err)
	}
	if n := testutil.CollectAndCount(r.metrics); n != maxSeries || testutil.ToFloat64(r.metrics.dropped) != 10 {
		t.Errorf("%d series, %v dropped", n, testutil.ToFloat64(r.metrics.dropped))
	}
	r.at = r.at.Add(seriesLife + time.Second)
	if n := testutil.CollectAndCount(r.metrics); n != 0 {
		t.Errorf("%d series of clients that are gone", n)
	}
	for i := range uint64(maxInstances + 100) {
		var id kafka.UUID
		binary.BigEndian.PutUint64(id[:], i+1)
		r.at = r.at.Add(time.Millisecond)
		if _, err := r.Subscribe(id, java); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.mu.instances); n > maxInstances {
		t.Errorf("%d instances", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(data(metric("a", 0, 1), metric("b", 1, 2, 3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		points, err := parse(b)
		if err == nil && len(points) > len(b) {
			t.Errorf("%d metrics out of %d bytes", len(points), len(b))
		}
	})
}
