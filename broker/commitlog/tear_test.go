package commitlog

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// setEpoch writes another leader epoch into the batch at an offset, in its segment's file.
func setEpoch(t *testing.T, fsys vfs.FS, l *Log, offset int64, epoch int32) {
	t.Helper()
	segs := l.mu.segs
	i := len(segs) - 1
	for segs[i].base > offset {
		i--
	}
	f, err := fsys.OpenFile(segs[i].path(logSuffix), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	sc := newScanner(f, 0, segs[i].size, make([]byte, lookupChunk))
	for {
		h, err := sc.header()
		if err != nil {
			t.Fatal(err)
		}
		if h.BaseOffset == offset {
			break
		}
		sc.skip(h)
	}
	b := make([]byte, batch.HeaderSize)
	_, err = f.ReadAt(b, sc.pos)
	batch.SetLeaderEpoch(b, epoch)
	if err == nil {
		_, err = f.WriteAt(b, sc.pos)
	}
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestTornLeaderEpoch: no CRC covers the epoch. Where a power cut can have torn it, one that
// goes back ends the log; elsewhere it takes no record away, and the history does not believe it.
func TestTornLeaderEpoch(t *testing.T) {
	const last = 5
	history := []EpochEntry{{1, 0}, {2, 3}}
	for name, c := range map[string]struct {
		synced    int // batches in front of the recovery point
		powerLost bool
		damaged   bool  // by the checkpoint
		offset    int64 // of the batch
		epoch     int32 // that it has then
		end       int64
	}{
		"the last batch":                    {3, true, false, last, 0, last},
		"one before the last":               {3, true, false, last - 1, 1, last - 1},
		"behind the recovery point":         {5, true, false, last, 0, last},
		"in front of it":                    {6, true, false, last, 0, last + 1},
		"in a log that was damaged":         {3, true, true, last, 0, last + 1},
		"after a kill":                      {3, false, false, last, 0, last + 1},
		"upward, in front of it":            {6, true, false, last - 1, 1 << 24, last + 1},
		"upward, and scanned after a kill":  {6, false, false, last - 1, 1 << 24, last + 1},
		"upward, the last in front of it":   {6, true, false, last, 1 << 24, last + 1},
		"upward, the first of all":          {6, true, false, 0, 1 << 24, last + 1},
		"upward, the first of an epoch":     {6, false, false, 3, 1 << 24, last + 1},
		"upward, the last of an epoch":      {6, false, false, 2, 1 << 24, last + 1},
		"downward, where an epoch begins":   {6, true, false, 3, 0, last + 1},
		"upward, in front of the two below": {4, true, false, 1, 1 << 24, last + 1},
	} {
		t.Run(name, func(t *testing.T) {
			mem := newFS(t)
			o := testOptions(mem)
			l := open(t, o)
			var st State
			for i := range last + 1 {
				if i == c.synced {
					if err := l.Flush(); err != nil {
						t.Fatal(err)
					}
					st = l.State()
				}
				appendBatch(t, l, records(1, 100, testNowMs), int32(1+i/3))
			}
			if c.synced > last {
				if err := l.Flush(); err != nil {
					t.Fatal(err)
				}
				st = l.State()
			}
			st.Damaged, st.ActiveBytes = c.damaged, -1 // everything is scanned
			disk := mem.KillClone()
			setEpoch(t, disk, l, c.offset, c.epoch)
			r := reopen(t, o, disk, &st, false, c.powerLost)
			if err := errors.Join(r.Err(), r.Damage()); err != nil {
				t.Fatal(err)
			}
			if r.End() != c.end || len(Mender{r}.Holes()) > 0 {
				t.Fatalf("ends at %d, want %d; holes %v", r.End(), c.end, Mender{r}.Holes())
			}
			if got := r.Epochs(); !reflect.DeepEqual(got, history) {
				t.Errorf("history %v, want %v", got, history)
			}
			appendBatch(t, r, records(1, 100, testNowMs), 2)
			readAll(t, r, 0)
		})
	}
}

// TestTornLeaderEpochIsReplayed: in group mode the write-ahead file has the batch as it was.
func TestTornLeaderEpochIsReplayed(t *testing.T) {
	mem := newFS(t)
	l, _ := groupLog(t, mem)
	told := make(chan struct{}, 10)
	OnDurable(l, func() { told <- struct{}{} })
	appendBatch(t, l, records(1, 100, testNowMs), 1)
	st := l.State()
	for l.End() < 6 {
		appendBatch(t, l, records(1, 100, testNowMs), 2)
	}
	for l.Durable() < 6 {
		<-told
	}
	want := readAll(t, l, 0)
	disk := mem.KillClone()
	setEpoch(t, disk, l, 4, 0)
	r := reopenGroup(t, disk, l.opts, st)
	if got := readAll(t, r, 0); !bytes.Equal(got, want) {
		t.Errorf("%d bytes up to %d that are not the %d that were acknowledged", len(got), r.End(), len(want))
	}
	if got, want := r.Epochs(), []EpochEntry{{1, 0}, {2, 1}}; !reflect.DeepEqual(got, want) {
		t.Errorf("history %v, want %v", got, want)
	}
}

// reopenGroup opens a log with what the write-ahead file holds of it after a power cut.
func reopenGroup(t *testing.T, disk *memfs.FS, o Options, st State) *Log {
	t.Helper()
	w, err := wal.Recover(disk, "/data", kafka.UUID{9})
	if err != nil {
		t.Fatal(err)
	}
	o.Redo, o.WAL = w.For(wal.Key{TopicID: testID, Partition: testTP.Partition}), nil
	l := reopen(t, o, disk, &st, false, true)
	if err := errors.Join(l.Err(), l.Damage(), w.Close()); err != nil {
		t.Fatal(err)
	}
	return l
}

// TestAnEpochBeginsAwayFromASectorsEnd: there a power cut could take its last bytes, and leave
// the epoch of the batch in front. That holds of what the write-ahead file puts back, too.
func TestAnEpochBeginsAwayFromASectorsEnd(t *testing.T) {
	rolled := 0
	for size := range 530 {
		mem := newFS(t)
		l, _ := groupLog(t, mem)
		appendBatch(t, l, records(1, 0, testNowMs), 0) // joins
		st := l.State()
		appendBatch(t, l, records(1, size, testNowMs), 0)
		split := splitsEpoch(l.Size())
		appendBatch(t, l, records(1, 10, testNowMs), 1)
		segs := l.Segments()
		if got := len(segs) == 2; got != split {
			t.Fatalf("size %d: %d segments, split %v", size, len(segs), split)
		}
		if !split {
			continue
		}
		if rolled++; segs[1].Base != 2 {
			t.Fatalf("the second segment begins at %d", segs[1].Base)
		}
		if err := l.Close(); err != nil { // it waits for nobody: the write-ahead file has the batch soon
			t.Fatal(err)
		}
		if err := l.w.wal.Close(false); err != nil {
			t.Fatal(err)
		}
		disk := mem.KillClone()
		for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix} {
			if err := disk.Remove(filepath.Join(l.dir, segmentName(2, suffix))); err != nil {
				t.Fatal(err)
			}
		}
		r := reopenGroup(t, disk, l.opts, st)
		if got := r.Segments(); r.End() != 3 || len(got) != 2 || got[1].Base != 2 {
			t.Errorf("ends at %d after the replay: %+v", r.End(), got)
		}
	}
	if rolled == 0 {
		t.Error("no batch came to lie at a sector's end")
	}
}
