package retry

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Mould is what all small reads of one bucket have in common, taken from one that the SDK has made. The
// SDKs form each request anew, through layers and rules that cost as much as the bytes of a small read;
// the others are cast from the mould, sent over the same Client, and what the store answers is read by the
// SDK again when it is no success. A Mould never changes.
type Mould struct {
	// Made is the request that it was taken from, which went nowhere.
	Made   *http.Request
	url    url.URL // up to the name of the object
	header http.Header
	escape func(string) string
}

// detour is the key of what answers the requests of a context.
type detour struct{}

// by has requests under this context answered by do, and not by the network.
func by(ctx context.Context, do func(*http.Request) (*http.Response, error)) context.Context {
	return context.WithValue(ctx, detour{}, do)
}

// errCast ends a request that is made for its mould.
var errCast = errors.New("made for its mould, and not sent")

// pattern is the name of the object that is asked for, with all that names are made of.
const pattern = "a-z/0-9/a=b/._"

// Cast takes the mould of the request that ask makes through a Client for an object of the name that it
// is given. escape writes a name as it is in a path; the headers in without are of one request only. The
// mould is nil, with ask's error, when ask makes none, and nil when the name is not at the end of the path.
func Cast(ctx context.Context, escape func(string) string, without []string, ask func(ctx context.Context, name string) error) (*Mould, error) {
	const name = pattern
	var made *http.Request
	err := ask(by(ctx, func(r *http.Request) (*http.Response, error) {
		made = r
		return nil, errCast
	}), name)
	if made == nil {
		return nil, err
	}
	path, here := strings.CutSuffix(made.URL.Path, name)
	raw, hereToo := strings.CutSuffix(made.URL.EscapedPath(), escape(name))
	if !here || !hereToo {
		return nil, nil
	}
	header := make(http.Header, len(made.Header))
	for name, values := range made.Header { // not every SDK writes them in the form that Get finds
		header[http.CanonicalHeaderKey(name)] = values
	}
	made.Header = header
	m := &Mould{Made: made, url: *made.URL, header: header.Clone(), escape: escape}
	m.url.Path, m.url.RawPath = path, raw
	for _, name := range without {
		m.header.Del(name)
	}
	return m, nil
}

// Request is a new one for an object of this name, whose headers are its own.
func (m *Mould) Request(ctx context.Context, name string) *http.Request {
	u := m.url
	u.Path, u.RawPath = m.url.Path+name, m.url.RawPath+m.escape(name)
	r := &http.Request{Method: http.MethodGet, URL: &u, Host: u.Host, Header: maps.Clone(m.header), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
	return r.WithContext(ctx)
}

// Answered has the next request under this context answered with resp, for the SDK to read.
func Answered(ctx context.Context, resp *http.Response) context.Context {
	return by(ctx, func(*http.Request) (*http.Response, error) { return resp, nil })
}
