package conformance

import (
	"maps"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
)

func testTags(t testing.TB, e *env) {
	tagger, ok := e.Bucket.(objstore.Tagger)
	if !ok || !e.caps.Tags {
		t.Skip("the store keeps no tags")
	}
	for _, up := range uploads {
		sub(t, up.name, func(t testing.TB) {
			key, want := "tags/"+up.name, map[string]string{"topic": "orders", "class": "warm 1"}
			e.put(t, key, payload(1, up.size), objstore.PutOpts{Tags: want})
			got, err := tagger.Tags(e.ctx, key)
			if err != nil || !maps.Equal(got, want) {
				t.Errorf("tags %v, want %v, %v", got, want, err)
			}
			want = map[string]string{"other": "2"}
			if err := tagger.SetTags(e.ctx, key, want); err != nil {
				t.Fatal(err)
			}
			if got, err = tagger.Tags(e.ctx, key); err != nil || !maps.Equal(got, want) {
				t.Errorf("tags after a change %v, want %v, %v", got, want, err)
			}
			e.want(t, key, payload(1, up.size))
		})
	}
	_, err := tagger.Tags(e.ctx, "tags/missing")
	wantErr(t, "tags of a missing object", err, objstore.ErrNotFound)
}

// inClass holds the class of an object against the one that it should have. A store may leave
// out the name of its default.
func (e *env) inClass(t testing.TB, key string, want objstore.Class) objstore.Attrs {
	t.Helper()
	a, err := e.Head(e.ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.Class != want && (a.Class != "" || want != e.caps.Classes[0]) {
		t.Errorf("%s is in class %q, want %q", key, a.Class, want)
	}
	return a
}

func testClasses(t testing.TB, e *env) {
	if len(e.caps.Classes) == 0 {
		t.Skip("the store has one class")
	}
	for _, class := range e.caps.Classes {
		sub(t, string(class), func(t testing.TB) {
			key := "class/" + testKey(class)
			b := payload(1, 100)
			e.put(t, key, b, objstore.PutOpts{Class: class})
			if a := e.inClass(t, key, class); a.Offline {
				t.Errorf("an object of class %s is offline", class)
			}
			e.want(t, key, b)
		})
	}
	sub(t, "parts", func(t testing.TB) {
		class := e.caps.Classes[1]
		b := payload(1, uploads[1].size)
		e.put(t, "class/parts", b, objstore.PutOpts{Class: class})
		e.inClass(t, "class/parts", class)
	})
}

// testKey is the name of a class as a key may hold it.
func testKey(class objstore.Class) string {
	b := []byte(class)
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func testSetClass(t testing.TB, e *env) {
	setter, ok := e.Bucket.(objstore.ClassSetter)
	if !ok || len(e.caps.Classes) < 2 {
		t.Skip("the store has one class")
	}
	for _, up := range uploads {
		sub(t, up.name, func(t testing.TB) {
			key, b := "setclass/"+up.name, payload(1, up.size)
			meta := map[string]string{objstore.TokenMeta: objstore.NewToken()}
			e.put(t, key, b, objstore.PutOpts{Meta: meta})
			if err := setter.SetClass(e.ctx, key, e.caps.Classes[1]); err != nil {
				t.Fatal(err)
			}
			a := e.inClass(t, key, e.caps.Classes[1])
			if a.Meta[objstore.TokenMeta] != meta[objstore.TokenMeta] {
				t.Errorf("metadata %v, want %v", a.Meta, meta)
			}
			e.want(t, key, b)
		})
	}
	wantErr(t, "class of a missing object", setter.SetClass(e.ctx, "setclass/missing", e.caps.Classes[1]), objstore.ErrNotFound)
	wantErr(t, "an unknown class", setter.SetClass(e.ctx, "setclass/single", "NO_SUCH_CLASS"), objstore.ErrUnsupported)
}

// testOffline puts an object where it has to be restored from, and restores it. An emulator
// takes seconds at most; a cloud takes hours, and is not waited for.
func testOffline(t testing.TB, e *env) {
	restorer, ok := e.Bucket.(objstore.Restorer)
	if !ok || len(e.caps.Offline) == 0 {
		t.Skip("the store has no class that is offline")
	}
	const key = "offline/x"
	b := payload(1, 1000)
	e.put(t, key, b, objstore.PutOpts{})
	if err := e.Bucket.(objstore.ClassSetter).SetClass(e.ctx, key, e.caps.Offline[0]); err != nil {
		t.Fatal(err)
	}
	if a := e.inClass(t, key, e.caps.Offline[0]); !a.Offline {
		t.Errorf("an archived object is not offline: %+v", a)
	}
	_, err := e.GetRange(e.ctx, key, 0, make([]byte, 10), "")
	wantErr(t, "read of an archived object", err, objstore.ErrOffline)
	for range 2 { // to ask again is no error
		if err := restorer.Restore(e.ctx, key, 1); err != nil {
			t.Fatalf("restore: %v", err)
		}
	}
	deadline := time.NewTimer(20 * time.Second)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		a, err := e.Head(e.ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if !a.Offline {
			break
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatal("a restore is not done after 20 s")
		}
	}
	e.want(t, key, b)
	wantErr(t, "restore of a missing object", restorer.Restore(e.ctx, "offline/missing", 1), objstore.ErrNotFound)
}
