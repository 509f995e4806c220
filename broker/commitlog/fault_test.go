package commitlog

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/errorfs"
)

// TestStorageErrorsStopTheLog: after a failed write or sync a log takes nothing more, tells
// its directory once, and a restart finds what was acknowledged.
func TestStorageErrorsStopTheLog(t *testing.T) {
	isLog := func(name string) bool { return strings.HasSuffix(name, ".log") }
	for name, c := range map[string]struct {
		inject errorfs.Inject
		do     func(*Log) error
	}{
		"write": {errorfs.Nth(3, errorfs.FileWriteAt, isLog, syscall.EIO), func(l *Log) error {
			_, err := tryAppend(l, records(1, 10, testNowMs), 0)
			return err
		}},
		"short write": {errorfs.Nth(3, errorfs.FileWriteAt, isLog, errorfs.Short(30, syscall.EIO)), func(l *Log) error {
			_, err := tryAppend(l, records(1, 10, testNowMs), 0)
			return err
		}},
		"sync": {errorfs.Nth(1, errorfs.FileDatasync, isLog, syscall.EIO), (*Log).Flush},
		"roll": {errorfs.Nth(2, errorfs.OpenFile, isLog, syscall.EIO), (*Log).Roll},
	} {
		mem := newFS(t)
		o := testOptions(errorfs.Wrap(mem, c.inject))
		told := 0
		o.Failed = func(error) { told++ }
		l := open(t, o)
		for range 2 {
			appendBatch(t, l, records(1, 10, testNowMs), 0)
		}
		if err := c.do(l); !errors.Is(err, kafka.KafkaStorageError) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := tryAppend(l, records(1, 10, testNowMs), 0); !errors.Is(err, kafka.KafkaStorageError) || told != 1 {
			t.Errorf("%s: the next append: %v; told %d times", name, err, told)
		}
		r := reopen(t, testOptions(mem), mem, &State{TP: testTP, TopicID: testID, HighestRemote: -1}, false, false)
		if r.Err() != nil || r.End() != 2 {
			t.Errorf("%s: after a restart the log ends at %d, %v", name, r.End(), r.Err())
		}
	}
}

// TestGroupDurability: with group durability nothing is acknowledged that a power cut loses.
func TestGroupDurability(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	o.Config.Group, o.Config.SegmentBytes = true, 600
	l := open(t, o)
	for i := range int64(20) {
		appendBatch(t, l, records(1, 100, testNowMs), int32(i/7))
		if l.Durable() != i+1 {
			t.Fatalf("durable end %d after %d records", l.Durable(), i+1)
		}
		c := fsys.CrashClone(uint64(i))
		r := reopen(t, o, c, &State{TP: testTP, TopicID: testID, HighestRemote: -1}, false, true)
		if r.Err() != nil || r.End() != i+1 || !slices.Equal(r.Epochs(), l.Epochs()) {
			t.Fatalf("after a power cut the log ends at %d with %v, want %d with %v: %v", r.End(), r.Epochs(), i+1, l.Epochs(), r.Err())
		}
	}
	c := o.Config
	c.Group, c.FlushMessages = false, math.MaxInt64
	if err := l.SetConfig(c); err != nil {
		t.Fatal(err)
	}
	appendBatch(t, l, records(1, 1, testNowMs), 5)
	if l.Durable() != l.End() {
		t.Errorf("page cache mode: durable %d, end %d", l.Durable(), l.End())
	}
}

// TestConcurrentUse is for the race detector: one of each kind at once.
func TestConcurrentUse(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	o.Files = NewFileCache(fsys, 3)
	l := open(t, o)
	done := make(chan struct{})
	var wg sync.WaitGroup
	loop := func(f func() error) {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := f(); err != nil && !errors.Is(err, kafka.OffsetOutOfRange) {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 2 {
		loop(func() error {
			start := l.LocalStart()
			r, err := l.Read(start+(l.End()-start)/2, 2000, l.End(), true)
			if err != nil {
				return err
			}
			defer r.Range.Release()
			_, err = r.Range.ReadAll()
			return err
		})
	}
	loop(func() error { _, _, _, _, err := l.OffsetForTime(testNowMs + l.LocalStart()); return err })
	loop(l.Flush)
	loop(func() error {
		_, err := l.EvictBelow(l.End() - 30)
		err = errors.Join(err, l.FlushClosed())
		l.Reap(false)
		return err
	})
	loop(func() error { _ = l.State(); _ = l.Segments(); _ = l.Epochs(); _ = l.LastStable(l.End()); return nil })
	for i := range 1500 {
		appendBatch(t, l, idempotent(1, 0, int32(2*i), 2), int32(i/500))
	}
	close(done)
	wg.Wait()
	if l.End() != 3000 {
		t.Errorf("ends at %d", l.End())
	}
	o.Files.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := l.Read(0, 1, 1, true); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a closed log: %v", err)
	}
}

func TestDeleteRenamesFirst(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	appendBatch(t, l, records(1, 10, testNowMs), 0)
	r, err := l.Read(0, 100, 1, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Delete(); err != nil {
		t.Fatal(err)
	}
	if _, err := fsys.Stat("/data/orders-3"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory is there: %v", err)
	}
	if b, err := r.Range.ReadAll(); err != nil || len(b) == 0 {
		t.Errorf("a reader lost its bytes: %v", err)
	}
	r.Range.Release()
	long := kafka.TopicPartition{Topic: strings.Repeat("t", 249), Partition: 12345}
	if name := DeletedDirName(long, testID); len(name) > 255 {
		t.Errorf("name of %d bytes", len(name))
	}
	for name, want := range map[string]bool{"a-0": true, "a-b-17": true, "a-01": false, "a": false, "-1": false, "a-": false, "a-4294967296": false, DeletedDirName(testTP, testID): false} {
		if tp, ok := ParseDirName(name); ok != want || ok && tp.String() != name {
			t.Errorf("%q is %v, %v", name, tp, ok)
		}
	}
}

func TestFilesOfOthersStay(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	l := open(t, o)
	appendBatch(t, l, records(1, 10, testNowMs), 0)
	f, err := fsys.OpenFile("/data/orders-3/notes.txt", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	st := l.State()
	if l = reopen(t, o, fsys, &st, false, false); l.Err() != nil || !slices.Contains(names(t, fsys), "notes.txt") {
		t.Errorf("%v: %v", l.Err(), names(t, fsys))
	}
	o.TopicID = kafka.UUID{9}
	if l = reopen(t, o, fsys, nil, false, false); !errors.Is(l.Err(), kafka.InconsistentTopicID) {
		t.Errorf("another topic's directory: %v", l.Err())
	}
}
