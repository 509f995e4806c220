package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

const chunkSize = 1000

// content is what chunk i holds.
func content(i int) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, chunkSize/2) }

// store hands out chunks and counts.
type store struct {
	fills atomic.Int64
	fail  atomic.Int64 // how many more fills fail
	flip  atomic.Int64 // how many more fills flip a bit
	gate  chan struct{}
}

var errStore = errors.New("store is down")

func (s *store) request(i int) Request {
	want := crc32.ChecksumIEEE(content(i))
	return Request{
		Name: fmt.Sprintf("chunk-%05d", i), Size: chunkSize, From: 0, To: chunkSize,
		Fill: func(ctx context.Context, p []byte) error {
			s.fills.Add(1)
			if s.gate != nil {
				select {
				case <-s.gate:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
			if s.fail.Add(-1) >= 0 {
				return errStore
			}
			copy(p, content(i))
			if s.flip.Add(-1) >= 0 {
				p[7] ^= 1
			}
			return nil
		},
		Verify: func(p []byte) error {
			if crc32.ChecksumIEEE(p) != want {
				return fmt.Errorf("chunk %d: %w", i, kafka.ErrCorrupt)
			}
			return nil
		},
	}
}

func open(t *testing.T, fsys vfs.FS, chunks int64) *Cache {
	t.Helper()
	c, err := Open(Options{FS: fsys, Dir: "/cache", MaxBytes: chunks * chunkSize, MaxOpen: 2, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func get(t *testing.T, c *Cache, r Request) []byte {
	t.Helper()
	rng, err := c.Get(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer rng.Release()
	b, err := rng.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGetPart(t *testing.T) {
	c, s := open(t, memfs.New(), 10), &store{}
	r := s.request(3)
	r.From, r.To = 100, 250
	if b := get(t, c, r); !bytes.Equal(b, content(3)[100:250]) {
		t.Fatal("wrong bytes")
	}
	get(t, c, s.request(3))
	if st := c.Stats(); s.fills.Load() != 1 || st.Hits != 1 || st.Misses != 1 || st.Bytes != chunkSize || st.Files != 1 {
		t.Fatalf("%d fills, %+v", s.fills.Load(), st)
	}
}

// TestSingleFlight: readers of one chunk cause one fill, and one that leaves takes nothing
// away from the others.
func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := open(t, memfs.New(), 10), &store{gate: make(chan struct{})}
		quitter, quit := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() {
			if _, err := c.Get(quitter, s.request(1)); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		})
		synctest.Wait()
		for range 8 {
			done.Go(func() { get(t, c, s.request(1)) })
		}
		synctest.Wait()
		quit()
		synctest.Wait()
		close(s.gate)
		done.Wait()
		if n := s.fills.Load(); n != 1 {
			t.Fatalf("%d fills", n)
		}
	})
}

// TestFailedFillIsForgotten is T20: the first fill fails, the second succeeds.
func TestFailedFillIsForgotten(t *testing.T) {
	c, s := open(t, memfs.New(), 10), &store{}
	s.fail.Store(1)
	if _, err := c.Get(t.Context(), s.request(1)); !errors.Is(err, errStore) {
		t.Fatal(err)
	}
	get(t, c, s.request(1))
	if s.fills.Load() != 2 {
		t.Fatal(s.fills.Load())
	}
}

// TestHungFillEnds is T21: a store that never answers does not hold readers for ever.
func TestHungFillEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := open(t, memfs.New(), 10), &store{gate: make(chan struct{})}
		start := time.Now()
		if _, err := c.Get(t.Context(), s.request(1)); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
		if d := time.Since(start); d != time.Minute {
			t.Fatal(d)
		}
	})
}

func TestDamagedFillIsFetchedOnceMore(t *testing.T) {
	c, s := open(t, memfs.New(), 10), &store{}
	s.flip.Store(1)
	if !bytes.Equal(get(t, c, s.request(1)), content(1)) {
		t.Fatal("wrong bytes")
	}
	s.flip.Store(2)
	if _, err := c.Get(t.Context(), s.request(2)); !errors.Is(err, kafka.ErrCorrupt) {
		t.Fatal(err)
	}
	if !bytes.Equal(get(t, c, s.request(2)), content(2)) {
		t.Fatal("damage was kept")
	}
}

