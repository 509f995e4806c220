// Package api gives requests their meaning: one file per API key, and one table.
//
// It owns the translation between wire messages and the rooms below: which versions are
// served, which checks come first, which error code an answer carries. It owns no data, no
// log and no metadata; handlers ask the Cluster, the image and the replica manager, and
// are a screen or two long. Keys, versions and what is missing are in table.go and at the
// head of each file; docs/differences.md lists the gaps for users.
//
// Handle is called on the goroutine of a connection and never waits: a handler that waits,
// for a commit or for records, continues on a goroutine of its own or is called back.
package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/quota"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/security"
	"github.com/varve-io/varve/broker/security/acl"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/telemetry"
	"github.com/varve-io/varve/broker/wire"
)

// Cluster is what the handlers need of the controller. The errors carry kafka.Error codes.
type Cluster interface {
	// Image is the newest picture of the cluster that this broker has.
	Image() *metadata.Image
	// LeaderID is the node that leads the metadata quorum, -1 while there is none.
	LeaderID() int32
	// CreateTopics creates each topic or tells why not, in the order of topics. When it
	// returns, the image shows what was created. validateOnly checks and writes nothing.
	CreateTopics(ctx context.Context, topics []controller.NewTopic, validateOnly bool) []controller.TopicResult
	// DeleteTopics deletes each topic or tells why not, in the order of ids.
	DeleteTopics(ctx context.Context, ids []kafka.UUID) []error
	// AlterConfigs changes dynamic settings or tells why not, in the order of changes; with
	// validateOnly it checks and writes nothing.
	AlterConfigs(ctx context.Context, changes []controller.ConfigChange, validateOnly bool) []error
	// CreatePartitions adds partitions or tells why not, in the order of topics; with
	// validateOnly it checks and writes nothing.
	CreatePartitions(ctx context.Context, topics []controller.NewPartitions, validateOnly bool) []error
	// ElectLeaders elects leaders or tells why not, in the order of partitions.
	ElectLeaders(ctx context.Context, kind controller.Election, partitions []kafka.TopicPartition) []error
	// Reassign changes the brokers of partitions or tells why not, in the order of moves.
	Reassign(ctx context.Context, moves []controller.Reassignment, factor bool) []error
	// UpdateFeatures changes levels of features, all or none.
	UpdateFeatures(ctx context.Context, updates []controller.FeatureUpdate, validateOnly bool) (refused int, err error)
	// UnregisterBroker removes a broker that is gone.
	UnregisterBroker(ctx context.Context, id int32) error
	// AlterScram sets and removes credentials of users or tells why not, in the order of changes.
	AlterScram(ctx context.Context, changes []controller.ScramChange) []error
	// AlterQuotas changes quotas of clients or tells why not, in the order of changes; with
	// validateOnly it checks and writes nothing.
	AlterQuotas(ctx context.Context, changes []controller.QuotaChange, validateOnly bool) []error
	// ACLs changes the rules of access.
	ACLs() controller.ACLs
	// Quorum is the state of the metadata log.
	Quorum() (controller.Quorum, error)
	// AllocateProducerIDs takes n producer ids that nobody had before, from first on.
	AllocateProducerIDs(ctx context.Context, n int64) (first int64, err error)
}

// Options are what an API is built from. All fields are needed.
type Options struct {
	NodeID  int32
	Cluster Cluster
	// Replicas holds the partitions.
	Replicas *replica.Manager
	// Groups is the group coordinator.
	Groups *group.Coordinator
	// Txns is the transaction coordinator; Markers writes the ends of transactions into the
	// partitions of this broker, and ProducerIDs hands producer ids out.
	Txns        *txn.Coordinator
	Markers     *txn.Writer
	ProducerIDs *txn.ProducerIDs
	// Quotas counts what clients use.
	Quotas *quota.Manager
	// Authorizer says who may do what; nil allows everything.
	Authorizer *acl.Authorizer
	// Node is the broker's configuration of the moment.
	Node   func() *config.Node
	Logger *slog.Logger
	// Telemetry takes the metrics of clients.
	Telemetry *telemetry.Manager
	// LogLevel is the level of Logger, which clients may change.
	LogLevel *slog.LevelVar
	// Logins is how clients log in on a SASL listener. It may be nil where there is none.
	Logins func(listener string) *security.Logins
}

