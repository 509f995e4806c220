package s3

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// errStalled is what a request meets that was silent for too long.
var errStalled = errors.New("no bytes for too long")

// watchClient ends requests that are silent: no answer after the request was sent, no byte
// taken or given in the middle of a body. Without it a connection that lost its peer hangs
// for as long as the caller waits. The time in which the reader of a body asks for nothing
// does not count.
type watchClient struct {
	base   aws.HTTPClient
	limits Limits
}

func newWatchClient(base aws.HTTPClient, limits Limits) *watchClient {
	return &watchClient{base: base, limits: limits}
}

// CloseIdleConnections lets go of what is not in use.
func (w *watchClient) CloseIdleConnections() {
	if t, ok := w.base.(interface{ GetTransport() *http.Transport }); ok {
		t.GetTransport().CloseIdleConnections()
	}
}

// Do implements aws.HTTPClient.
func (w *watchClient) Do(req *http.Request) (*http.Response, error) {
	firstByte := w.limits.WriteFirstByte
	if req.Method == http.MethodGet || req.Method == http.MethodHead {
		firstByte = w.limits.ReadFirstByte
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	dog := newDog(func() { cancel(errStalled) })
	dog.feed(firstByte)
	req = req.WithContext(ctx)
	sent := &sentBody{dog: dog, stall: w.limits.Stall, firstByte: firstByte}
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

// stalled names the cause of an error that the watch dog made; what the transport says then
// is that the context was canceled, as if the caller had done it.
func stalled(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), errStalled) {
		return errStalled
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
	mu               sync.Mutex
	body             io.ReadCloser // nil after the end, and without a body
}

func (b *sentBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.body == nil {
		return 0, errors.New("the request is over")
	}
	n, err := b.body.Read(p)
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
}

func (b *readBody) Read(p []byte) (int, error) {
	dog := time.AfterFunc(b.stall, func() { b.cancel(errStalled) })
	n, err := b.ReadCloser.Read(p)
	dog.Stop()
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
