package api

import (
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// row is one API key as this broker serves it. Who may do what a request wants is the handler's
// to ask, see authorize.go: it depends on what the request names.
type row struct {
	key, min, max int16
	// overlap: requests of the key may be ahead of a waiting one and wait beside others.
	// It is for requests that touch nothing but the partitions they name.
	overlap bool
	// handle answers the request, at once or later. An error closes the connection instead;
	// it then must not have been answered.
	handle func(a *API, r *server.Request) error
}

// table is everything that is served, by key. ApiVersions advertises it, with the
// advertised minimum of wire's table.
var table = [...]row{
	{wire.KeyProduce, 3, 13, true, (*API).produce},
	{wire.KeyFetch, 4, 18, true, (*API).fetch},
	{wire.KeyListOffsets, 1, 11, false, (*API).listOffsets},
	{wire.KeyMetadata, 0, 13, false, (*API).metadata},
	{wire.KeyOffsetCommit, 2, 10, false, onGroups(groups.offsetCommit)},
	{wire.KeyOffsetFetch, 1, 10, false, onGroups(groups.offsetFetch)},
	{wire.KeyFindCoordinator, 0, 6, false, onGroups(groups.findCoordinator)},
	{wire.KeyJoinGroup, 0, 9, false, onGroups(groups.joinGroup)},
	{wire.KeyHeartbeat, 0, 4, false, onGroups(groups.heartbeat)},
	{wire.KeyLeaveGroup, 0, 5, false, onGroups(groups.leaveGroup)},
	{wire.KeySyncGroup, 0, 5, false, onGroups(groups.syncGroup)},
	{wire.KeyDescribeGroups, 0, 6, false, onGroups(groups.describeGroups)},
	{wire.KeyListGroups, 0, 5, false, onGroups(groups.listGroups)},
	{wire.KeySaslHandshake, 0, 1, false, onLogins(logins.saslHandshake)},
	{wire.KeyApiVersions, 0, 5, false, (*API).apiVersions},
	{wire.KeyCreateTopics, 2, 7, false, (*API).createTopics},
	{wire.KeyDeleteTopics, 1, 6, false, (*API).deleteTopics},
	{wire.KeyDeleteRecords, 0, 2, false, (*API).deleteRecords},
	{wire.KeyInitProducerID, 0, 5, false, (*API).initProducerID},
	{wire.KeyOffsetForLeaderEpoch, 2, 4, false, (*API).offsetForLeaderEpoch},
	{wire.KeyAddPartitionsToTxn, 0, 5, false, (*API).addPartitionsToTxn},
	{wire.KeyAddOffsetsToTxn, 0, 4, false, (*API).addOffsetsToTxn},
	{wire.KeyEndTxn, 0, 5, false, (*API).endTxn},
	{wire.KeyWriteTxnMarkers, 1, 2, false, (*API).writeTxnMarkers},
	{wire.KeyTxnOffsetCommit, 0, 6, false, onGroups(groups.txnOffsetCommit)},
	{wire.KeyDescribeAcls, 1, 3, false, onAdmin(admin.describeACLs)},
	{wire.KeyCreateAcls, 1, 3, false, onAdmin(admin.createACLs)},
	{wire.KeyDeleteAcls, 1, 3, false, onAdmin(admin.deleteACLs)},
	{wire.KeyDescribeConfigs, 1, 4, false, onAdmin(admin.describeConfigs)},
	{wire.KeyAlterConfigs, 0, 2, false, onAdmin(admin.alterConfigs)},
	{wire.KeyAlterReplicaLogDirs, 1, 2, false, (*API).alterReplicaLogDirs},
	{wire.KeyDescribeLogDirs, 1, 5, false, (*API).describeLogDirs},
	{wire.KeySaslAuthenticate, 0, 2, false, onLogins(logins.saslAuthenticate)},
	{wire.KeyCreatePartitions, 0, 3, false, onAdmin(admin.createPartitions)},
	{wire.KeyCreateDelegationToken, 1, 3, false, onLogins(logins.createToken)},
	{wire.KeyRenewDelegationToken, 1, 2, false, onLogins(logins.renewToken)},
	{wire.KeyExpireDelegationToken, 1, 2, false, onLogins(logins.expireToken)},
	{wire.KeyDescribeDelegationToken, 1, 3, false, onLogins(logins.describeTokens)},
	{wire.KeyDeleteGroups, 0, 3, false, onGroups(groups.deleteGroups)},
	{wire.KeyElectLeaders, 0, 2, false, onAdmin(admin.electLeaders)},
	{wire.KeyIncrementalAlterConfigs, 0, 1, false, onAdmin(admin.incrementalAlterConfigs)},
	{wire.KeyAlterPartitionReassignments, 0, 1, false, onAdmin(admin.alterPartitionReassignments)},
	{wire.KeyListPartitionReassignments, 0, 0, false, onAdmin(admin.listPartitionReassignments)},
	{wire.KeyOffsetDelete, 0, 0, false, onGroups(groups.offsetDelete)},
	{wire.KeyDescribeClientQuotas, 0, 1, false, onAdmin(admin.describeClientQuotas)},
	{wire.KeyAlterClientQuotas, 0, 1, false, onAdmin(admin.alterClientQuotas)},
	{wire.KeyDescribeUserScramCredentials, 0, 0, false, onAdmin(admin.describeScram)},
	{wire.KeyAlterUserScramCredentials, 0, 0, false, onAdmin(admin.alterScram)},
	{wire.KeyDescribeQuorum, 0, 2, false, onAdmin(admin.describeQuorum)},
	{wire.KeyUpdateFeatures, 0, 2, false, onAdmin(admin.updateFeatures)},
	{wire.KeyDescribeCluster, 0, 2, false, (*API).describeCluster},
	{wire.KeyDescribeProducers, 0, 0, false, (*API).describeProducers},
	{wire.KeyUnregisterBroker, 0, 0, false, onAdmin(admin.unregisterBroker)},
	{wire.KeyDescribeTransactions, 0, 0, false, (*API).describeTransactions},
	{wire.KeyListTransactions, 0, 2, false, (*API).listTransactions},
	{wire.KeyConsumerGroupHeartbeat, 0, 1, false, onGroups(groups.consumerGroupHeartbeat)},
	{wire.KeyConsumerGroupDescribe, 0, 1, false, onGroups(groups.consumerGroupDescribe)},
	{wire.KeyGetTelemetrySubscriptions, 0, 0, false, onAdmin(admin.getTelemetrySubscriptions)},
	{wire.KeyPushTelemetry, 0, 0, false, onAdmin(admin.pushTelemetry)},
	{wire.KeyListConfigResources, 0, 1, false, onAdmin(admin.listConfigResources)},
	{wire.KeyDescribeTopicPartitions, 0, 0, false, onAdmin(admin.describeTopicPartitions)},
}
