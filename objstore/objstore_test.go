package objstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
)

func TestErrorText(t *testing.T) {
	err := fmt.Errorf("committing: %w", &objstore.Error{
		Kind: objstore.ErrThrottled, Op: "put", Key: "v1/a", Code: "SlowDown", HTTP: 503, RequestID: "R7", Attempts: 4, Err: io.ErrUnexpectedEOF,
	})
	const want = `committing: objstore: put "v1/a": throttled (HTTP 503, SlowDown, request R7, 4 attempts): unexpected EOF`
	if err.Error() != want {
		t.Errorf("%s\nwant\n%s", err, want)
	}
	if !errors.Is(err, objstore.ErrThrottled) || errors.Is(err, objstore.ErrTransient) || !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("it matches other kinds than its own and its cause")
	}
	if objstore.KindOf(err) != objstore.ErrThrottled || objstore.KindOf(io.EOF) != objstore.ErrUnknown {
		t.Error("KindOf")
	}
	for k := objstore.ErrUnknown; k <= objstore.ErrCanceled; k++ {
		if k.Error() == "" {
			t.Errorf("kind %d has no name", k)
		}
	}
}

func TestWrap(t *testing.T) {
	if objstore.Wrap("put", "k", nil) != nil {
		t.Error("Wrap(nil) is an error")
	}
	if err := objstore.Wrap("put", "k", context.DeadlineExceeded); !errors.Is(err, objstore.ErrCanceled) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	own := objstore.NewError(objstore.ErrNotFound, "head", "x", nil)
	if err := objstore.Wrap("put", "k", own); err != error(own) {
		t.Error(err)
	}
}

func TestBatch(t *testing.T) {
	var b objstore.Batch
	b.Add("a", nil)
	if b.Err() != nil {
		t.Error("an error without a failure")
	}
	b.Add("b", objstore.NewError(objstore.ErrThrottled, "delete", "", nil))
	b.Add("c", io.EOF)
	var be *objstore.BatchError
	if err := b.Err(); !errors.As(err, &be) || !errors.Is(err, objstore.ErrThrottled) || !errors.Is(err, io.EOF) ||
		be.Key("a") != nil || be.Key("b").Kind != objstore.ErrThrottled || !strings.Contains(err.Error(), "1 more") {
		t.Errorf("%v", err)
	}
}

func TestSource(t *testing.T) {
	s := objstore.Source{R: strings.NewReader("0123456789"), Off: 2, Size: 5}
	sum, err := s.Checksum()
	if err != nil || sum != objstore.Bytes([]byte("23456")).CRC32C {
		t.Errorf("%08x, %v", sum, err)
	}
	if b, err := io.ReadAll(s.Part(1, 2).Reader()); err != nil || string(b) != "34" {
		t.Errorf("%q, %v", b, err)
	}
	s.Size = 20
	if _, err := s.Checksum(); err == nil {
		t.Error("the checksum of a source that is shorter than it says")
	}
}

