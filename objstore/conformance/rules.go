package conformance

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/varve-io/varve/objstore"
)

func testRules(t testing.TB, e *env) {
	bad := []string{
		"", "/a", "a/", "a//b", "a/../b", "..", "a..b", "a.", "a./b", ".", "./a", "A", "a b", "a+b", "a%2f", "ä", "a\x00", `a\b`, "~tmp/x",
		strings.Repeat("a", objstore.MaxSegment+1), strings.Repeat("a/", objstore.MaxKey/2) + "a",
	}
	for _, key := range bad {
		_, err := e.Put(e.ctx, key, objstore.Bytes([]byte("x")), objstore.PutOpts{})
		wantErr(t, "put "+key, err, objstore.ErrInvalid)
		_, err = e.Head(e.ctx, key)
		wantErr(t, "head "+key, err, objstore.ErrInvalid)
		_, err = e.GetRange(e.ctx, key, 0, make([]byte, 1), "")
		wantErr(t, "get "+key, err, objstore.ErrInvalid)
		wantErr(t, "delete "+key, e.Delete(e.ctx, key), objstore.ErrInvalid)
	}
	good := []string{
		"a", "0/1.2_3=4-5", strings.Repeat("s", objstore.MaxSegment), ".hidden/-x",
		strings.Repeat(strings.Repeat("d", 100)+"/", 7) + "end",
	}
	for _, key := range good {
		e.put(t, key, []byte(key), objstore.PutOpts{})
		e.want(t, key, []byte(key))
	}
	for what, o := range map[string]objstore.PutOpts{
		"two conditions": {IfAbsent: true, IfVersion: "1"},
		"a meta name":    {Meta: map[string]string{"Var-ve": "1"}},
		"a meta value":   {Meta: map[string]string{"varve": "a\nb"}},
		"much meta":      {Meta: map[string]string{"varve": strings.Repeat("x", objstore.MaxMeta)}},
	} {
		_, err := e.Put(e.ctx, "a", objstore.Bytes(nil), o)
		wantErr(t, what, err, objstore.ErrInvalid)
	}
	_, err := e.Put(e.ctx, "a", objstore.Bytes(nil), objstore.PutOpts{Class: "NO_SUCH_CLASS"})
	wantErr(t, "an unknown class", err, objstore.ErrUnsupported)
	if !e.caps.Tags {
		_, err = e.Put(e.ctx, "a", objstore.Bytes(nil), objstore.PutOpts{Tags: map[string]string{"a": "b"}})
		wantErr(t, "tags", err, objstore.ErrUnsupported)
	}
	_, err = e.List(e.ctx, "a//b", "", 0)
	wantErr(t, "a bad prefix", err, objstore.ErrInvalid)
}

func testConditions(t testing.TB, e *env) {
	for _, up := range uploads {
		sub(t, up.name, func(t testing.TB) {
			key := "cond/" + up.name
			one, two, three := payload(1, up.size), payload(2, up.size), payload(3, up.size)

			_, err := e.try(key, one, objstore.PutOpts{IfVersion: "0123456789abcdef0123456789abcdef"})
			wantErr(t, "swap of a missing object", err, objstore.ErrPrecondition)
			e.wantAbsent(t, key)

			a1 := e.put(t, key, one, objstore.PutOpts{IfAbsent: true})
			_, err = e.try(key, two, objstore.PutOpts{IfAbsent: true})
			wantErr(t, "create over an object", err, objstore.ErrPrecondition)
			e.want(t, key, one)

			a2 := e.put(t, key, two, objstore.PutOpts{IfVersion: a1.Version})
			if a2.Version == a1.Version {
				t.Errorf("a swap kept the version %s", a1.Version)
			}
			_, err = e.try(key, three, objstore.PutOpts{IfVersion: a1.Version})
			wantErr(t, "swap of a stale version", err, objstore.ErrPrecondition)
			e.want(t, key, two)

			a3 := e.put(t, key, three, objstore.PutOpts{})
			if a3.Version == a2.Version {
				t.Errorf("an overwrite kept the version %s", a2.Version)
			}
			_, err = e.GetRange(e.ctx, key, 0, make([]byte, 10), a2.Version)
			wantErr(t, "read of a stale version", err, objstore.ErrPrecondition)
			if _, err := e.GetRange(e.ctx, key, 0, make([]byte, 10), a3.Version); err != nil {
				t.Errorf("read of the version there is: %v", err)
			}
			if err := e.Delete(e.ctx, key); err != nil {
				t.Fatal(err)
			}
			e.put(t, key, one, objstore.PutOpts{IfAbsent: true})
			e.wantNoUploads(t)
		})
	}
}

// testSettle repeats a conditional write with its own token, as a caller does who got no
// answer: the object is his, and he is told so.
func testSettle(t testing.TB, e *env) {
	for _, up := range uploads {
		sub(t, up.name, func(t testing.TB) {
			key := "settle/" + up.name
			b, other := payload(1, up.size), payload(2, up.size)
			token := map[string]string{objstore.TokenMeta: objstore.NewToken()}
			first := e.put(t, key, b, objstore.PutOpts{IfAbsent: true, Meta: token})
			again := e.put(t, key, b, objstore.PutOpts{IfAbsent: true, Meta: token})
			if first.Version != again.Version {
				t.Errorf("the repeated write is at version %s, the first was at %s", again.Version, first.Version)
			}
			swap := map[string]string{objstore.TokenMeta: objstore.NewToken()}
			e.put(t, key, other, objstore.PutOpts{IfVersion: first.Version, Meta: swap})
			e.put(t, key, other, objstore.PutOpts{IfVersion: first.Version, Meta: swap})
			_, err := e.try(key, b, objstore.PutOpts{IfAbsent: true, Meta: token})
			wantErr(t, "a create whose object was replaced", err, objstore.ErrPrecondition)
			e.want(t, key, other)
		})
	}
}

