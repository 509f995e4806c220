package vfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/varve-io/varve/broker/vfs"
)

// cacheFile is a file of n bytes on disk, all of it in memory.
func cacheFile(t testing.TB, n int) (vfs.File, []byte) {
	t.Helper()
	f, err := vfs.OS().OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	b := bytes.Repeat([]byte("0123456789abcdef"), n/16)
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	return f, b
}

func TestPageCache(t *testing.T) {
	const n = 4 << 20
	f, want := cacheFile(t, n)
	var c vfs.PageCache
	if hot, known := c.Holds(f, 0, n); !hot && known {
		t.Fatal("what was just written is not in memory")
	} else if !known {
		t.Skip("this system does not tell")
	}
	c.Drop(f, 0, n)
	if hot, _ := c.Holds(f, 0, n); hot {
		t.Skip("this file system drops nothing")
	}
	got := make([]byte, 1000)
	if c.ReadAt(f, got, n/2) {
		t.Error("read what is not in memory")
	}
	c.Load(f, 1<<20, 1<<20)
	for _, r := range []struct {
		off, n int64
		hot    bool
	}{{1 << 20, 1 << 20, true}, {1<<20 + 5, 4096, true}, {2<<20 - 1, 1, true}, {3 << 20, 1, false}, {0, 2 << 20, false}} {
		if hot, known := c.Holds(f, r.off, r.n); hot != r.hot || !known {
			t.Errorf("%d bytes at %d: %v, %v; want %v", r.n, r.off, hot, known, r.hot)
		}
	}
	if !c.ReadAt(f, got, 1<<20+7) || !bytes.Equal(got, want[1<<20+7:][:1000]) {
		t.Error("what is in memory was not read")
	}
}

// BenchmarkHolds: what a fetch pays for the question.
func BenchmarkHolds(b *testing.B) {
	f, _ := cacheFile(b, 4<<20)
	var c vfs.PageCache
	for _, n := range []int64{64 << 10, 1 << 20, 4 << 20} {
		b.Run(map[int64]string{64 << 10: "64KiB", 1 << 20: "1MiB", 4 << 20: "4MiB"}[n], func(b *testing.B) {
			for b.Loop() {
				if hot, known := c.Holds(f, 0, n); known && !hot {
					b.Fatal("cold")
				}
			}
		})
	}
}
