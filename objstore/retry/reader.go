package retry

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/varve-io/varve/objstore"
)

// progress, in bytes, is what makes a broken read a fresh one: a connection that gives less
// each time is given up after as many attempts as one that gives nothing.
const progress = 64 << 10

// Answer is what a store gives to a request for a part of an object.
type Answer struct {
	Body io.ReadCloser
	// Attrs of the whole object, its size among them.
	Attrs objstore.Attrs
	// Start is where in the object the body begins.
	Start int64
}

// Ask requests the bytes from off to end of an object, end < 0 being its end, at version v or,
// with "", at any. It repeats itself as its policy says; its error is an *objstore.Error.
type Ask func(ctx context.Context, off, end int64, v objstore.Version) (Answer, error)

// Reader reads a run of an object over as many connections as it takes, all at the version
// that the first of them found. It is for one goroutine.
type Reader struct {
	// Attrs of the object.
	Attrs objstore.Attrs

	ctx      context.Context
	ask      Ask
	op, key  string
	attempts int
	off, end int64 // what is left; end < 0 is the end of the object
	version  objstore.Version
	body     io.ReadCloser
	breaks   int   // in a row
	since    int64 // bytes read since the last break
	err      error // final
}

// Open is the Open of an objstore.Bucket: n bytes from off, clamped at the end of the object.
// A body that breaks off is asked for again at its offset, p.Attempts times in a row. Ask
// makes no use of p.
func Open(ctx context.Context, op, key string, off, n int64, ifv objstore.Version, p Policy, ask Ask) (*Reader, error) {
	if off < 0 || n == 0 {
		return nil, objstore.NewError(objstore.ErrInvalidRange, op, key, fmt.Errorf("%d bytes at %d", n, off))
	}
	r := &Reader{ctx: ctx, ask: ask, op: op, key: key, attempts: p.Attempts, off: off, end: -1, version: ifv}
	if n > 0 {
		r.end = off + n
	}
	if err := r.request(); err != nil {
		return nil, err
	}
	n, err := objstore.ClampRange(op, key, off, n, r.Attrs.Size)
	if err != nil {
		r.Close()
		return nil, err
	}
	r.end = off + n
	return r, nil
}

// fill reads all of p, which isn't empty.
func fill(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version, policy Policy, ask Ask) (objstore.Attrs, error) {
	n := int64(len(p))
	r, err := Open(ctx, "get", key, off, n, ifv, policy, ask)
	if err != nil {
		return objstore.Attrs{}, err
	}
	defer r.Close()
	if err := objstore.FullRange(key, off, n, r.Attrs.Size); err != nil {
		return objstore.Attrs{}, err
	}
	if _, err := io.ReadFull(r, p); err != nil {
		return objstore.Attrs{}, objstore.Wrap("get", key, err)
	}
	return r.Attrs, nil
}

// request asks for what is left, under the version that was found first. A store that knows
// no conditions, or answers with another range, is caught here.
func (r *Reader) request() error {
	a, err := r.ask(r.ctx, r.off, r.end, r.version)
	if err != nil {
		return err
	}
	switch {
	case r.version != "" && a.Attrs.Version != r.version:
		err = objstore.NewError(objstore.ErrPrecondition, r.op, r.key, nil)
	case a.Start != r.off:
		err = objstore.NewError(objstore.ErrUnsupported, r.op, r.key, fmt.Errorf("asked for offset %d, the store answers with %d", r.off, a.Start))
	}
	if err != nil {
		a.Body.Close()
		return err
	}
	r.version, r.Attrs, r.body = a.Attrs.Version, a.Attrs, a.Body
	return nil
}

// ContentRange reads the header of a partial answer, "bytes 10-19/100".
func ContentRange(s string) (start, size int64, err error) {
	span, total, ok := strings.Cut(strings.TrimPrefix(s, "bytes "), "/")
	first, _, ok2 := strings.Cut(span, "-")
	start, err = strconv.ParseInt(first, 10, 64)
	if err == nil {
		size, err = strconv.ParseInt(total, 10, 64)
	}
	if !ok || !ok2 || err != nil {
		return 0, 0, fmt.Errorf("the store answers a range with Content-Range %q", s)
	}
	return start, size, nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for {
		switch {
		case r.err != nil:
			return 0, r.err
		case r.off >= r.end:
			return 0, io.EOF
		case len(p) == 0:
			return 0, nil
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.off)])
		r.off += int64(n)
		r.since += int64(n)
		if err != nil && r.off < r.end {
			r.err = r.resume(err)
		}
		if n > 0 {
			return n, nil
		}
	}
}

// resume opens what is left after the body broke off.
func (r *Reader) resume(cause error) error {
	if cause == io.EOF {
		cause = io.ErrUnexpectedEOF
	}
	r.body.Close()
	if r.since >= progress {
		r.breaks = 0
	}
	r.breaks++
	r.since = 0
	broken := &objstore.Error{Kind: objstore.ErrTransient, Op: r.op, Key: r.key, Attempts: r.breaks, Err: fmt.Errorf("broken off at %d: %w", r.off, cause)}
	switch {
	case r.ctx.Err() != nil:
		return objstore.NewError(objstore.ErrCanceled, r.op, r.key, r.ctx.Err())
	case r.breaks >= r.attempts:
		return broken
	}
	return r.request()
}

// Close implements io.Closer.
func (r *Reader) Close() error { return r.body.Close() }
