package kafka

import "errors"

// Error is a Kafka error code. It implements error, so that rooms return it wrapped
// with context and callers match it with errors.Is.
// Source: the error table of Kafka's protocol guide.
type Error int16

// The error codes of Apache Kafka, by Kafka's own names.
const (
	UnknownServerError                     Error = -1
	NoError                                Error = 0
	OffsetOutOfRange                       Error = 1
	CorruptMessage                         Error = 2
	UnknownTopicOrPartition                Error = 3
	InvalidFetchSize                       Error = 4
	LeaderNotAvailable                     Error = 5
	NotLeaderOrFollower                    Error = 6
	RequestTimedOut                        Error = 7
	BrokerNotAvailable                     Error = 8
	ReplicaNotAvailable                    Error = 9
	MessageTooLarge                        Error = 10
	StaleControllerEpoch                   Error = 11
	OffsetMetadataTooLarge                 Error = 12
	NetworkError                           Error = 13
	CoordinatorLoadInProgress              Error = 14
	CoordinatorNotAvailable                Error = 15
	NotCoordinator                         Error = 16
	InvalidTopic                           Error = 17
	RecordListTooLarge                     Error = 18
	NotEnoughReplicas                      Error = 19
	NotEnoughReplicasAfterAppend           Error = 20
	InvalidRequiredAcks                    Error = 21
	IllegalGeneration                      Error = 22
	InconsistentGroupProtocol              Error = 23
	InvalidGroupID                         Error = 24
	UnknownMemberID                        Error = 25
	InvalidSessionTimeout                  Error = 26
	RebalanceInProgress                    Error = 27
	InvalidCommitOffsetSize                Error = 28
	TopicAuthorizationFailed               Error = 29
	GroupAuthorizationFailed               Error = 30
	ClusterAuthorizationFailed             Error = 31
	InvalidTimestamp                       Error = 32
	UnsupportedSaslMechanism               Error = 33
	IllegalSaslState                       Error = 34
	UnsupportedVersion                     Error = 35
	TopicAlreadyExists                     Error = 36
	InvalidPartitions                      Error = 37
	InvalidReplicationFactor               Error = 38
	InvalidReplicaAssignment               Error = 39
	InvalidConfig                          Error = 40
	NotController                          Error = 41
	InvalidRequest                         Error = 42
	UnsupportedForMessageFormat            Error = 43
	PolicyViolation                        Error = 44
	OutOfOrderSequenceNumber               Error = 45
	DuplicateSequenceNumber                Error = 46
	InvalidProducerEpoch                   Error = 47
	InvalidTxnState                        Error = 48
	InvalidProducerIDMapping               Error = 49
	InvalidTransactionTimeout              Error = 50
	ConcurrentTransactions                 Error = 51
	TransactionCoordinatorFenced           Error = 52
	TransactionalIDAuthorizationFailed     Error = 53
	SecurityDisabled                       Error = 54
	OperationNotAttempted                  Error = 55
	KafkaStorageError                      Error = 56
	LogDirNotFound                         Error = 57
	SaslAuthenticationFailed               Error = 58
	UnknownProducerID                      Error = 59
	ReassignmentInProgress                 Error = 60
	DelegationTokenAuthDisabled            Error = 61
	DelegationTokenNotFound                Error = 62
	DelegationTokenOwnerMismatch           Error = 63
	DelegationTokenRequestNotAllowed       Error = 64
	DelegationTokenAuthorizationFailed     Error = 65
	DelegationTokenExpired                 Error = 66
	InvalidPrincipalType                   Error = 67
	NonEmptyGroup                          Error = 68
	GroupIDNotFound                        Error = 69
	FetchSessionIDNotFound                 Error = 70
	InvalidFetchSessionEpoch               Error = 71
	ListenerNotFound                       Error = 72
	TopicDeletionDisabled                  Error = 73
	FencedLeaderEpoch                      Error = 74
	UnknownLeaderEpoch                     Error = 75
	UnsupportedCompressionType             Error = 76
	StaleBrokerEpoch                       Error = 77
	OffsetNotAvailable                     Error = 78
	MemberIDRequired                       Error = 79
	PreferredLeaderNotAvailable            Error = 80
	GroupMaxSizeReached                    Error = 81
	FencedInstanceID                       Error = 82
	EligibleLeadersNotAvailable            Error = 83
	ElectionNotNeeded                      Error = 84
	NoReassignmentInProgress               Error = 85
	GroupSubscribedToTopic                 Error = 86
	InvalidRecord                          Error = 87
	UnstableOffsetCommit                   Error = 88
	ThrottlingQuotaExceeded                Error = 89
	ProducerFenced                         Error = 90
	ResourceNotFound                       Error = 91
	DuplicateResource                      Error = 92
	UnacceptableCredential                 Error = 93
	InconsistentVoterSet                   Error = 94
	InvalidUpdateVersion                   Error = 95
	FeatureUpdateFailed                    Error = 96
	PrincipalDeserializationFailure        Error = 97
	SnapshotNotFound                       Error = 98
	PositionOutOfRange                     Error = 99
	UnknownTopicID                         Error = 100
	DuplicateBrokerRegistration            Error = 101
	BrokerIDNotRegistered                  Error = 102
	InconsistentTopicID                    Error = 103
	InconsistentClusterID                  Error = 104
	TransactionalIDNotFound                Error = 105
	FetchSessionTopicIDError               Error = 106
	IneligibleReplica                      Error = 107
	NewLeaderElected                       Error = 108
	OffsetMovedToTieredStorage             Error = 109
	FencedMemberEpoch                      Error = 110
	UnreleasedInstanceID                   Error = 111
	UnsupportedAssignor                    Error = 112
	StaleMemberEpoch                       Error = 113
	MismatchedEndpointType                 Error = 114
	UnsupportedEndpointType                Error = 115
	UnknownControllerID                    Error = 116
	UnknownSubscriptionID                  Error = 117
	TelemetryTooLarge                      Error = 118
	InvalidRegistration                    Error = 119
	TransactionAbortable                   Error = 120
	InvalidRecordState                     Error = 121
	ShareSessionNotFound                   Error = 122
	InvalidShareSessionEpoch               Error = 123
	FencedStateEpoch                       Error = 124
	InvalidVoterKey                        Error = 125
	DuplicateVoter                         Error = 126
	VoterNotFound                          Error = 127
	InvalidRegularExpression               Error = 128
	RebootstrapRequired                    Error = 129
	StreamsInvalidTopology                 Error = 130
	StreamsInvalidTopologyEpoch            Error = 131
	StreamsTopologyFenced                  Error = 132
	ShareSessionLimitReached               Error = 133
	GroupDeletionFailed                    Error = 134
	StreamsTopologyDescriptionUpdateFailed Error = 135
	ControllerIDNotRegistered              Error = 136
)

