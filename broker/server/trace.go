package server

import (
	"time"
)

// trace begins the request's span, if it is one of those that are traced.
func (r *Request) trace() {
	ctx, span := r.Conn.srv.tracer.Request(r.Ctx, r.Conn.srv.apiName(r.Header.Key), r.Received)
	if span == nil {
		return
	}
	r.Ctx, r.span = ctx, span
	span.String("messaging.system", "kafka")
	span.String("messaging.client.id", r.Header.ClientID)
	span.Int("messaging.kafka.api.key", int64(r.Header.Key))
	span.Int("messaging.kafka.api.version", int64(r.Header.Version))
	span.Int("messaging.kafka.request.size", int64(r.size))
}

// traced ends the span when the socket has taken the answer, with the stages of metrics.go as its
// parts; those that had no time are left out. A request whose connection has ended before has none.
func (r *Request) traced(sent time.Time, err error) {
	if r.span == nil {
		return
	}
	left := r.handled.Add(r.local)
	r.span.Stage("queue", r.Received, r.handled)
	r.span.Stage("local", r.handled, left)
	r.span.Stage("remote", left, r.done)
	r.span.Stage("response", r.done, sent)
	if r.pause > 0 {
		r.span.Int("messaging.kafka.throttle_time_ms", r.pause.Milliseconds())
	}
	r.span.EndAt(sent, err)
}
