// Package telemetry takes the metrics that clients push (KIP-714).
//
// It owns the subscriptions, resolved from the cluster's settings, the instances of clients,
// and what their metrics said last, which Prometheus reads. It does not own the settings
// (broker/config, broker/metadata) or wire formats (broker/api). Everything is bounded: the
// bytes of a push, compressed and not, the instances and the series; what comes beyond is
// dropped and counted. A Manager may be used from any goroutine; idle clients cost an entry in
// a map, which goes when a newer client needs the room.
package telemetry

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// The bounds of what clients may cost.
const (
	// MaxPushBytes is the largest push, compressed: the default of Kafka's telemetry.max.bytes.
	MaxPushBytes  = 1 << 20
	maxPlainBytes = 8 << 20
	maxInstances  = 16384 // as in Kafka
	maxSeries     = 4096
	// defaultIntervalMs is how often a client asks again that no subscription matches.
	defaultIntervalMs = 300_000
)

// Client is who a request comes from.
type Client struct {
	ID              string // client.id
	SoftwareName    string
	SoftwareVersion string
	Host, Port      string
}

// Subscription is what a client is to push.
type Subscription struct {
	InstanceID kafka.UUID
	ID         int32
	IntervalMs int32
	Metrics    []string // prefixes of names, sorted; "*" for all
}

// Push is one push of a client.
type Push struct {
	InstanceID     kafka.UUID
	SubscriptionID int32
	Terminating    bool
	Codec          batch.Codec
	Metrics        []byte // OpenTelemetry's MetricsData, compressed
}

// Manager keeps subscriptions, instances and series.
type Manager struct {
	now     func() time.Time
	metrics *metrics

	mu struct {
		sync.Mutex
		version       int64 // grows with each change of the subscriptions
		subscriptions []config.ClientMetrics
		instances     map[kafka.UUID]*instance
		series        map[seriesKey]*series
	}
}

// instance is one client that asked for its subscription.
type instance struct {
	sub              Subscription
	version          int64 // of the subscriptions that sub was made of
	lastGet, lastPut time.Time
	retry            bool // it was told to ask again at once
	terminating      bool
}

// seen is when the client was last heard of.
func (i *instance) seen() time.Time {
	if i.lastPut.After(i.lastGet) {
		return i.lastPut
	}
	return i.lastGet
}

// New makes a Manager without subscriptions.
func New(now func() time.Time, reg prometheus.Registerer) *Manager {
	m := &Manager{now: now}
	m.mu.instances = map[kafka.UUID]*instance{}
	m.mu.series = map[seriesKey]*series{}
	m.metrics = newMetrics(m, reg)
	return m
}