// TestPutSettled plays each answer a store gives to a put against what is there afterwards.
func TestPutSettled(t *testing.T) {
	const (
		ours   = "ours"
		theirs = "theirs"
		absent = "absent"
		silent = "silent" // the look at the object fails, too
	)
	ok := objstore.ErrUnknown
	create := objstore.PutOpts{IfAbsent: true}
	swap := objstore.PutOpts{IfVersion: "1"}
	for _, tt := range []struct {
		name  string
		o     objstore.PutOpts
		err   objstore.Kind // of the put; ErrUnknown is success
		there string
		want  objstore.Kind
	}{
		{"a success is not looked at", create, ok, silent, ok},
		{"a plain failure is not looked at", create, objstore.ErrAccessDenied, ours, objstore.ErrAccessDenied},
		{"refused, and it is ours", create, objstore.ErrPrecondition, ours, ok},
		{"refused, and it is theirs", create, objstore.ErrPrecondition, theirs, objstore.ErrPrecondition},
		{"refused, and gone since", create, objstore.ErrPrecondition, absent, objstore.ErrPrecondition},
		{"refused, and nobody can tell", create, objstore.ErrPrecondition, silent, objstore.ErrAmbiguous},
		{"no answer, and it is ours", create, objstore.ErrAmbiguous, ours, ok},
		{"no answer, and it is theirs", create, objstore.ErrAmbiguous, theirs, objstore.ErrPrecondition},
		{"no answer, and not there (yet)", create, objstore.ErrAmbiguous, absent, objstore.ErrAmbiguous},
		{"no answer, and nobody can tell", create, objstore.ErrAmbiguous, silent, objstore.ErrAmbiguous},
		{"swap refused, and it is ours", swap, objstore.ErrPrecondition, ours, ok},
		{"swap refused, and it is theirs", swap, objstore.ErrPrecondition, theirs, objstore.ErrPrecondition},
		{"swap without answer, and it is ours", swap, objstore.ErrAmbiguous, ours, ok},
		{"swap without answer, perhaps overwritten", swap, objstore.ErrAmbiguous, theirs, objstore.ErrAmbiguous},
		{"overlapping writers, ours won", create, objstore.ErrConflict, ours, ok},
		{"overlapping writers, neither won", create, objstore.ErrConflict, absent, objstore.ErrConflict},
		{"overwrite without answer, and it is ours", objstore.PutOpts{}, objstore.ErrAmbiguous, ours, ok},
	} {
		var token string
		head := func(context.Context, string) (objstore.Attrs, error) {
			a := objstore.Attrs{Version: "found"}
			switch tt.there {
			case ours:
				a.Meta = map[string]string{objstore.TokenMeta: token}
			case theirs:
				a.Meta = map[string]string{objstore.TokenMeta: "x"}
			case absent:
				return a, objstore.NewError(objstore.ErrNotFound, "head", "k", nil)
			case silent:
				return a, objstore.NewError(objstore.ErrTransient, "head", "k", nil)
			}
			return a, nil
		}
		a, err := objstore.PutSettled(t.Context(), "k", objstore.Source{}, tt.o, head, func(_ context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
			if token = o.Meta[objstore.TokenMeta]; len(token) != 32 {
				t.Errorf("%s: write token %q", tt.name, token)
			}
			if tt.err == ok {
				return objstore.Attrs{Version: "put"}, nil
			}
			return objstore.Attrs{}, objstore.NewError(tt.err, "put", "k", nil)
		})
		switch {
		case tt.want == ok && err != nil:
			t.Errorf("%s: %v", tt.name, err)
		case tt.want != ok && !errors.Is(err, tt.want):
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		case tt.want == ok && a.Version == "":
			t.Errorf("%s: no attributes", tt.name)
		}
	}
}

// A write whose reply was lost is found by its token, and is no success if the store has kept other
// bytes than it was sent.
func TestPutSettledHoldsTheBytes(t *testing.T) {
	src := objstore.Bytes([]byte("0123456789"))
	for _, tt := range []struct {
		name  string
		there objstore.Attrs
		want  bool
	}{
		{"as sent", objstore.Attrs{Size: 10, CRC32C: src.CRC32C, HasCRC: true}, true},
		{"a store that tells no checksum", objstore.Attrs{Size: 10}, true},
		{"a bit flipped", objstore.Attrs{Size: 10, CRC32C: src.CRC32C ^ 1, HasCRC: true}, false},
		{"cut short", objstore.Attrs{Size: 9}, false},
	} {
		for _, kind := range []objstore.Kind{objstore.ErrPrecondition, objstore.ErrAmbiguous, objstore.ErrConflict} {
			token := ""
			a, err := objstore.PutSettled(t.Context(), "k", src, objstore.PutOpts{IfAbsent: true},
				func(context.Context, string) (objstore.Attrs, error) {
					a := tt.there
					a.Key, a.Version, a.Meta = "k", "7", map[string]string{objstore.TokenMeta: token}
					return a, nil
				},
				func(_ context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
					token = o.Meta[objstore.TokenMeta]
					return objstore.Attrs{}, objstore.NewError(kind, "put", "k", nil)
				})
			if a.Version != "7" || tt.want != (err == nil) || !tt.want && !errors.Is(err, objstore.ErrCorrupt) {
				t.Errorf("%s after %v: %+v, %v", tt.name, kind, a, err)
			}
		}
	}
}

// The caller's own token and metadata are kept, and his map is not written to.
func TestPutSettledKeepsTheCallersToken(t *testing.T) {
	put := func(_ context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
		return objstore.Attrs{Meta: o.Meta}, nil
	}
	a, _ := objstore.PutSettled(t.Context(), "k", objstore.Source{}, objstore.PutOpts{Meta: map[string]string{objstore.TokenMeta: "mine"}}, nil, put)
	if a.Meta[objstore.TokenMeta] != "mine" {
		t.Errorf("%v", a.Meta)
	}
	meta := map[string]string{"x": "y"}
	a, _ = objstore.PutSettled(t.Context(), "k", objstore.Source{}, objstore.PutOpts{Meta: meta}, nil, put)
	if len(meta) != 1 || a.Meta["x"] != "y" || len(a.Meta) != 2 {
		t.Errorf("%v, %v", meta, a.Meta)
	}
}
