package chaos

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/objstore"
)

// life is one process of a simulated broker, on a disk in memory and a network of pipes.
// It ends in order, or with a power cut that leaves a crash clone of its disk.
type life struct {
	t    *testing.T
	disk *memfs.FS
	node *broker.Node
	net  *network
	cl   *client

	logs bytes.Buffer // what the process said; to be read when it has ended

	// The power is cut when fuse steps on the disk and in the store have passed, counted
	// from arming; where the step is one of the store, afterwards decides whether it still
	// takes effect.
	fuse       atomic.Int64
	seed       uint64
	afterwards bool

	cut struct {
		sync.Mutex
		off   bool
		clone *memfs.FS
	}
	dark chan struct{} // closed when the power is off
}

func newLife(t *testing.T, disk *memfs.FS) *life {
	return &life{t: t, disk: disk, net: &network{}, dark: make(chan struct{})}
}

// start starts the process, which may be refused.
func (l *life) start(store objstore.Bucket, set ...string) error {
	l.t.Helper()
	var bucket objstore.Bucket
	if store != nil {
		bucket = &socket{store, l}
	}
	l.t.Cleanup(func() {
		if l.t.Failed() {
			l.t.Logf("the process said:\n%s", tail(l.logs.String(), 30))
		}
	})
	node, err := brokertest.Node{
		FS: errorfs.Wrap(l.disk, l.step), Dir: "/node", Bucket: bucket, Listen: l.net.listen,
		Logger: slog.New(slog.NewTextHandler(&l.logs, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Set:    append([]string{"remote.fetch.max.wait.ms=2000", "log.retention.check.interval.ms=100", "remote.log.manager.task.interval.ms=100"}, set...),
	}.Try(l.t)
	if err != nil {
		return err
	}
	l.node, l.cl = node, l.net.dial(l.t)
	return nil
}

// step burns the fuse at each operation on the disk.
func (l *life) step(op errorfs.Op, _ string) error {
	if op != errorfs.Stat && op != errorfs.FileStat && op != errorfs.Usage && l.fuse.Load() > 0 && l.fuse.Add(-1) == 0 {
		l.blackout()
	}
	return nil
}

// arm sets the fuse.
func (l *life) arm(rng *rand.Rand, steps int64) {
	l.seed, l.afterwards = rng.Uint64(), rng.IntN(2) == 0
	l.fuse.Store(steps)
}

// blackout cuts the power: nothing reaches the store any more, and the disk is what a
// crash leaves of it. The process, which does not know yet, goes on with the old disk.
func (l *life) blackout() {
	l.cut.Lock()
	defer l.cut.Unlock()
	if l.cut.off {
		return
	}
	l.cut.off = true
	close(l.dark) // first: what is heard from here on may have come after the clone
	l.cut.clone = l.disk.CrashClone(l.seed)
}

// isDark says whether the power is off: what is heard from the process now counts for nothing.
func (l *life) isDark() bool {
	select {
	case <-l.dark:
		return true
	default:
		return false
	}
}

// end stops the process and answers the disk that the next one finds.
func (l *life) end() *memfs.FS {
	l.t.Helper()
	if l.node != nil {
		_ = l.cl.nc.Close()
		ctx, stop := context.WithTimeout(l.t.Context(), time.Minute)
		defer stop()
		if err := l.node.Stop(ctx); err != nil && !l.isDark() {
			l.t.Fatalf("stop: %v", err)
		}
	}
	l.fuse.Store(0)
	l.cut.Lock()
	defer l.cut.Unlock()
	if l.cut.off {
		return l.cut.clone
	}
	return l.disk
}

// socket is the store as one process reaches it, for as long as there is power.
type socket struct {
	store objstore.Bucket
	l     *life
}

var errDark = errors.New("the power is off")

// plug says whether a call takes effect and whether its answer is heard.
func (s *socket) plug() (reaches, heard bool) {
	blown := s.l.fuse.Load() > 0 && s.l.fuse.Add(-1) == 0
	dark := s.l.isDark()
	if !blown || dark {
		return !dark, !dark
	}
	if !s.l.afterwards {
		s.l.blackout()
		return false, false
	}
	return true, false
}

// call runs f as far as there is power for it.
func (s *socket) call(op, key string, f func() error) error {
	reaches, heard := s.plug()
	if !reaches {
		return objstore.NewError(objstore.ErrTransient, op, key, errDark)
	}
	err := f()
	if !heard {
		s.l.blackout()
		return objstore.NewError(objstore.ErrAmbiguous, op, key, errDark)
	}
	return err
}

func (s *socket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (a objstore.Attrs, err error) {
	err = s.call("put", key, func() error { a, err = s.store.Put(ctx, key, src, o); return err })
	return a, err
}

func (s *socket) GetRange(ctx context.Context, key string, off int64, p []byte, v objstore.Version) (a objstore.Attrs, err error) {
	err = s.call("get", key, func() error { a, err = s.store.GetRange(ctx, key, off, p, v); return err })
	return a, err
}

func (s *socket) Open(ctx context.Context, key string, off, n int64, v objstore.Version) (r io.ReadCloser, a objstore.Attrs, err error) {
	err = s.call("open", key, func() error { r, a, err = s.store.Open(ctx, key, off, n, v); return err })
	return r, a, err
}

func (s *socket) Head(ctx context.Context, key string) (a objstore.Attrs, err error) {
	err = s.call("head", key, func() error { a, err = s.store.Head(ctx, key); return err })
	return a, err
}

func (s *socket) List(ctx context.Context, prefix, after string, limit int) (p objstore.Page, err error) {
	err = s.call("list", prefix, func() error { p, err = s.store.List(ctx, prefix, after, limit); return err })
	return p, err
}

func (s *socket) Delete(ctx context.Context, keys ...string) error {
	var b objstore.Batch
	for _, key := range keys {
		b.Add(key, s.call("delete", key, func() error { return s.store.Delete(ctx, key) }))
	}
	return b.Err()
}

func (s *socket) Capabilities() objstore.Capabilities {
	c := s.store.Capabilities()
	c.DeleteIf = false
	return c
}

func (s *socket) Close() error { return nil }

// tail is the last lines of a text.
func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// network is listeners in memory, by address.
type network struct {
	mu        sync.Mutex
	listeners []*listener
}

type listener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// listen implements broker.Options.Listen. The Kafka listener is the first.
func (n *network) listen(string, string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &listener{addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 9092 + len(n.listeners)}, conns: make(chan net.Conn), closed: make(chan struct{})}
	n.listeners = append(n.listeners, l)
	return l, nil
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *listener) Addr() net.Addr { return l.addr }

func (n *network) dial(t *testing.T) *client {
	near, far := net.Pipe()
	n.listeners[0].conns <- far
	return &client{t: t, nc: near, format: kmsg.NewRequestFormatter(kmsg.FormatterClientID("chaos"))}
}

// client is one connection, used by one goroutine: what it sends and when is the test's choice.
type client struct {
	t      *testing.T
	nc     net.Conn
	corr   int32
	format *kmsg.RequestFormatter
}

// ask sends a request and waits for its answer.
func ask[R kmsg.Response](c *client, version int16, req kmsg.Request) R {
	c.t.Helper()
	req.SetVersion(version)
	c.corr++
	if err := c.nc.SetDeadline(time.Now().Add(10 * time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := c.nc.Write(c.format.AppendRequest(nil, req, c.corr)); err != nil {
		c.t.Fatalf("send %s: %v", kmsg.NameForKey(req.Key()), err)
	}
	resp, err := c.receive(req)
	if err != nil {
		c.t.Fatalf("answer to %s: %v", kmsg.NameForKey(req.Key()), err)
	}
	return resp.(R)
}

func (c *client) receive(req kmsg.Request) (kmsg.Response, error) {
	var size [4]byte
	if _, err := io.ReadFull(c.nc, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c.nc, body); err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(body)); got != c.corr {
		return nil, fmt.Errorf("correlation id %d, want %d", got, c.corr)
	}
	body = body[4:]
	resp := req.ResponseKind()
	if req.IsFlexible() && req.Key() != 18 { // ApiVersions answers without header tags
		body = body[1:]
	}
	return resp, resp.ReadFrom(body)
}
