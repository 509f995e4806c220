package memfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

const seeds = 400

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	must(t, err)
	return f
}

func write(t *testing.T, f vfs.File, s string, off int64) {
	t.Helper()
	_, err := f.WriteAt([]byte(s), off)
	must(t, err)
}

// outcomes counts what describe says about the crash clones of fsys over many seeds.
func outcomes(t *testing.T, fsys *memfs.FS, describe func(clone *memfs.FS) string) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for seed := range uint64(seeds) {
		first := describe(fsys.CrashClone(seed))
		if again := describe(fsys.CrashClone(seed)); again != first {
			t.Fatalf("seed %d: %q, then %q", seed, first, again)
		}
		seen[first]++
	}
	return seen
}

func read(fsys vfs.FS, name string) string {
	b, err := vfs.ReadFile(fsys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return "(none)"
	}
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func wantAll(t *testing.T, seen map[string]int, want ...string) {
	t.Helper()
	for _, w := range want {
		if seen[w] == 0 {
			t.Errorf("no crash left %q: %v", w, seen)
		}
		delete(seen, w)
	}
	if len(seen) > 0 {
		t.Errorf("crashes that cannot be: %v", seen)
	}
}

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	fsys := memfs.New()
	must(t, vfs.MkdirAllSync(fsys, "/data/log", 0o755))
	for i, syncFile := range []func(vfs.File) error{vfs.File.Sync, vfs.File.Datasync} {
		f := open(t, fsys, fmt.Sprintf("/data/log/%d", i))
		write(t, f, "durable", 0)
		must(t, syncFile(f))
		must(t, f.Close())
	}
	must(t, fsys.SyncDir("/data/log"))
	wantAll(t, outcomes(t, fsys, func(c *memfs.FS) string {
		return read(c, "/data/log/0") + read(c, "/data/log/1")
	}), "durabledurable")
}

func TestKillKeepsEverything(t *testing.T) {
	fsys := memfs.New()
	f := open(t, fsys, "/a")
	write(t, f, "one", 0)
	write(t, f, "two", 1000)
	must(t, fsys.MkdirAll("/d/e", 0o755))
	must(t, fsys.SyncDir("/"))
	write(t, open(t, fsys, "/d/e/b"), "three", 0)
	must(t, fsys.Rename("/a", "/d/a"))
	_, err := fsys.Lock("/lock")
	must(t, err)
	clone := fsys.KillClone()
	if got := read(clone, "/d/a"); got != read(fsys, "/d/a") || len(got) != 1003 || read(clone, "/d/e/b") != "three" {
		t.Errorf("%q", got)
	}
	if _, err := clone.Lock("/lock"); err != nil {
		t.Errorf("the lock of a process that is dead: %v", err)
	}
	for seed := range uint64(200) {
		for _, name := range []string{"/a", "/d/a", "/d/e/b"} {
			if got, want := read(clone.CrashClone(seed), name), read(fsys.CrashClone(seed), name); got != want {
				t.Fatalf("%s after a power cut later, seed %d: %q, without the kill %q", name, seed, got, want)
			}
		}
	}
	moved := func(c *memfs.FS) string {
		_, err := c.Stat("/d/a")
		return fmt.Sprint(err == nil)
	}
	must(t, clone.SyncDir("/d")) // of the clone alone
	wantAll(t, outcomes(t, clone, moved), "true")
	wantAll(t, outcomes(t, fsys, moved), "true", "false")
}

func TestCrashLosesNamesOfUnsyncedDirectories(t *testing.T) {
	fsys := memfs.New()
	f := open(t, fsys, "new")
	write(t, f, "x", 0)
	must(t, f.Sync())
	wantAll(t, outcomes(t, fsys, func(c *memfs.FS) string { return read(c, "new") }), "x", "(none)")
}

func TestCrashTearsUnsyncedWrites(t *testing.T) {
	fsys := memfs.New()
	f := open(t, fsys, "log")
	old, added := strings.Repeat("a", 1000), strings.Repeat("b", 2000)
	write(t, f, old, 0)
	must(t, f.Sync())
	must(t, fsys.SyncDir("/"))
	write(t, f, added, 1000)
	kinds := outcomes(t, fsys, func(c *memfs.FS) string {
		got := read(c, "log")
		if !strings.HasPrefix(got, old) || len(got) > 3000 {
			return fmt.Sprintf("synced bytes lost: %q", got)
		}
		switch tail := got[1000:]; {
		case tail == "":
			return "lost"
		case tail == added:
			return "kept"
		case strings.Trim(tail, "\x00") == "":
			return "zeros"
		case strings.Trim(tail, "b") == "":
			return "cut"
		case strings.Trim(tail, "b\x00") == "":
			return "holes"
		default:
			return fmt.Sprintf("foreign bytes: %q", tail)
		}
	})
	wantAll(t, kinds, "lost", "kept", "zeros", "cut", "holes")
}

func TestCrashKeepsSubsetsAndPrefixes(t *testing.T) {
	fsys := memfs.New()
	f := open(t, fsys, "log")
	must(t, fsys.SyncDir("/"))
	for i, s := range []string{"1", "2", "3"} {
		write(t, f, s, int64(i))
	}
	seen := outcomes(t, fsys, func(c *memfs.FS) string { return strings.ReplaceAll(read(c, "log"), "\x00", "0") })
	for _, want := range []string{"", "1", "12", "123", "003", "103", "023", "000"} {
		if seen[want] == 0 {
			t.Errorf("no crash left %q: %v", want, seen)
		}
	}
}

