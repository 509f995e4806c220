// Package server is the broker's door for Kafka clients: listeners, frames, order,
// back-pressure and the way out.
//
// It owns sockets, request memory, the order of answers and the limits per connection and
// in total. It does not own the meaning of a request, which is the Handler's (broker/api),
// nor the layout of messages (broker/wire), of which it reads the request header only.
//
// Each connection has one goroutine, which reads, hands requests to the Handler in order of
// arrival, and writes the answers that were given at once. Answers given later are written
// by a goroutine that lives as long as there is something to write. An idle connection
// holds no buffer. Server and Conn may be used from any goroutine; of a Request see there.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/tracing"
)

// Options are what a Server is built from.
type Options struct {
	Listeners []Listener
	Handler   Handler
	// Overlap says whether requests of an API key may be handled while earlier requests of
	// the connection wait, and may wait while later ones are handled. All others have the
	// connection to themselves. nil means none may overlap.
	Overlap func(key int16) bool
	// APIName names an API key for metrics and logs, "" for an unknown one.
	APIName func(key int16) string
	Limits  Limits
	// Throttle says for how long a new connection from an address is to be kept waiting before
	// it is closed, because there are too many of them; 0 lets it in. nil lets all in.
	Throttle   func(ip string) time.Duration
	Tracer     *tracing.Tracer // nil: no request is traced
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: metrics are kept and not exported
}

// Limits protect the broker from its clients. A zero field takes its default.
type Limits struct {
	MaxRequestBytes             int64          // socket.request.max.bytes; default 100 MiB
	UnauthenticatedRequestBytes int64          // longest frame before authentication; default 64 KiB
	MemoryBytes                 int64          // queued.max.request.bytes: request memory of all connections; ≤ 0: no bound
	Processors                  float64        // that the process may use, maybe less than one; default GOMAXPROCS
	InFlightRequests            int            // unanswered requests of one connection; default 256
	InFlightBytes               int64          // their frames, in bytes; default 32 MiB; one request is always admitted
	UnsentBytes                 int64          // memory of one connection's answers that its peer has not read, above which no request is taken; default 1 MiB
	MaxIdle                     time.Duration  // connections.max.idle.ms; default 10 minutes; negative: they stay
	StallTimeout                time.Duration  // longest silence inside a frame, and of a peer that does not read; default 30 s
	HandshakeTimeout            time.Duration  // longest TLS handshake; default 10 s
	Handshakes                  int            // TLS handshakes under way at once; further connections are refused; default 1024
	LoginTimeout                time.Duration  // longest time from a connection to the end of its login; default 30 s
	MaxConnections              int            // max.connections; ≤ 0: no bound
	MaxConnectionsPerIP         int            // max.connections.per.ip; ≤ 0: no bound
	PerIP                       map[string]int // max.connections.per.ip.overrides, by address; 0: none at all
	ConnectionsPerSecond        int            // max.connection.creation.rate; ≤ 0: no bound
	SendBufferBytes             int            // socket.send.buffer.bytes; ≤ 0: the system's choice
	ReceiveBufferBytes          int            // socket.receive.buffer.bytes; ≤ 0: the system's choice
}

// withDefaults fills the zero fields.
func (l Limits) withDefaults() Limits {
	def := func(v *int64, d int64) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.MaxRequestBytes, 100<<20)
	def(&l.UnauthenticatedRequestBytes, 64<<10)
	def(&l.InFlightBytes, 32<<20)
	def(&l.UnsentBytes, 1<<20)
	if l.Processors == 0 {
		l.Processors = float64(runtime.GOMAXPROCS(0))
	}
	if l.InFlightRequests == 0 {
		l.InFlightRequests = 256
	}
	if l.Handshakes == 0 {
		l.Handshakes = 1024
	}
	switch {
	case l.MaxIdle == 0:
		l.MaxIdle = 10 * time.Minute
	case l.MaxIdle < 0:
		l.MaxIdle = 100 * 365 * 24 * time.Hour
	}
	for _, d := range []struct {
		v   *time.Duration
		def time.Duration
	}{{&l.StallTimeout, 30 * time.Second}, {&l.HandshakeTimeout, 10 * time.Second}, {&l.LoginTimeout, 30 * time.Second}} {
		if *d.v == 0 {
			*d.v = d.def
		}
	}
	return l
}

// Server accepts connections on its listeners and serves them.
type Server struct {
	handler   Handler
	overlap   func(int16) bool
	apiName   func(int16) string
	limits    Limits
	logger    *slog.Logger
	metrics   *metrics
	slabs     slabs
	scratch   sync.Pool
	cold      *coldReads
	strangers *strangers
	listeners []*listener
	shaking   atomic.Int64 // TLS handshakes under way
	pace      pace
	built     time.Time // from where Conn.muted counts
	throttle  func(ip string) time.Duration
	tracer    *tracing.Tracer

	ctx      context.Context // parent of all connections'
	cancel   context.CancelFunc
	draining atomic.Bool
	hardStop chan struct{} // closed when connections must end whatever they do
	wg       sync.WaitGroup
	lastID   atomic.Uint64
	delayed  atomic.Int64 // connections that wait to be closed

	mu struct {
		sync.Mutex
		started bool
		// The limits that may change; those in limits are what the server began with.
		limits  ConnectionLimits
		stopped bool // hardStop is closed
		conns   map[*Conn]struct{}
		perIP   map[string]int
	}
}

