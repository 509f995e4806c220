package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// probeInterval is how often a connection that has stopped reading, because an earlier
// request is still waiting, looks whether its peer has gone.
const probeInterval = 100 * time.Millisecond

// Conn is one client connection. Its methods may be called from any goroutine.
type Conn struct {
	// State is for the handler: what it remembers per connection. It is touched only
	// inside Handle, that is on the connection's goroutine.
	State any

	srv      *Server
	listener *listener
	id       uint64
	nc       net.Conn
	socket   net.Conn        // nc, or what is below its TLS
	raw      syscall.RawConn // nil where there is no descriptor to read and write directly
	probe    syscall.RawConn // the socket, also below TLS; nil in memory
	ip       string          // key of the per-address limit

	ctx    context.Context // cancelled when the connection ends or its peer has gone
	cancel context.CancelCauseFunc

	header    wire.RequestHeader // of the last request: an unchanged client id is not copied again
	opened    time.Time
	principal atomic.Pointer[kafka.Principal] // nil until the login is complete
	tokens    func(*Request)                  // takes the next frame as it is; touched on the connection's goroutine only
	in        framer
	out       output
	answers   answers

	finished     atomic.Bool  // by an answer that ends it: what is left is to linger and to close
	told         bool         // that was one on the wire; written before finished
	muted        atomic.Int64 // no request is handled before: nanoseconds since the server was built
	deadline     time.Time    // read deadline in force
	lastActivity time.Time    // of a byte received, or of a look that found requests in flight
}

// ID numbers connections since the start of the server, from 1.
func (c *Conn) ID() uint64 { return c.id }

// Listener is the name of the listener that the connection came in on.
func (c *Conn) Listener() string { return c.listener.Name }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// Protocol is the security protocol of that listener.
func (c *Conn) Protocol() string { return c.listener.Protocol }

// Host is the peer's address without its port, as ACLs and limits go by it.
func (c *Conn) Host() string { return c.ip }

// Principal is who the connection speaks for; the zero Principal until its login is complete.
func (c *Conn) Principal() kafka.Principal {
	if p := c.principal.Load(); p != nil {
		return *p
	}
	return kafka.Principal{}
}

// Authenticated says whether the peer is known: at once without SASL, after the login with it.
func (c *Conn) Authenticated() bool { return c.principal.Load() != nil }

// SetPrincipal ends a login, and with it the limits that hold before.
func (c *Conn) SetPrincipal(p kafka.Principal) { c.principal.Store(&p) }

// NextFrame has the next frame handed to f as it is, in place of a request with a header: a
// token of a SASL mechanism after a SaslHandshake of version 0. It is called inside Handle,
// or inside f for the frame after.
func (c *Conn) NextFrame(f func(*Request)) { c.tokens = f }

// frameLimit is the longest frame that the peer may send now, in bytes.
func (c *Conn) frameLimit() int64 {
	if c.Authenticated() {
		return c.srv.limits.MaxRequestBytes
	}
	return c.srv.limits.UnauthenticatedRequestBytes
}

// run serves the connection until it ends. It is the connection's only goroutine, but for
// the short-lived ones that write late answers.
func (c *Conn) run() {
	defer c.srv.forget(c)
	err := c.handshake()
	if err == nil {
		err = c.serve()
	}
	if errors.Is(err, errDraining) || errors.Is(err, errClosing) {
		c.awaitAnswered(c.srv.hardStop)
	}
	switch {
	case c.finished.Load():
		c.linger(c.told)
	case errors.Is(err, errDraining) && c.probe != nil && unread(c.probe):
		c.linger(false)
	}
	c.shut(err)
	c.answers.awaitWriter()
	c.in.free()
	c.logEnd(err)
}

// handshake makes a TLS connection one, within its time, and names the peer of an SSL listener.
func (c *Conn) handshake() error {
	nc, ok := c.nc.(*tls.Conn)
	if !ok {
		return nil
	}
	if c.srv.shaking.Add(1) > int64(c.srv.limits.Handshakes) {
		c.srv.shaking.Add(-1)
		return fmt.Errorf("%w: %d are under way", errHandshakes, c.srv.limits.Handshakes)
	}
	below := nc.NetConn().(*shaking)
	below.deadline = time.Now().Add(c.srv.limits.HandshakeTimeout)
	_ = nc.SetDeadline(below.deadline) // fails only when closed
	err := nc.HandshakeContext(c.ctx)
	below.end()
	c.srv.shaking.Add(-1)
	if err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	_ = nc.SetDeadline(time.Time{})
	if !c.listener.sasl && c.listener.Identify != nil {
		p, err := c.listener.Identify(nc.ConnectionState())
		if err != nil {
			return fmt.Errorf("%w: %w", errHandshake, err)
		}
		c.SetPrincipal(p)
	}
	return nil
}

