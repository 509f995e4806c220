package config

import (
	"slices"
	"strings"
)

const metadataReason = "Varve keeps metadata in a raft group of its own, inside the same process"

// ignoredNames are names of Kafka's that have no effect in Varve, by the start of the name,
// with the reason that --properties gives. The first match counts.
var ignoredNames = []struct{ prefix, reason string }{
	{"process.roles", "every Varve node is a broker and can hold metadata"},
	{"controller.", metadataReason},
	{"metadata.", metadataReason},
	{"raft.", metadataReason},
	{"broker.heartbeat.", metadataReason},
	{"broker.session.", metadataReason},
	{"initial.broker.registration.", metadataReason},
	{"zookeeper.", "Varve has no ZooKeeper"},
	{"broker.id.generation", "set node.id"},
	{"reserved.broker.", "set node.id"},
	{"num.network.threads", "connections are goroutines; there is no thread pool to size"},
	{"num.io.threads", "requests run on their connections' goroutines; there is no thread pool to size"},
	{"background.threads", "there is no thread pool to size"},
	{"num.recovery.threads.", "there is no thread pool to size"},
	{"num.replica.alter.", "as many logs move at once as there are log directories"},
	{"remote.log.manager.thread.pool.", "there is no thread pool to size"},
	{"remote.log.reader.", "there is no thread pool to size"},
	{"queued.max.requests", "queued.max.request.bytes bounds the memory of requests"},
	{"remote.log.storage.system.enable", "the tier is on when varve.tier.url is set"},
	{"remote.log.storage.manager.", "the tier is built in; set varve.tier.url"},
	{"remote.log.metadata.", "the tier's metadata is in the bucket itself"},
	{"rsm.config.", "the tier is built in; set varve.tier.url"},
	{"rlmm.config.", "the tier's metadata is in the bucket itself"},
	{"remote.log.index.file.cache.", "indexes lie in the tier's one cache; set varve.tier.cache.bytes"},
	{"authorizer.", "the rules of access are those of Kafka's StandardAuthorizer; a plugin cannot change them"},
	{"principal.builder.", "a client is who its login or its certificate says; a plugin cannot change that"},
	{"ssl.", "Varve " + Version + " speaks TLS 1.2 and 1.3 with keys and certificates in PEM, which are not encrypted"},
	{"sasl.oauthbearer.", "the broker judges tokens of OAUTHBEARER and asks for none"},
	{"sasl.kerberos.", "Varve " + Version + " has the mechanisms PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 and OAUTHBEARER"},
	{"sasl.server.max.receive.size", "varve.connections.login.max.bytes bounds requests before a login"},
	{"sasl.", "one node logs in nowhere"},
	{"listener.name.", "it is no setting that one listener may have alone"},
	{"security.inter.", "one node has no traffic between brokers"},
	{"security.", "providers of Java have no meaning here"},
	{"password.encoder.", "Varve stores no passwords in its metadata"},
	{"inter.broker.", "one node has no traffic between brokers"},
	{"replica.", "one node has no replication"},
	{"num.replica.", "one node has no replication"},
	{"leader.", "one node has no other leader"},
	{"auto.leader.", "one node has no other leader"},
	{"follower.", "one node has no followers"},
	{"unclean.leader.election.interval", "one node has no other leader"},
	{"replication.quota.", "one node has no replication"},
	{"client.quota.callback.", "quotas are those of Kafka's own rules; a plugin cannot change them"},
	{"group.consumer.regex.refresh.", "subscriptions by regular expression are looked at again when there are new topics, and every ten minutes"},
	{"group.consumer.assignor.offload.enable", "an assignment is made in a few milliseconds where it is needed"},
	{"group.share.", "Varve " + Version + " has no share groups"},
	{"group.streams.", "Varve " + Version + " has no streams groups"},
	{"group.coordinator.", "groups need no threads and no delay for batching"},
	{"offsets.load.buffer.size", "the buffer has a fixed size"},
	{"offsets.topic.compression.codec", "the offsets topic is not compressed"},
	{"offsets.commit.required.acks", "a commit always waits for all in-sync replicas"},
	{"share.", "Varve " + Version + " has no share groups"},
	{"transaction.state.log.load.buffer.size", "the buffer has a fixed size"},
	{"transaction.partition.verification.enable", "each transactional batch is verified"},
	{"transaction.two.phase.commit.enable", "Varve " + Version + " has no two-phase commit"},
	{"log.message.format.", "the record format is version 2, as in Kafka 4"},
	{"log.message.downconversion.", "the record format is version 2, as in Kafka 4"},
	{"log.message.timestamp.difference.", "Kafka 4 has log.message.timestamp.before.max.ms and log.message.timestamp.after.max.ms instead"},
	{"inter.broker.protocol.", "the cluster's feature level decides"},
	{"metric", "metrics are on the admin listener, for Prometheus"},
	{"kafka.metrics.", "metrics are on the admin listener, for Prometheus"},
	{"auto.include.jmx.", "metrics are on the admin listener, for Prometheus"},
	{"telemetry.", "Varve " + Version + " takes no client metrics"},
	{"confluent.", "it belongs to another product"},
}

