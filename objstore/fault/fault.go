// Package fault breaks an object store on purpose, by script: what networks and stores do to
// a client, at the call where a test wants it.
//
// It owns a Bucket that wraps another, a list of rules, and a record of the calls. Rules match
// calls in the order they arrive, so that a test that makes its calls in a known order sees
// the same history each time; there is no chance and no clock in it, but for Slow.
// A Bucket and a Gate may be used from any number of goroutines. This package is for tests; no
// production room imports it.
package fault

import (
	"context"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/varve-io/varve/objstore"
)

// Op is a method of objstore.Bucket. The Delete of several keys is matched once per key.
type Op string

// The operations that a rule can name.
const (
	Put      Op = "put"
	GetRange Op = "get"
	Open     Op = "open"
	Head     Op = "head"
	List     Op = "list"
	Delete   Op = "delete"
	Any      Op = ""
)

// Call is one call that reached the wrapper.
type Call struct {
	Op  Op
	Key string // the prefix of a List
}

// Rule says which calls to break, and how. The first rule that matches a call and is not used
// up decides about it.
type Rule struct {
	// Op, or Any.
	Op Op
	// Key that the call must contain; "" is every key.
	Key string
	// Skip lets the first matching calls pass. Times bounds how many are broken after them;
	// 0 is no bound.
	Skip, Times int
	// Do is what happens.
	Do Action
}

// Action is what happens to a call. Make one with the functions of this package.
type Action struct {
	before func(ctx context.Context, c Call) error
	after  func(ctx context.Context, c Call) error
	lost   bool // the call happens, its reply does not
	settle bool // … and the provider finds out by the write token
	mangle func(p []byte, off int64) (keep int, err error)
}

// Fail answers with an error of the kind; nothing is done.
func Fail(kind objstore.Kind) Action { return FailWith(&objstore.Error{Kind: kind}) }

// FailWith answers with a copy of e, completed with the operation and the key; nothing is
// done. A Throttled with its Code, HTTP status and RetryAfter is such an error.
func FailWith(e *objstore.Error) Action {
	return Action{before: func(_ context.Context, c Call) error {
		filled := *e
		filled.Op, filled.Key = string(c.Op), c.Key
		return &filled
	}}
}

// LoseReply carries out the call and loses its answer for good: a Put, or a Delete, that
// happened is reported as ErrAmbiguous, anything else as ErrTransient.
func LoseReply() Action { return Action{lost: true} }

// LoseReplySettled carries out a Put, loses its answer, tries again and settles the outcome by
// the write token, as providers do (objstore.PutSettled): the caller sees the truth.
func LoseReplySettled() Action { return Action{lost: true, settle: true} }

// Stall holds the call until the gate is released or the context ends, before anything is
// done. Used with an Arrived gate it pauses a call at a known place.
func Stall(g *Gate) Action {
	return Action{before: func(ctx context.Context, c Call) error { return g.wait(ctx, c) }}
}

// StallReply holds the answer of a call that has been carried out.
func StallReply(g *Gate) Action {
	return Action{after: func(ctx context.Context, c Call) error { return g.wait(ctx, c) }}
}

// Slow delays the call.
func Slow(d time.Duration) Action {
	return Action{before: func(ctx context.Context, c Call) error {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			return nil
		case <-ctx.Done():
			return objstore.Wrap(string(c.Op), c.Key, ctx.Err())
		}
	}}
}

// FlipBit inverts one bit of what a GetRange or an Open reads: bit counts from the start of the
// object. A call that does not read that bit passes, and is counted as broken.
func FlipBit(bit int64) Action {
	return Action{mangle: func(p []byte, off int64) (int, error) {
		if at := bit/8 - off; at >= 0 && at < int64(len(p)) {
			p[at] ^= 1 << (bit % 8)
		}
		return len(p), nil
	}}
}

// Truncate ends what a GetRange or an Open reads at an offset of the object, as a connection
// that breaks does: ErrTransient after the bytes before it.
func Truncate(at int64) Action {
	return Action{mangle: func(p []byte, off int64) (int, error) {
		if off+int64(len(p)) <= at {
			return len(p), nil
		}
		return int(max(at-off, 0)), io.ErrUnexpectedEOF
	}}
}

// Gate holds calls until it is released.
type Gate struct {
	arrived chan Call
	open    chan struct{}
	once    sync.Once
}

// NewGate is a closed gate.
func NewGate() *Gate {
	return &Gate{arrived: make(chan Call, 1024), open: make(chan struct{})}
}

// Arrived yields each call as it comes to the gate.
func (g *Gate) Arrived() <-chan Call { return g.arrived }

// Release lets all calls pass, now and later.
func (g *Gate) Release() { g.once.Do(func() { close(g.open) }) }

func (g *Gate) wait(ctx context.Context, c Call) error {
	select {
	case g.arrived <- c:
	default: // nobody looks at the gate
	}
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return objstore.Wrap(string(c.Op), c.Key, ctx.Err())
	}
}

// Bucket is an objstore.Bucket that follows a script.
type Bucket struct {
	inner objstore.Bucket
	mu    struct {
		sync.Mutex
		rules []*counted
		calls []Call
	}
}

type counted struct {
	Rule
	seen int
}

// Wrap breaks b by the rules; more can be added later.
func Wrap(b objstore.Bucket, rules ...Rule) *Bucket {
	f := &Bucket{inner: b}
	f.Add(rules...)
	return f
}

