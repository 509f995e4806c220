package api

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/security/acl"
	"github.com/varve-io/varve/broker/server"
)

// Each handler asks before it does what a request wants: the operations and resources are those
// of Kafka's KafkaApis and ControllerApis. Without an authorizer everything is allowed.

// by asks for the client of one request.
type by struct {
	api *API
	r   *server.Request
}

// by begins a question: may the client of this request do something?
func (a *API) by(r *server.Request) by { return by{a, r} }

// client is who the request comes from, as rules name them.
func (b by) client() acl.Client {
	return acl.Client{Principal: b.r.Conn.Principal(), Host: b.r.Conn.Host()}
}

// allowed says whether the client may do op, and tells nobody.
func (b by) allowed(op kafka.ACLOperation, resource kafka.ACLResource, name string) bool {
	return b.api.o.Authorizer == nil || b.api.o.Authorizer.Allowed(b.client(), op, resource, name)
}

// may is nil if the client may do op, else the error, which has been logged.
func (b by) may(op kafka.ACLOperation, resource kafka.ACLResource, name string, otherwise kafka.Error) error {
	if b.allowed(op, resource, name) {
		return nil
	}
	b.api.denials.log(b, denial{b.r.Conn.Principal(), b.r.Conn.Host(), op, resource, name})
	return otherwise
}

// topic is may for a topic.
func (b by) topic(op kafka.ACLOperation, name string) error {
	return b.may(op, kafka.ResourceTopic, name, kafka.TopicAuthorizationFailed)
}

// group is may for a group.
func (b by) group(op kafka.ACLOperation, id string) error {
	return b.may(op, kafka.ResourceGroup, id, kafka.GroupAuthorizationFailed)
}

// txn is may for a transactional id.
func (b by) txn(op kafka.ACLOperation, id string) error {
	return b.may(op, kafka.ResourceTransactionalID, id, kafka.TransactionalIDAuthorizationFailed)
}

// cluster is may for the cluster.
func (b by) cluster(op kafka.ACLOperation) error {
	return b.may(op, kafka.ResourceCluster, kafka.ClusterResource, kafka.ClusterAuthorizationFailed)
}

// topicRef is mayTopic for a topic that may be named by id. One that does not exist by its
// id is nobody's secret.
func (b by) topicRef(op kafka.ACLOperation, t topicRef) error {
	if b.api.o.Authorizer == nil {
		return nil
	}
	name := t.name
	if t.byID {
		topic := b.api.o.Cluster.Image().TopicByID(t.id)
		if topic == nil {
			return nil
		}
		name = topic.Name
	}
	return b.topic(op, name)
}

// idempotent says whether the client may have a producer id: who may write to any topic at
// all may (KIP-679).
func (b by) idempotent() error {
	if b.allowed(kafka.OpIdempotentWrite, kafka.ResourceCluster, kafka.ClusterResource) ||
		b.api.o.Authorizer.AllowedSomewhere(b.client(), kafka.OpWrite, kafka.ResourceTopic) {
		return nil
	}
	return b.cluster(kafka.OpIdempotentWrite)
}

// operations is what the client may do with a resource, as bits of Kafka's AclOperation codes (KIP-430).
func (b by) operations(resource kafka.ACLResource, name string) int32 {
	if b.api.o.Authorizer == nil {
		return acl.Supported(resource)
	}
	return b.api.o.Authorizer.Operations(b.client(), resource, name)
}

// clusterOperations is operations for the cluster: none for who may not describe it.
func (b by) clusterOperations() int32 {
	if b.cluster(kafka.OpDescribe) != nil {
		return 0
	}
	return b.operations(kafka.ResourceCluster, kafka.ClusterResource)
}

// configs says whether the client may do op with the settings of a resource. Log levels and
// settings of brokers, and subscriptions of metrics, are the cluster's.
func (b by) configs(op kafka.ACLOperation, kind int8, name string) error {
	switch metadata.ResourceType(kind) {
	case metadata.TopicResource:
		return b.topic(op, name)
	case metadata.GroupResource:
		return b.group(op, name)
	}
	return b.cluster(op)
}

// denial is what somebody was not allowed to do.
type denial struct {
	principal kafka.Principal
	host      string
	op        kafka.ACLOperation
	resource  kafka.ACLResource
	name      string
}

// denials logs what was denied: the same thing once a minute, so that a client that tries
// again and again does not fill the disk.
type denials struct {
	count atomic.Int64
	mu    struct {
		sync.Mutex
		told map[denial]time.Time
	}
}

// deniedKept is how many denials are remembered at most.
const deniedKept = 1024

func (d *denials) log(b by, what denial) {
	n := d.count.Add(1)
	now := time.Now()
	d.mu.Lock()
	again := now.Sub(d.mu.told[what]) < time.Minute
	if !again {
		if d.mu.told == nil || len(d.mu.told) >= deniedKept {
			d.mu.told = make(map[denial]time.Time)
		}
		d.mu.told[what] = now
	}
	d.mu.Unlock()
	if !again {
		b.api.o.Logger.Info("access denied", "principal", what.principal, "host", what.host, "operation", what.op, "resource", what.resource,
			"name", what.name, "request", b.api.Name(b.r.Header.Key), "listener", b.r.Conn.Listener(), "denied_since_start", n)
	}
}

// Denials counts the checks of access that were denied since the start.
func (a *API) Denials() int64 { return a.denials.count.Load() }

// createTopic says why the client may not create a topic: it may create any, or this one.
func (b by) createTopic(name string) error {
	if b.allowed(kafka.OpCreate, kafka.ResourceCluster, kafka.ClusterResource) {
		return nil
	}
	return b.topic(kafka.OpCreate, name)
}

// deleteTopic says why the client may not delete a topic, or, with kafka.OpDescribe, not learn whether
// it is there: it may delete any, or this one.
func (b by) deleteTopic(op kafka.ACLOperation, name string) error {
	if b.allowed(kafka.OpDelete, kafka.ResourceCluster, kafka.ClusterResource) {
		return nil
	}
	return b.topic(op, name)
}