// ignoredBecause is why a line of a server.properties has no effect.
func ignoredBecause(name string) string {
	if s, ok := Lookup(name); ok && s.Scope == TopicScope {
		return "it is a setting of a topic" + brokerNames(s)
	}
	for _, row := range ignoredNames {
		if strings.HasPrefix(name, row.prefix) {
			return row.reason
		}
	}
	return "Varve " + Version + " has no such setting" + didYouMean(name, NodeScope)
}

// brokerNames points from a topic setting to the broker-level ones.
func brokerNames(s Setting) string {
	if len(s.Synonyms) == 0 {
		return ", set when the topic is created or altered"
	}
	return "; the broker's default is " + strings.Join(s.Synonyms, " or ")
}

// unknown is the refusal of a name that cannot be set in the scope.
func unknown(name string, scope Scope) *Error {
	s, ok := Lookup(name)
	switch {
	case scope == TopicScope && ok:
		return refuse(name, "Unknown topic config name: %s (it is a setting of the broker%s)", name, topicNames(name))
	case scope == TopicScope:
		return refuse(name, "Unknown topic config name: %s%s", name, didYouMean(name, scope))
	case ok:
		return refuse(name, "%s is a setting of a topic%s", name, brokerNames(s))
	}
	for _, row := range ignoredNames {
		if strings.HasPrefix(name, row.prefix) && closest(name, scope) == "" {
			return refuse(name, "%s has no effect in Varve: %s", name, row.reason)
		}
	}
	return refuse(name, "%s is not a setting%s", name, didYouMean(name, scope))
}

// topicNames points from a broker-level name to the topic setting it is the default of.
func topicNames(name string) string {
	for _, s := range topicSettings {
		if slices.Contains(s.Synonyms, name) {
			return "; on a topic it is " + s.Name
		}
	}
	return ""
}

func didYouMean(name string, scope Scope) string {
	if guess := closest(name, scope); guess != "" {
		return "; did you mean " + guess + "?"
	}
	return ""
}

// closest is the setting of the scope whose name is nearest, "" if none is near.
func closest(name string, scope Scope) string {
	same := strings.NewReplacer("_", ".", "-", ".")
	name = same.Replace(strings.ToLower(name))
	best, bestDistance := "", 1+max(2, len(name)/5)
	for _, s := range table {
		if s.Scope&scope == 0 {
			continue
		}
		if d := distance(name, s.Name); d < bestDistance {
			best, bestDistance = s.Name, d
		}
		if short, ours := strings.CutPrefix(s.Name, "varve."); ours && short == name {
			return s.Name
		}
	}
	return best
}

// distance is the number of letters to add, drop or replace to get from a to b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}
