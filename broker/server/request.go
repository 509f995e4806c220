package server

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/varve-io/varve/broker/tracing"
	"github.com/varve-io/varve/broker/wire"
)

var (
	errClosing  = errors.New("the request asked to close its connection")
	errPanicked = errors.New("request handler panicked")
	errPeerGone = errors.New("peer has gone")
)

// Reasons for which a Handler closes connections, that the server counts apart.
var (
	ErrLogin          = errors.New("the login failed")
	ErrSessionExpired = errors.New("the session has expired without another login")
)

// Handler gives requests their meaning.
//
// Handle is called on the connection's goroutine, in the order of arrival. It must not
// wait for other requests or other machines: it keeps the Request and answers later from
// any goroutine, or continues in Request.Go. A panic closes the connection of the request.
type Handler interface {
	Handle(r *Request)
}

// Request is one request, which the handler ends by exactly one call of Reply, ReplyBytes,
// NoReply or CloseConn, from any goroutine, inside Handle or later.
type Request struct {
	// Header is the parsed header; its version need not be a supported one.
	Header wire.RequestHeader
	// Body is what follows the header. It may be rewritten in place. It is valid inside
	// Handle, and until Release if Retain was called there.
	Body []byte
	// Conn is where the request came in.
	Conn *Conn
	// Ctx ends when the connection does or its peer has gone. A request that waits should
	// then give up; whether and how it answers makes no difference any more.
	Ctx context.Context
	// Received is when the last bytes of the request came in.
	Received time.Time

	slab      *slab
	size      int  // of the frame, in bytes
	exclusive bool // shares the connection with no waiting request
	pause     time.Duration

	handled time.Time     // when the handler got it
	parked  atomic.Int64  // for how long the handler had it before it left it waiting, in ns; 0: it has it, -1: it was answered
	done    time.Time     // when it was answered; written before the request counts as answered
	local   time.Duration // for how long the handler had it; likewise
	span    *tracing.Span // nil: it is not traced

	ended atomic.Bool // Reply and its like: once

	// Written before the request counts as answered, read by the writer after.
	one    [1]wire.Piece
	pieces []wire.Piece
	end    error // closes the connection in this request's turn
	prefix [lengthBytes]byte
	silent bool // no bytes at all

	answered bool // guarded by the mutex of Conn.answers
}

// Reply answers with pieces, which must start with the response header; the length that
// precedes it on the wire is added. The pieces belong to the server from here on: bytes must
// not change, ranges are released when they are sent or when the connection has ended.
func (r *Request) Reply(pieces []wire.Piece) {
	r.pieces = pieces
	r.finish()
}

// ReplyBytes answers with one run of bytes, as Reply does.
func (r *Request) ReplyBytes(b []byte) {
	r.one[0] = wire.Piece{Bytes: b}
	r.Reply(r.one[:])
}

// NoReply ends a request that has no response on the wire: Produce with acks=0.
func (r *Request) NoReply() {
	r.silent = true
	r.finish()
}

// CloseConn ends the request by closing its connection for the given reason, after the
// answers to earlier requests have left. Later requests are not handled.
func (r *Request) CloseConn(reason error) {
	r.silent = true
	if r.end = reason; reason == nil {
		r.end = errClosing
	}
	r.finish()
}

// ReplyClose answers with one run of bytes and closes the connection after it, for the given
// reason. Later requests are not handled.
func (r *Request) ReplyClose(b []byte, reason error) {
	r.end = reason
	r.ReplyBytes(b)
}

// Mute holds the connection up: no later request of it is handled before d has passed, while
// answers go on to leave. It is called before the request is answered, which tells the client;
// the longest one of several counts. Source: KIP-219.
func (r *Request) Mute(d time.Duration) {
	if d > r.pause {
		r.pause = d
		r.Conn.mute(d)
	}
}

// Muted is for how long this request holds the connection up.
func (r *Request) Muted() time.Duration { return r.pause }

// Retain keeps Body valid until a matching Release. It is called
// inside Handle, or by who holds the memory already.
func (r *Request) Retain() { r.slab.retain() }

// Release ends a Retain.
func (r *Request) Release() { r.slab.release() }

// Go runs f on a goroutine of its own, with the body retained until f returns and a panic
// contained as in Handle. It is for requests that wait for something: a commit, a disk,
// an object store. It is called inside Handle.
func (r *Request) Go(f func()) {
	r.Retain()
	r.Conn.srv.wg.Go(func() {
		defer r.Release()
		if err := r.run(f); err != nil {
			r.Conn.shut(err)
		}
	})
}

// run calls f and turns a panic into an error.
func (r *Request) run(f func()) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = r.Conn.handlerPanicked(r, v)
		}
	}()
	f()
	return nil
}

// finish marks the request answered and sees to it that the answer leaves.
func (r *Request) finish() {
	if r.ended.Swap(true) {
		panic("BUG: request answered twice")
	}
	c := r.Conn
	r.done = time.Now()
	c.srv.metrics.answered(r, r.done)
	switch c.answers.answer(r) {
	case becomeWriter:
		// Not on this goroutine: it may belong to another connection, and a peer that does
		// not read its answers must delay nobody but itself.
		c.srv.wg.Go(c.writeAnswers)
	case discard:
		r.traced(r.done, r.Conn.answers.reason())
		r.releasePieces()
	case queued:
	}
}

// memory is the bytes of the answer that are held in memory until they are sent.
func (r *Request) memory() int64 {
	var n int64
	for i := range r.pieces {
		n += int64(len(r.pieces[i].Bytes))
	}
	return n
}

// releasePieces lets go of the files behind the answer.
func (r *Request) releasePieces() {
	for i := range r.pieces {
		r.pieces[i].Range.Release()
	}
	r.pieces, r.one = nil, [1]wire.Piece{}
}
