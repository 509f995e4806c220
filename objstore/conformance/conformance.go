// Package conformance is what every object store must pass to be used by Varve: one suite,
// run by each provider against the real thing (a directory, an emulator, a cloud bucket).
//
// It owns the meaning of objstore.Bucket where words leave room: every condition is tried on
// objects that go up whole and in parts, since stores have honoured it on one path only.
// It holds no state; a test calls Run with a factory of empty buckets.
package conformance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
)

// Factory makes a Bucket that holds nothing and that no other test sees.
type Factory func(t *testing.T) objstore.Bucket

// partSize is the least that S3 takes for a part but the last.
const partSize = 5 << 20

// upload is one way that an object goes up; every condition is tried on each.
type upload struct {
	name    string
	size    int
	writers int // of a race: parts cost bandwidth
}

var uploads = []upload{
	{name: "single", size: 1000, writers: 16},
	{name: "parts", size: 2*partSize + 1234, writers: 4},
}

// Run runs the suite on buckets of the factory, which must have exactly these capabilities: a
// provider that gains or loses one fails the test. Lines in which the server has a gap must fail.
func Run(t *testing.T, s Server, factory Factory, caps objstore.Capabilities) {
	t.Helper()
	tests := []struct {
		name string
		run  func(testing.TB, *env)
	}{
		{"RoundTrip", testRoundTrip},
		{"Missing", testMissing},
		{"Rules", testRules},
		{"Checksum", testChecksum},
		{"Conditions", testConditions},
		{"SettleOwnWrite", testSettle},
		{"CreateRace", testCreateRace},
		{"SwapRace", testSwapRace},
		{"SwapCounter", testSwapCounter},
		{"Ranges", testRanges},
		{"ReadWhileOverwritten", testOverwrittenRead},
		{"ListOrder", testListOrder},
		{"ListPages", testListPages},
		{"Delete", testDelete},
		{"DeleteIf", testDeleteIf},
		{"CancelLeavesNothing", testCancel},
		{"Tags", testTags},
		{"Classes", testClasses},
		{"SetClass", testSetClass},
		{"Offline", testOffline},
	}
	for _, tt := range tests {
		s.Line(t, tt.name, func(tb testing.TB) {
			b := factory(t)
			tb.Cleanup(func() { b.Close() })
			ctx := t.Context()
			if _, gap := s.Gaps[tt.name]; gap { // what fails may do so by waiting
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 20*time.Second)
				tb.Cleanup(cancel)
			}
			tt.run(tb, &env{Bucket: b, caps: caps, ctx: ctx})
		})
	}
	t.Run("Capabilities", func(t *testing.T) {
		b := factory(t)
		defer b.Close()
		got := b.Capabilities()
		if !slices.Equal(got.Classes, caps.Classes) || !slices.Equal(got.Offline, caps.Offline) {
			t.Errorf("classes %v and %v, want %v and %v", got.Classes, got.Offline, caps.Classes, caps.Offline)
		}
		if _, ok := b.(objstore.ConditionalDeleter); caps.DeleteIf && !ok {
			t.Error("the store claims DeleteIf and has no such method")
		}
		if !equalFlags(got, caps) {
			t.Errorf("capabilities %+v, want %+v", got, caps)
		}
	})
}

func equalFlags(a, b objstore.Capabilities) bool {
	return a.IfAbsent == b.IfAbsent && a.IfVersion == b.IfVersion && a.DeleteIf == b.DeleteIf &&
		a.Checksum == b.Checksum && a.Tags == b.Tags && a.Shared == b.Shared && a.Durable == b.Durable
}

// env is one test's bucket.
type env struct {
	objstore.Bucket
	caps objstore.Capabilities
	ctx  context.Context
}

// payload is n bytes that differ with the seed.
func payload(seed uint64, n int) []byte {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	b := make([]byte, n)
	rand.NewChaCha8(key).Read(b) // never fails
	return b
}

func (e *env) put(t testing.TB, key string, b []byte, o objstore.PutOpts) objstore.Attrs {
	t.Helper()
	a, err := e.try(key, b, o)
	if err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
	return a
}

// try puts b, in parts if it is longer than one.
func (e *env) try(key string, b []byte, o objstore.PutOpts) (objstore.Attrs, error) {
	o.PartSize = partSize
	return e.Put(e.ctx, key, objstore.Bytes(b), o)
}

