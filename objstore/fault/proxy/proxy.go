// Package proxy breaks the HTTP between a client and an object store, on the real connection:
// what fault does to a Bucket from above, this does to its provider from below.
//
// It owns an HTTP server on loopback that passes requests to another one, and a list of rules
// by which it spoils some. It knows nothing of what is inside a request.
// A Proxy may be used from any number of goroutines; its rules may change at any time. It is
// for tests; no production room imports it.
package proxy

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Rule says which requests to spoil, and how. The first one that matches and is not used up
// decides.
type Rule struct {
	// Match chooses requests; nil is every one.
	Match func(*http.Request) bool
	// Skip lets the first matching requests pass; Times bounds how many are spoilt after them,
	// 0 is no bound.
	Skip, Times int
	Do          Action
}

// Action is what happens to a request. Make one with the functions of this package.
type Action struct {
	answer  func(w http.ResponseWriter, r *http.Request) // instead of passing it on
	request func(body []byte)
	reply   func(w http.ResponseWriter, r *http.Request, resp *http.Response, body []byte)
}

// Proxy is a server in front of another one.
type Proxy struct {
	// URL to use instead of the target's.
	URL    string
	target *url.URL
	server *httptest.Server
	client *http.Transport
	closed chan struct{}
	mu     struct {
		sync.Mutex
		rules []*rule
		seen  int
		took  []time.Duration // of each request that was passed on
	}
}

type rule struct {
	Rule
	matched int
}

// New starts a proxy in front of the server at target, a URL without a path. Close it.
func New(target string) (*Proxy, error) {
	u, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	p := &Proxy{target: u, closed: make(chan struct{}), client: &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}}
	p.server = httptest.NewServer(http.HandlerFunc(p.serve))
	p.URL = p.server.URL
	return p, nil
}

// Close ends it, with whatever it holds back.
func (p *Proxy) Close() {
	close(p.closed)
	p.server.CloseClientConnections()
	p.server.Close()
	p.client.CloseIdleConnections()
}

// Set replaces the rules, and starts counting anew.
func (p *Proxy) Set(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.seen, p.mu.took, p.mu.rules = 0, nil, nil
	for _, r := range rules {
		p.mu.rules = append(p.mu.rules, &rule{Rule: r})
	}
}

// Seen is how many requests have come since Set.
func (p *Proxy) Seen() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.seen
}

// Late is how many of the requests passed on since Set the server behind took longer to answer than d.
func (p *Proxy) Late(d time.Duration) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, took := range p.mu.took {
		if took > d {
			n++
		}
	}
	return n
}

// note counts a request that was passed on.
func (p *Proxy) note(took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.took = append(p.mu.took, took)
}

func (p *Proxy) choose(r *http.Request) Action {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.seen++
	for _, rule := range p.mu.rules {
		if rule.Match != nil && !rule.Match(r) {
			continue
		}
		rule.matched++
		if n := rule.matched - rule.Skip; n >= 1 && (rule.Times == 0 || n <= rule.Times) {
			return rule.Do
		}
	}
	return Action{}
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	act := p.choose(r)
	if act.answer != nil {
		act.answer(w, r)
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	if act.request != nil && len(body) > 0 {
		act.request(body)
	}
	resp, answer, err := p.pass(r, body)
	if err != nil {
		abort(w)
		return
	}
	if act.reply != nil {
		act.reply(w, r, resp, answer)
		return
	}
	head(w, resp)
	w.Write(answer)
}

// pass sends the request on under the host that the client has signed.
func (p *Proxy) pass(r *http.Request, body []byte) (*http.Response, []byte, error) {
	begun := time.Now()
	defer func() { p.note(time.Since(begun)) }()
	out := r.Clone(r.Context())
	out.URL.Scheme, out.URL.Host, out.RequestURI = p.target.Scheme, p.target.Host, ""
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		out.Body = http.NoBody
	}
	resp, err := p.client.RoundTrip(out)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if at := resp.Header.Get("Location"); at != "" { // an upload goes on where the server says
		resp.Header.Set("Location", strings.Replace(at, p.target.String(), p.URL, 1))
	}
	return resp, answer, err
}

// head copies status and headers; the length stays that of the whole body.
func head(w http.ResponseWriter, resp *http.Response) {
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
}

// abort resets the connection: the client's kernel sees RST, and not an orderly end.
func abort(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // if it fails the connection ends politely, which is a fault too
	}
	conn.Close()
}

// Status answers with a status and nothing else; header are names and values in turn. The
// request goes nowhere.
func Status(status int, header ...string) Action {
	return Action{answer: func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		for i := 0; i+1 < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
	}}
}

// Reset breaks the connection; the request goes nowhere.
func Reset() Action {
	return Action{answer: func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		abort(w)
	}}
}

// Stall takes the request and gives no answer until the client goes away; it goes nowhere.
func (p *Proxy) Stall() Action {
	return Action{answer: func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		p.hold(r)
	}}
}

func (p *Proxy) hold(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.closed:
	}
}

// LoseReply carries the request out and breaks the connection instead of the answer.
func LoseReply() Action {
	return Action{reply: func(w http.ResponseWriter, _ *http.Request, _ *http.Response, _ []byte) { abort(w) }}
}

// part sends the first n bytes of a body, at most all but one.
func part(w http.ResponseWriter, resp *http.Response, body []byte, n int) {
	head(w, resp)
	w.Write(body[:max(0, min(n, len(body)-1))])
	_ = http.NewResponseController(w).Flush() // a client that is gone has what it wanted
}

// ResetBody breaks the connection after n bytes of the answer's body.
func ResetBody(n int) Action {
	return Action{reply: func(w http.ResponseWriter, _ *http.Request, resp *http.Response, body []byte) {
		part(w, resp, body, n)
		abort(w)
	}}
}

// Truncate ends the connection in good order after n bytes of the answer's body.
func Truncate(n int) Action {
	return Action{reply: func(w http.ResponseWriter, _ *http.Request, resp *http.Response, body []byte) {
		part(w, resp, body, n)
		panic(http.ErrAbortHandler)
	}}
}

// StallBody sends n bytes of the answer's body, and no more until the client goes away.
func (p *Proxy) StallBody(n int) Action {
	return Action{reply: func(w http.ResponseWriter, r *http.Request, resp *http.Response, body []byte) {
		part(w, resp, body, n)
		p.hold(r)
	}}
}

// FlipRequest inverts a bit in the middle of what the client sends.
func FlipRequest() Action {
	return Action{request: func(body []byte) { body[len(body)/2] ^= 1 }}
}

// FlipReply inverts a bit in the middle of what the server answers.
func FlipReply() Action {
	return Action{reply: func(w http.ResponseWriter, _ *http.Request, resp *http.Response, body []byte) {
		if len(body) > 0 {
			body[len(body)/2] ^= 1
		}
		head(w, resp)
		w.Write(body)
	}}
}