// TestRestart: what an earlier process left is used if it verifies, and fetched again if not.
func TestRestart(t *testing.T) {
	fsys, s := memfs.New(), &store{}
	c := open(t, fsys, 10)
	for i := range 4 {
		get(t, c, s.request(i))
	}
	if _, err := Open(Options{FS: fsys, Dir: "/cache", MaxBytes: 1, Logger: slog.New(slog.DiscardHandler)}); !errors.Is(err, vfs.ErrLocked) {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	damage := func(name string, do func(vfs.File) error) {
		f, err := fsys.OpenFile("/cache/"+name, os.O_RDWR, 0)
		if err == nil {
			err = errors.Join(do(f), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	damage("chunk-00001", func(f vfs.File) error { _, err := f.WriteAt([]byte{0xff}, 500); return err })
	damage("chunk-00002", func(f vfs.File) error { return f.Truncate(10) })
	if err := vfs.WriteFileAtomic(fsys, "/cache/half", nil); err != nil {
		t.Fatal(err)
	}
	if err := fsys.Rename("/cache/half", "/cache/half.tmp"); err != nil {
		t.Fatal(err)
	}
	c = open(t, fsys, 10)
	before := s.fills.Load()
	for i := range 4 {
		if !bytes.Equal(get(t, c, s.request(i)), content(i)) {
			t.Fatal("wrong bytes of", i)
		}
	}
	if n := s.fills.Load() - before; n != 2 {
		t.Fatalf("%d fills after the restart, want the two damaged ones", n)
	}
	if _, err := fsys.Stat("/cache/half.tmp"); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("a half-written chunk survived")
	}
}

// TestReaderKeepsEvictedFile: eviction unlinks, it does not close under a reader.
func TestReaderKeepsEvictedFile(t *testing.T) {
	c, s := open(t, memfs.New(), 2), &store{}
	rng, err := c.Get(t.Context(), s.request(0))
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i < 6; i++ {
		get(t, c, s.request(i))
	}
	if st := c.Stats(); st.Evictions != 4 || st.Bytes > 2*chunkSize {
		t.Fatalf("%+v", st)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := rng.ReadAll(); err != nil || !bytes.Equal(b, content(0)) {
		t.Fatal(err)
	}
	rng.Release()
}

// TestScanLeavesHotChunks: a long scan, read in small steps, does not push out what is
// read again and again.
func TestScanLeavesHotChunks(t *testing.T) {
	c, s := open(t, memfs.New(), 20), &store{}
	for range 3 {
		for i := range 5 {
			get(t, c, s.request(i))
		}
	}
	for i := 100; i < 200; i++ {
		for off := int64(0); off < chunkSize; off += 100 {
			r := s.request(i)
			r.From, r.To = off, off+100
			get(t, c, r)
		}
	}
	before := s.fills.Load()
	for i := range 5 {
		get(t, c, s.request(i))
	}
	if n := s.fills.Load() - before; n != 0 {
		t.Fatalf("%d of 5 hot chunks were evicted by a scan", n)
	}
}

// TestFullDisk: a disk that takes no more costs the cache, not the reader.
func TestFullDisk(t *testing.T) {
	fsys, s := memfs.New(), &store{}
	c := open(t, fsys, 10)
	fsys.SetLimit(500)
	for i := range 3 {
		if !bytes.Equal(get(t, c, s.request(i)), content(i)) {
			t.Fatal("wrong bytes")
		}
	}
	if st := c.Stats(); st.Files != 0 {
		t.Fatalf("%+v", st)
	}
	fsys.SetLimit(1 << 30)
	get(t, c, s.request(1))
	if st := c.Stats(); st.Files != 1 {
		t.Fatalf("%+v", st)
	}
}

func TestPrefetchAndDrop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := open(t, memfs.New(), 10), &store{}
		c.Prefetch(t.Context(), s.request(1))
		synctest.Wait()
		get(t, c, s.request(1))
		if s.fills.Load() != 1 || c.Stats().Misses != 0 {
			t.Fatalf("%d fills, %+v", s.fills.Load(), c.Stats())
		}
		c.DropPrefix("chunk-0000")
		if st := c.Stats(); st.Files != 0 || st.Bytes != 0 {
			t.Fatalf("%+v", st)
		}
	})
}

// TestStorm mixes everything under the race detector.
func TestStorm(t *testing.T) {
	c, s := open(t, memfs.New(), 5), &store{}
	s.fail.Store(50)
	var done sync.WaitGroup
	for g := range 8 {
		done.Go(func() {
			for i := range 200 {
				n := (i*7 + g*13) % 12
				rng, err := c.Get(t.Context(), s.request(n))
				if errors.Is(err, errStore) {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if b, err := rng.ReadAll(); err != nil || !bytes.Equal(b, content(n)) {
					t.Error("wrong bytes", err)
				}
				rng.Release()
			}
		})
	}
	done.Wait()
	if st := c.Stats(); st.Bytes > 5*chunkSize || st.Files > 5 {
		t.Fatalf("%+v", st)
	}
}

// TestFillsHaveTheirReadersValues: a fill knows who began it, and goes on when that one has left.
func TestFillsHaveTheirReadersValues(t *testing.T) {
	type key struct{}
	c := open(t, memfs.New(), 10)
	var s store
	for i, begin := range []func(context.Context, Request){
		func(ctx context.Context, r Request) { _, _ = c.Get(ctx, r) },
		c.Prefetch,
	} {
		seen := make(chan any, 1)
		r := s.request(i)
		r.Fill = func(ctx context.Context, p []byte) error {
			seen <- ctx.Value(key{})
			return ctx.Err()
		}
		ctx, leave := context.WithCancel(context.WithValue(t.Context(), key{}, "reader"))
		leave()
		begin(ctx, r)
		if got := <-seen; got != "reader" {
			t.Errorf("fill %d has the value %v of its reader", i, got)
		}
	}
}