// want holds the object of a key against the bytes that should be there.
func (e *env) want(t testing.TB, key string, b []byte) objstore.Attrs {
	t.Helper()
	r, a, err := e.Open(e.ctx, key, 0, -1, "")
	if err != nil {
		t.Fatalf("open %s: %v", key, err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", key, err)
	}
	if !bytes.Equal(got, b) {
		t.Fatalf("%s holds %d bytes (CRC32C %08x), want %d (%08x)", key,
			len(got), crc32.Checksum(got, objstore.Castagnoli), len(b), crc32.Checksum(b, objstore.Castagnoli))
	}
	if a.Size != int64(len(b)) {
		t.Fatalf("%s has size %d, want %d", key, a.Size, len(b))
	}
	return a
}

// wantErr holds an error against its kind.
func wantErr(t testing.TB, what string, err error, kind objstore.Kind) {
	t.Helper()
	var e *objstore.Error
	switch {
	case err == nil:
		t.Errorf("%s: no error, want %q", what, kind)
	case !errors.Is(err, kind):
		t.Errorf("%s: %v, want %q", what, err, kind)
	case !errors.As(err, &e):
		t.Errorf("%s: %T is no *objstore.Error", what, err)
	}
}

func (e *env) wantAbsent(t testing.TB, key string) {
	t.Helper()
	_, err := e.Head(e.ctx, key)
	wantErr(t, "head "+key, err, objstore.ErrNotFound)
}

func testRoundTrip(t testing.TB, e *env) {
	sizes := []int{0, 1, 4096, partSize, partSize + 1, uploads[1].size}
	versions := make(map[objstore.Version]int)
	for i, size := range sizes {
		b := payload(uint64(i), size)
		put := e.put(t, "v1/round/trip.x", b, objstore.PutOpts{Meta: map[string]string{"other": "1/2=x y", objstore.TokenMeta: objstore.NewToken()}})
		got := e.want(t, "v1/round/trip.x", b)
		head, err := e.Head(e.ctx, "v1/round/trip.x")
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range []objstore.Attrs{put, head, got} {
			if a.Key != "v1/round/trip.x" || a.Size != int64(size) || a.Version == "" || a.Version != put.Version {
				t.Errorf("size %d: attributes %+v, want those of the put %+v", size, a, put)
			}
			if a.Meta["other"] != "1/2=x y" || a.Meta[objstore.TokenMeta] == "" {
				t.Errorf("size %d: metadata %v", size, a.Meta)
			}
		}
		if head.Modified.IsZero() {
			t.Errorf("size %d: no time of modification", size)
		}
		versions[put.Version]++
	}
	if len(versions) != len(sizes) {
		t.Errorf("%d overwrites with other bytes gave %d versions: %v", len(sizes), len(versions), versions)
	}
}

func testMissing(t testing.TB, e *env) {
	const key = "v1/nothing/here"
	e.wantAbsent(t, key)
	_, err := e.GetRange(e.ctx, key, 0, make([]byte, 1), "")
	wantErr(t, "get", err, objstore.ErrNotFound)
	_, err = e.GetRange(e.ctx, key, 0, nil, "")
	wantErr(t, "get of no bytes", err, objstore.ErrNotFound)
	_, _, err = e.Open(e.ctx, key, 0, -1, "")
	wantErr(t, "open", err, objstore.ErrNotFound)
	// A directory of keys is no object.
	e.put(t, "v1/nothing/here/but/this", []byte("x"), objstore.PutOpts{})
	e.wantAbsent(t, "v1/nothing/here")
	e.wantAbsent(t, "v1")
}

func testChecksum(t testing.TB, e *env) {
	if !e.caps.Checksum {
		t.Skip("the provider is told to send none")
	}
	for _, up := range uploads {
		sub(t, up.name, func(t testing.TB) {
			b := payload(7, up.size)
			src := objstore.Bytes(b)
			src.HasCRC = false // computed on the way
			a, err := e.Put(e.ctx, "sum/"+up.name, src, objstore.PutOpts{PartSize: partSize})
			if err != nil {
				t.Fatal(err)
			}
			head, err := e.Head(e.ctx, "sum/"+up.name)
			if err != nil {
				t.Fatal(err)
			}
			want := crc32.Checksum(b, objstore.Castagnoli)
			for _, a := range []objstore.Attrs{a, head} {
				if !a.HasCRC || a.CRC32C != want {
					t.Errorf("the store reports CRC32C %08x (%v), want %08x", a.CRC32C, a.HasCRC, want)
				}
			}
			wrong := objstore.Bytes(b)
			wrong.CRC32C ^= 1
			_, err = e.Put(e.ctx, "sum/wrong-"+up.name, wrong, objstore.PutOpts{PartSize: partSize})
			wantErr(t, "put with a wrong checksum", err, objstore.ErrCorrupt)
			e.wantAbsent(t, "sum/wrong-"+up.name)
			e.wantNoUploads(t)
		})
	}
}

// wantNoUploads checks that nothing unfinished is left behind.
func (e *env) wantNoUploads(t testing.TB) {
	t.Helper()
	s, ok := e.Bucket.(objstore.Sweeper)
	if !ok {
		return
	}
	if n, err := s.SweepUploads(e.ctx, "", 0); err != nil || n != 0 {
		t.Errorf("%d unfinished uploads were left, %v", n, err)
	}
}
