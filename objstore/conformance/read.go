package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
)

func testRanges(t testing.TB, e *env) {
	for _, up := range uploads {
		sub(t, up.name, func(t testing.TB) {
			b := payload(5, up.size)
			key := "range/" + up.name
			a := e.put(t, key, b, objstore.PutOpts{})
			size := int64(up.size)
			for _, tt := range []struct {
				off, n int64
				ok     bool
			}{
				{0, 1, true},
				{0, size, true},
				{size / 2, 100, true},
				{size - 1, 1, true},
				{0, 0, true},
				{size, 0, true},
				{size - 1, 2, false},
				{size, 1, false},
				{size + 1, 0, false},
				{size + 100, 10, false},
				{-1, 1, false},
				{0, size + 1, false},
			} {
				p := make([]byte, tt.n)
				got, err := e.GetRange(e.ctx, key, tt.off, p, a.Version)
				if !tt.ok {
					wantErr(t, fmt.Sprintf("get of %d at %d", tt.n, tt.off), err, objstore.ErrInvalidRange)
					continue
				}
				if err != nil || !bytes.Equal(p, b[tt.off:tt.off+tt.n]) {
					t.Errorf("get of %d at %d: other bytes, or %v", tt.n, tt.off, err)
				}
				if got.Size != size || got.Version != a.Version {
					t.Errorf("get of %d at %d: attributes %+v", tt.n, tt.off, got)
				}
			}
			e.openRanges(t, key, b)
		})
	}
	e.put(t, "range/empty", nil, objstore.PutOpts{})
	e.want(t, "range/empty", nil)
	if _, err := e.GetRange(e.ctx, "range/empty", 0, nil, ""); err != nil {
		t.Errorf("get of nothing from an empty object: %v", err)
	}
	_, _, err := e.Open(e.ctx, "range/empty", 0, 1, "")
	wantErr(t, "open of a byte of an empty object", err, objstore.ErrInvalidRange)
}