// serve reads and handles requests until the connection has to end.
func (c *Conn) serve() error {
	for {
		if c.mutedFor() > 0 {
			if err := c.sitOut(); err != nil {
				return err // it has flushed
			}
		}
		frame, s, err := c.in.buffered()
		if err != nil {
			c.flush()
			return err
		}
		if frame == nil {
			c.flush()
			if err := c.in.fill(); err != nil {
				return err
			}
			continue
		}
		err = c.handle(frame, s)
		c.in.done(frame, s)
		if err != nil {
			c.flush()
			return err
		}
	}
}

// mutedFor is how long the connection is muted from now on.
func (c *Conn) mutedFor() time.Duration {
	until := c.muted.Load()
	if until == 0 {
		return 0
	}
	return time.Duration(until) - time.Since(c.srv.built)
}

// mute holds the connection up until d has passed, if it is not held up for longer already.
func (c *Conn) mute(d time.Duration) {
	until := int64(time.Since(c.srv.built) + d)
	for {
		was := c.muted.Load()
		if was >= until || c.muted.CompareAndSwap(was, until) {
			return
		}
	}
}

// sitOut waits until the connection is not muted any more. Meanwhile nothing is read, so that
// a peer that goes on to send meets its own full socket.
func (c *Conn) sitOut() error {
	c.srv.metrics.muted.Add(1)
	defer c.srv.metrics.muted.Add(-1)
	c.flush()
	end := time.NewTimer(c.mutedFor())
	defer end.Stop()
	every := probeInterval
	look := time.NewTimer(every)
	defer look.Stop()
	for {
		select {
		case <-end.C:
			return nil
		case <-c.srv.hardStop:
			return errConnClosed
		case <-c.ctx.Done():
			return errConnClosed
		case <-look.C:
			if c.srv.draining.Load() {
				return errDraining
			}
			if c.probe != nil && peerGone(c.probe) {
				return errPeerGone
			}
			every = min(2*every, 16*probeInterval) // thousands may sit here, for as long as quotas say
			look.Reset(every)
		}
	}
}

// handle waits for the request's turn and hands it to the handler.
func (c *Conn) handle(frame []byte, s *slab) error {
	c.in.slow.end()
	body, handle := frame, c.tokens
	if handle == nil {
		var err error
		if body, err = c.header.Parse(frame); err != nil {
			return fmt.Errorf("%w: %w", errHeader, err)
		}
		handle = c.srv.handler.Handle
	}
	r := &Request{
		Header: c.header, Body: body, Conn: c, Ctx: c.ctx, Received: c.in.progress,
		slab: s, size: len(frame), exclusive: c.tokens != nil || !c.srv.overlap(c.header.Key),
	}
	c.tokens = nil
	if err := c.admit(r); err != nil {
		return err
	}
	if !c.Authenticated() {
		since, ok := c.srv.strangers.enter(c.ctx.Done())
		if !ok {
			return errConnClosed
		}
		defer c.srv.strangers.leave(since)
	}
	c.srv.metrics.request(r.Header.Key, len(frame))
	r.handled = time.Now()
	c.srv.metrics.spent(r.Header.Key, stageQueue, r.handled.Sub(r.Received))
	if c.srv.tracer != nil {
		r.trace()
	}
	err := r.run(func() { handle(r) })
	if r.parked.Load() == 0 {
		if took := max(1, time.Since(r.handled)); r.parked.CompareAndSwap(0, int64(took)) {
			c.srv.metrics.spent(r.Header.Key, stageLocal, took)
		}
	}
	return err
}

// admit queues r when its turn has come: an exclusive request when all earlier ones are
// answered, any other when no exclusive one is waiting; and never more than the
// connection's share of requests and bytes in flight.
func (c *Conn) admit(r *Request) error {
	if admitted, err := c.answers.push(r, &c.srv.limits); admitted || err != nil {
		return err
	}
	c.flush()
	timer := time.NewTimer(probeInterval)
	defer timer.Stop()
	for {
		admitted, err := c.answers.push(r, &c.srv.limits)
		if admitted || err != nil {
			return err
		}
		if c.mutedFor() > 0 {
			if err := c.sitOut(); err != nil {
				return err
			}
			continue
		}
		select {
		case <-c.answers.wake:
		case <-timer.C:
			timer.Reset(probeInterval)
			if c.probe != nil && peerGone(c.probe) {
				c.cancel(errPeerGone)
			}
		case <-c.srv.hardStop:
			return errConnClosed
		}
	}
}

// awaitAnswered waits until all requests are answered and the answers are sent, the
// connection is closed, or stop.
func (c *Conn) awaitAnswered(stop <-chan struct{}) {
	timer := time.NewTimer(probeInterval)
	defer timer.Stop()
	for !c.answers.empty() {
		select {
		case <-c.answers.wake:
		case <-stop:
			return
		case <-timer.C:
			timer.Reset(probeInterval)
			if c.probe != nil && peerGone(c.probe) {
				return
			}
		}
	}
}