// race runs n writers at once and returns what became of each.
func race(n int, write func(i int) error) []error {
	errs := make([]error, n)
	start := make(chan struct{})
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = write(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

// oneWinner is the index of the one write that succeeded; all others must have failed on
// their condition.
func oneWinner(t testing.TB, errs []error) int {
	t.Helper()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner >= 0:
			t.Fatalf("writers %d and %d both won", winner, i)
		case err == nil:
			winner = i
		default:
			wantErr(t, "a loser of the race", err, objstore.ErrPrecondition)
		}
	}
	if winner < 0 {
		t.Fatal("no writer won")
	}
	return winner
}

func testCreateRace(t testing.TB, e *env) {
	for _, up := range uploads {
		sub(t, up.name, func(t testing.TB) {
			key := "race/create-" + up.name
			winner := oneWinner(t, race(up.writers, func(i int) error {
				_, err := e.try(key, payload(uint64(i), up.size), objstore.PutOpts{IfAbsent: true})
				return err
			}))
			e.want(t, key, payload(uint64(winner), up.size))
		})
	}
}

func testSwapRace(t testing.TB, e *env) {
	for _, up := range uploads {
		sub(t, up.name, func(t testing.TB) {
			key := "race/swap-" + up.name
			first := e.put(t, key, payload(99, up.size), objstore.PutOpts{})
			winner := oneWinner(t, race(up.writers, func(i int) error {
				_, err := e.try(key, payload(uint64(i), up.size), objstore.PutOpts{IfVersion: first.Version})
				return err
			}))
			e.want(t, key, payload(uint64(winner), up.size))
		})
	}
}

// testSwapCounter has writers append a byte each by compare-and-swap, retrying when they lose:
// no append is lost, none is done twice.
func testSwapCounter(t testing.TB, e *env) {
	const key, writers = "race/counter", 8
	e.put(t, key, nil, objstore.PutOpts{IfAbsent: true})
	errs := race(writers, func(i int) error {
		for {
			b, a, err := objstore.Get(e.ctx, e, key, 1000)
			if err == nil {
				_, err = e.try(key, append(b, byte('a'+i)), objstore.PutOpts{IfVersion: a.Version})
			}
			if err == nil || !errors.Is(err, objstore.ErrPrecondition) {
				return err
			}
		}
	})
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	b, _, err := objstore.Get(e.ctx, e, key, 1000)
	if err != nil {
		t.Fatal(err)
	}
	for i := range writers {
		if n := strings.Count(string(b), string(rune('a'+i))); n != 1 {
			t.Errorf("writer %d appended %d times: %q", i, n, b)
		}
	}
}

// canceler ends a context when the source is read at or beyond an offset.
type canceler struct {
	b      []byte
	at     int64
	cancel context.CancelFunc
}

func (c *canceler) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > c.at {
		c.cancel()
	}
	return copy(p, c.b[off:]), nil
}

func testCancel(t testing.TB, e *env) {
	ctx, cancel := context.WithCancel(e.ctx)
	cancel()
	_, err := e.Put(ctx, "cancel/before", objstore.Bytes([]byte("x")), objstore.PutOpts{})
	wantErr(t, "put with an ended context", err, objstore.ErrCanceled)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v does not match context.Canceled", err)
	}
	e.wantAbsent(t, "cancel/before")
	_, err = e.Head(ctx, "cancel/before")
	wantErr(t, "head with an ended context", err, objstore.ErrCanceled)
	_, err = e.List(ctx, "", "", 0)
	wantErr(t, "list with an ended context", err, objstore.ErrCanceled)
	wantErr(t, "delete with an ended context", e.Delete(ctx, "cancel/before"), objstore.ErrCanceled)

	// In the middle: the source has a checksum, so that it is read by the upload itself.
	for _, up := range uploads {
		ctx, cancel := context.WithCancel(e.ctx)
		b := payload(1, up.size)
		src := objstore.Bytes(b)
		src.R = &canceler{b: b, at: int64(up.size) / 2, cancel: cancel}
		_, err := e.Put(ctx, "cancel/"+up.name, src, objstore.PutOpts{PartSize: partSize, Parallel: 2})
		// One request may have reached the store whole before it was canceled, and the store may
		// finish it a moment after us: the object is there as a whole or not at all. Parts are
		// nothing until they are put together.
		late := up.size <= partSize
		if !late || err != nil {
			wantErr(t, "put that is canceled half-way", err, objstore.ErrCanceled)
		}
		switch _, herr := e.Head(e.ctx, "cancel/"+up.name); {
		case late && err == nil || late && herr == nil:
			e.want(t, "cancel/"+up.name, b)
		case late:
			wantErr(t, "head of what was canceled", herr, objstore.ErrNotFound)
		default:
			e.wantAbsent(t, "cancel/"+up.name)
		}
		e.wantNoUploads(t)
		cancel()
	}
}
