package commitlog

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/errorfs"
)

// TestGroupAppendWaitsForTheDirectory: an eviction has begun to sync the entry of a new
// segment; an append in group mode is not acknowledged before that sync has ended.
func TestGroupAppendWaitsForTheDirectory(t *testing.T) {
	var armed atomic.Bool
	var l *Log
	acknowledged := make(chan error, 1)
	fsys := errorfs.Wrap(newFS(t), func(op errorfs.Op, name string) error {
		if op == errorfs.SyncDir && strings.HasSuffix(name, "orders-3") && armed.CompareAndSwap(true, false) {
			go func() {
				_, err := tryAppend(l, records(1, 100, testNowMs), 0)
				acknowledged <- err
			}()
			select {
			case err := <-acknowledged:
				acknowledged <- err
				t.Error("acknowledged while the segment's directory entry is being synced")
			case <-time.After(100 * time.Millisecond):
			}
		}
		return nil
	})
	o := testOptions(fsys)
	o.Config.Group = true
	l = open(t, o)
	appendBatch(t, l, records(1, 100, testNowMs), 0)
	if err := l.Roll(); err != nil { // the entry of the new segment is not durable yet
		t.Fatal(err)
	}
	armed.Store(true)
	if n, err := l.EvictBelow(1); n != 1 || err != nil {
		t.Fatalf("evicted %d: %v", n, err)
	}
	if armed.Load() {
		t.Fatal("the eviction synced no directory")
	}
	if err := <-acknowledged; err != nil {
		t.Error(err)
	}
}

// TestTooManyOpenFilesIsNoDiskFailure: when the process is out of descriptors, appends fail
// retriably, wherever they meet it; nothing goes offline, and they go on afterwards.
func TestTooManyOpenFilesIsNoDiskFailure(t *testing.T) {
	var out atomic.Bool
	var offline atomic.Bool
	fsys := errorfs.Wrap(newFS(t), func(op errorfs.Op, _ string) error {
		if out.Load() && (op == errorfs.OpenFile || op == errorfs.ReadDir || op == errorfs.SyncDir) {
			return syscall.EMFILE
		}
		return nil
	})
	o := testOptions(fsys)
	o.Config.SegmentBytes = 1000
	o.Failed = func(error) { offline.Store(true) }
	l := open(t, o)
	for i := range 20 {
		o.Files.Close() // what is not held is closed, as in a full cache
		out.Store(true)
		for _, work := range []func() error{
			func() error { _, err := tryAppend(l, records(1, 300, testNowMs), 0); return err }, l.FlushClosed, l.Roll,
		} {
			if err := work(); err != nil && !errors.Is(err, kafka.KafkaStorageError) {
				t.Fatalf("append %d without descriptors: %v", i, err)
			}
		}
		out.Store(false)
		end := l.End()
		if a := appendBatch(t, l, records(1, 300, testNowMs), 0); a.BaseOffset != end {
			t.Fatalf("append %d at %d, the log ended at %d", i, a.BaseOffset, end)
		}
	}
	if offline.Load() {
		t.Error("the log dir was taken offline")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, o)
	if again.End() != l.End() || again.Err() != nil {
		t.Errorf("ends at %d, was %d: %v", again.End(), l.End(), again.Err())
	}
}

// TestFlushClosedSyncsWhatIsNotSynced: the checkpoint of every minute costs no sync of a log that
// closed no segment since the last one, however much lies in its active segment.
func TestFlushClosedSyncsWhatIsNotSynced(t *testing.T) {
	var syncs atomic.Int64
	o := testOptions(errorfs.Wrap(newFS(t), func(op errorfs.Op, _ string) error {
		if op == errorfs.FileSync || op == errorfs.FileDatasync || op == errorfs.SyncDir {
			syncs.Add(1)
		}
		return nil
	}))
	l := open(t, o)
	for round := range 4 {
		appendBatch(t, l, records(1, 100, testNowMs), 0)
		if round == 1 {
			if err := l.Roll(); err != nil {
				t.Fatal(err)
			}
		}
		syncs.Store(0)
		if err := l.FlushClosed(); err != nil {
			t.Fatal(err)
		}
		if n := syncs.Load(); (n > 0) != (round == 1) {
			t.Errorf("checkpoint %d: %d syncs", round, n)
		}
	}
}
