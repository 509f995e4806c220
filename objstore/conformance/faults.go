package conformance

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/fault/proxy"
	"github.com/varve-io/varve/objstore/retry"
)

// Target is a server that faults are put in front of.
type Target struct {
	Server
	// Endpoint of the server, without a path.
	Endpoint string
	// Open is the bucket below a prefix, reached by another endpoint and with these limits and
	// policies.
	Open func(t testing.TB, endpoint, prefix string, l retry.Limits, p retry.Policy) objstore.Bucket
	// Part and Complete choose the requests that send a part and that put parts together.
	Part, Complete func(*http.Request) bool
	// Checked: the server compares checksums of what it is sent.
	Checked bool
}

// Limits and a policy that make a test of silence short, and limits for the rows that are not about silence:
// there no request is asked again because a busy machine was slow.
var (
	faultLimits   = retry.Limits{ReadFirstByte: 3 * time.Second, WriteFirstByte: 3 * time.Second, Stall: 3 * time.Second}
	patientLimits = retry.Limits{ReadFirstByte: time.Minute, WriteFirstByte: time.Minute, Stall: time.Minute}
	faultPolicy   = retry.Policy{Attempts: 4, Base: time.Millisecond, ThrottleBase: time.Millisecond, Cap: 5 * time.Millisecond, Deadline: time.Minute}
)

// row is a fault, the operation that meets it, and the right answer.
type row struct {
	name  string
	rules func(p *proxy.Proxy) []proxy.Rule
	run   func(t testing.TB, e *env)
	// requests, as many as the fault needs and no more; 0 is any number.
	requests int
	// silent: the fault is silence, and short limits end it. A request that a busy machine answers later than
	// they allow is asked again too.
	silent bool
}

func newPrefix() string { return "faults/" + objstore.NewToken() }

func method(m string) func(*http.Request) bool {
	return func(r *http.Request) bool { return r.Method == m }
}

// isPut is the request of a Put in one piece, which Google's SDK posts.
func isPut(r *http.Request) bool {
	return r.Method == http.MethodPut || r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/upload/")
}

// times is one rule.
func times(n int, match func(*http.Request) bool, do proxy.Action) func(*proxy.Proxy) []proxy.Rule {
	return func(*proxy.Proxy) []proxy.Rule { return []proxy.Rule{{Match: match, Times: n, Do: do}} }
}

const faultKey = "faults/x"

// faultName is before the names of rows in the table of servers.
const faultName = "fault: "

// content of the object that every row finds.
func content() []byte { return payload(42, 300_000) }

func reads(t testing.TB, e *env) {
	b := content()
	p := make([]byte, 200_000)
	if _, err := e.GetRange(e.ctx, faultKey, 1000, p, ""); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p, b[1000:201_000]) {
		t.Error("other bytes")
	}
}

func readsWhole(t testing.TB, e *env) { e.want(t, faultKey, content()) }

// fails is a read that ends in an error of this kind.
func fails(kind objstore.Kind) func(testing.TB, *env) {
	return func(t testing.TB, e *env) {
		_, err := e.GetRange(e.ctx, faultKey, 0, make([]byte, 1000), "")
		wantErr(t, "read", err, kind)
	}
}

func writes(o objstore.PutOpts) func(testing.TB, *env) {
	return func(t testing.TB, e *env) {
		b := payload(7, 100_000)
		e.put(t, "faults/new", b, o)
		e.want(t, "faults/new", b)
	}
}

func swaps(t testing.TB, e *env) {
	a, err := e.Head(e.ctx, faultKey)
	if err != nil {
		t.Fatal(err)
	}
	b := payload(8, 100_000)
	e.put(t, faultKey, b, objstore.PutOpts{IfVersion: a.Version})
	e.want(t, faultKey, b)
}

func writesParts(o objstore.PutOpts) func(testing.TB, *env) {
	return func(t testing.TB, e *env) {
		b := payload(9, uploads[1].size)
		e.put(t, "faults/parts", b, o)
		e.want(t, "faults/parts", b)
		e.wantNoUploads(t)
	}
}

