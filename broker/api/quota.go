package api

import (
	"fmt"
	"math"
	"time"

	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/quota"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/server"
	"github.com/varve-io/varve/broker/wire"
)

// quotaClient is who a request counts for.
func quotaClient(r *server.Request) quota.Client {
	return quota.Client{User: r.Conn.Principal().Name, ID: r.Header.ClientID}
}

// timed handles a request and counts the time for its client. Who is over the quota of
// the broker's time pauses before the next request, and learns of it in this one's answer.
func timed(a *API, row *row, r *server.Request) error {
	q := a.o.Quotas
	if !q.On(quota.Request) {
		return row.handle(a, r)
	}
	c := quotaClient(r)
	if pause := q.Pause(quota.Request, c); pause > 0 {
		r.Mute(pause)
	}
	began := time.Now()
	err := row.handle(a, r)
	q.Count(quota.Request, c, 100*time.Since(began).Seconds())
	return err
}

// storePayer is the client of a fetch for what the object store sends.
type storePayer struct {
	f      *fetching
	client quota.Client
}

// storePayer is who pays for what the object store sends, nil while nobody has a quota.
func (f *fetching) storePayer() replica.StorePayer {
	if !f.api.o.Quotas.On(quota.RemoteFetch) {
		return nil
	}
	return storePayer{f, quotaClient(f.r)}
}

// MayPay implements replica.StorePayer.
func (p storePayer) MayPay() bool {
	pause := p.f.api.o.Quotas.Pause(quota.RemoteFetch, p.client)
	if pause > 0 {
		p.f.r.Mute(pause)
	}
	return pause == 0
}

// Pay implements replica.StorePayer. The request may be over.
func (p storePayer) Pay(bytes int64) {
	p.f.api.o.Quotas.Count(quota.RemoteFetch, p.client, float64(bytes))
}

// neverStrict is a version that no request has: its client may go on, and pauses afterwards.
const neverStrict int16 = math.MaxInt16

// mayMutate charges the partitions that a request creates or deletes to its client. From version
// strict on they are refused when the client's tokens are used up; before, the client pauses
// afterwards (KIP-599).
func mayMutate(q *quota.Manager, r *server.Request, strict int16) controller.Charge {
	return func(partitions int) error {
		pause, ok := q.Mutate(quotaClient(r), partitions, r.Header.Version >= strict)
		if pause > 0 {
			r.Mute(pause)
		}
		if !ok {
			return fmt.Errorf("the client's controller_mutation_rate is used up: try again in %v: %w", pause, kafka.ThrottlingQuotaExceeded)
		}
		return nil
	}
}

// throttle tells the client in an answer for how long its connection is muted.
func throttle(r *server.Request, m wire.Message) {
	if t, ok := m.(wire.Throttled); ok && r.Muted() > 0 {
		t.Throttle(int32(r.Muted().Milliseconds()))
	}
}
