package logdir

import (
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// contents is what a log dir holds at start.
type contents struct {
	dir        *dir
	checkpoint *checkpoint // nil when there is none to be trusted
	marked     bool        // closed in order, with that checkpoint
	partitions map[kafka.TopicPartition]kafka.UUID
	futures    map[kafka.TopicPartition]string // unique part of the name
	moved      map[kafka.TopicPartition]*moved
	stale      map[kafka.TopicPartition]bool // moved into another directory
}

// settleOwners finds the logs of which two directories have a copy because a crash, or a disk
// that was away, came before the old one was removed. The moved file says who owns it.
func settleOwners(all []*contents) {
	for _, c := range all {
		for tp, v := range c.moved {
			for _, other := range all {
				if other != c && slices.Contains(v.former, other.dir.id) {
					other.stale[tp] = true
				}
			}
		}
	}
}

// opener turns what log dirs hold into logs, at start.
type opener struct{ *Manager }

// powerLost says that un-synced writes may be lost since the checkpoint.
func (m opener) powerLost(c *contents) bool {
	return c.checkpoint == nil || m.boot == "" || c.checkpoint.bootID != m.boot
}

// jobs answers the logs of a directory to open.
func (m opener) jobs(c *contents) []job {
	var jobs []job
	known := map[kafka.TopicPartition]bool{}
	if c.checkpoint != nil {
		jobs = make([]job, 0, len(c.checkpoint.entries))
		for i := range c.checkpoint.entries {
			e := &c.checkpoint.entries[i]
			if v := c.moved[e.TP]; v != nil && c.checkpoint.sequence <= v.sequence {
				continue // of an earlier life here
			}
			if known[e.TP] = true; !c.stale[e.TP] {
				jobs = append(jobs, m.knownLog(c, e))
			}
		}
	}
	for _, tp := range slices.SortedFunc(maps.Keys(c.partitions), func(a, b kafka.TopicPartition) int { return strings.Compare(a.String(), b.String()) }) {
		if known[tp] || c.stale[tp] {
			continue
		}
		if v := c.moved[tp]; v != nil {
			jobs = append(jobs, m.knownLog(c, &v.entry))
			continue
		}
		id := c.partitions[tp]
		if id.IsZero() {
			m.opts.Logger.Warn("partition directory has no readable partition.metadata and no checkpoint entry; left alone",
				"dir", filepath.Join(c.dir.path, tp.String()))
			continue
		}
		o := m.logOptions(c.dir, tp, id, m.opts.Config(tp, id))
		o.Younger, o.PowerLost = c.checkpoint != nil, m.powerLost(c)
		jobs = append(jobs, job{dir: c.dir, opts: o})
	}
	return jobs
}

// knownLog prepares a log that the checkpoint names. Its directory may hold another topic
// of the same name by now, whose deletion and creation came after the checkpoint.
func (m opener) knownLog(c *contents, e *checkpointEntry) job {
	id, there := c.partitions[e.TP]
	if there && !id.IsZero() && id != e.TopicID {
		o := m.logOptions(c.dir, e.TP, id, m.opts.Config(e.TP, id))
		o.Younger, o.PowerLost = true, m.powerLost(c)
		return job{dir: c.dir, opts: o}
	}
	o := m.logOptions(c.dir, e.TP, e.TopicID, m.opts.Config(e.TP, e.TopicID))
	st := e.State
	o.State, o.PowerLost = &st, m.powerLost(c)
	if o.Clean = c.marked && e.closed && (there || e.End == 0); o.Clean {
		st.Sealed = false // it is more than that
	} else {
		o.Clean = !o.PowerLost && (there || e.End == 0) && (!there && e.Sealed && !e.Damaged ||
			commitlog.Untouched(m.opts.FS, filepath.Join(c.dir.path, e.TP.String()), &st))
	}
	return job{dir: c.dir, opts: o, moved: c.moved[e.TP]}
}
