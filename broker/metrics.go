package broker

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/api"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/kafkametrics"
	"github.com/varve-io/varve/broker/replica"
)

// metrics counts what the background loops fail at: each is tried again, and would be
// silent but for a line in the log.
type metrics struct {
	retention, checkpoint, topicObject, relief, settings, certificates, jwks, tokens prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
		reg.MustRegister(c)
		return c
	}
	return &metrics{
		retention:    counter("varve_retention_failures_total", "Retention passes that failed for at least one partition; they are tried again."),
		checkpoint:   counter("varve_log_dir_checkpoint_failures_total", "Checkpoints of the log directories that failed; a start would scan more of the logs."),
		relief:       counter("varve_log_dir_relief_failures_total", "Attempts to free room on a log directory's full disk that failed for at least one partition; they are tried again."),
		settings:     counter("varve_dynamic_settings_refused_total", "Times that dynamic settings of the cluster's metadata were not taken over in full."),
		tokens:       counter("varve_delegation_token_sweep_failures_total", "Times that delegation tokens which have ended could not be removed; they let nobody in."),
		jwks:         counter("varve_jwks_fetch_failures_total", "Times that the keys which tokens of OAUTHBEARER are checked by could not be read; the listener goes on with what it had."),
		certificates: counter("varve_certificate_reload_failures_total", "Changed files of keys or certificates that were no use; the listener goes on with what it had."),
		topicObject:  counter("varve_tier_topic_object_failures_total", "Attempts to write a topic's object or to purge a deleted topic that failed; they are tried again."),
	}
}

// watchDirs shows the log directories by their state.
func watchDirs(reg prometheus.Registerer, dirs *logdir.Manager) {
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "varve_log_dirs_offline",
		Help: "Log directories that are offline; their partitions refuse clients.",
	}, func() float64 { return float64(offlineDirs(dirs)) }))
	for _, d := range dirs.Dirs() {
		label := prometheus.Labels{"dir": d.Path}
		of := func(figure func(logdir.DirPressure) float64) func() float64 {
			return func() float64 {
				for _, p := range dirs.Pressure() {
					if p.Path == d.Path {
						return figure(p)
					}
				}
				return 0 // offline
			}
		}
		reg.MustRegister(
			prometheus.NewGaugeFunc(prometheus.GaugeOpts{
				Name: "varve_log_dir_pressure", ConstLabels: label,
				Help: "How full a log directory's disk is: 1 evicts sooner, 2 throttles producers, 3 refuses them.",
			}, of(func(p logdir.DirPressure) float64 { return float64(p.Level) })),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "varve_log_dir_refused_appends_total", ConstLabels: label,
				Help: "Appends that were refused because a log directory's disk was nearly full.",
			}, of(func(p logdir.DirPressure) float64 { return float64(p.Refusals) })),
			prometheus.NewCounterFunc(prometheus.CounterOpts{
				Name: "varve_log_dir_throttled_seconds_total", ConstLabels: label,
				Help: "For how long producers were held up because a log directory's disk filled, added up.",
			}, of(func(p logdir.DirPressure) float64 { return p.Throttled.Seconds() })),
		)
	}
}

// watchRecovery shows what starts and checks of the logs came to.
func watchRecovery(reg prometheus.Registerer, s *commitlog.Stats) {
	reg.MustRegister(
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "varve_log_recovery_scanned_bytes_total",
			Help: "Bytes of segments that were read to find out whether they are whole: after a crash, or on suspicion. After a clean stop none are.",
		}, func() float64 { return float64(s.ScannedBytes.Load()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "varve_log_damage_found_total",
			Help: "Ranges of offsets that were found to be damaged or missing in the logs.",
		}, func() float64 { return float64(s.Damaged.Load()) }),
	)
}

// watchLogins shows how clients log in.
func watchLogins(reg prometheus.Registerer, h *api.API) {
	for _, of := range []struct {
		name, help string
		count      func(api.LoginCounts) int64
	}{
		{"varve_logins_total", "Connections that have logged in by SASL.", func(c api.LoginCounts) int64 { return c.Complete }},
		{"varve_logins_renewed_total", "Logins that were renewed on their connections (KIP-368).", func(c api.LoginCounts) int64 { return c.Renewed }},
		{"varve_logins_failed_total", "Logins by SASL that failed; each closed its connection.", func(c api.LoginCounts) int64 { return c.Failed }},
	} {
		reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: of.name, Help: of.help}, func() float64 { return float64(of.count(h.Logins())) }))
	}
}

// watchDenials shows how much was denied.
func watchDenials(reg prometheus.Registerer, h *api.API) {
	reg.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "varve_access_denied_total",
		Help: "Checks of access that said no; the log says whose, each once a minute.",
	}, func() float64 { return float64(h.Denials()) }))
}

