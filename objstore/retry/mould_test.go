package retry

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// refused is a transport that nothing may reach.
type refused struct{ t *testing.T }

func (r refused) Do(*http.Request) (*http.Response, error) {
	r.t.Error("a request for a mould was sent")
	return nil, errors.New("refused")
}

// ask makes a request as an SDK does: names in a path of their own form, a header not in Go's.
func ask(c *Client, path string) func(context.Context, string) error {
	return func(ctx context.Context, name string) error {
		u := &url.URL{Scheme: "https", Host: "store", Path: "/b/" + name, RawPath: path + url.QueryEscape(name), RawQuery: "x=1"}
		r := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{"x-own": {"v"}, "Authorization": {"once"}}}).WithContext(ctx)
		_, err := c.Do(r)
		return err
	}
}

func TestMould(t *testing.T) {
	c := Watch(refused{t}, Limits{})
	m, err := Cast(t.Context(), url.QueryEscape, []string{"Authorization"}, ask(c, "/b/"))
	if m == nil || err != nil {
		t.Fatalf("no mould: %v", err)
	}
	if got := m.Made.Header.Get("Authorization"); got != "once" {
		t.Errorf("the request it was made of has %q", got)
	}
	first, second := m.Request(t.Context(), "d/k=1"), m.Request(t.Context(), "e")
	if got, want := first.URL.String(), "https://store/b/d%2Fk%3D1?x=1"; got != want {
		t.Errorf("the URL is %s, want %s", got, want)
	}
	if first.Header.Get("X-Own") != "v" || first.Header.Get("Authorization") != "" {
		t.Errorf("the headers are %v", first.Header)
	}
	first.Header.Set("Range", "bytes=0-1")
	if second.URL.Path != "/b/e" || second.Header.Get("Range") != "" {
		t.Errorf("a request has what belongs to another: %v, %v", second.URL, second.Header)
	}
}

// What is not understood makes no mould, and what makes no request says why.
func TestNoMould(t *testing.T) {
	c, none := Watch(refused{t}, Limits{}), errors.New("no credentials")
	if m, err := Cast(t.Context(), url.PathEscape, nil, ask(c, "/b/")); m != nil || err != nil {
		t.Errorf("names are written in another way: %v, %v", m, err)
	}
	if m, err := Cast(t.Context(), url.QueryEscape, nil, func(context.Context, string) error { return none }); m != nil || !errors.Is(err, none) {
		t.Errorf("no request: %v, %v", m, err)
	}
}

// An answer that has come is what the SDK gets, without another request.
func TestAnswered(t *testing.T) {
	c := Watch(refused{t}, Limits{})
	resp := &http.Response{StatusCode: 404, Body: io.NopCloser(strings.NewReader("gone"))}
	r, err := http.NewRequestWithContext(Answered(t.Context(), resp), http.MethodGet, "https://store/b/k", nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.Do(r); got != resp || err != nil {
		t.Errorf("another answer: %v, %v", got, err)
	}
}