// API is the server.Handler of the broker.
type API struct {
	o        Options
	rows     []row // the table
	byKey    map[int16]*row
	sessions sessionCache
	logins   loginCounts
	denials  denials

	// Decoded requests of the busiest keys, for the room of their slices.
	produces, fetches sync.Pool
}

// New builds the API.
func New(o Options) *API {
	a := &API{o: o, rows: table[:], byKey: make(map[int16]*row, len(table))}
	for i := range a.rows {
		a.byKey[a.rows[i].key] = &a.rows[i]
	}
	return a
}

// Handle implements server.Handler. A request of a key or version that is not served
// closes its connection, as a malformed one does; ApiVersions alone answers whatever
// version it is asked for, so that a newer client can fall back (KIP-511).
func (a *API) Handle(r *server.Request) {
	row := a.byKey[r.Header.Key]
	if err := (logins{a}).outOfTurn(r); err != nil {
		r.CloseConn(err)
		return
	}
	switch v := r.Header.Version; {
	case row == nil:
		r.CloseConn(fmt.Errorf("key %d: %w", r.Header.Key, wire.ErrUnknownKey))
	case v >= row.min && v <= row.max:
		if err := timed(a, row, r); err != nil {
			r.CloseConn(err)
		}
	case row.key == wire.KeyApiVersions:
		unsupportedApiVersions(r)
	default:
		r.CloseConn(fmt.Errorf("%s v%d: %w", a.Name(row.key), v, wire.ErrVersion))
	}
}

// Overlap says whether requests of a key may be handled beside waiting ones of their
// connection; see server.Options.
func (a *API) Overlap(key int16) bool {
	row := a.byKey[key]
	return row != nil && row.overlap
}

// Name is the name of a key that is served, "" for any other.
func (a *API) Name(key int16) string {
	if a.byKey[key] == nil {
		return ""
	}
	row, _ := wire.Lookup(key)
	return row.Name
}

// read takes the request's message from its body.
func read(r *server.Request, m wire.Message) error {
	rd := wire.NewReader(r.Body)
	return m.Read(&rd, r.Header.Version)
}

// reply answers with a message, in the version of the request.
func reply(r *server.Request, m wire.Message) {
	replyAs(r, m, r.Header.Version)
}

// replyAs answers with a message in a given version.
func replyAs(r *server.Request, m wire.Message, version int16) { replyIn(r, m, version, 256) }

// replyIn answers as replyAs does, in a buffer of so many bytes, which grows if it must.
func replyIn(r *server.Request, m wire.Message, version int16, size int) {
	throttle(r, m)
	b := wire.AppendResponseHeader(make([]byte, 0, size), r.Header.Key, version, r.Header.CorrelationID)
	r.ReplyBytes(m.Append(b, version))
}

// encoded is the answer that reply would send.
func encoded(r *server.Request, m wire.Message) []byte {
	b := wire.AppendResponseHeader(make([]byte, 0, 256), r.Header.Key, r.Header.Version, r.Header.CorrelationID)
	return m.Append(b, r.Header.Version)
}

// failure is an error code and its message, as most answers carry it for each item.
func (a *API) failure(err error) (code int16, message *string) {
	if err == nil {
		return int16(kafka.NoError), nil
	}
	e := kafka.Code(err)
	if errors.Is(err, context.DeadlineExceeded) {
		e = kafka.RequestTimedOut
	}
	if e == kafka.UnknownServerError {
		a.o.Logger.Error("request failed without a Kafka error code", "error", err)
	}
	text := err.Error()
	return int16(e), &text
}

// endpoint is where clients of a listener reach a broker; false when the broker is fenced or
// has no such listener.
func endpoint(b *metadata.Broker, listener string) (metadata.Endpoint, bool) {
	if b == nil || b.Fenced {
		return metadata.Endpoint{}, false
	}
	for _, e := range b.Endpoints {
		if e.Name == listener {
			return e, true
		}
	}
	return metadata.Endpoint{}, false
}

// controllerID is the broker that clients send administrative requests to: the leader of
// the metadata quorum if they can reach it, else -1.
func (a *API) controllerID(img *metadata.Image, listener string) int32 {
	id := a.o.Cluster.LeaderID()
	if _, ok := endpoint(img.Broker(id), listener); !ok {
		return -1
	}
	return id
}

// optional is a nullable string: nil for the empty one.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