// watchSessions shows the fetch sessions of clients.
func watchSessions(reg prometheus.Registerer, h *api.API) {
	reg.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_fetch_sessions",
			Help: "Fetch sessions of clients.",
		}, func() float64 { n, _, _ := h.FetchSessions(); return float64(n) }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "varve_fetch_session_partitions",
			Help: "Partitions in the fetch sessions of clients.",
		}, func() float64 { _, n, _ := h.FetchSessions(); return float64(n) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "varve_fetch_session_evictions_total",
			Help: "Fetch sessions that lost their slot to others; their clients begin anew.",
		}, func() float64 { _, _, n := h.FetchSessions(); return float64(n) }),
	)
}

// lagPatience is how long a look at the metrics waits for the group coordinator.
const lagPatience = 2 * time.Second

// lag shows how far groups are behind, as it is when the metrics are read: nothing is kept in
// between. The cluster's clients choose the labels, so that there are limit series at most.
type lag struct {
	groups   *group.Coordinator
	replicas *replica.Manager
	limit    int // 0: none, and nobody is asked
	now      func() time.Time

	records, seconds, leftOut *prometheus.Desc
}

// watchLag shows how far the groups are behind that this broker coordinates.
func watchLag(reg prometheus.Registerer, groups *group.Coordinator, replicas *replica.Manager, limit int, now func() time.Time) {
	reg.MustRegister(&lag{
		groups: groups, replicas: replicas, limit: limit, now: now,
		records: prometheus.NewDesc("varve_group_lag_records",
			"Offsets between what a group has committed and the high watermark, of groups that this broker coordinates and partitions that it holds; the first of them by name, as far as varve.group.lag.max.series allows.",
			[]string{"group", "topic", "partition"}, nil),
		seconds: prometheus.NewDesc("varve_group_lag_seconds",
			"How old the batch is that a group reads next, by the time in it: a lower bound, to one batch, or where only the object store has it. 0: the group has read everything.",
			[]string{"group", "topic", "partition"}, nil),
		leftOut: prometheus.NewDesc("varve_group_lag_left_out",
			"Committed offsets whose lag is not shown: varve.group.lag.max.series are, or the group's name is no text (UTF-8).", nil, nil),
	})
}

// Describe implements prometheus.Collector.
func (l *lag) Describe(to chan<- *prometheus.Desc) {
	to <- l.records
	to <- l.seconds
	to <- l.leftOut
}

// Collect implements prometheus.Collector.
func (l *lag) Collect(to chan<- prometheus.Metric) {
	if l.limit == 0 {
		return
	}
	type positions struct {
		first []group.Position
		all   int
	}
	answer := make(chan positions, 1)
	l.groups.Positions(l.limit, func(first []group.Position, all int) { answer <- positions{first, all} })
	patience := time.NewTimer(lagPatience)
	defer patience.Stop()
	select {
	case <-patience.C: // a gap in the series says it
	case p := <-answer:
		first := group.Readable(p.first)
		to <- prometheus.MustNewConstMetric(l.leftOut, prometheus.GaugeValue, float64(p.all-len(first)))
		for _, at := range first {
			if part, err := l.replicas.Partition(at.Topic, at.Partition); err == nil && part.Log() != nil {
				l.show(to, at, part)
			}
		}
	}
}

// show shows how far a group is behind on a partition.
func (l *lag) show(to chan<- prometheus.Metric, at group.Position, part *replica.Partition) {
	labels := []string{at.GroupID, at.Topic, strconv.Itoa(int(at.Partition))}
	behind, seconds := max(0, part.HighWatermark()-at.At), 0.0
	to <- prometheus.MustNewConstMetric(l.records, prometheus.GaugeValue, float64(behind), labels...)
	if behind > 0 {
		ts, ok, err := replica.TimestampAt(part, at.At)
		if err != nil || !ok {
			return // a gap in the series says it; why the log can't be read is told elsewhere
		}
		seconds = max(0, l.now().Sub(time.UnixMilli(ts)).Seconds())
	}
	to <- prometheus.MustNewConstMetric(l.seconds, prometheus.GaugeValue, seconds, labels...)
}

// watchKafkaNames shows the broker under the names of other exporters, in a registry of its own.
func (n *Node) watchKafkaNames() {
	n.kafkaRegistry.MustRegister(kafkametrics.New(kafkametrics.Options{
		NodeID: n.config.NodeID, Controller: n.controller, Replicas: n.replicas, Groups: n.groups,
		Connections: n.server.Connections, OfflineDirs: func() int { return offlineDirs(n.dirs) },
		Partitions: n.config.MetricsKafkaMaxPartitions, Offsets: n.config.GroupLagMaxSeries,
	}))
}

func offlineDirs(dirs *logdir.Manager) int {
	n := 0
	for _, d := range dirs.Dirs() {
		if d.Offline != nil {
			n++
		}
	}
	return n
}
