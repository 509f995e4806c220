package check_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/check"
	"github.com/varve-io/varve/objstore/classes"
	"github.com/varve-io/varve/objstore/mem"
)

func verdicts(r check.Report) map[string]check.Verdict {
	out := map[string]check.Verdict{}
	for _, l := range r.Lines {
		out[l.Trial] = l.Verdict
	}
	return out
}

func TestSoundStore(t *testing.T) {
	b := mem.Open(t.Name())
	if _, err := b.Put(t.Context(), "other", objstore.Bytes([]byte("x")), objstore.PutOpts{}); err != nil {
		t.Fatal(err)
	}
	var told []check.Line
	r := check.Run(t.Context(), b, check.Options{Prefix: "check", Large: true, Classes: true, Progress: func(l check.Line) { told = append(told, l) }})
	if !r.Usable || !slices.Equal(told, r.Lines) {
		t.Errorf("usable %v; %d lines, %d told", r.Usable, len(r.Lines), len(told))
	}
	for _, l := range r.Lines {
		if l.Verdict != check.OK && l.Verdict != check.Skipped {
			t.Errorf("%+v", l)
		}
	}
	page, err := b.List(t.Context(), "", "", 0)
	if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != "other" {
		t.Errorf("left behind, or too much removed: %v %v", page.Objects, err)
	}
}

// liar breaks one promise of a store that keeps all others.
type liar struct {
	objstore.Bucket
	put    func(o *objstore.PutOpts)
	list   func(p *objstore.Page)
	get    func(p []byte)
	denied error
}

func (l liar) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	if l.denied != nil {
		return objstore.Attrs{}, l.denied
	}
	if l.put != nil {
		l.put(&o)
	}
	return l.Bucket.Put(ctx, key, src, o)
}

func (l liar) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	p, err := l.Bucket.List(ctx, prefix, after, limit)
	if l.list != nil {
		l.list(&p)
	}
	return p, err
}

func (l liar) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	a, err := l.Bucket.GetRange(ctx, key, off, p, ifv)
	if l.get != nil {
		l.get(p)
	}
	return a, err
}

func TestLyingStores(t *testing.T) {
	for _, tt := range []struct {
		name  string
		with  liar
		trial string
	}{
		{"creates twice", liar{put: func(o *objstore.PutOpts) { o.IfAbsent = false }}, "create only once"},
		{"many winners", liar{put: func(o *objstore.PutOpts) { o.IfAbsent = false }}, "create race, 16 writers"},
		{"ignores versions", liar{put: func(o *objstore.PutOpts) { o.IfVersion = "" }}, "compare and swap"},
		{"ignores versions in parts", liar{put: func(o *objstore.PutOpts) {
			if o.PartSize > 0 {
				o.IfVersion = ""
			}
		}}, "compare and swap, in parts"},
		{"creates twice in parts", liar{put: func(o *objstore.PutOpts) {
			if o.PartSize > 0 {
				o.IfAbsent = false
			}
		}}, "create only once, in parts"},
		{"lists in any order", liar{list: func(p *objstore.Page) { slices.Reverse(p.Objects) }}, "list in order, from a key on"},
		{"flips a bit", liar{get: func(p []byte) { p[0] ^= 1 }}, "ranges"},
		{"read-only", liar{denied: objstore.NewError(objstore.ErrAccessDenied, "put", "k", errors.New("read-only"))}, "put, get, head"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.with.Bucket = mem.Open(t.Name())
			r := check.Run(t.Context(), tt.with, check.Options{Prefix: "check", Large: true})
			if r.Usable || verdicts(r)[tt.trial] != check.Broken {
				t.Errorf("usable %v, %s is %q; all: %+v", r.Usable, tt.trial, verdicts(r)[tt.trial], r.Lines)
			}
			for _, l := range r.Lines {
				if l.Verdict == check.Broken && l.Advice == "" {
					t.Errorf("%s is broken, and there is no advice", l.Trial)
				}
			}
		})
	}
}

// classy is a store with two classes, of which it keeps one.
type classy struct {
	objstore.Bucket
	last objstore.Class
}

func (c *classy) Capabilities() objstore.Capabilities {
	caps := c.Bucket.Capabilities()
	caps.Classes, caps.Offline = []objstore.Class{"STANDARD", "COOL"}, []objstore.Class{"DEEP"}
	return caps
}

func (c *classy) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	c.last, o.Class = o.Class, ""
	return c.Bucket.Put(ctx, key, src, o)
}

func (c *classy) Head(ctx context.Context, key string) (objstore.Attrs, error) {
	a, err := c.Bucket.Head(ctx, key)
	a.Class = c.last
	return a, err
}

// Names that the URL gives to classes are tried like the provider's own; what is offline isn't written to.
func TestNamedClasses(t *testing.T) {
	b, err := classes.Wrap(&classy{Bucket: mem.New()}, map[objstore.Class]objstore.Class{"warm": "COOL", "frozen": "DEEP"})
	if err != nil {
		t.Fatal(err)
	}
	r := check.Run(t.Context(), b, check.Options{Prefix: "check", Classes: true})
	got := make(map[string]check.Line)
	for _, l := range r.Lines {
		got[l.Trial] = l
	}
	if l := got["class warm"]; l.Verdict != check.OK || l.Detail != "COOL" {
		t.Errorf("warm: %+v", l)
	}
	if l := got["class frozen"]; l.Verdict != check.Skipped || !strings.Contains(l.Detail, "DEEP") {
		t.Errorf("frozen: %+v", l)
	}
}
