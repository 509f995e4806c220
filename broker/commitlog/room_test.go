package commitlog

import (
	"errors"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
)

// TestAFullDiskIsNoEnd: appends are refused while the disk is full, and go on afterwards.
func TestAFullDiskIsNoEnd(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	o.Room = NewRoom(fsys, "/data", RoomOptions{})
	l := open(t, o)
	fsys.SetLimit(1 << 20)
	end := int64(0)
	for {
		a, err := tryAppend(l, records(1, 3_000, testNowMs), 0)
		if err != nil {
			if !errors.Is(err, kafka.KafkaStorageError) || errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("a full disk: %v", err)
			}
			break
		}
		end = a.LastOffset + 1
	}
	if u, err := fsys.Usage("/data"); err != nil || u.Free < 1<<20/roomSmallShare/2 {
		t.Errorf("%d bytes of the reserve are left, %v", u.Free, err)
	}
	if l.Err() != nil || l.End() != end {
		t.Fatalf("ends at %d, want %d: %v", l.End(), end, l.Err())
	}
	fsys.SetLimit(2 << 20)
	if a := appendBatch(t, l, records(1, 3_000, testNowMs), 0); a.BaseOffset != end {
		t.Errorf("goes on at %d, want %d", a.BaseOffset, end)
	}
}

// disk is a file system that tells of itself what a test wants.
type disk struct {
	vfs.FS
	usage vfs.Usage
}

func (d *disk) Usage(string) (vfs.Usage, error) { return d.usage, nil }

// TestWatermarks: levels begin at their marks, and end a little later than they began.
func TestWatermarks(t *testing.T) {
	d := &disk{usage: vfs.Usage{Total: 16_000_000, Free: 16_000_000}}
	var changes []Pressure
	r := NewRoom(d, "/", RoomOptions{
		Marks:   Watermarks{EvictPercent: 80, ThrottlePercent: 90, RefusePercent: 95},
		Changed: func(_, to Pressure, _ vfs.Usage) { changes = append(changes, to) },
	})
	for _, c := range []struct {
		free int64
		want Pressure
		room int64
	}{
		{16_000_000, Calm, 0},
		{3_200_000, Calm, 0},
		{3_199_999, Evict, 200_001},
		{3_399_999, Evict, 1},
		{3_400_000, Calm, 0},
		{1_500_000, Throttle, 1_900_000},
		{700_000, Refuse, 2_700_000},
		{820_000, Refuse, 2_580_000},
		{860_000, Throttle, 2_540_000},
		{1_650_000, Throttle, 1_750_000},
		{5_000_000, Calm, 0},
	} {
		d.usage.Free = c.free
		if level, want := r.Look(); level != c.want || want != c.room || r.Pressure() != c.want {
			t.Errorf("%d free: %v, %d wanted; want %v, %d", c.free, level, want, c.want, c.room)
		}
	}
	if want := []Pressure{Evict, Calm, Throttle, Refuse, Throttle, Calm}; !slices.Equal(changes, want) {
		t.Errorf("changes %v, want %v", changes, want)
	}
	d.usage = vfs.Usage{Total: 1 << 50, Free: 33 << 30}
	if level, _ := r.Look(); level != Calm {
		t.Errorf("33 GiB of a petabyte: %v", level)
	}
	d.usage.Free = 31 << 30
	if level, _ := r.Look(); level != Evict {
		t.Errorf("31 GiB of a petabyte: %v", level)
	}
}

