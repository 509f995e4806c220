package kafkametrics

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/replica"
)

// Options are whom a Collector asks. All are needed.
type Options struct {
	NodeID      int32
	Controller  *controller.Controller
	Replicas    *replica.Manager
	Groups      *group.Coordinator
	Connections func() map[string]int // by listener
	OfflineDirs func() int
	// Partitions and Offsets bound the partitions, and the committed offsets and groups, that are shown.
	Partitions, Offsets int
}

// patience is how long a look waits for the group coordinator; a gap says that it was in vain.
const patience = 2 * time.Second

// Collector is what Prometheus reads.
type Collector struct {
	o     Options
	descs map[string]*prometheus.Desc
}

// New makes a Collector.
func New(o Options) *Collector {
	c := &Collector{o: o, descs: map[string]*prometheus.Desc{}}
	for _, n := range Names() {
		c.descs[n.Name] = prometheus.NewDesc(n.Name, n.Help, n.Labels, nil)
	}
	return c
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		to <- d
	}
}

// look is one look at the broker.
type look struct {
	*Collector
	to chan<- prometheus.Metric
}

// Collect implements prometheus.Collector.
func (c *Collector) Collect(to chan<- prometheus.Metric) {
	l := look{c, to}
	img := c.o.Controller.Image()
	l.cluster(img)
	l.quorum()
	l.held()
	l.offsets()
	l.members()
	l.show("kafka_log_logmanager_offlinelogdirectorycount", float64(c.o.OfflineDirs()))
	for listener, n := range c.o.Connections() {
		l.show("kafka_server_socket_server_metrics_connection_count", float64(n), listener, "0")
	}
}