// Add appends rules.
func (b *Bucket) Add(rules ...Rule) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, r := range rules {
		b.mu.rules = append(b.mu.rules, &counted{Rule: r})
	}
}

// Clear removes all rules; calls that are held stay held.
func (b *Bucket) Clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.rules = nil
}

// Calls is every call so far, in order of arrival.
func (b *Bucket) Calls() []Call {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.mu.calls)
}

// arrive records a call and finds the action for it.
func (b *Bucket) arrive(c Call) Action {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.calls = append(b.mu.calls, c)
	for _, r := range b.mu.rules {
		if r.Op != Any && r.Op != c.Op || !strings.Contains(c.Key, r.Key) || r.Times > 0 && r.seen >= r.Skip+r.Times {
			continue
		}
		r.seen++
		if r.seen > r.Skip {
			return r.Do
		}
	}
	return Action{}
}

func (a Action) start(ctx context.Context, c Call) error {
	if a.before == nil {
		return nil
	}
	return a.before(ctx, c)
}

// finish turns the outcome of a call into what the caller gets to know.
func (a Action) finish(ctx context.Context, c Call, err error) error {
	if a.after != nil {
		if herr := a.after(ctx, c); herr != nil {
			return herr
		}
	}
	if !a.lost {
		return err
	}
	kind := objstore.ErrTransient
	if c.Op == Put || c.Op == Delete {
		kind = objstore.ErrAmbiguous
	}
	return objstore.NewError(kind, string(c.Op), c.Key, io.ErrUnexpectedEOF)
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	c := Call{Put, key}
	act := b.arrive(c)
	if err := act.start(ctx, c); err != nil {
		return objstore.Attrs{}, err
	}
	if act.settle {
		return objstore.PutSettled(ctx, key, src, o, b.inner.Head, func(ctx context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
			if _, err := b.inner.Put(ctx, key, src, o); err != nil {
				return objstore.Attrs{}, err
			}
			// The repetition that a provider makes carries the same token; the store refuses it.
			return objstore.Attrs{}, act.finish(ctx, c, nil)
		})
	}
	a, err := b.inner.Put(ctx, key, src, o)
	if err = act.finish(ctx, c, err); err != nil {
		return objstore.Attrs{}, err
	}
	return a, nil
}

// GetRange implements objstore.Bucket.
func (b *Bucket) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	c := Call{GetRange, key}
	act := b.arrive(c)
	if err := act.start(ctx, c); err != nil {
		return objstore.Attrs{}, err
	}
	a, err := b.inner.GetRange(ctx, key, off, p, ifv)
	if err == nil && act.mangle != nil {
		if _, merr := act.mangle(p, off); merr != nil {
			err = objstore.NewError(objstore.ErrTransient, "get", key, merr)
		}
	}
	return a, act.finish(ctx, c, err)
}

// Open implements objstore.Bucket.
func (b *Bucket) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	c := Call{Open, key}
	act := b.arrive(c)
	if err := act.start(ctx, c); err != nil {
		return nil, objstore.Attrs{}, err
	}
	r, a, err := b.inner.Open(ctx, key, off, n, ifv)
	if ferr := act.finish(ctx, c, err); ferr != nil {
		if err == nil {
			r.Close()
		}
		return nil, objstore.Attrs{}, ferr
	}
	if act.mangle != nil {
		r = &mangled{ReadCloser: r, key: key, off: off, mangle: act.mangle}
	}
	return r, a, nil
}

// mangled is a reader whose bytes suffer.
type mangled struct {
	io.ReadCloser
	key    string
	off    int64
	mangle func([]byte, int64) (int, error)
}

func (m *mangled) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	keep, merr := m.mangle(p[:n], m.off)
	m.off += int64(keep)
	if merr != nil {
		return keep, objstore.NewError(objstore.ErrTransient, "open", m.key, merr)
	}
	return keep, err
}

// Head implements objstore.Bucket.
func (b *Bucket) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	c := Call{Head, key}
	act := b.arrive(c)
	if err := act.start(ctx, c); err != nil {
		return objstore.Attrs{}, err
	}
	a, err := b.inner.Head(ctx, key)
	return a, act.finish(ctx, c, err)
}

// List implements objstore.Bucket.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	c := Call{List, prefix}
	act := b.arrive(c)
	if err := act.start(ctx, c); err != nil {
		return objstore.Page{}, err
	}
	page, err := b.inner.List(ctx, prefix, after, limit)
	return page, act.finish(ctx, c, err)
}

// Delete implements objstore.Bucket; each key is a call of its own, so that some can fail.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	var batch objstore.Batch
	for _, key := range keys {
		c := Call{Delete, key}
		act := b.arrive(c)
		err := act.start(ctx, c)
		if err == nil {
			err = act.finish(ctx, c, b.inner.Delete(ctx, key))
		}
		batch.Add(key, err)
	}
	return batch.Err()
}

// Capabilities implements objstore.Bucket. The optional powers of the store behind are hidden.
func (b *Bucket) Capabilities() objstore.Capabilities {
	caps := b.inner.Capabilities()
	caps.DeleteIf = false
	return caps
}

// Close implements objstore.Bucket.
func (b *Bucket) Close() error { return b.inner.Close() }
