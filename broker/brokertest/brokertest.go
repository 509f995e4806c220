// Package brokertest starts whole brokers inside a test process, on file systems and object
// stores that the test hands in.
//
// It owns nothing but the settings that make a node quick and quiet; it is for tests only.
package brokertest

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/tiered"
)

// Node is the settings of a node under test. The zero value is a node on a temporary
// directory without a tier.
type Node struct {
	// FS and Dir are where the node keeps its data; nil and "" stand for a temporary directory.
	FS  vfs.FS
	Dir string
	// Bucket is the object store; nil for none. It is not closed with the node.
	Bucket objstore.Bucket
	// Set are broker settings, NAME=VALUE; they win.
	Set []string
	// YAML is a settings file, below Set: for secrets, which Set does not take.
	YAML string
	// Now is the wall clock; nil for the real one.
	Now func() time.Time
	// Logger is where the node logs; nil for the test's log, from warnings on.
	Logger *slog.Logger
	// Listen is the network; nil for loopback.
	Listen func(network, addr string) (net.Listener, error)
}

// shared is a bucket that outlives the nodes on it.
type shared struct{ objstore.Bucket }

// Close leaves the bucket open.
func (shared) Close() error { return nil }

// Start starts the node and stops it at the end of the test, unless the test has stopped it.
func (n Node) Start(t testing.TB) *broker.Node {
	t.Helper()
	node, err := n.Try(t)
	if err != nil {
		t.Fatal(err)
	}
	return node
}

// Try is Start for nodes that may be refused.
func (n Node) Try(t testing.TB) (*broker.Node, error) {
	t.Helper()
	if n.Dir == "" {
		n.Dir = t.TempDir()
	}
	set := append([]string{
		"node.id=1", "listeners=PLAINTEXT://127.0.0.1:0", "varve.admin.listener=127.0.0.1:0",
		"log.dirs=" + filepath.Join(n.Dir, "logs"), "varve.metadata.dir=" + filepath.Join(n.Dir, "metadata"),
		"varve.tier.cache.dir=" + filepath.Join(n.Dir, "cache"),
		"log.retention.check.interval.ms=20", "remote.log.manager.task.interval.ms=20",
	}, n.Set...)
	if n.Bucket != nil {
		set = append(set, "varve.tier.url=mem://test")
	}
	c, _, err := config.Load(config.Sources{Set: set, YAML: []byte(n.YAML)})
	if err != nil {
		return nil, err
	}
	if n.Logger == nil {
		n.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	node, err := broker.Start(t.Context(), broker.Options{
		Config: c, FS: n.FS, Now: n.Now, Listen: n.Listen, Logger: n.Logger,
		OpenStore: func(context.Context, string) (objstore.Bucket, error) { return shared{n.Bucket}, nil },
		TuneTier: func(o *tiered.Options) {
			o.CleanInterval, o.ManifestWindow, o.OrphanGrace, o.KeepManifests = 50*time.Millisecond, -1, -1, 2
		},
	})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := node.Stop(ctx); err != nil && !t.Failed() {
			t.Errorf("stopping the node: %v", err)
		}
	})
	return node, nil
}

// testWriter sends log lines to the test's log.
type testWriter struct{ t testing.TB }

// Write implements io.Writer.
func (w testWriter) Write(b []byte) (int, error) {
	if w.t.Context().Err() == nil { // after the test its log is closed
		w.t.Logf("%s", b)
	}
	return len(b), nil
}