// Apply takes over the subscriptions of an image, if they are among what changed.
func (m *Manager) Apply(img *metadata.Image, d *metadata.Delta) {
	if !slices.ContainsFunc(d.Configs, func(r metadata.ConfigResource) bool { return r.Type == metadata.ClientMetricsResource }) {
		return
	}
	var list []config.ClientMetrics
	for r := range img.ConfigResources() {
		if r.Type == metadata.ClientMetricsResource {
			list = append(list, config.NewClientMetrics(img.Config(r)))
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mu.subscriptions = list
	m.mu.version++
}

// Subscribe answers what a client is to push; a zero id is given one. Errors:
// kafka.ThrottlingQuotaExceeded when the client asks more often than it is told to.
func (m *Manager) Subscribe(id kafka.UUID, c Client) (Subscription, error) {
	if id.IsZero() {
		id = kafka.NewUUID()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	in, now := m.instance(id, c), m.now()
	if !in.retry && !in.seen().IsZero() && now.Sub(in.seen()) < in.interval() {
		return Subscription{InstanceID: id}, fmt.Errorf("instance %s asks before its interval of %v is over: %w", id, in.interval(), kafka.ThrottlingQuotaExceeded)
	}
	in.lastGet, in.retry = now, false
	return in.sub, nil
}

func (i *instance) interval() time.Duration {
	return time.Duration(i.sub.IntervalMs) * time.Millisecond
}

// instance finds a client, or makes room for it, with its subscription of now. mu is held.
func (m *Manager) instance(id kafka.UUID, c Client) *instance {
	in := m.mu.instances[id]
	if in == nil {
		if len(m.mu.instances) >= maxInstances {
			m.forgetOldest()
		}
		in = &instance{version: -1}
		m.mu.instances[id] = in
	}
	if in.version != m.mu.version {
		in.sub, in.version = m.subscription(id, c), m.mu.version
	}
	return in
}

// forgetOldest drops the eighth of the clients that were not heard of for longest, so that the
// search is not made for each new one. mu is held.
func (m *Manager) forgetOldest() {
	ids := make([]kafka.UUID, 0, len(m.mu.instances))
	for id := range m.mu.instances {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b kafka.UUID) int {
		return m.mu.instances[a].seen().Compare(m.mu.instances[b].seen())
	})
	for _, id := range ids[:len(ids)/8+1] {
		delete(m.mu.instances, id)
	}
}

// subscription joins what matches a client. mu is held.
func (m *Manager) subscription(id kafka.UUID, c Client) Subscription {
	s := Subscription{InstanceID: id, IntervalMs: defaultIntervalMs}
	for _, sub := range m.mu.subscriptions {
		if matches(sub, id, c) {
			s.Metrics = append(s.Metrics, sub.Metrics...)
			s.IntervalMs = min(s.IntervalMs, sub.IntervalMs)
		}
	}
	slices.SortFunc(s.Metrics, cmp.Compare[string])
	s.Metrics = slices.Compact(s.Metrics)
	if slices.Contains(s.Metrics, "*") {
		s.Metrics = []string{"*"}
	}
	sum := crc32.Checksum([]byte(fmt.Sprint(s.Metrics, s.IntervalMs)), crc32.MakeTable(crc32.Castagnoli))
	s.ID = int32(sum ^ binary.BigEndian.Uint32(id[:4]) ^ binary.BigEndian.Uint32(id[12:]))
	return s
}

// matches says whether all patterns of a subscription match the client.
func matches(s config.ClientMetrics, id kafka.UUID, c Client) bool {
	for name, pattern := range s.Match {
		value := map[string]string{
			"client_instance_id": id.String(), "client_id": c.ID, "client_software_name": c.SoftwareName,
			"client_software_version": c.SoftwareVersion, "client_source_address": c.Host, "client_source_port": c.Port,
		}[name]
		if !pattern.MatchString(value) {
			return false
		}
	}
	return true
}

// Take takes a push. Errors: kafka.InvalidRequest without an instance id and after the last
// push, kafka.ThrottlingQuotaExceeded before its time, kafka.UnknownSubscriptionID when the
// subscription is another one now, kafka.UnsupportedCompressionType, kafka.TelemetryTooLarge,
// kafka.InvalidRecord for what cannot be read.
func (m *Manager) Take(p Push, c Client) error {
	sub, err := m.admit(p, c)
	if err != nil || len(p.Metrics) == 0 {
		return err
	}
	plain, err := batch.Decompress(p.Codec, p.Metrics, batch.Limits{MaxBytes: maxPlainBytes})
	if err == nil {
		var points []point
		if points, err = parse(plain); err == nil {
			m.keep(points, sub, c)
			return nil
		}
	}
	m.metrics.refused.Inc()
	return fmt.Errorf("the metrics of instance %s cannot be read: %v: %w", p.InstanceID, err, kafka.InvalidRecord)
}

// admit decides whether a push may come now.
func (m *Manager) admit(p Push, c Client) (Subscription, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p.InstanceID.IsZero() {
		return Subscription{}, fmt.Errorf("a push without an instance id: %w", kafka.InvalidRequest)
	}
	in, now := m.instance(p.InstanceID, c), m.now()
	early := !in.lastPut.IsZero() && !in.lastGet.After(in.lastPut) && now.Sub(in.lastPut) < in.interval()
	switch {
	case in.terminating:
		return in.sub, fmt.Errorf("instance %s has pushed for the last time: %w", p.InstanceID, kafka.InvalidRequest)
	case early && !p.Terminating:
		return in.sub, fmt.Errorf("instance %s pushes before its interval of %v is over: %w", p.InstanceID, in.interval(), kafka.ThrottlingQuotaExceeded)
	}
	in.lastPut, in.terminating = now, p.Terminating
	switch {
	case p.SubscriptionID != in.sub.ID:
		in.retry = true
		return in.sub, fmt.Errorf("instance %s pushes for subscription %d, its one is %d now: %w", p.InstanceID, p.SubscriptionID, in.sub.ID, kafka.UnknownSubscriptionID)
	case p.Codec < batch.None || p.Codec > batch.Zstd:
		in.retry = true
		return in.sub, fmt.Errorf("metrics compressed with codec %d: %w", p.Codec, kafka.UnsupportedCompressionType)
	case len(p.Metrics) > MaxPushBytes:
		return in.sub, fmt.Errorf("a push of %d bytes, %d are allowed: %w", len(p.Metrics), MaxPushBytes, kafka.TelemetryTooLarge)
	}
	return in.sub, nil
}

// subscribed says whether a name is asked for.
func (s Subscription) subscribed(name string) bool {
	return slices.ContainsFunc(s.Metrics, func(prefix string) bool { return prefix == "*" || strings.HasPrefix(name, prefix) })
}