func deletes(t testing.TB, e *env) {
	if err := e.Delete(e.ctx, faultKey); err != nil {
		t.Fatal(err)
	}
	e.wantAbsent(t, faultKey)
}

// flippedRead shows why no transport is trusted: the bytes come without an error, and only the
// reader's own checksum tells.
func flippedRead(t testing.TB, e *env) {
	p := make([]byte, len(content()))
	want := crc32.Checksum(content(), objstore.Castagnoli)
	if _, err := e.GetRange(e.ctx, faultKey, 0, p, ""); err == nil && crc32.Checksum(p, objstore.Castagnoli) == want {
		t.Error("the bit was not flipped")
	} else if err != nil {
		wantErr(t, "read of flipped bytes", err, objstore.ErrCorrupt)
	}
	if _, err := e.GetRange(e.ctx, faultKey, 0, p, ""); err != nil || crc32.Checksum(p, objstore.Castagnoli) != want {
		t.Errorf("the second read is not what was written: %v", err)
	}
}

func flippedWrite(t testing.TB, e *env) {
	_, err := e.try("faults/new", payload(7, 100_000), objstore.PutOpts{IfAbsent: true})
	wantErr(t, "write of flipped bytes", err, objstore.ErrCorrupt)
	e.wantAbsent(t, "faults/new")
}

