// Package kafkametrics shows a broker under the names that dashboards and alerts for Apache Kafka
// ask for: those of kafka_exporter, and those that Strimzi's rules for the JMX exporter make of
// Kafka's own beans.
//
// It owns the names and what each of them is here. It keeps nothing: every figure is asked of its
// owner when somebody looks. Clients choose the names of topics and groups, so both are bounded,
// and what is left out is counted. A Collector may be used from any goroutine.
package kafkametrics

// Name is one metric.
type Name struct {
	Name   string
	Help   string
	Labels []string
}

// Names are all metrics, kafka_exporter's first.
func Names() []Name {
	broker, topic, partition := []string{"id", "address"}, []string{"topic"}, []string{"topic", "partition"}
	offset := []string{"consumergroup", "topic", "partition"}
	return []Name{
		{"kafka_brokers", "Brokers of the cluster.", nil},
		{"kafka_broker_info", "A broker of the cluster and its first address; 1.", broker},
		{"kafka_topic_partitions", "Partitions of a topic.", topic},
		{"kafka_topic_partition_current_offset", "High watermark of a partition.", partition},
		{"kafka_topic_partition_oldest_offset", "First offset of a partition, in the object store or local.", partition},
		{"kafka_topic_partition_leader", "Id of a partition's leader, -1 for none.", partition},
		{"kafka_topic_partition_leader_is_preferred", "1 when the leader is the first replica.", partition},
		{"kafka_topic_partition_replicas", "Replicas of a partition.", partition},
		{"kafka_topic_partition_in_sync_replica", "Replicas of a partition that are in sync.", partition},
		{"kafka_topic_partition_under_replicated_partition", "1 when not all replicas are in sync.", partition},
		{"kafka_consumergroup_current_offset", "Offset that a group has committed.", offset},
		{"kafka_consumergroup_lag", "Offsets between the committed one and the high watermark; -1 where this broker does not hold the partition.", offset},
		{"kafka_consumergroup_current_offset_sum", "Committed offsets of a group, added up over a topic.", []string{"consumergroup", "topic"}},
		{"kafka_consumergroup_lag_sum", "Lag of a group, added up over a topic.", []string{"consumergroup", "topic"}},
		{"kafka_consumergroup_members", "Members of a group.", []string{"consumergroup"}},

		{"kafka_server_brokertopicmetrics_messagesin_total", "Records appended.", topic},
		{"kafka_server_brokertopicmetrics_bytesin_total", "Bytes of batches appended.", topic},
		{"kafka_server_brokertopicmetrics_bytesout_total", "Bytes of batches that fetches were answered with.", topic},
		{"kafka_server_brokertopicmetrics_totalproducerequests_total", "Partitions in Produce requests.", topic},
		{"kafka_server_brokertopicmetrics_totalfetchrequests_total", "Partitions that Fetch requests were answered for.", topic},
		{"kafka_server_brokertopicmetrics_failedproducerequests_total", "Partitions in Produce requests that were refused.", topic},
		{"kafka_server_brokertopicmetrics_failedfetchrequests_total", "Partitions that Fetch requests were refused.", topic},
		{"kafka_server_replicamanager_leadercount", "Partitions that this broker leads.", nil},
		{"kafka_server_replicamanager_partitioncount", "Partitions that this broker holds.", nil},
		{"kafka_server_replicamanager_underreplicatedpartitions", "Partitions led here of which a replica is not in sync.", nil},
		{"kafka_server_replicamanager_underminisrpartitioncount", "Partitions led here with fewer replicas in sync than min.insync.replicas.", nil},
		{"kafka_server_replicamanager_atminisrpartitioncount", "Partitions led here with as many replicas in sync as min.insync.replicas.", nil},
		{"kafka_server_replicamanager_offlinereplicacount", "Replicas of this broker whose logs are offline.", nil},
		{"kafka_controller_kafkacontroller_activecontrollercount", "1 when this node leads the metadata quorum.", nil},
		{"kafka_controller_kafkacontroller_activebrokercount", "Brokers that may lead.", nil},
		{"kafka_controller_kafkacontroller_fencedbrokercount", "Brokers that may not.", nil},
		{"kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.", nil},
		{"kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.", nil},
		{"kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions of the cluster without a leader.", nil},
		{"kafka_controller_controllerstats_uncleanleaderelections_total", "Leaders that were chosen outside the in-sync set. There are none: such an election is not offered.", nil},
		{"kafka_cluster_partition_underminisr", "1 when fewer replicas are in sync than min.insync.replicas.", partition},
		{"kafka_cluster_partition_atminisr", "1 when as many are.", partition},
		{"kafka_cluster_partition_replicascount", "Replicas of a partition that this broker leads.", partition},
		{"kafka_log_log_size", "Local bytes of a partition.", partition},
		{"kafka_log_logmanager_offlinelogdirectorycount", "Log directories that are offline.", nil},
		{"kafka_server_socket_server_metrics_connection_count", "Open connections of a listener.", []string{"listener", "networkProcessor"}},
		{"kafka_server_raftmetrics_current_leader", "Id of the node that leads the metadata quorum, -1 for none.", nil},
		{"kafka_server_raftmetrics_current_epoch", "Term of the metadata quorum.", nil},
		{"kafka_server_raftmetrics_high_watermark", "End of the committed entries of the metadata log.", nil},
		{"kafka_server_raftmetrics_log_end_offset", "End of this node's metadata log.", nil},

		{"varve_kafka_metrics_left_out", "What of each kind is not shown here: partitions above varve.metrics.kafka.max.partitions, offsets and groups above varve.group.lag.max.series.", []string{"kind"}},
	}
}