// errorRow describes one code: Kafka's name, whether a client may retry, and what it means.
type errorRow struct {
	name      string
	retriable bool
	text      string
}

// errorTable is the one table behind replies, logs, documentation and client retries.
var errorTable = map[Error]errorRow{
	UnknownServerError:                     {"UNKNOWN_SERVER_ERROR", false, "The server met an unexpected error; its log has the cause."},
	NoError:                                {"NONE", false, "No error."},
	OffsetOutOfRange:                       {"OFFSET_OUT_OF_RANGE", false, "The offset lies outside the range that the partition holds."},
	CorruptMessage:                         {"CORRUPT_MESSAGE", true, "The batch failed its CRC, has a wrong size or is malformed."},
	UnknownTopicOrPartition:                {"UNKNOWN_TOPIC_OR_PARTITION", true, "This broker does not host the topic partition."},
	InvalidFetchSize:                       {"INVALID_FETCH_SIZE", false, "The fetch size is invalid."},
	LeaderNotAvailable:                     {"LEADER_NOT_AVAILABLE", true, "The partition has no leader now; an election may be under way."},
	NotLeaderOrFollower:                    {"NOT_LEADER_OR_FOLLOWER", true, "This broker neither leads nor follows the partition."},
	RequestTimedOut:                        {"REQUEST_TIMED_OUT", true, "The request ran out of time."},
	BrokerNotAvailable:                     {"BROKER_NOT_AVAILABLE", false, "The broker is not available."},
	ReplicaNotAvailable:                    {"REPLICA_NOT_AVAILABLE", true, "The replica is not available on this broker."},
	MessageTooLarge:                        {"MESSAGE_TOO_LARGE", false, "The batch is larger than the topic accepts."},
	StaleControllerEpoch:                   {"STALE_CONTROLLER_EPOCH", false, "The controller has moved on to a newer epoch."},
	OffsetMetadataTooLarge:                 {"OFFSET_METADATA_TOO_LARGE", false, "The metadata of the committed offset is too large."},
	NetworkError:                           {"NETWORK_EXCEPTION", true, "The connection broke before an answer came."},
	CoordinatorLoadInProgress:              {"COORDINATOR_LOAD_IN_PROGRESS", true, "The coordinator is loading its state."},
	CoordinatorNotAvailable:                {"COORDINATOR_NOT_AVAILABLE", true, "The coordinator is not available."},
	NotCoordinator:                         {"NOT_COORDINATOR", true, "This broker is not the coordinator."},
	InvalidTopic:                           {"INVALID_TOPIC_EXCEPTION", false, "The topic name is invalid, or the operation is refused on this topic."},
	RecordListTooLarge:                     {"RECORD_LIST_TOO_LARGE", false, "The batch is larger than the configured segment."},
	NotEnoughReplicas:                      {"NOT_ENOUGH_REPLICAS", true, "Fewer replicas are in sync than min.insync.replicas asks for."},
	NotEnoughReplicasAfterAppend:           {"NOT_ENOUGH_REPLICAS_AFTER_APPEND", true, "The batch was written, but to fewer in-sync replicas than required."},
	InvalidRequiredAcks:                    {"INVALID_REQUIRED_ACKS", false, "acks must be -1, 0 or 1."},
	IllegalGeneration:                      {"ILLEGAL_GENERATION", false, "The group generation is not the current one."},
	InconsistentGroupProtocol:              {"INCONSISTENT_GROUP_PROTOCOL", false, "The member's protocols do not fit the group's."},
	InvalidGroupID:                         {"INVALID_GROUP_ID", false, "The group id is invalid."},
	UnknownMemberID:                        {"UNKNOWN_MEMBER_ID", false, "The coordinator does not know this member."},
	InvalidSessionTimeout:                  {"INVALID_SESSION_TIMEOUT", false, "The session timeout is outside the broker's bounds."},
	RebalanceInProgress:                    {"REBALANCE_IN_PROGRESS", false, "The group is rebalancing; rejoin."},
	InvalidCommitOffsetSize:                {"INVALID_COMMIT_OFFSET_SIZE", false, "The commit is too large."},
	TopicAuthorizationFailed:               {"TOPIC_AUTHORIZATION_FAILED", false, "The principal may not use the topic."},
	GroupAuthorizationFailed:               {"GROUP_AUTHORIZATION_FAILED", false, "The principal may not use the group."},
	ClusterAuthorizationFailed:             {"CLUSTER_AUTHORIZATION_FAILED", false, "The principal lacks rights on the cluster."},
	InvalidTimestamp:                       {"INVALID_TIMESTAMP", false, "A record's timestamp is out of the accepted range."},
	UnsupportedSaslMechanism:               {"UNSUPPORTED_SASL_MECHANISM", false, "The broker does not support this SASL mechanism."},
	IllegalSaslState:                       {"ILLEGAL_SASL_STATE", false, "The request does not fit the state of the SASL exchange."},
	UnsupportedVersion:                     {"UNSUPPORTED_VERSION", false, "The broker does not support this version of the API."},
	TopicAlreadyExists:                     {"TOPIC_ALREADY_EXISTS", false, "A topic with this name exists."},
	InvalidPartitions:                      {"INVALID_PARTITIONS", false, "The number of partitions is invalid."},
	InvalidReplicationFactor:               {"INVALID_REPLICATION_FACTOR", false, "The replication factor is below 1 or above the number of brokers."},
	InvalidReplicaAssignment:               {"INVALID_REPLICA_ASSIGNMENT", false, "The replica assignment is invalid."},
	InvalidConfig:                          {"INVALID_CONFIG", false, "The configuration is invalid."},
	NotController:                          {"NOT_CONTROLLER", true, "This broker is not the controller."},
	InvalidRequest:                         {"INVALID_REQUEST", false, "The request is malformed or contradicts itself."},
	UnsupportedForMessageFormat:            {"UNSUPPORTED_FOR_MESSAGE_FORMAT", false, "The message format does not support the operation."},
	PolicyViolation:                        {"POLICY_VIOLATION", false, "The request violates a policy."},
	OutOfOrderSequenceNumber:               {"OUT_OF_ORDER_SEQUENCE_NUMBER", false, "The producer's sequence number does not follow the last one."},
	DuplicateSequenceNumber:                {"DUPLICATE_SEQUENCE_NUMBER", false, "The producer's sequence number was seen before."},
	InvalidProducerEpoch:                   {"INVALID_PRODUCER_EPOCH", false, "The producer's epoch is older than the current one."},
	InvalidTxnState:                        {"INVALID_TXN_STATE", false, "The operation does not fit the state of the transaction."},
	InvalidProducerIDMapping:               {"INVALID_PRODUCER_ID_MAPPING", false, "The producer id does not belong to this transactional id."},
	InvalidTransactionTimeout:              {"INVALID_TRANSACTION_TIMEOUT", false, "The transaction timeout exceeds transaction.max.timeout.ms."},
	ConcurrentTransactions:                 {"CONCURRENT_TRANSACTIONS", true, "Another operation on this transaction is under way."},
	TransactionCoordinatorFenced:           {"TRANSACTION_COORDINATOR_FENCED", false, "The transaction coordinator was fenced by a newer one."},
	TransactionalIDAuthorizationFailed:     {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", false, "The principal may not use the transactional id."},
	SecurityDisabled:                       {"SECURITY_DISABLED", false, "Security features are disabled."},
	OperationNotAttempted:                  {"OPERATION_NOT_ATTEMPTED", false, "The operation was not attempted, because another one in the batch failed."},
	KafkaStorageError:                      {"KAFKA_STORAGE_ERROR", true, "The log directory that holds the partition is offline."},
	LogDirNotFound:                         {"LOG_DIR_NOT_FOUND", false, "The log directory is not one of the broker's."},
	SaslAuthenticationFailed:               {"SASL_AUTHENTICATION_FAILED", false, "SASL authentication failed."},
	UnknownProducerID:                      {"UNKNOWN_PRODUCER_ID", false, "The producer id is unknown to the partition."},
	ReassignmentInProgress:                 {"REASSIGNMENT_IN_PROGRESS", false, "A reassignment is under way."},
	DelegationTokenAuthDisabled:            {"DELEGATION_TOKEN_AUTH_DISABLED", false, "Delegation tokens are disabled."},
	DelegationTokenNotFound:                {"DELEGATION_TOKEN_NOT_FOUND", false, "The delegation token does not exist."},
	DelegationTokenOwnerMismatch:           {"DELEGATION_TOKEN_OWNER_MISMATCH", false, "The principal neither owns nor renews the token."},
	DelegationTokenRequestNotAllowed:       {"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", false, "Delegation tokens need a secured session that is not itself token-authenticated."},
	DelegationTokenAuthorizationFailed:     {"DELEGATION_TOKEN_AUTHORIZATION_FAILED", false, "The principal may not use delegation tokens."},
	DelegationTokenExpired:                 {"DELEGATION_TOKEN_EXPIRED", false, "The delegation token has expired."},
	InvalidPrincipalType:                   {"INVALID_PRINCIPAL_TYPE", false, "The principal type is not supported."},
	NonEmptyGroup:                          {"NON_EMPTY_GROUP", false, "The group is not empty."},
	GroupIDNotFound:                        {"GROUP_ID_NOT_FOUND", false, "The group does not exist."},
	FetchSessionIDNotFound:                 {"FETCH_SESSION_ID_NOT_FOUND", true, "The fetch session does not exist."},
	InvalidFetchSessionEpoch:               {"INVALID_FETCH_SESSION_EPOCH", true, "The fetch session epoch is invalid."},
	ListenerNotFound:                       {"LISTENER_NOT_FOUND", true, "The leader has no listener of the name that the request came in on."},
	TopicDeletionDisabled:                  {"TOPIC_DELETION_DISABLED", false, "Topic deletion is disabled."},
	FencedLeaderEpoch:                      {"FENCED_LEADER_EPOCH", true, "The client's leader epoch is older than the broker's."},
	UnknownLeaderEpoch:                     {"UNKNOWN_LEADER_EPOCH", true, "The client's leader epoch is newer than the broker's."},
	UnsupportedCompressionType:             {"UNSUPPORTED_COMPRESSION_TYPE", false, "The compression type is not supported at this version."},
	StaleBrokerEpoch:                       {"STALE_BROKER_EPOCH", false, "The broker epoch is stale."},
	OffsetNotAvailable:                     {"OFFSET_NOT_AVAILABLE", true, "The leader's high watermark has not caught up after an election."},
	MemberIDRequired:                       {"MEMBER_ID_REQUIRED", false, "Join again with the member id that the answer carries."},
	PreferredLeaderNotAvailable:            {"PREFERRED_LEADER_NOT_AVAILABLE", true, "The preferred leader is not available."},
	GroupMaxSizeReached:                    {"GROUP_MAX_SIZE_REACHED", false, "The group is full."},
	FencedInstanceID:                       {"FENCED_INSTANCE_ID", false, "Another member uses this group instance id."},
	EligibleLeadersNotAvailable:            {"ELIGIBLE_LEADERS_NOT_AVAILABLE", true, "No eligible leader is available."},
	ElectionNotNeeded:                      {"ELECTION_NOT_NEEDED", true, "The partition needs no election."},
	NoReassignmentInProgress:               {"NO_REASSIGNMENT_IN_PROGRESS", false, "No reassignment is under way."},
	GroupSubscribedToTopic:                 {"GROUP_SUBSCRIBED_TO_TOPIC", false, "The group is subscribed to the topic."},
	InvalidRecord:                          {"INVALID_RECORD", false, "A record or batch failed validation."},
	UnstableOffsetCommit:                   {"UNSTABLE_OFFSET_COMMIT", true, "The offsets belong to a transaction that has not ended."},
	ThrottlingQuotaExceeded:                {"THROTTLING_QUOTA_EXCEEDED", true, "The throttling quota is exceeded."},
	ProducerFenced:                         {"PRODUCER_FENCED", false, "A newer producer uses this transactional id."},
	ResourceNotFound:                       {"RESOURCE_NOT_FOUND", false, "The resource does not exist."},
	DuplicateResource:                      {"DUPLICATE_RESOURCE", false, "The resource exists already."},
	UnacceptableCredential:                 {"UNACCEPTABLE_CREDENTIAL", false, "The credential does not meet the criteria."},
	InconsistentVoterSet:                   {"INCONSISTENT_VOTER_SET", false, "The voter set is inconsistent."},
	InvalidUpdateVersion:                   {"INVALID_UPDATE_VERSION", false, "The feature level is invalid."},
	FeatureUpdateFailed:                    {"FEATURE_UPDATE_FAILED", false, "The feature update failed."},
	PrincipalDeserializationFailure:        {"PRINCIPAL_DESERIALIZATION_FAILURE", false, "The forwarded principal could not be read."},
	SnapshotNotFound:                       {"SNAPSHOT_NOT_FOUND", false, "The snapshot does not exist."},
	PositionOutOfRange:                     {"POSITION_OUT_OF_RANGE", false, "The position lies outside the snapshot."},
	UnknownTopicID:                         {"UNKNOWN_TOPIC_ID", true, "The broker does not know the topic id."},
	DuplicateBrokerRegistration:            {"DUPLICATE_BROKER_REGISTRATION", false, "Another broker is registered under this id."},
	BrokerIDNotRegistered:                  {"BROKER_ID_NOT_REGISTERED", false, "The broker id is not registered."},
	InconsistentTopicID:                    {"INCONSISTENT_TOPIC_ID", true, "The topic id does not match the log's."},
	InconsistentClusterID:                  {"INCONSISTENT_CLUSTER_ID", false, "The cluster id does not match."},
	TransactionalIDNotFound:                {"TRANSACTIONAL_ID_NOT_FOUND", false, "The transactional id does not exist."},
	FetchSessionTopicIDError:               {"FETCH_SESSION_TOPIC_ID_ERROR", true, "The fetch session mixes topic ids with topic names."},
	IneligibleReplica:                      {"INELIGIBLE_REPLICA", false, "The replica is not eligible for the ISR."},
	NewLeaderElected:                       {"NEW_LEADER_ELECTED", false, "The change made another broker the leader."},
	OffsetMovedToTieredStorage:             {"OFFSET_MOVED_TO_TIERED_STORAGE", false, "The offset has moved to tiered storage."},
	FencedMemberEpoch:                      {"FENCED_MEMBER_EPOCH", false, "The coordinator fenced the member's epoch."},
	UnreleasedInstanceID:                   {"UNRELEASED_INSTANCE_ID", false, "Another member still holds the instance id."},
	UnsupportedAssignor:                    {"UNSUPPORTED_ASSIGNOR", false, "The assignor is not supported."},
	StaleMemberEpoch:                       {"STALE_MEMBER_EPOCH", false, "The member epoch is stale; fetch the current one and retry."},
	MismatchedEndpointType:                 {"MISMATCHED_ENDPOINT_TYPE", false, "The request went to an endpoint of the wrong type."},
	UnsupportedEndpointType:                {"UNSUPPORTED_ENDPOINT_TYPE", false, "The endpoint type is not supported."},
	UnknownControllerID:                    {"UNKNOWN_CONTROLLER_ID", false, "The controller id is unknown."},
	UnknownSubscriptionID:                  {"UNKNOWN_SUBSCRIPTION_ID", false, "The client telemetry subscription is unknown."},
	TelemetryTooLarge:                      {"TELEMETRY_TOO_LARGE", false, "The pushed telemetry is too large."},
	InvalidRegistration:                    {"INVALID_REGISTRATION", false, "The broker registration is invalid."},
	TransactionAbortable:                   {"TRANSACTION_ABORTABLE", false, "The transaction met an error and can be aborted."},
	InvalidRecordState:                     {"INVALID_RECORD_STATE", false, "The record's state does not allow the acknowledgement."},
	ShareSessionNotFound:                   {"SHARE_SESSION_NOT_FOUND", true, "The share session does not exist."},
	InvalidShareSessionEpoch:               {"INVALID_SHARE_SESSION_EPOCH", true, "The share session epoch is invalid."},
	FencedStateEpoch:                       {"FENCED_STATE_EPOCH", false, "The share coordinator fenced the state epoch."},
	InvalidVoterKey:                        {"INVALID_VOTER_KEY", false, "The voter key does not match."},
	DuplicateVoter:                         {"DUPLICATE_VOTER", false, "The voter is in the set already."},
	VoterNotFound:                          {"VOTER_NOT_FOUND", false, "The voter is not in the set."},
	InvalidRegularExpression:               {"INVALID_REGULAR_EXPRESSION", false, "The regular expression is invalid."},
	RebootstrapRequired:                    {"REBOOTSTRAP_REQUIRED", false, "The client's view of the cluster is stale; start again from the bootstrap servers."},
	StreamsInvalidTopology:                 {"STREAMS_INVALID_TOPOLOGY", false, "The topology is invalid."},
	StreamsInvalidTopologyEpoch:            {"STREAMS_INVALID_TOPOLOGY_EPOCH", false, "The topology epoch is invalid."},
	StreamsTopologyFenced:                  {"STREAMS_TOPOLOGY_FENCED", false, "The topology epoch is fenced."},
	ShareSessionLimitReached:               {"SHARE_SESSION_LIMIT_REACHED", true, "The limit of share sessions is reached."},
	GroupDeletionFailed:                    {"GROUP_DELETION_FAILED", false, "The group was not deleted; its own message says why."},
	StreamsTopologyDescriptionUpdateFailed: {"STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", false, "The topology description was not taken; the message says why."},
	ControllerIDNotRegistered:              {"CONTROLLER_ID_NOT_REGISTERED", false, "The controller id is not registered."},
}

// Error is the name and meaning of the code.
func (e Error) Error() string { return e.Name() + ": " + errorTable[e].text }

// Name is Kafka's name of the code, UNKNOWN_SERVER_ERROR for a code outside the table.
func (e Error) Name() string {
	if row, ok := errorTable[e]; ok {
		return row.name
	}
	return errorTable[UnknownServerError].name
}

// Retriable says whether a client may send the request again unchanged.
func (e Error) Retriable() bool { return errorTable[e].retriable }

// Code finds the Kafka code that err carries: NoError for nil, UnknownServerError
// for an error that wraps no code.
func Code(err error) Error {
	if err == nil {
		return NoError
	}
	var e Error
	if errors.As(err, &e) {
		return e
	}
	return UnknownServerError
}