// canceledRead ends the context in the middle of a body that has stalled.
func canceledRead(t testing.TB, e *env) {
	ctx, cancel := context.WithTimeout(e.ctx, 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	_, err := e.GetRange(ctx, faultKey, 0, make([]byte, 200_000), "")
	wantErr(t, "read", err, objstore.ErrCanceled)
	if took := time.Since(begun); took > patientLimits.Stall/2 {
		t.Errorf("a canceled read returned after %v", took)
	}
}

func waitsAsTold(t testing.TB, e *env) {
	begun := time.Now()
	reads(t, e)
	if took := time.Since(begun); took < time.Second {
		t.Errorf("the store asked for a second, the next try came after %v", took)
	}
}

func listed(t testing.TB, e *env) {
	if got := e.all(t, "faults/", "", 0); len(got) != 1 || got[0] != faultKey {
		t.Errorf("the list is %v", got)
	}
}

// faultRows is the table of faults. What each SDK does by itself differs in nearly every row.
func (target Target) faultRows() []row {
	get, forever := method(http.MethodGet), 0
	rows := []row{
		{"get, 503 twice", times(2, get, proxy.Status(503)), reads, 3, false},
		{"get, 503 for ever", times(forever, get, proxy.Status(503)), fails(objstore.ErrThrottled), 4, false},
		{"get, 500 for ever", times(forever, get, proxy.Status(500)), fails(objstore.ErrTransient), 4, false},
		{"get, 429", times(1, get, proxy.Status(429)), reads, 2, false},
		{"get, 429 with Retry-After", times(1, get, proxy.Status(429, "Retry-After", "1")), waitsAsTold, 2, false},
		{"get, 403", times(forever, get, proxy.Status(403)), fails(objstore.ErrAccessDenied), 1, false},
		{"get, reset before the answer", times(2, get, proxy.Reset()), reads, 0, false},
		{"get, reset in the body", times(2, get, proxy.ResetBody(50_000)), reads, 3, false},
		{"get, truncated", times(2, get, proxy.Truncate(50_000)), reads, 3, false},
		{"get, truncated each time", times(forever, get, proxy.Truncate(100)), fails(objstore.ErrTransient), 4, false},
		{"open, truncated", times(2, get, proxy.Truncate(50_000)), readsWhole, 3, false},
		{"get, stalled before the answer", func(p *proxy.Proxy) []proxy.Rule { return []proxy.Rule{{Match: get, Times: 1, Do: p.Stall()}} }, reads, 2, true},
		{"get, stalled in the body", func(p *proxy.Proxy) []proxy.Rule {
			return []proxy.Rule{{Match: get, Times: 1, Do: p.StallBody(50_000)}}
		}, reads, 2, true},
		{"get, canceled in a stalled body", func(p *proxy.Proxy) []proxy.Rule { return []proxy.Rule{{Match: get, Do: p.StallBody(50_000)}} }, canceledRead, 1, false},
		{"get, a bit flipped", times(1, get, proxy.FlipReply()), flippedRead, 0, false},
		{"put, 503 twice", times(2, isPut, proxy.Status(503)), writes(objstore.PutOpts{}), 0, false},
		{"put, reset", times(2, isPut, proxy.Reset()), writes(objstore.PutOpts{}), 0, false},
		{"put, reply lost", times(1, isPut, proxy.LoseReply()), writes(objstore.PutOpts{}), 0, false},
		{"put, stalled", func(p *proxy.Proxy) []proxy.Rule { return []proxy.Rule{{Match: isPut, Times: 1, Do: p.Stall()}} }, writes(objstore.PutOpts{}), 0, true},
		{"create, reply lost", times(1, isPut, proxy.LoseReply()), writes(objstore.PutOpts{IfAbsent: true}), 0, false},
		{"create, 503 and reply lost", times(2, isPut, proxy.LoseReply()), writes(objstore.PutOpts{IfAbsent: true}), 0, false},
		{"swap, reply lost", times(1, isPut, proxy.LoseReply()), swaps, 0, false},
		{"part, 503", times(2, target.Part, proxy.Status(503)), writesParts(objstore.PutOpts{}), 0, false},
		{"part, reset", times(2, target.Part, proxy.Reset()), writesParts(objstore.PutOpts{}), 0, false},
		{"part, reply lost", times(1, target.Part, proxy.LoseReply()), writesParts(objstore.PutOpts{}), 0, false},
		{"create in parts, last reply lost", times(1, target.Complete, proxy.LoseReply()), writesParts(objstore.PutOpts{IfAbsent: true}), 0, false},
		{"delete, 503 twice", times(2, method(http.MethodDelete), proxy.Status(503)), deletes, 0, false},
		{"delete, reply lost", times(1, method(http.MethodDelete), proxy.LoseReply()), deletes, 0, false},
		{"list, 503 twice", times(2, get, proxy.Status(503)), listed, 3, false},
		{"list, truncated", times(1, get, proxy.Truncate(100)), listed, 2, false},
		{"list, reset", times(1, get, proxy.Reset()), listed, 0, false},
	}
	if target.Checked {
		rows = append(rows, row{"create, a bit flipped", times(forever, isPut, proxy.FlipRequest()), flippedWrite, 0, false})
	}
	return rows
}

// RunFaults puts a proxy in front of the server and does to its client all that networks and
// stores do. Every provider gives the same answers.
func RunFaults(t *testing.T, target Target) {
	t.Helper()
	p, err := proxy.New(target.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for _, r := range target.faultRows() {
		target.Line(t, faultName+r.name, func(t testing.TB) {
			ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errors.New("it hangs"))
			defer cancel()
			p.Set()
			limits := patientLimits
			if r.silent {
				limits = faultLimits
			}
			e := &env{Bucket: target.Open(t, p.URL, newPrefix(), limits, faultPolicy), ctx: ctx}
			defer e.Close()
			e.put(t, faultKey, content(), objstore.PutOpts{})
			p.Set(r.rules(p)...)
			r.run(t, e)
			n, late := p.Seen(), 0
			if r.silent {
				late = p.Late(limits.ReadFirstByte)
			}
			if r.requests > 0 && (n < r.requests || n > r.requests+late) {
				t.Errorf("%d requests, want %d, and %d were answered too late", n, r.requests, late)
			}
			p.Set()
		})
	}
	t.Run("storm", func(t *testing.T) { target.storm(t, p) })
}

// whole reads an object that carries its own checksum in its first bytes, as all that Varve
// keeps does, and reads it again when it comes damaged.
func whole(ctx context.Context, b objstore.Bucket, key string) ([]byte, objstore.Attrs, error) {
	for {
		r, a, err := b.Open(ctx, key, 0, -1, "")
		if err != nil {
			return nil, a, err
		}
		p, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return nil, a, err
		}
		if content, ok := unseal(p); ok {
			return content, a, nil
		}
	}
}