// TestOwnAppendsMayUseMore: what is refused to clients is there for internal topics.
func TestOwnAppendsMayUseMore(t *testing.T) {
	d := &disk{usage: vfs.Usage{Total: 16_000_000, Free: 3_000_000}}
	r := NewRoom(d, "/", RoomOptions{Marks: Watermarks{RefusePercent: 80}})
	if err := r.take(10, false); !errors.Is(err, kafka.KafkaStorageError) || r.Refusals() != 1 {
		t.Errorf("a client: %v, %d refusals", err, r.Refusals())
	}
	if err := r.take(10, true); err != nil {
		t.Errorf("an internal topic: %v", err)
	}
	if err := r.take(10, false); err == nil {
		t.Error("what an internal topic was granted let a client through")
	}
	d.usage.Free = 1_000_010
	if err := r.take(10, true); err != nil {
		t.Errorf("an internal topic at the reserve: %v", err)
	}
	if err := r.take(11, true); err == nil {
		t.Error("an internal topic got the reserve")
	}
	d.usage.Free = 3_400_000
	if err := r.take(10, false); err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestThrottle: all producers of a disk share a rate that falls with what is left.
func TestThrottle(t *testing.T) {
	now := time.UnixMilli(testNowMs)
	d := &disk{usage: vfs.Usage{Total: 10_000_000, Free: 2_000_000}}
	r := NewRoom(d, "/", RoomOptions{Marks: Watermarks{ThrottlePercent: 90, RefusePercent: 95}, Now: func() time.Time { return now }})
	r.Look()
	if got := r.Throttle(1 << 20); got != 0 {
		t.Errorf("with enough room: %v", got)
	}
	d.usage.Free = 800_000 // 300,000 above the last mark, to last for a minute: 5,000 a second
	r.Look()
	for i, want := range []time.Duration{time.Second, 2 * time.Second} {
		if got := r.Throttle(5_000); got != want {
			t.Errorf("request %d: %v, want %v", i, got, want)
		}
	}
	now = now.Add(2 * time.Second)
	if got := r.Throttle(5_000); got != time.Second {
		t.Errorf("when the others are paid: %v", got)
	}
	if got := r.Throttle(1 << 30); got != roomMaxThrottle {
		t.Errorf("a huge one: %v", got)
	}
	now = now.Add(time.Hour)
	d.usage.Free = 400_000
	r.Look()
	if got := r.Throttle(1); got != roomRetryThrottle {
		t.Errorf("who is refused: %v", got)
	}
	if got := r.Throttled(); got != 10*time.Second {
		t.Errorf("%v in all", got)
	}
}

// TestAFullDiskAtARollIsNoEnd: what an append needs beside its bytes finds no room.
func TestAFullDiskAtARollIsNoEnd(t *testing.T) {
	for _, c := range []struct {
		name   string
		op     errorfs.Op
		suffix string
		before int // batches in the log before
	}{
		{"the directory", errorfs.MkdirAll, "", 0},
		{"the first segment", errorfs.OpenFile, logSuffix, 0},
		{"the topic's id", errorfs.FileWriteAt, PartitionMetadataName + vfs.TempSuffix, 0},
		{"the next segment", errorfs.OpenFile, logSuffix, 40},
		{"an index", errorfs.FileWriteAt, indexSuffix, 40},
		{"a snapshot", errorfs.FileWriteAt, snapshotSuffix, 40},
	} {
		t.Run(c.name, func(t *testing.T) {
			fsys := newFS(t)
			full, hits := false, 0
			o := testOptions(fsys)
			o.FS = errorfs.Wrap(fsys, func(op errorfs.Op, name string) error {
				if full && op == c.op && strings.HasSuffix(name, c.suffix) {
					hits++
					return errorfs.Short(3, syscall.ENOSPC)
				}
				return nil
			})
			o.Files = NewFileCache(o.FS, 4)
			l := open(t, o)
			end := int64(0)
			for range c.before {
				end = appendBatch(t, l, idempotent(1, 0, int32(end), 1), 0).LastOffset + 1
			}
			full = true
			for range 60 { // until the segment is full
				a, err := tryAppend(l, records(1, 300, testNowMs), 0)
				if err != nil {
					if !errors.Is(err, kafka.KafkaStorageError) || !errors.Is(err, syscall.ENOSPC) {
						t.Fatalf("a full disk: %v", err)
					}
					continue
				}
				end = a.LastOffset + 1
			}
			if hits == 0 || l.Err() != nil || l.End() != end {
				t.Fatalf("%d calls failed; ends at %d, want %d: %v", hits, l.End(), end, l.Err())
			}
			full = false
			if a := appendBatch(t, l, records(1, 10, testNowMs), 0); a.BaseOffset != end {
				t.Errorf("goes on at %d, want %d", a.BaseOffset, end)
			}
			st := l.State()
			if l = reopen(t, o, fsys, &st, false, false); l.Err() != nil || l.End() != end+1 {
				t.Errorf("after a crash it ends at %d, want %d: %v", l.End(), end+1, l.Err())
			}
		})
	}
}

// TestATornWriteOnAFullDiskIsTakenBack: someone else has filled the disk between a look and a write.
func TestATornWriteOnAFullDiskIsTakenBack(t *testing.T) {
	fsys := newFS(t)
	full := false
	o := testOptions(fsys)
	o.FS = errorfs.Wrap(fsys, func(op errorfs.Op, _ string) error {
		if full && op == errorfs.FileWriteAt {
			return errorfs.Short(40, syscall.ENOSPC)
		}
		return nil
	})
	o.Files = NewFileCache(o.FS, 4)
	l := open(t, o)
	appendBatch(t, l, records(2, 10, testNowMs), 0)
	full = true
	if _, err := tryAppend(l, records(1, 10, testNowMs), 0); !errors.Is(err, kafka.KafkaStorageError) || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("a full disk: %v", err)
	}
	full = false
	if a := appendBatch(t, l, records(1, 10, testNowMs), 0); a.BaseOffset != 2 {
		t.Errorf("goes on at %d, want 2", a.BaseOffset)
	}
	st := l.State()
	if l = reopen(t, o, fsys, &st, false, false); l.Err() != nil || l.End() != 3 {
		t.Errorf("after a crash it ends at %d: %v", l.End(), l.Err())
	}
}

// TestOnlyUnsettledDamageForbidsCuts: a log that waits for a word from its remote part is
// cut at what a power cut left; one whose damage was reported is not.
func TestOnlyUnsettledDamageForbidsCuts(t *testing.T) {
	hole := func(b []byte, n int) []byte { clear(b[4*n : 5*n]); return b }
	o, fsys, st := damaged(t, hole)
	st.Suspect = true
	if l := reopen(t, o, fsys, &st, false, true); l.Err() != nil || l.End() != 4 || !l.Suspect() || l.State().Damaged {
		t.Errorf("a hole of a power cut: ends at %d, state %+v, %v", l.End(), l.State(), l.Err())
	}
	o, fsys, st = damaged(t, hole)
	for _, powerLost := range []bool{false, true} { // what was reported once is not cut later
		l := reopen(t, o, fsys, &st, false, powerLost)
		if hs := (Mender{l}).Holes(); l.Err() != nil || l.End() != 10 || len(hs) != 1 || hs[0].From != 4 || hs[0].To != 5 || hs[0].Accepted {
			t.Fatalf("a hole without a power cut (then with one: %v): ends at %d, holes %v, %v", powerLost, l.End(), hs, l.Err())
		}
	}
}
