package server

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/wire"
)

// coldFile is a file of which nothing is in memory.
func coldFile(t *testing.T, c *coldReads, b []byte) vfs.File {
	t.Helper()
	f, err := vfs.OS().OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	c.cache.Drop(f, 0, int64(len(b)))
	if c.hot(vfs.NewRange(f, 0, int64(len(b)), nil)) {
		t.Skip("this file system drops nothing")
	}
	return f
}

// TestColdDataWaitsItsTurn: while as many as may be read from disk, others that would have to
// wait, and those whose data is in memory do not.
func TestColdDataWaitsItsTurn(t *testing.T) {
	data := pattern(3<<20+123, 5)
	var cold vfs.File
	var hot vfs.File
	k := newKit(t, Limits{}, func(r *Request) {
		f, off, n := cold, int64(r.Body[0])<<10, int64(r.Body[1])<<14
		if r.Header.CorrelationID >= 100 {
			f = hot
		}
		r.Reply([]wire.Piece{bytesPiece(answerTo(r, nil)), {Range: vfs.NewRange(f, off, n, nil)}})
	})
	c := k.srv.cold
	cold, hot = coldFile(t, c, data), coldFile(t, c, data)
	if _, err := vfs.NewRange(hot, 0, int64(len(data)), nil).ReadAll(); err != nil {
		t.Fatal(err)
	}
	for range coldReaders {
		if err := c.enter(); err != nil {
			t.Fatal(err)
		}
	}
	large, small, warm := k.dial(), k.dial(), k.dial()
	large.send(keyEcho, 1, []byte{3, 180})
	small.send(keyEcho, 2, []byte{255, 1})
	eventually(t, "both to wait", func() bool { return c.waits.Load() == 2 })
	warm.send(keyEcho, 100, []byte{0, 180})
	warm.want(100, data[:180<<14])
	for range coldReaders {
		c.leave()
	}
	large.want(1, data[3<<10:][:180<<14])
	small.want(2, data[255<<10:][:1<<14])
	if got := c.bytes.Load(); got < 180<<14 || got > 2*180<<14 {
		t.Errorf("%d bytes counted as cold", got)
	}
	large.send(keyEcho, 3, []byte{3, 180}) // by now it is in memory
	before := c.bytes.Load()
	large.want(3, data[3<<10:][:180<<14])
	if got := c.bytes.Load() - before; got != 0 {
		t.Errorf("%d bytes counted as cold again", got)
	}
}

// TestAReaderOfOldDataDropsItBehindItself: what others use stays.
func TestAReaderOfOldDataDropsItBehindItself(t *testing.T) {
	c := newColdReads(nil)
	data := bytes.Repeat([]byte("varve"), 32<<20/5)
	f := coldFile(t, c, data)
	for off := int64(0); off+coldStep <= int64(len(data)); off += coldStep {
		if err := c.load(vfs.NewRange(f, off, coldStep, nil)); err != nil {
			t.Fatal(err)
		}
	}
	if c.hot(vfs.NewRange(f, 20<<20, 1<<20, nil)) {
		t.Error("what was read is still in memory")
	}
	if end := int64(len(data)) / coldStep * coldStep; !c.hot(vfs.NewRange(f, end-coldKeep+coldStep, coldKeep-coldStep, nil)) {
		t.Error("nothing was left for others that read the same")
	}
}

// TestAWarmRunIsAskedForNowAndThen: and a cold range ends it.
func TestAWarmRunIsAskedForNowAndThen(t *testing.T) {
	var w warmRun
	file, other := fileOf(t), fileOf(t)
	at := func(off int64) vfs.Range { return vfs.NewRange(file, off, 64<<10, nil) }
	if w.goesOn(at(0)) || !w.begins(at(0), true) {
		t.Error("the first range was not asked for")
	}
	asked := 0
	for off := int64(64 << 10); off < 4<<20; off += 64 << 10 {
		if !w.goesOn(at(off)) {
			asked++
			w.begins(at(off), true)
		}
	}
	if asked != 7 {
		t.Errorf("asked %d times in 4 MiB", asked)
	}
	if w.goesOn(at(0)) {
		t.Error("another place was not asked for")
	}
	if w.goesOn(vfs.NewRange(other, 4<<20, 64<<10, nil)) {
		t.Error("another file was not asked for")
	}
	if w.begins(at(4<<20), false) || w.goesOn(at(4<<20+64<<10)) {
		t.Error("what follows a cold range was not asked for")
	}
}

// fileOf is a file of its own.
func fileOf(t *testing.T) vfs.File {
	t.Helper()
	f, err := vfs.OS().OpenFile(filepath.Join(t.TempDir(), "f"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}