// flush ends a burst: answers given meanwhile leave together.
func (c *Conn) flush() {
	if c.answers.uncork() {
		c.writeAnswers()
	}
}

// writeAnswers sends what is answered, in request order, until the oldest request is one
// that still waits. The caller has become the connection's writer.
func (c *Conn) writeAnswers() {
	var batch [16]*Request
	for {
		n := c.answers.take(batch[:])
		if n == 0 {
			return
		}
		err := c.out.send(batch[:n])
		sent := time.Now()
		for _, r := range batch[:n] {
			c.srv.metrics.spent(r.Header.Key, stageResponse, sent.Sub(r.done))
			r.releasePieces()
			if err == nil && r.end != nil {
				c.finish(r.end, !r.silent)
			}
			r.traced(sent, err)
		}
		clear(batch[:n])
		if err != nil {
			c.shut(err)
		}
	}
}

// shut closes the connection and cancels what waits on it. It may be called repeatedly;
// the first error is the reason.
func (c *Conn) shut(err error) {
	if err == nil {
		err = errConnClosed
	}
	if c.answers.close(err) {
		c.cancel(err)
	} else if !c.finished.Load() {
		return // closed already
	}
	if c.abrupt(err) {
		c.socket.Close()
		return
	}
	c.nc.Close()
}

// abrupt says whether a connection ends without telling the peer, who would not read it:
// the alert would be waited for.
func (c *Conn) abrupt(err error) bool {
	select {
	case <-c.srv.hardStop:
		return true
	default:
		return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, errStalled)
	}
}

// armRead sets the deadline of the wait that follows: for the rest of a frame the stall
// deadline, else the idle one. A deadline that is nearly right is left alone, because
// setting it costs more than a small read.
func (c *Conn) armRead() {
	patience := c.srv.limits.MaxIdle
	if c.in.midFrame() {
		patience = max(0, c.in.slow.left(time.Now(), c.srv.limits.StallTimeout))
	}
	if !c.Authenticated() {
		patience = min(patience, time.Until(c.opened.Add(c.srv.limits.LoginTimeout)))
	}
	if want := time.Now().Add(patience); c.deadline.After(want) || c.deadline.Before(want.Add(nearly(patience)-patience)) {
		c.deadline = want
		_ = c.nc.SetReadDeadline(want) // fails only on a closed connection, as the read will
	}
	if c.srv.draining.Load() || c.finished.Load() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0))
	}
}

// nearly is how much of a deadline has to pass before it counts as reached: armRead leaves
// a deadline alone that is less than the rest too early.
func nearly(d time.Duration) time.Duration { return d - d/16 }

// readFailed judges a failed read: nil means to try again.
func (c *Conn) readFailed(err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	now := time.Now()
	switch {
	case c.finished.Load():
		return errClosing
	case c.srv.draining.Load():
		return errDraining
	case !c.Authenticated() && now.Sub(c.opened) >= nearly(c.srv.limits.LoginTimeout):
		return errLoginTimeout
	case c.in.midFrame():
		if patience := c.srv.limits.StallTimeout; now.Sub(c.in.progress) >= nearly(patience) || c.in.slow.left(now, patience) <= patience/16 {
			return errStalled
		}
	case !c.answers.empty():
		c.lastActivity = now
	default:
		if c.in.progress.After(c.lastActivity) {
			c.lastActivity = c.in.progress
		}
		if now.Sub(c.lastActivity) >= nearly(c.srv.limits.MaxIdle) {
			return errIdle
		}
	}
	c.deadline = time.Time{} // it has passed: armRead sets the next one
	_ = c.nc.SetReadDeadline(time.Time{})
	return nil
}

// handlerPanicked ends the connection whose request made the handler panic.
func (c *Conn) handlerPanicked(r *Request, v any) error {
	c.srv.metrics.panics.Inc()
	c.srv.logger.Error("request handler panicked; closing its connection",
		"api", c.srv.apiName(r.Header.Key), "version", r.Header.Version, "peer", c.nc.RemoteAddr().String(),
		"panic", fmt.Sprint(v), "stack", string(debug.Stack()))
	return errPanicked
}

// logEnd tells why a connection ended: nothing that clients do every day above debug level.
func (c *Conn) logEnd(err error) {
	if reason := c.answers.reason(); reason != nil {
		err = reason
	}
	kind, level := endReason(err), slog.LevelDebug
	if kind == endProtocol || kind == endMemory {
		level = slog.LevelWarn
	}
	c.srv.metrics.closed.WithLabelValues(kind).Inc()
	c.srv.logger.Log(context.Background(), level, "connection closed",
		"peer", c.nc.RemoteAddr().String(), "listener", c.listener.Name, "reason", kind, "error", err)
}