func TestCrashOrdersChangesOfSize(t *testing.T) {
	fsys := memfs.New()
	f := open(t, fsys, "log")
	write(t, f, "old old", 0)
	must(t, f.Sync())
	must(t, fsys.SyncDir("/"))
	must(t, f.Truncate(3))
	write(t, f, "N", 3)
	wantAll(t, outcomes(t, fsys, func(c *memfs.FS) string { return read(c, "log") }),
		"old old", "old", "oldN", "old\x00")
}

func TestCrashRenamesWhollyOrNotAtAll(t *testing.T) {
	fsys := memfs.New()
	must(t, vfs.WriteFileAtomic(fsys, "state", []byte("one")))
	must(t, fsys.MkdirAll("sub", 0o755))
	must(t, fsys.SyncDir("/"))
	f := open(t, fsys, "tmp")
	write(t, f, "two", 0)
	must(t, f.Sync())
	must(t, fsys.SyncDir("/"))
	must(t, fsys.Rename("tmp", "state"))
	must(t, fsys.Rename("state", "sub/state"))
	show := func(c *memfs.FS) string {
		return read(c, "tmp") + " " + read(c, "state") + " " + read(c, "sub/state")
	}
	wantAll(t, outcomes(t, fsys, show),
		"two one (none)", "(none) two (none)", "(none) (none) two",
		"two (none) two") // the second rename without the first: its node is reached by both names
	must(t, fsys.SyncDir("sub"))
	wantAll(t, outcomes(t, fsys, show), "(none) (none) two")
}

func TestWriteFileAtomicSurvivesEveryCrash(t *testing.T) {
	fsys := memfs.New()
	must(t, vfs.WriteFileAtomic(fsys, "f", []byte("one")))
	wantAll(t, outcomes(t, fsys, func(c *memfs.FS) string { return read(c, "f") }), "one")
	f := open(t, fsys, "f"+vfs.TempSuffix) // the second one is cut short
	write(t, f, "two", 0)
	wantAll(t, outcomes(t, fsys, func(c *memfs.FS) string { return read(c, "f") }), "one")
	must(t, f.Close())
	must(t, vfs.WriteFileAtomic(fsys, "f", []byte("two")))
	wantAll(t, outcomes(t, fsys, func(c *memfs.FS) string { return read(c, "f") }), "two")
}

func TestCrashBringsBackRemovedNames(t *testing.T) {
	fsys := memfs.New()
	must(t, vfs.WriteFileAtomic(fsys, "f", []byte("one")))
	must(t, fsys.Remove("f"))
	wantAll(t, outcomes(t, fsys, func(c *memfs.FS) string { return read(c, "f") }), "one", "(none)")
	must(t, fsys.SyncDir("/"))
	wantAll(t, outcomes(t, fsys, func(c *memfs.FS) string { return read(c, "f") }), "(none)")
}

func TestCrashCloneIsApart(t *testing.T) {
	fsys := memfs.New()
	must(t, vfs.WriteFileAtomic(fsys, "f", []byte("one")))
	must(t, fsys.Link("f", "g"))
	must(t, fsys.SyncDir("/"))
	if _, err := fsys.Lock("lock"); err != nil {
		t.Fatal(err)
	}
	clone := fsys.CrashClone(1)
	if _, err := clone.Lock("lock"); err != nil {
		t.Errorf("lock outlived the crash: %v", err)
	}
	f := open(t, clone, "f")
	write(t, f, "X", 0)
	if got := read(fsys, "f") + read(clone, "g"); got != "oneXne" {
		t.Errorf("original and second name: %q", got)
	}
	usage, err := clone.Usage("/")
	must(t, err)
	if used := usage.Total - usage.Free; used != 3 {
		t.Errorf("clone uses %d bytes, want 3", used)
	}
}

func TestFullDisk(t *testing.T) {
	fsys := memfs.New()
	fsys.SetLimit(10)
	f := open(t, fsys, "f")
	write(t, f, "12345678", 0)
	n, err := f.WriteAt([]byte("abcd"), 8)
	if n != 2 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write over the limit: %d, %v", n, err)
	}
	write(t, f, "XX", 3) // no growth
	if err := f.Truncate(11); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("truncate over the limit: %v", err)
	}
	if got := read(fsys, "f"); got != "123XX678ab" {
		t.Errorf("content %q", got)
	}
	g := open(t, fsys, "g")
	if n, err := g.WriteAt([]byte("x"), 5); n != 0 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write on a full disk: %d, %v", n, err)
	}
	must(t, fsys.Remove("f"))
	if _, err := g.WriteAt([]byte("x"), 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("an open file gave its room back: %v", err)
	}
	must(t, f.Close())
	write(t, g, "0123456789", 0)
}

func TestConcurrentUse(t *testing.T) {
	fsys := memfs.New()
	f := open(t, fsys, "shared")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			b := bytes.Repeat([]byte{byte(i)}, 100)
			for range 50 {
				if _, err := f.WriteAt(b, int64(i*100)); err != nil {
					t.Error(err)
				}
				_, _ = f.ReadAt(make([]byte, 100), 0)
				_ = fsys.CrashClone(uint64(i))
				_ = f.Sync()
			}
		})
	}
	group.Wait()
	if info, err := f.Stat(); err != nil || info.Size() != 800 {
		t.Errorf("size %v, %v", info.Size(), err)
	}
}
