package commitlog

import (
	"errors"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs/errorfs"
)

// TestAFullDiskIsNoEnd: appends are refused while the disk is full, and go on afterwards.
func TestAFullDiskIsNoEnd(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	o.Room = NewRoom(fsys, "/data")
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
