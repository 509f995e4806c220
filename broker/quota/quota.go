// Package quota holds clients to what they may use: bytes produced and fetched, the broker's
// time, changes of partitions, new connections (KIP-13, KIP-124, KIP-546, KIP-599, KIP-612), and
// traffic with the object store.
//
// It owns the counts, Kafka's formulas over them, and which quota is a client's. It owns
// neither the quotas themselves, which are in the image of broker/metadata, nor what happens
// to a client that is over one: broker/api tells it (throttle_time_ms) and has broker/server
// mute its connection (KIP-219).
//
// A Manager may be used from any goroutine. A kind of quota that nobody has costs one atomic
// load per request. A count that has run empty is dropped in passing: it holds no more than a
// new one, so client ids that come and go leave nothing behind.
package quota

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/varve-io/varve/broker/metadata"
)

// Kind is what a quota bounds.
type Kind uint8

// The kinds.
const (
	Produce     Kind = iota // bytes of Produce requests per second
	Fetch                   // bytes of Fetch answers per second
	Request                 // percent of one processor's time
	Mutation                // partitions created and deleted per second
	Connection              // connections from an address per second
	RemoteFetch             // bytes per second that the object store sends for Fetch requests
	Upload                  // bytes per second that are produced to tiered topics, hence uploaded
	kinds
)

// String is the name of the quota: Kafka's, or ours with varve_ in front.
func (k Kind) String() string {
	return [...]string{
		"producer_byte_rate", "consumer_byte_rate", "request_percentage", "controller_mutation_rate", "connection_creation_rate",
		"varve_remote_fetch_byte_rate", "varve_upload_byte_rate",
	}[k]
}

// Client is who makes a request: the name of its principal, and its client.id.
type Client struct{ User, ID string }

// Options are what a Manager is built from.
type Options struct {
	// Data and Controller are the windows of quota.window.* and controller.quota.window.*.
	Data, Controller Windows
	Now              func() time.Time
	Registerer       prometheus.Registerer // nil: metrics are kept and not exported
}

// Manager knows the quotas and counts against them.
type Manager struct {
	o       Options
	born    time.Time
	books   [kinds]book
	metrics *metrics
}

// book is all about one kind.
type book struct {
	on atomic.Bool // some entity has a quota

	mu struct {
		sync.Mutex
		limits   limits
		accounts map[subject]*account
		// clients finds the account of a client that asked before; nil: it has no quota.
		clients map[Client]*account
		sweepAt int // entries in both maps at which the empty ones are dropped
	}
}

// leastSweep is how many entries of a book are kept without looking for empty ones.
const leastSweep = 256

// account is the count of a subject, guarded by its book.
type account struct {
	limit  float64
	rate   rate
	tokens bucket
}

// New builds a Manager without quotas.
func New(o Options) *Manager {
	m := &Manager{o: o, born: o.Now()}
	for k := range m.books {
		b := &m.books[k]
		b.mu.accounts, b.mu.clients, b.mu.sweepAt = map[subject]*account{}, map[Client]*account{}, leastSweep
	}
	m.metrics = newMetrics(o.Registerer)
	return m
}

// nowMs is the time since the Manager was built.
func (m *Manager) nowMs() int64 { return m.o.Now().Sub(m.born).Milliseconds() }

// Apply takes the quotas of an image over. Counts go on.
func (m *Manager) Apply(img *metadata.Image) {
	var all [kinds]limits
	for e := range img.QuotaEntities() {
		quotas := img.Quotas(e)
		for k := range kinds {
			if limit, ok := quotas[k.String()]; ok {
				if all[k] == nil {
					all[k] = limits{}
				}
				all[k][canonical(e)] = limit
			}
		}
	}
	for k := range m.books {
		m.books[k].take(all[k])
	}
}

// canonical is an entity whose address is spelled as connections spell theirs.
func canonical(e metadata.QuotaEntity) metadata.QuotaEntity {
	if ip, err := netip.ParseAddr(e.IP.Name); err == nil {
		e.IP.Name = ip.Unmap().String()
	}
	return e
}

// take puts new limits in force.
func (b *book) take(l limits) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.limits = l
	clear(b.mu.clients)
	b.on.Store(len(l) > 0)
}

