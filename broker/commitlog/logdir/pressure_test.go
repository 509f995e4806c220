package logdir

import (
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// TestACheckpointThatDoesNotFitFencesNothing: the data stays, the old checkpoint holds, and
// the next one is written when there is room.
func TestACheckpointThatDoesNotFitFencesNothing(t *testing.T) {
	for _, op := range []errorfs.Op{errorfs.OpenFile, errorfs.FileWriteAt, errorfs.FileSync, errorfs.Rename} {
		t.Run(op.String(), func(t *testing.T) {
			var full atomic.Bool
			fsys := memfs.New()
			o := options(errorfs.Wrap(fsys, func(at errorfs.Op, name string) error {
				if full.Load() && at == op && strings.Contains(name, CheckpointName) {
					return errorfs.Short(5, syscall.ENOSPC)
				}
				return nil
			}), "/data")
			m := mustOpen(t, o)
			l, err := m.Create(tp("t", 0), id(1), testConfig(), Placement{Fresh: true})
			if err != nil {
				t.Fatal(err)
			}
			appendTo(t, l, 3)
			full.Store(true)
			if err := m.Checkpoint(); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("a checkpoint on a full disk: %v", err)
			}
			if d := m.Dirs()[0]; d.Offline != nil || l.Err() != nil {
				t.Fatalf("offline: %v, the log: %v", d.Offline, l.Err())
			}
			appendTo(t, l, 2)
			full.Store(false)
			if err := m.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			if err := m.Close(); err != nil {
				t.Fatal(err)
			}
			m = mustOpen(t, options(fsys, "/data"))
			if l, ok := m.Log(tp("t", 0), id(1)); !ok || l.End() != 5 {
				t.Errorf("the log came back: %v", ok)
			}
		})
	}
}

// TestPressureOfEachDir: what is full is one disk, and it says so.
func TestPressureOfEachDir(t *testing.T) {
	fsys := memfs.New()
	o := options(fsys, "/a", "/b")
	o.Marks = commitlog.Watermarks{EvictPercent: 80, ThrottlePercent: 90, RefusePercent: 95}
	m := mustOpen(t, o)
	fsys.SetLimit(1 << 20)
	used, err := fsys.Usage("/a")
	if err != nil {
		t.Fatal(err)
	}
	fsys.SetLimit((used.Total - used.Free) * 10)
	for _, p := range m.Pressure() {
		if p.Level != commitlog.Calm || p.WantBytes != 0 {
			t.Errorf("%+v", p)
		}
	}
	fsys.SetLimit((used.Total - used.Free) * 100 / 92)
	for _, p := range m.Pressure() {
		if p.Level != commitlog.Throttle || p.WantBytes <= 0 || m.Room(p.Path).Pressure() != p.Level {
			t.Errorf("%+v", p)
		}
	}
	if m.Room("/c") != nil {
		t.Error("a room in a directory that is none")
	}
}
