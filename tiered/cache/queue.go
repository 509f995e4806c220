package cache

import (
	"container/list"

	"github.com/varve-io/varve/broker/vfs"
)

// entry is one chunk on disk. Guarded by Cache.mu.
type entry struct {
	name     string
	size     int64
	verified bool  // by this process
	high     int64 // how far the current run of reads has come
	reused   int   // how often a read came back below high, at most 3

	main bool          // in the main queue, else in the small one
	node *list.Element // in its queue

	file vfs.File      // open, or nil
	ref  *vfs.Ref      // the cache's hold of file
	at   *list.Element // in the list of open files
}

// touch notes a read. A consumer that walks through a chunk once, in many reads, is no
// sign that the chunk will be wanted again; a read that starts below where another
// has been is.
func (e *entry) touch(from, to int64) {
	if from < e.high && e.reused < 3 {
		e.reused++
	}
	if from < e.high {
		e.high = to
		return
	}
	e.high = max(e.high, to)
}

// queue is the order of eviction: S3-FIFO (Yang et al., SOSP 2023). New chunks enter a
// small queue and leave the cache at its end unless they were used again, in which case
// they enter the main queue; ghosts remember the names of what left the small queue, so
// that a chunk which comes back soon enters the main queue at once. A scan thus flows
// through the small queue only. Guarded by Cache.mu.
type queue struct {
	maxBytes   int64
	maxFiles   int
	entries    map[string]*entry
	small      *list.List // of *entry, newest in front
	main       *list.List
	bytes      int64
	smallBytes int64
	ghosts     map[string]*list.Element
	ghostOrder *list.List // of names, newest in front
}

func newQueue(maxBytes int64, maxFiles int) queue {
	return queue{maxBytes: maxBytes, maxFiles: maxFiles, entries: map[string]*entry{}, small: list.New(), main: list.New(),
		ghosts: map[string]*list.Element{}, ghostOrder: list.New()}
}

// add puts a new entry in.
func (q *queue) add(e *entry) {
	if old := q.entries[e.name]; old != nil {
		q.remove(old)
	}
	if g := q.ghosts[e.name]; g != nil {
		q.ghostOrder.Remove(g)
		delete(q.ghosts, e.name)
		e.main = true
	}
	q.entries[e.name] = e
	q.bytes += e.size
	q.push(e)
}

// push puts e at the front of its queue.
func (q *queue) push(e *entry) {
	if e.main {
		e.node = q.main.PushFront(e)
		return
	}
	q.smallBytes += e.size
	e.node = q.small.PushFront(e)
}

// pull takes e out of its queue.
func (q *queue) pull(e *entry) {
	if e.main {
		q.main.Remove(e.node)
		return
	}
	q.smallBytes -= e.size
	q.small.Remove(e.node)
}

// remove takes e out altogether.
func (q *queue) remove(e *entry) {
	q.pull(e)
	q.bytes -= e.size
	delete(q.entries, e.name)
}

// victim takes out the entry that has to go, nil while the caps hold.
func (q *queue) victim() *entry {
	for q.bytes > q.maxBytes || len(q.entries) > q.maxFiles {
		if q.small.Len() > 0 && (q.smallBytes > q.maxBytes/10 || q.main.Len() == 0) {
			e := q.small.Back().Value.(*entry)
			if e.reused > 0 {
				q.pull(e)
				e.main, e.reused = true, 0
				q.push(e)
				continue
			}
			q.remove(e)
			q.haunt(e.name)
			return e
		}
		e := q.main.Back().Value.(*entry)
		if e.reused > 0 {
			e.reused--
			q.main.MoveToFront(e.node)
			continue
		}
		q.remove(e)
		return e
	}
	return nil
}

// haunt remembers a name, at most as many as there are entries.
func (q *queue) haunt(name string) {
	q.ghosts[name] = q.ghostOrder.PushFront(name)
	for q.ghostOrder.Len() > max(len(q.entries), 16) {
		delete(q.ghosts, q.ghostOrder.Remove(q.ghostOrder.Back()).(string))
	}
}
