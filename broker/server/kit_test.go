package server

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/wire"
)

// Keys of the test protocol: every body is echoed, and some keys overlap.
const (
	keyEcho   = 3 // exclusive, as Metadata is
	keyParked = 1 // overlaps, as Fetch does
	keyAppend = 0 // overlaps, as Produce does
)

type handlerFunc func(r *Request)

func (f handlerFunc) Handle(r *Request) { f(r) }

// echo answers with the correlation id and the body.
func echo(r *Request) { r.ReplyBytes(answerTo(r, r.Body)) }

// answerTo builds correlation id + body in memory of its own.
func answerTo(r *Request, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(r.Header.CorrelationID))
	return append(b, body...)
}

// pipeListener is a listener in memory.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

func (l *pipeListener) dial() net.Conn {
	near, far := net.Pipe()
	l.conns <- far
	return near
}

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// kit is a server with one listener on loopback.
type kit struct {
	t   *testing.T
	srv *Server
}

func listenLoopback(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newKit(t *testing.T, limits Limits, h handlerFunc) *kit {
	t.Helper()
	return newKitOn(t, Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: listenLoopback(t)}, limits, h)
}

func newKitOn(t *testing.T, l Listener, limits Limits, h handlerFunc) *kit {
	t.Helper()
	s, err := New(Options{
		Listeners: []Listener{l}, Handler: h, Limits: limits, Logger: slog.New(slog.DiscardHandler),
		Overlap: func(key int16) bool { return key <= keyParked },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Close() })
	return &kit{t: t, srv: s}
}

func (k *kit) dial() *client {
	k.t.Helper()
	nc, err := net.Dial("tcp", k.srv.Addr("PLAINTEXT").String())
	if err != nil {
		k.t.Fatal(err)
	}
	return newClient(k.t, nc)
}

// inFlight counts the memory in use by requests.
func (k *kit) memory() int64 { return k.srv.slabs.budget.inUse() }

// client speaks the test protocol.
type client struct {
	t  *testing.T
	nc net.Conn
}

func newClient(t *testing.T, nc net.Conn) *client {
	t.Cleanup(func() { nc.Close() })
	return &client{t: t, nc: nc}
}

// frame builds a request with a null client id.
func frame(key int16, corr int32, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(corr))
	b = binary.BigEndian.AppendUint16(b, 0xffff)
	return append(b, body...)
}

func (c *client) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatalf("write: %v", err)
	}
}

func (c *client) send(key int16, corr int32, body []byte) {
	c.t.Helper()
	c.write(frame(key, corr, body))
}

// read returns the next answer, or the error that ended the connection.
func (c *client) read() (corr int32, body []byte, err error) {
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	var head [8]byte
	if _, err := io.ReadFull(c.nc, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, int(binary.BigEndian.Uint32(head[:]))-4)
	_, err = io.ReadFull(c.nc, body)
	return int32(binary.BigEndian.Uint32(head[4:])), body, err
}

// want reads one answer and compares it.
func (c *client) want(corr int32, body []byte) {
	c.t.Helper()
	gotCorr, got, err := c.read()
	if err != nil {
		c.t.Fatalf("answer %d: %v", corr, err)
	}
	if gotCorr != corr || !bytes.Equal(got, body) {
		c.t.Fatalf("answer %d with %d bytes, want %d with %d", gotCorr, len(got), corr, len(body))
	}
}

// wantClosed expects the server to have closed the connection without another byte.
func (c *client) wantClosed() {
	c.t.Helper()
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, err := c.nc.Read(make([]byte, 1))
	if n != 0 || err == nil || errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
		c.t.Fatalf("read %d bytes, error %v; want a closed connection", n, err)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// receive waits for a value.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came within 20 s")
		panic("unreachable")
	}
}

func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7) + byte(i>>8) + seed
	}
	return b
}

func bytesPiece(b []byte) wire.Piece { return wire.Piece{Bytes: b} }