// ConnectionLimits are those of Limits that may change while the server runs.
type ConnectionLimits struct {
	MaxConnections, MaxConnectionsPerIP int
	PerIP                               map[string]int
	ConnectionsPerSecond                int
}

// SetConnectionLimits changes the limits for connections to come; those that are there stay.
func (s *Server) SetConnectionLimits(l ConnectionLimits) {
	s.mu.Lock()
	s.mu.limits = l
	s.mu.Unlock()
	s.pace.set(l.ConnectionsPerSecond)
}

// New checks the options and builds a Server that does not accept yet. The listeners
// belong to it from here on.
func New(o Options) (*Server, error) {
	if o.Handler == nil || o.Logger == nil {
		return nil, errors.New("BUG: server needs a handler and a logger")
	}
	s := &Server{
		handler: o.Handler, overlap: o.Overlap, apiName: o.APIName, logger: o.Logger,
		limits: o.Limits.withDefaults(), hardStop: make(chan struct{}), built: time.Now(), throttle: o.Throttle, tracer: o.Tracer,
	}
	s.SetConnectionLimits(ConnectionLimits{o.Limits.MaxConnections, o.Limits.MaxConnectionsPerIP, o.Limits.PerIP, o.Limits.ConnectionsPerSecond})
	if s.overlap == nil {
		s.overlap = func(int16) bool { return false }
	}
	if s.apiName == nil {
		s.apiName = func(int16) string { return "" }
	}
	for _, l := range o.Listeners {
		in, err := newListener(l)
		if err != nil {
			return nil, err
		}
		for _, other := range s.listeners {
			if other.Name == in.Name {
				return nil, fmt.Errorf("listener %s is defined twice", in.Name)
			}
		}
		s.listeners = append(s.listeners, in)
	}
	s.cold, s.strangers = newColdReads(s.hardStop), newStrangers(s.limits.Processors)
	s.slabs.budget = &budget{limit: s.limits.MemoryBytes}
	s.scratch.New = func() any { return new([scratchBytes]byte) }
	s.mu.conns = make(map[*Conn]struct{})
	s.mu.perIP = make(map[string]int)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.metrics = newMetrics(s, o.Registerer)
	return s, nil
}

// Start begins to accept on all listeners and returns at once.
func (s *Server) Start() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.started || s.draining.Load() {
		return
	}
	s.mu.started = true
	for _, l := range s.listeners {
		s.wg.Go(func() { s.accept(l) })
	}
}

// Addr is the address that the named listener is bound to, nil for an unknown name.
func (s *Server) Addr(name string) net.Addr {
	for _, l := range s.listeners {
		if l.Name == name {
			return l.Accept.Addr()
		}
	}
	return nil
}

// Endpoints are the addresses that clients are told, by listener, in the order of Options.
func (s *Server) Endpoints() []Endpoint {
	out := make([]Endpoint, 0, len(s.listeners))
	for _, l := range s.listeners {
		out = append(out, l.endpoint())
	}
	return out
}

// Shutdown stops accepting and reading, lets the requests in flight be answered, and closes
// the connections. Requests that still wait after drainGrace have their contexts
// cancelled, so that parked fetches come back. When ctx ends first, connections are closed
// as they are and Shutdown returns its error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.draining.Store(true)
	for _, l := range s.listeners {
		l.Accept.Close()
	}
	for _, c := range s.open() {
		_ = c.nc.SetReadDeadline(time.Unix(1, 0)) // wakes the reader; fails only when closed
	}
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	grace := time.NewTimer(drainGrace)
	defer grace.Stop()
	for {
		select {
		case <-done:
			s.cancel()
			s.stopHard()
			return nil
		case <-grace.C:
			s.cancel()
		case <-ctx.Done():
			s.cancel()
			s.stopHard()
			last := time.NewTimer(hardStopGrace)
			defer last.Stop()
			select {
			case <-done:
			case <-last.C: // a handler that ignores its context: the process ends without it
			}
			return fmt.Errorf("server shutdown: %w", context.Cause(ctx))
		}
	}
}

// drainGrace is how long Shutdown leaves waiting requests alone: a little more than the
// usual fetch.max.wait.ms would hold up every stop, so it is less.
const drainGrace = 250 * time.Millisecond

// hardStopGrace is how long Shutdown waits for handlers once their connections are closed.
const hardStopGrace = time.Second

// Close ends the server at once, with its connections.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx) // reports only that it did not wait
	return nil
}

// stopHard closes every connection.
func (s *Server) stopHard() {
	s.mu.Lock()
	if !s.mu.stopped {
		s.mu.stopped = true
		close(s.hardStop)
	}
	s.mu.Unlock()
	for _, c := range s.open() {
		c.shut(errDraining)
	}
}

// open lists the connections of the moment.
func (s *Server) open() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		out = append(out, c)
	}
	return out
}

// Connections counts the open connections of each listener.
func (s *Server) Connections() map[string]int {
	out := make(map[string]int, len(s.listeners))
	for _, l := range s.listeners {
		out[l.Name] = 0
	}
	for _, c := range s.open() {
		out[c.listener.Name]++
	}
	return out
}

// forget takes an ended connection out of the books.
func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
	if s.mu.perIP[c.ip]--; s.mu.perIP[c.ip] <= 0 {
		delete(s.mu.perIP, c.ip)
	}
}
