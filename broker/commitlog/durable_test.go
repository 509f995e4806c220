package commitlog

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varve-io/varve/broker/vfs/errorfs"
)

// TestWhoWaitsIsToldOnce: a sync of the log's own files may overtake the write-ahead file's.
// Who waits for the batch is told by whichever came first, and once.
func TestWhoWaitsIsToldOnce(t *testing.T) {
	hold := make(chan struct{})
	var held atomic.Bool
	l, w := groupLog(t, errorfs.Wrap(newFS(t), func(op errorfs.Op, name string) error {
		if op == errorfs.FileDatasync && strings.HasSuffix(name, "varve-wal") && held.Load() {
			<-hold
		}
		return nil
	}))
	told := make(chan int64, 10)
	OnDurable(l, func() { told <- l.Durable() })
	appendBatch(t, l, records(1, 100, testNowMs), 0) // durable by its own sync, with which the log joins
	if got := <-told; got != 1 {
		t.Fatalf("told of %d", got)
	}
	held.Store(true)
	appendBatch(t, l, records(1, 100, testNowMs), 0)
	if d := l.Durable(); d != 1 {
		t.Fatalf("durable up to %d before any sync", d)
	}
	if err := (redoOwner{l}).SyncForWAL(); err != nil {
		t.Fatal(err)
	}
	if got := <-told; got != 2 {
		t.Fatalf("told of %d", got)
	}
	redoOwner{l}.Committed(l.w.member, 2) // as the write-ahead file does in a moment
	close(hold)
	if err := errors.Join(l.Close(), w.Close(true)); err != nil {
		t.Fatal(err)
	}
	select {
	case got := <-told:
		t.Errorf("told of %d again", got)
	default:
	}
}