// account finds the account of a client, nil when it has no quota. The caller holds the lock.
func (m *Manager) account(k Kind, c Client, nowMs int64) *account {
	b := &m.books[k]
	if a, ok := b.mu.clients[c]; ok {
		return a
	}
	if len(b.mu.clients)+len(b.mu.accounts) >= b.mu.sweepAt {
		b.sweep(k, nowMs)
	}
	who, limit, ok := subject{"", c.ID}, 0.0, false
	if k == Connection {
		limit, ok = b.mu.limits.ofIP(c.ID)
	} else {
		who, limit, ok = b.mu.limits.resolve(c)
	}
	if !ok {
		b.mu.clients[c] = nil
		return nil
	}
	a := b.mu.accounts[who]
	if a == nil {
		w := m.o.Data
		if k == Mutation {
			w = m.o.Controller
		}
		a = &account{rate: rate{w: w}, tokens: bucket{w: w}}
		b.mu.accounts[who] = a
	}
	a.limit = limit
	b.mu.clients[c] = a
	return a
}

// sweep drops what holds no more than a new entry would. The caller holds the lock.
func (b *book) sweep(k Kind, nowMs int64) {
	clear(b.mu.clients)
	for who, a := range b.mu.accounts {
		if k == Mutation && a.tokens.empty(a.limit, nowMs) || k != Mutation && a.rate.empty(nowMs) {
			delete(b.mu.accounts, who)
		}
	}
	b.mu.sweepAt = max(leastSweep, 2*len(b.mu.accounts))
}

// with calls f with the account of a client, if it has a quota.
func (m *Manager) with(k Kind, c Client, f func(a *account, nowMs int64)) {
	b := &m.books[k]
	if !b.on.Load() {
		return
	}
	nowMs := m.nowMs()
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := m.account(k, c, nowMs); a != nil {
		f(a, nowMs)
	}
}

// On says whether anyone has a quota of the kind.
func (m *Manager) On(k Kind) bool { return m.books[k].on.Load() }

// Count counts n for a client, without judging.
func (m *Manager) Count(k Kind, c Client, n float64) {
	m.with(k, c, func(a *account, nowMs int64) { a.rate.add(n, nowMs) })
}

// Charge counts n for a client and says for how long it has to pause to be within its quota
// again, 0 for not at all.
func (m *Manager) Charge(k Kind, c Client, n float64) (pause time.Duration) {
	m.with(k, c, func(a *account, nowMs int64) {
		a.rate.add(n, nowMs)
		pause = m.judge(k, a, nowMs)
	})
	return pause
}

// Pause is for how long a client has to pause, as it stands.
func (m *Manager) Pause(k Kind, c Client) (pause time.Duration) {
	m.with(k, c, func(a *account, nowMs int64) { pause = m.judge(k, a, nowMs) })
	return pause
}

// judge is the pause of an account. One for the broker's time is at most a window long, as in
// Kafka. The caller holds the lock.
func (m *Manager) judge(k Kind, a *account, nowMs int64) time.Duration {
	pause := time.Duration(a.rate.delayMs(a.limit, nowMs)) * time.Millisecond
	if k == Request {
		pause = min(pause, m.o.Data.Size)
	}
	m.metrics.paused(k, pause)
	return pause
}

// FetchMax is the most bytes that one answer to a client may have: more would put it over its
// quota whatever it fetched before. False when it has no quota.
func (m *Manager) FetchMax(c Client) (bytes int64, ok bool) {
	m.with(Fetch, c, func(a *account, _ int64) {
		bytes, ok = int64(a.limit*float64(m.o.Data.Number-1)*m.o.Data.Size.Seconds()), true
	})
	return bytes, ok
}

// Mutate takes n changes of partitions from a client's tokens. A strict quota refuses when
// they are used up, with the time until they are not; any other lets the change happen and
// says for how long the client has to pause.
func (m *Manager) Mutate(c Client, n int, strict bool) (pause time.Duration, ok bool) {
	ok = true
	m.with(Mutation, c, func(a *account, nowMs int64) {
		if pause = a.debt(nowMs); strict && pause > 0 {
			ok = false
			m.metrics.paused(Mutation, pause)
			return
		}
		a.tokens.take(float64(n), a.limit, nowMs)
		if !strict {
			pause = a.debt(nowMs)
			m.metrics.paused(Mutation, pause)
		}
	})
	return pause, ok
}

// debt is how long the tokens are in debt.
func (a *account) debt(nowMs int64) time.Duration {
	return time.Duration(a.tokens.delayMs(a.limit, nowMs)) * time.Millisecond
}

// Connect counts a new connection from an address; with a pause it is one too many, and is
// not counted. The pause is at most a window long, as in Kafka.
func (m *Manager) Connect(ip string) (pause time.Duration) {
	m.with(Connection, Client{ID: ip}, func(a *account, nowMs int64) {
		a.rate.add(1, nowMs)
		if pause = min(m.judge(Connection, a, nowMs), m.o.Data.Size); pause > 0 {
			a.rate.add(-1, nowMs)
		}
	})
	return pause
}
