package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/varve-io/varve/broker/kafka"
)

// Listener is one named door, and the address under which clients reach it.
type Listener struct {
	// Name identifies the listener, for instance PLAINTEXT or INTERNAL.
	Name string
	// Protocol is Kafka's security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL.
	// Connections of a SASL listener count as unauthenticated at first.
	Protocol string
	// Accept yields the connections, bound already; any net.Listener, also in memory.
	Accept net.Listener
	// TLS is needed by SSL and SASL_SSL. The server adds no option to it.
	TLS *tls.Config
	// Identify names the peer of an SSL listener after its handshake. An error closes the
	// connection. nil: everybody is kafka.Anonymous.
	Identify func(tls.ConnectionState) (kafka.Principal, error)
	// AdvertisedHost and AdvertisedPort are what clients are told (advertised.listeners).
	// Empty and 0 take the bound address.
	AdvertisedHost string
	AdvertisedPort int32
}

// Endpoint is the address of a listener as clients are told it.
type Endpoint struct {
	Name, Protocol, Host string
	Port                 int32
}

type listener struct {
	Listener
	sasl bool
}

func newListener(l Listener) (*listener, error) {
	switch l.Protocol {
	case "PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL":
	default:
		return nil, fmt.Errorf("listener %s: unknown security protocol %q", l.Name, l.Protocol)
	}
	if l.Name == "" || l.Accept == nil {
		return nil, errors.New("BUG: a listener needs a name and a socket")
	}
	if strings.HasSuffix(l.Protocol, "SSL") != (l.TLS != nil) {
		return nil, fmt.Errorf("BUG: listener %s is %s and does not fit its TLS settings", l.Name, l.Protocol)
	}
	return &listener{Listener: l, sasl: strings.HasPrefix(l.Protocol, "SASL_")}, nil
}

// endpoint is what clients are told: the advertised address, completed by the bound one.
func (l *listener) endpoint() Endpoint {
	e := Endpoint{Name: l.Name, Protocol: l.Protocol, Host: l.AdvertisedHost, Port: l.AdvertisedPort}
	host, port, err := net.SplitHostPort(l.Accept.Addr().String())
	if err != nil {
		return e // no such thing as a host and port, in memory
	}
	if ip := net.ParseIP(host); e.Host == "" && (ip == nil || !ip.IsUnspecified()) {
		e.Host = host
	}
	if n, err := strconv.ParseUint(port, 10, 16); err == nil && e.Port == 0 {
		e.Port = int32(n)
	}
	return e
}

// accept serves connections until the listener is closed. When the process runs out of
// descriptors it waits a little, instead of spinning.
func (s *Server) accept(l *listener) {
	delay := time.Duration(0)
	for {
		nc, err := l.Accept.Accept()
		if err == nil {
			delay = 0
			s.admitConn(l, nc)
			if wait := s.pace.take(time.Now()); wait > 0 && !s.rest(wait) {
				return
			}
			continue
		}
		if s.draining.Load() || errors.Is(err, net.ErrClosed) {
			return
		}
		delay = min(max(2*delay, 5*time.Millisecond), time.Second)
		s.logger.Warn("cannot accept a connection", "listener", l.Name, "error", err, "retry_in", delay)
		if !s.rest(delay) {
			return
		}
	}
}

// rest waits for d; false says that the server stops.
func (s *Server) rest(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for {
		look := time.NewTimer(probeInterval)
		select {
		case <-timer.C:
			look.Stop()
			return true
		case <-s.ctx.Done():
			look.Stop()
			return false
		case <-look.C:
			if s.draining.Load() {
				return false
			}
		}
	}
}

// admitConn starts a connection, unless a limit refuses it.
func (s *Server) admitConn(l *listener, nc net.Conn) {
	c := s.newConn(l, nc)
	if s.tooMany(c) {
		return
	}
	if refused := s.enter(c); refused != "" {
		s.metrics.closed.WithLabelValues(refused).Inc()
		s.logger.Debug("connection refused", "listener", l.Name, "peer", nc.RemoteAddr().String(), "reason", refused)
		c.cancel(errConnClosed)
		nc.Close()
		return
	}
	s.metrics.accepted.Inc()
	s.wg.Go(c.run)
}

// maxDelayed is how many connections at most are kept waiting before they are closed; those
// above it are closed at once.
const maxDelayed = 1000

// tooMany says whether a connection is one too many of its address in this time. It is then
// closed, later rather than now, so that its peer does not come back at once (KIP-612).
func (s *Server) tooMany(c *Conn) bool {
	if s.throttle == nil {
		return false
	}
	d := s.throttle(c.ip)
	if d <= 0 {
		return false
	}
	s.metrics.closed.WithLabelValues(endThrottled).Inc()
	c.cancel(errConnClosed)
	if s.delayed.Add(1) > maxDelayed {
		s.delayed.Add(-1)
		c.nc.Close()
		return true
	}
	s.wg.Go(func() {
		defer s.delayed.Add(-1)
		defer c.nc.Close()
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.ctx.Done():
		case <-s.hardStop:
		}
	})
	return true
}

// enter takes the connection into the books; the result is why it must not.
func (s *Server) enter(c *Conn) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	most, overridden := s.mu.limits.PerIP[c.ip]
	if !overridden {
		most = s.mu.limits.MaxConnectionsPerIP
	}
	switch {
	case s.draining.Load():
		return endDraining
	case s.mu.limits.MaxConnections > 0 && len(s.mu.conns) >= s.mu.limits.MaxConnections:
		return endLimit
	case (overridden || most > 0) && s.mu.perIP[c.ip] >= most:
		return endLimitPerIP
	}
	s.mu.conns[c] = struct{}{}
	s.mu.perIP[c.ip]++
	return ""
}

func (s *Server) newConn(l *listener, nc net.Conn) *Conn {
	now := time.Now()
	c := &Conn{srv: s, listener: l, id: s.lastID.Add(1), nc: nc, socket: nc, ip: hostOf(nc.RemoteAddr()), opened: now, lastActivity: now}
	c.probe = rawConn(nc)
	if !l.sasl {
		c.SetPrincipal(kafka.Anonymous()) // an SSL listener says more after the handshake
	}
	c.ctx, c.cancel = context.WithCancelCause(s.ctx)
	if l.TLS != nil {
		c.nc = tls.Server(&shaking{Conn: nc, with: s.strangers, stop: c.ctx.Done()}, l.TLS)
	} else {
		c.raw = c.probe
	}
	c.answers.wake = make(chan struct{}, 1)
	c.in.c, c.in.progress = c, now
	c.in.attempt = c.in.tryRead
	c.out = output{nc: c.nc, raw: c.raw, patience: s.limits.StallTimeout, scratch: &s.scratch, cold: s.cold}
	c.out.sendFn, c.out.fileFn = c.out.sendVector, c.out.sendFileRange
	if tc, ok := nc.(*net.TCPConn); ok {
		// A refusal leaves the system's own size, which serves as well.
		if n := s.limits.SendBufferBytes; n > 0 {
			_ = tc.SetWriteBuffer(n)
		}
		if n := s.limits.ReceiveBufferBytes; n > 0 {
			_ = tc.SetReadBuffer(n)
		}
	}
	return c
}

// hostOf is the part of an address that limits per peer go by.
func hostOf(a net.Addr) string {
	if tcp, ok := a.(*net.TCPAddr); ok {
		return tcp.IP.String()
	}
	return a.String()
}
