package api

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/coordinator/group"
	"github.com/varve-io/varve/broker/coordinator/txn"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/quota"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/telemetry"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// The listeners of the test broker. The second one is advertised under another address.
const (
	internalListener = "INTERNAL"
	externalListener = "EXTERNAL"
	externalHost     = "kafka.example"
	externalPort     = 19092
)

const testNode int32 = 1

// kit is a broker of one node: server, API and a cluster.
type kit struct {
	t       *testing.T
	srv     *server.Server
	api     *API
	node    atomic.Pointer[config.Node]
	cluster Cluster
	level   slog.LevelVar

	replicas *replica.Manager
	dirs     *logdir.Manager
	fs       *memfs.FS
}

// newKit starts a broker with a controller of its own.
func newKit(t *testing.T, settings ...string) *kit {
	t.Helper()
	return newKitOn(t, nil, settings...)
}

// newKitOn starts a broker on a given cluster, or on a controller of its own when that is nil.
func newKitOn(t *testing.T, cluster Cluster, settings ...string) *kit {
	t.Helper()
	k := &kit{t: t}
	k.configure(settings...)
	srv, err := server.New(server.Options{
		Listeners: []server.Listener{
			{Name: internalListener, Protocol: "PLAINTEXT", Accept: loopback(t)},
			{Name: externalListener, Protocol: "PLAINTEXT", Accept: loopback(t), AdvertisedHost: externalHost, AdvertisedPort: externalPort},
		},
		Handler: handlerFunc(func(r *server.Request) { k.api.Handle(r) }),
		Overlap: func(key int16) bool { return k.api.Overlap(key) },
		Logger:  slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	k.srv = srv
	dirs := k.openDirs()
	k.dirs = dirs
	if cluster == nil {
		cluster = newController(t, srv.Endpoints(), dirs.DirectoryIDs(), k.node.Load)
	}
	k.cluster = cluster
	k.replicas = replica.New(replica.Options{
		NodeID: testNode, Dirs: dirs, Node: k.node.Load, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(k.replicas.Close)
	groups := group.New(group.Options{
		NodeID: testNode, Replicas: k.replicas, Config: k.groupConfig, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		CommitTimeout: func() time.Duration { return time.Second },
		Consumer: func(string) group.ConsumerConfig {
			return group.ConsumerConfig{Assignors: []string{"uniform"}, MaxSize: 10}
		},
	})
	clients := telemetry.New(time.Now, nil)
	windows := quota.Windows{Number: 11, Size: time.Second}
	quotas := quota.New(quota.Options{Data: windows, Controller: windows, Now: time.Now})
	ids := txn.NewProducerIDs(cluster.AllocateProducerIDs)
	markers := &txn.Writer{
		Replicas: k.replicas, OffsetsTopic: group.OffsetsTopic, Offsets: groups.EndTxn, Timeout: func() time.Duration { return time.Second },
	}
	txns := txn.New(txn.Options{
		NodeID: testNode, Replicas: k.replicas, IDs: ids, Now: time.Now, Logger: slog.New(slog.DiscardHandler),
		Config: func() txn.Config {
			return txn.Config{MaxTimeoutMs: 900_000, ExpirationMs: 3_600_000, AbortCheckIntervalMs: 100, ExpireCheckIntervalMs: 3_600_000}
		},
		CommitTimeout: func() time.Duration { return time.Second },
		Write:         func(m txn.Markers) { markers.Write(m.Marker, m.Partitions, m.Written) },
	})
	if c, ok := cluster.(*controller.Controller); ok {
		c.Watch(func(img *metadata.Image, d *metadata.Delta) {
			if err := k.replicas.Apply(img, d); err != nil {
				t.Error(err)
			}
			groups.Apply(img, d)
			clients.Apply(img, d)
			quotas.Apply(img)
			txns.Apply(img)
		})
	}
	k.api = New(Options{
		NodeID: testNode, Cluster: cluster, Replicas: k.replicas, Groups: groups, Node: k.node.Load, Logger: slog.New(slog.DiscardHandler),
		LogLevel: &k.level, Telemetry: clients, Quotas: quotas,
		Txns: txns, Markers: markers, ProducerIDs: ids,
	})
	srv.Start()
	t.Cleanup(func() { srv.Close() })
	t.Cleanup(groups.Close)
	t.Cleanup(txns.Close)
	return k
}

// groupConfig is the settings of groups, without the wait for a group's first members.
func (k *kit) groupConfig() group.Config {
	c := k.node.Load()
	return group.Config{
		MaxSize: c.GroupMaxSize, MinSessionTimeoutMs: c.GroupMinSessionTimeoutMs, MaxSessionTimeoutMs: c.GroupMaxSessionTimeoutMs,
		OffsetsRetentionMs: c.OffsetsRetentionMs, RetentionCheckIntervalMs: c.OffsetsRetentionCheckIntervalMs,
		OffsetMetadataMaxBytes: c.OffsetMetadataMaxBytes, NewMemberJoinTimeoutMs: 300_000,
	}
}

// openDirs opens a log directory in memory.
func (k *kit) openDirs() *logdir.Manager {
	k.t.Helper()
	k.fs = memfs.New()
	dirs, err := logdir.Open(logdir.Options{
		FS: k.fs, Dirs: []string{"/data"}, ClusterID: "test", NodeID: testNode, Now: time.Now,
		Logger: slog.New(slog.DiscardHandler), ProducerIDExpirationMs: 86_400_000, BootID: "boot",
		Config: func(kafka.TopicPartition, kafka.UUID) commitlog.Config { return commitlog.DefaultConfig() },
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return dirs
}

// configure loads the node's configuration anew.
func (k *kit) configure(settings ...string) {
	k.t.Helper()
	node, _, err := config.Load(config.Sources{Set: append([]string{"node.id=1", "log.dirs=/unused"}, settings...)})
	if err != nil {
		k.t.Fatal(err)
	}
	k.node.Store(node)
}

// newController starts the only controller of a cluster, in memory, and registers the broker.
func newController(t *testing.T, endpoints []server.Endpoint, dirs []kafka.UUID, settings func() *config.Node) Cluster {
	t.Helper()
	c, err := controller.Open(controller.Options{
		FS: memfs.New(), Dir: "/metadata", NodeID: testNode, ValidateConfig: config.ValidateTopic, Settings: settings,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	reg := controller.Registration{ID: testNode, Incarnation: kafka.NewUUID(), LogDirs: dirs}
	for _, e := range endpoints {
		reg.Endpoints = append(reg.Endpoints, metadata.Endpoint{Name: e.Name, Host: e.Host, Port: e.Port, Protocol: e.Protocol})
	}
	if _, err := c.RegisterBroker(testContext(t), reg); err != nil {
		t.Fatal(err)
	}
	return c
}

type handlerFunc func(r *server.Request)

func (f handlerFunc) Handle(r *server.Request) { f(r) }

func loopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// picture is a cluster with a fixed image, on which nothing can be changed.
type picture struct {
	Cluster
	image  *metadata.Image
	leader int32
}

func (p picture) Image() *metadata.Image { return p.image }
func (p picture) LeaderID() int32        { return p.leader }

// client is one connection, whose messages franz-go's codec writes and reads.
type client struct {
	t    *testing.T
	nc   net.Conn
	corr int32
}

func (k *kit) dial(listener string) *client {
	k.t.Helper()
	nc, err := net.Dial("tcp", k.srv.Addr(listener).String())
	if err != nil {
		k.t.Fatal(err)
	}
	k.t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: k.t, nc: nc}
}

// send writes a request in its version.
func (c *client) send(req kmsg.Request) {
	c.t.Helper()
	c.corr++
	c.raw(kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, req, c.corr))
}

// raw writes a frame, its length included.
func (c *client) raw(frame []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(frame); err != nil {
		c.t.Fatal(err)
	}
}

// frame reads an answer and checks its correlation id; what follows is returned.
func (c *client) frame() []byte {
	c.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(c.nc, size[:]); err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	b := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.nc, b); err != nil {
		c.t.Fatalf("read an answer: %v", err)
	}
	if got := int32(binary.BigEndian.Uint32(b)); got != c.corr {
		c.t.Fatalf("correlation id %d, want %d", got, c.corr)
	}
	return b[4:]
}

// receive reads the answer to req.
func (c *client) receive(req kmsg.Request) kmsg.Response {
	c.t.Helper()
	b := c.frame()
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && req.Key() != 18 {
		if b[0] != 0 {
			c.t.Fatalf("response header has %d tags", b[0])
		}
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		c.t.Fatalf("answer of key %d v%d: %v", req.Key(), req.GetVersion(), err)
	}
	return resp
}

// ask sends a request in a version and reads the answer.
func ask[R kmsg.Response](c *client, version int16, req kmsg.Request) R {
	c.t.Helper()
	req.SetVersion(version)
	c.send(req)
	return c.receive(req).(R)
}

// wantClosed expects the broker to close the connection without another byte.
func (c *client) wantClosed() {
	c.t.Helper()
	var ne net.Error
	if n, err := c.nc.Read(make([]byte, 1)); n != 0 || err == nil || errors.As(err, &ne) && ne.Timeout() {
		c.t.Fatalf("read %d bytes, error %v; want a closed connection", n, err)
	}
}

// wantAlive expects the broker to answer on a connection of its own.
func (k *kit) wantAlive() {
	k.t.Helper()
	c := k.dial(internalListener)
	if resp := ask[*kmsg.ApiVersionsResponse](c, 0, kmsg.NewPtrApiVersionsRequest()); resp.ErrorCode != 0 {
		k.t.Fatalf("ApiVersions: error %d", resp.ErrorCode)
	}
}

// create creates a topic with one partition.
func (k *kit) create(name string) {
	k.t.Helper()
	c := k.dial(internalListener)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics = append(req.Topics, newTopic(name, 1, 1))
	if resp := ask[*kmsg.CreateTopicsResponse](c, 7, req); resp.Topics[0].ErrorCode != 0 {
		k.t.Fatalf("create %s: error %d", name, resp.Topics[0].ErrorCode)
	}
}

func newTopic(name string, partitions int32, replicas int16) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
	return t
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}