func (e *env) openRanges(t testing.TB, key string, b []byte) {
	size := int64(len(b))
	for _, tt := range []struct {
		off, n, want int64 // want < 0: an invalid range
	}{
		{0, -1, size},
		{0, 10, 10},
		{size - 10, -1, 10},
		{size - 10, 10, 10},
		{size - 10, 1000, 10},
		{0, size + 1, size},
		{size, -1, -1},
		{size, 1, -1},
		{size + 1, 1, -1},
		{0, 0, -1},
		{-1, 1, -1},
	} {
		what := fmt.Sprintf("open of %d at %d", tt.n, tt.off)
		r, a, err := e.Open(e.ctx, key, tt.off, tt.n, "")
		if tt.want < 0 {
			wantErr(t, what, err, objstore.ErrInvalidRange)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		got, err := io.ReadAll(r)
		if cerr := r.Close(); err == nil {
			err = cerr
		}
		if err != nil || !bytes.Equal(got, b[tt.off:tt.off+tt.want]) {
			t.Errorf("%s: %d bytes, want %d, %v", what, len(got), tt.want, err)
		}
		if a.Size != size {
			t.Errorf("%s: size %d, want %d", what, a.Size, size)
		}
	}
}

// testOverwrittenRead overwrites an object while it is read: the reader sees the old bytes to
// their end, or fails, and never a mixture.
func testOverwrittenRead(t testing.TB, e *env) {
	const key = "range/moving"
	old := payload(1, uploads[1].size)
	e.put(t, key, old, objstore.PutOpts{})
	r, _, err := e.Open(e.ctx, key, 0, -1, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	e.put(t, key, payload(2, uploads[1].size), objstore.PutOpts{})
	rest, err := io.ReadAll(r)
	got := append(head, rest...)
	if err != nil {
		wantErr(t, "reading on", err, objstore.ErrPrecondition)
		old = old[:len(got)]
	}
	if !bytes.Equal(got, old) {
		t.Error("a reader saw bytes of two versions")
	}
}

func (e *env) keys(t testing.TB, prefix, after string, limit int) ([]string, string) {
	t.Helper()
	page, err := e.List(e.ctx, prefix, after, limit)
	if err != nil {
		t.Fatalf("list %q after %q: %v", prefix, after, err)
	}
	keys := []string{}
	for _, a := range page.Objects {
		keys = append(keys, a.Key)
	}
	return keys, page.Next
}

// all walks the pages of a limit.
func (e *env) all(t testing.TB, prefix, after string, limit int) []string {
	t.Helper()
	all := []string{}
	for {
		keys, next := e.keys(t, prefix, after, limit)
		if limit > 0 && len(keys) > limit {
			t.Fatalf("a page of %d has %d objects", limit, len(keys))
		}
		all = append(all, keys...)
		if next == "" {
			return all
		}
		if next <= after {
			t.Fatalf("the page after %q has next %q", after, next)
		}
		after = next
	}
}

func testListOrder(t testing.TB, e *env) {
	keys := []string{
		"a-b", "a.b", "a/b", "a/b-c/x", "a/b0", "a/c/0", "a/c/1", "a0/1", "a=b", "a_b/z", "b/1", "b/10", "b/2", "c/d/e/f/g",
	}
	slices.Sort(keys)
	for _, key := range slices.Backward(keys) {
		e.put(t, key, []byte(key), objstore.PutOpts{})
	}
	filter := func(prefix, after string) []string {
		out := []string{}
		for _, key := range keys {
			if strings.HasPrefix(key, prefix) && key > after {
				out = append(out, key)
			}
		}
		return out
	}
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/c", "a/c/", "b/1", "b/10", "c/d/", "c/d/e/f/g", "zz", "a/c/0/"} {
		for _, after := range append([]string{"", "a", "a/", "a/b5", "a/c", "a0", "b/1", "c/d/e", "zz"}, keys...) {
			want := filter(prefix, after)
			if got := e.all(t, prefix, after, 0); !slices.Equal(got, want) {
				t.Errorf("list %q after %q: %v, want %v", prefix, after, got, want)
			}
		}
		for limit := 1; limit <= 3; limit++ {
			if got := e.all(t, prefix, "", limit); !slices.Equal(got, filter(prefix, "")) {
				t.Errorf("list %q in pages of %d: %v", prefix, limit, got)
			}
		}
	}
	page, err := e.List(e.ctx, "b/2", "", 1)
	if err != nil || len(page.Objects) != 1 {
		t.Fatalf("list: %v, %v", page, err)
	}
	head, err := e.Head(e.ctx, "b/2")
	if a := page.Objects[0]; err != nil || a.Size != 3 || a.Version != head.Version || a.Modified.IsZero() {
		t.Errorf("list says %+v, head says %+v, %v", a, head, err)
	}
}

func testListPages(t testing.TB, e *env) {
	const n = 1010 // more than a page of any store
	want := make([]string, n)
	for i := range n {
		want[i] = fmt.Sprintf("many/%05d", i)
	}
	if err := errors.Join(race(16, func(w int) error {
		for i := w; i < n; i += 16 {
			if _, err := e.try(want[i], []byte{byte(i)}, objstore.PutOpts{IfAbsent: true}); err != nil {
				return err
			}
		}
		return nil
	})...); err != nil {
		t.Fatal(err)
	}
	for _, limit := range []int{0, 700, 5000} {
		if got := e.all(t, "many/", "", limit); !slices.Equal(got, want) {
			t.Errorf("pages of %d: %d keys, want %d in order", limit, len(got), n)
		}
	}
	var seen []string
	for a, err := range objstore.All(e.ctx, e, "", want[4]) {
		if err != nil {
			t.Fatal(err)
		}
		if seen = append(seen, a.Key); len(seen) == 3 {
			break
		}
	}
	if !slices.Equal(seen, want[5:8]) {
		t.Errorf("All after the fifth: %v", seen)
	}
	if err := e.Delete(e.ctx, want...); err != nil {
		t.Fatalf("delete of %d keys: %v", n, err)
	}
	if got := e.all(t, "", "", 0); len(got) != 0 {
		t.Errorf("%d keys are left after all were deleted", len(got))
	}
}

func testDelete(t testing.TB, e *env) {
	for _, key := range []string{"del/a", "del/b", "del/c/d", "keep/a"} {
		e.put(t, key, []byte("x"), objstore.PutOpts{})
	}
	if err := e.Delete(e.ctx); err != nil {
		t.Errorf("delete of no keys: %v", err)
	}
	if err := e.Delete(e.ctx, "del/missing", "never/was", "del/a/b"); err != nil {
		t.Errorf("delete of missing objects: %v", err)
	}
	e.want(t, "del/a", []byte("x"))
	for range 2 {
		if err := e.Delete(e.ctx, "del/a"); err != nil {
			t.Errorf("delete: %v", err)
		}
	}
	e.wantAbsent(t, "del/a")

	err := e.Delete(e.ctx, "del/b", "NOT/A/KEY", "del/c/d")
	var batch *objstore.BatchError
	if !errors.As(err, &batch) || len(batch.Failed) != 1 || batch.Key("NOT/A/KEY") == nil || batch.Key("del/b") != nil {
		t.Fatalf("delete with one bad key: %v", err)
	}
	wantErr(t, "the bad key", err, objstore.ErrInvalid)
	if got := e.all(t, "", "", 0); !slices.Equal(got, []string{"keep/a"}) {
		t.Errorf("left: %v", got)
	}
	// A key whose last sibling went can be written again.
	e.put(t, "del/c/d", []byte("y"), objstore.PutOpts{IfAbsent: true})
	e.want(t, "del/c/d", []byte("y"))
}

func testDeleteIf(t testing.TB, e *env) {
	d, ok := e.Bucket.(objstore.ConditionalDeleter)
	if !ok || !e.caps.DeleteIf {
		t.Skip("the store deletes without conditions only")
	}
	one := e.put(t, "delif/x", []byte("1"), objstore.PutOpts{})
	two := e.put(t, "delif/x", []byte("2"), objstore.PutOpts{})
	wantErr(t, "delete of a stale version", d.DeleteIf(e.ctx, "delif/x", one.Version), objstore.ErrPrecondition)
	e.want(t, "delif/x", []byte("2"))
	if err := d.DeleteIf(e.ctx, "delif/x", two.Version); err != nil {
		t.Fatal(err)
	}
	e.wantAbsent(t, "delif/x")
	wantErr(t, "delete of a missing object", d.DeleteIf(e.ctx, "delif/x", two.Version), objstore.ErrNotFound)
}
