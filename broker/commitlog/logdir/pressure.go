package logdir

import (
	"errors"
	"syscall"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/vfs"
)

// DirPressure is how full the disk of a log dir is.
type DirPressure struct {
	Path  string
	Level commitlog.Pressure
	// WantBytes is how much has to be freed for calm.
	WantBytes int64
	Refusals  int64         // appends refused since the start
	Throttled time.Duration // for how long producers were held up since the start, added up
}

// Pressure looks at the disk of each online log dir.
func (m *Manager) Pressure() []DirPressure {
	var out []DirPressure
	for _, d := range m.dirs {
		if d.offline() != nil {
			continue
		}
		p := DirPressure{Path: d.path, Refusals: d.room.Refusals(), Throttled: d.room.Throttled()}
		p.Level, p.WantBytes = d.room.Look()
		out = append(out, p)
	}
	return out
}

// Reclaim removes what was evicted from some logs of a directory now, behind a checkpoint that
// says so, and without file.delete.delay.ms. Errors are those of Usage and of Checkpoint.
func (m *Manager) Reclaim(path string, logs []*commitlog.Log) error {
	d, err := m.find(path)
	if err != nil {
		return err
	}
	return m.round(d, logs, true)
}

// Room is the room on the disk of a log dir, nil for a directory that is none.
func (m *Manager) Room(path string) *commitlog.Room {
	for _, d := range m.dirs {
		if d.path == path {
			return d.room
		}
	}
	return nil
}

// watch is the room on a directory's disk; each change of its level is a line in the log.
func (m *Manager) watch(path string) *commitlog.Room {
	return commitlog.NewRoom(m.opts.FS, path, commitlog.RoomOptions{
		Marks: m.opts.Marks, Now: m.opts.Now,
		Changed: func(from, to commitlog.Pressure, u vfs.Usage) {
			tell := m.opts.Logger.Info
			if to > from {
				tell = m.opts.Logger.Warn
			}
			if to > from && m.opts.Pressed != nil {
				m.opts.Pressed()
			}
			tell("pressure on a log dir's disk: "+consequence[to], "dir", path, "level", to.String(), "before", from.String(), "free", u.Free, "total", u.Total)
		},
	})
}

// consequence says what each level means.
var consequence = [...]string{
	commitlog.Calm:     "there is enough room again",
	commitlog.Evict:    "tiered segments leave it sooner than their topics ask for",
	commitlog.Throttle: "producers are throttled; free space, or let retention and the object store catch up",
	commitlog.Refuse:   "producers are refused until there is room; free space, or let retention and the object store catch up",
}

// full says that a write failed for want of space: what is on the disk is as it was.
func full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }
