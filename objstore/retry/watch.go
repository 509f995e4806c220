package retry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// errStalled is what a request meets that was silent for too long, errSlow one whose body left
// too slowly.
var (
	errStalled = errors.New("no bytes for too long")
	errSlow    = errors.New("the upload is slower than the least rate")
)

// Limits bound how long a request may be silent. A request that makes progress is never cut.
type Limits struct {
	// ReadFirstByte and WriteFirstByte: from the last byte of the request to the first of the
	// answer; GET and HEAD read, everything else writes.
	ReadFirstByte, WriteFirstByte time.Duration
	// Stall: between two pieces of a body, either way.
	Stall time.Duration
	// MinRate, in bytes per second over each RateWindow, is how fast the body of a request must
	// leave; a slower one is given up, and sent again over another connection.
	MinRate int64
}

// RateWindow is the time over which an upload's rate is taken.
const RateWindow = 30 * time.Second

// Fill gives every limit that is 0 its default.
func (l *Limits) Fill() {
	if l.MinRate == 0 {
		l.MinRate = 16 << 10
	}
	for _, d := range []struct {
		of  *time.Duration
		def time.Duration
	}{{&l.ReadFirstByte, 5 * time.Second}, {&l.WriteFirstByte, 30 * time.Second}, {&l.Stall, 10 * time.Second}} {
		if *d.of == 0 {
			*d.of = d.def
		}
	}
}

// Client ends requests that are silent: no answer after the request was sent, no byte
// taken or given in the middle of a body. Without it a connection that lost its peer hangs
// for as long as the caller waits. The time in which the reader of a body asks for nothing
// does not count. It has the shapes that the SDKs ask for, an http.RoundTripper among them.
type Client struct {
	base   Doer
	limits Limits
}

// Doer sends a request; *http.Client is one.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Watch is base under these limits.
func Watch(base Doer, limits Limits) *Client { return &Client{base: base, limits: limits} }

// RoundTrip implements http.RoundTripper.
func (w *Client) RoundTrip(req *http.Request) (*http.Response, error) { return w.Do(req) }

// Do sends a request.
func (w *Client) Do(req *http.Request) (*http.Response, error) {
	if do, ok := req.Context().Value(detour{}).(func(*http.Request) (*http.Response, error)); ok {
		return do(req)
	}
	firstByte := w.limits.WriteFirstByte
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		firstByte = w.limits.ReadFirstByte
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	dog := newDog(func() { cancel(errStalled) })
	dog.feed(firstByte)
	req = req.WithContext(ctx)
	sent := &sentBody{dog: dog, stall: w.limits.Stall, firstByte: firstByte, since: time.Now(), least: w.limits.MinRate, slow: func() { cancel(errSlow) }}
	if req.Body != nil && req.Body != http.NoBody {
		dog.feed(w.limits.Stall)
		sent.body = req.Body
		req.Body = sent
	}
	resp, err := w.base.Do(req)
	dog.leave()
	if err != nil {
		sent.end()
		err = stalled(ctx, err)
		cancel(nil)
		return nil, err
	}
	resp.Body = &readBody{ReadCloser: resp.Body, ctx: ctx, cancel: cancel, sent: sent, stall: w.limits.Stall}
	return resp, nil
}

// Untrusted says what to do about a certificate that nobody here vouches for, with the setting
// that names another authority; nil is another error than that.
func Untrusted(err error, setting string) error {
	var cert *tls.CertificateVerificationError
	if !errors.As(err, &cert) {
		return nil
	}
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(cert.Err, &name):
		return fmt.Errorf("the store's certificate is for another name (%w): correct the endpoint, or take a certificate with its name", cert.Err)
	case errors.As(cert.Err, &invalid):
		return fmt.Errorf("the store's certificate is not valid (%w): renew it, and look at this machine's clock", cert.Err)
	}
	return fmt.Errorf("the store's certificate is not trusted (%w): put the certificate of its authority into a file, and name that with ca=/path/file.pem in the store's URL or with %s", cert.Err, setting)
}

// stalled names the cause of an error that the watch dog made; what the transport says then
// is that the context was canceled, as if the caller had done it.
func stalled(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errStalled) || errors.Is(cause, errSlow) {
		return cause
	}
	return err
}

// dog barks unless it is fed.
type dog struct {
	mu struct {
		sync.Mutex
		timer *time.Timer
		left  bool
	}
}

func newDog(bark func()) *dog {
	d := &dog{}
	d.mu.timer = time.AfterFunc(time.Hour, bark)
	return d
}

// feed keeps the dog quiet for a while.
func (d *dog) feed(quiet time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.mu.left {
		d.mu.timer.Reset(quiet)
	}
}

// leave sends the dog away for good.
func (d *dog) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.mu.left = true
	d.mu.timer.Stop()
}

// sentBody feeds the dog as the transport takes the request's bytes. The transport may go on
// reading after the answer has come; end is the last it gets, so that the caller has his
// source for himself again.
type sentBody struct {
	dog              *dog
	stall, firstByte time.Duration
	least            int64 // bytes per second
	slow             func()
	since            time.Time // of the window under way
	sent             int64     // in this window
	mu               sync.Mutex
	body             io.ReadCloser // nil after the end, and without a body
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.body == nil {
		return 0, errors.New("the request is over")
	}
	if d := time.Since(b.since); d >= RateWindow {
		if float64(b.sent) < float64(b.least)*d.Seconds() {
			b.slow()
			return 0, errSlow
		}
		b.since, b.sent = time.Now(), 0
	}
	n, err := b.body.Read(p)
	b.sent += int64(n)
	if err != nil {
		b.dog.feed(b.firstByte)
	} else {
		b.dog.feed(b.stall)
	}
	return n, err
}

// Close is the transport's: it has read what it will read.
func (b *sentBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.body == nil {
		return nil
	}
	return b.body.Close()
}

func (b *sentBody) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.body = nil
}

// readBody sets a dog while somebody waits for bytes.
type readBody struct {
	io.ReadCloser
	ctx    context.Context
	cancel context.CancelCauseFunc
	sent   *sentBody
	stall  time.Duration
	dog    *time.Timer // nil before the first read
}

func (b *readBody) Read(p []byte) (int, error) {
	if b.dog == nil {
		b.dog = time.AfterFunc(b.stall, func() { b.cancel(errStalled) })
	} else {
		b.dog.Reset(b.stall)
	}
	n, err := b.ReadCloser.Read(p)
	b.dog.Stop()
	if err != nil && err != io.EOF {
		err = stalled(b.ctx, err)
	}
	return n, err
}

func (b *readBody) Close() error {
	err := b.ReadCloser.Close()
	b.cancel(nil)
	b.sent.end()
	return err
}