// show sends one figure.
func (l look) show(name string, v float64, labels ...string) {
	kind := prometheus.GaugeValue
	if strings.HasSuffix(name, "_total") {
		kind = prometheus.CounterValue
	}
	l.to <- prometheus.MustNewConstMetric(l.descs[name], kind, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// cluster shows what the metadata says.
func (l look) cluster(img *metadata.Image) {
	fenced, offline, left := 0, 0, l.o.Partitions
	for b := range img.Brokers() {
		if b.Fenced {
			fenced++
		}
		address := ""
		if len(b.Endpoints) > 0 {
			address = net.JoinHostPort(b.Endpoints[0].Host, strconv.Itoa(int(b.Endpoints[0].Port)))
		}
		l.show("kafka_broker_info", 1, strconv.Itoa(int(b.ID)), address)
	}
	for t := range img.Topics() {
		for i := range t.Partitions {
			if t.Partitions[i].Leader < 0 {
				offline++
			}
		}
		if left -= len(t.Partitions); left < 0 {
			continue
		}
		l.show("kafka_topic_partitions", float64(len(t.Partitions)), t.Name)
		for i := range t.Partitions {
			l.partition(t.Name, strconv.Itoa(i), &t.Partitions[i])
		}
	}
	l.show("kafka_brokers", float64(img.BrokerCount()))
	l.show("kafka_controller_kafkacontroller_activebrokercount", float64(img.BrokerCount()-fenced))
	l.show("kafka_controller_kafkacontroller_fencedbrokercount", float64(fenced))
	l.show("kafka_controller_kafkacontroller_globaltopiccount", float64(img.TopicCount()))
	l.show("kafka_controller_kafkacontroller_globalpartitioncount", float64(img.PartitionCount()))
	l.show("kafka_controller_kafkacontroller_offlinepartitionscount", float64(offline))
	l.show("kafka_controller_controllerstats_uncleanleaderelections_total", 0)
}

// partition shows what the metadata says of a partition.
func (l look) partition(topic, index string, p *metadata.Partition) {
	l.show("kafka_topic_partition_leader", float64(p.Leader), topic, index)
	l.show("kafka_topic_partition_leader_is_preferred", truth(len(p.Replicas) > 0 && p.Leader == p.Replicas[0]), topic, index)
	l.show("kafka_topic_partition_replicas", float64(len(p.Replicas)), topic, index)
	l.show("kafka_topic_partition_in_sync_replica", float64(len(p.ISR)), topic, index)
	l.show("kafka_topic_partition_under_replicated_partition", truth(len(p.ISR) < len(p.Replicas)), topic, index)
}

// quorum shows the metadata log.
func (l look) quorum() {
	q, err := l.o.Controller.Quorum()
	l.show("kafka_controller_kafkacontroller_activecontrollercount", truth(err == nil && q.LeaderID == l.o.NodeID))
	if err != nil {
		return // a gap says it
	}
	l.show("kafka_server_raftmetrics_current_leader", float64(q.LeaderID))
	l.show("kafka_server_raftmetrics_current_epoch", float64(q.Term))
	l.show("kafka_server_raftmetrics_high_watermark", float64(q.CommittedEnd))
	l.show("kafka_server_raftmetrics_log_end_offset", float64(q.LogEnd))
}

// held shows the partitions that this broker holds, topics in the order of their names.
func (l look) held() {
	all := slices.SortedFunc(l.o.Replicas.Held(), func(a, b *replica.Partition) int {
		x, y := a.TopicPartition(), b.TopicPartition()
		return cmp.Or(strings.Compare(x.Topic, y.Topic), cmp.Compare(x.Partition, y.Partition))
	})
	shown := min(len(all), l.o.Partitions)
	for shown > 0 && shown < len(all) && all[shown-1].TopicPartition().Topic == all[shown].TopicPartition().Topic {
		shown-- // topics are shown whole, so that their sums are
	}
	leads, under, underMin, atMin := 0, 0, 0, 0
	var sum replica.Traffic
	for i, p := range all {
		tp := p.TopicPartition()
		leader, replicas, inSync, minInSync := replica.ReplicasOf(p)
		if leader == l.o.NodeID {
			leads++
			under += int(truth(inSync < replicas))
			underMin += int(truth(inSync < minInSync))
			atMin += int(truth(inSync == minInSync))
		}
		if i >= shown {
			continue
		}
		index := strconv.Itoa(int(tp.Partition))
		l.show("kafka_topic_partition_current_offset", float64(p.HighWatermark()), tp.Topic, index)
		if log := p.Log(); log != nil {
			l.show("kafka_topic_partition_oldest_offset", float64(log.LogStart()), tp.Topic, index)
			l.show("kafka_log_log_size", float64(log.Size()), tp.Topic, index)
		}
		if leader == l.o.NodeID {
			l.show("kafka_cluster_partition_underminisr", truth(inSync < minInSync), tp.Topic, index)
			l.show("kafka_cluster_partition_atminisr", truth(inSync == minInSync), tp.Topic, index)
			l.show("kafka_cluster_partition_replicascount", float64(replicas), tp.Topic, index)
		}
		if add(&sum, replica.TrafficOf(p)); i+1 == shown || all[i+1].TopicPartition().Topic != tp.Topic {
			l.traffic(tp.Topic, sum)
			sum = replica.Traffic{}
		}
	}
	l.show("kafka_server_replicamanager_leadercount", float64(leads))
	l.show("kafka_server_replicamanager_partitioncount", float64(len(all)))
	l.show("kafka_server_replicamanager_underreplicatedpartitions", float64(under))
	l.show("kafka_server_replicamanager_underminisrpartitioncount", float64(underMin))
	l.show("kafka_server_replicamanager_atminisrpartitioncount", float64(atMin))
	l.show("kafka_server_replicamanager_offlinereplicacount", float64(l.o.Replicas.Offline()))
	l.show("varve_kafka_metrics_left_out", float64(len(all)-shown), "partitions")
}

func add(sum *replica.Traffic, t replica.Traffic) {
	sum.Records += t.Records
	sum.BytesIn += t.BytesIn
	sum.BytesOut += t.BytesOut
	sum.Produces += t.Produces
	sum.FailedProduces += t.FailedProduces
	sum.Fetches += t.Fetches
	sum.FailedFetches += t.FailedFetches
}

// traffic shows what came to a topic and went from it.
func (l look) traffic(topic string, t replica.Traffic) {
	l.show("kafka_server_brokertopicmetrics_messagesin_total", float64(t.Records), topic)
	l.show("kafka_server_brokertopicmetrics_bytesin_total", float64(t.BytesIn), topic)
	l.show("kafka_server_brokertopicmetrics_bytesout_total", float64(t.BytesOut), topic)
	l.show("kafka_server_brokertopicmetrics_totalproducerequests_total", float64(t.Produces), topic)
	l.show("kafka_server_brokertopicmetrics_totalfetchrequests_total", float64(t.Fetches), topic)
	l.show("kafka_server_brokertopicmetrics_failedproducerequests_total", float64(t.FailedProduces), topic)
	l.show("kafka_server_brokertopicmetrics_failedfetchrequests_total", float64(t.FailedFetches), topic)
}

// offsets shows where the groups stand.
func (l look) offsets() {
	type positions struct {
		first []group.Position
		all   int
	}
	answer := make(chan positions, 1)
	l.o.Groups.Positions(l.o.Offsets, func(first []group.Position, all int) { answer <- positions{first, all} })
	p, ok := await(answer)
	if !ok {
		return
	}
	first := group.Readable(p.first)
	l.show("varve_kafka_metrics_left_out", float64(p.all-len(first)), "offsets")
	var at, lag int64
	for i, o := range first {
		behind := int64(-1)
		if part, err := l.o.Replicas.Partition(o.Topic, o.Partition); err == nil && part.Log() != nil {
			behind = max(0, part.HighWatermark()-o.At)
		}
		index := strconv.Itoa(int(o.Partition))
		l.show("kafka_consumergroup_current_offset", float64(o.At), o.GroupID, o.Topic, index)
		l.show("kafka_consumergroup_lag", float64(behind), o.GroupID, o.Topic, index)
		at, lag = at+o.At, lag+max(0, behind)
		if i+1 == len(first) || first[i+1].GroupID != o.GroupID || first[i+1].Topic != o.Topic {
			l.show("kafka_consumergroup_current_offset_sum", float64(at), o.GroupID, o.Topic)
			l.show("kafka_consumergroup_lag_sum", float64(lag), o.GroupID, o.Topic)
			at, lag = 0, 0
		}
	}
}

// members shows how many members the groups have.
func (l look) members() {
	answer := make(chan []group.Listed, 1)
	l.o.Groups.List(nil, nil, func(list []group.Listed, _ kafka.Error) { answer <- list })
	list, ok := await(answer)
	if !ok {
		return
	}
	slices.SortFunc(list, func(a, b group.Listed) int { return strings.Compare(a.ID, b.ID) })
	all := len(list)
	list = slices.DeleteFunc(list, func(g group.Listed) bool { return !utf8.ValidString(g.ID) })
	first := list[:min(len(list), l.o.Offsets)]
	for _, g := range first {
		l.show("kafka_consumergroup_members", float64(g.Members), g.ID)
	}
	l.show("varve_kafka_metrics_left_out", float64(all-len(first)), "groups")
}

// await waits for an answer, but not for ever.
func await[T any](answer <-chan T) (v T, ok bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case v = <-answer:
		return v, true
	case <-timer.C:
		return v, false
	}
}
