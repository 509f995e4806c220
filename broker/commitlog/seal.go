package commitlog

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/varve-io/varve/broker/vfs"
)

// A log that had no append for a while is sealed: its indexes and its producer state are in
// files, as a clean stop leaves them, though nothing is synced for it. When the process dies
// and the machine does not, a sealed log that nobody has touched since its checkpoint opens
// like one that was closed in order.

// seal makes a log sealed that is the same as at the last call. appendMu is not held.
func (l syncer) seal() error {
	l.mu.RLock()
	loaded, sealed, end := l.mu.loaded && l.mu.err == nil && l.mu.damage == nil, l.mu.sealed, l.mu.end
	l.mu.RUnlock()
	if !loaded || sealed {
		return nil
	}
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	w := &l.w
	if w.quietEnd != end {
		w.quietEnd = end
		return nil
	}
	old := w.snapshotEnd
	if err := w.writeState(); err != nil {
		if outOfDescriptors(err) || diskFull(err) {
			return nil // later, or never: a start scans the log then
		}
		return l.fail(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.mu.segs)
	if l.mu.end != end || n > 1 && !l.mu.segs[n-2].synced { // it rolled behind the sync
		return nil
	}
	l.mu.sealed = true
	if base := l.mu.segs; w.sealSnapshot != end && len(base) > 0 {
		// The one of the last seal lies between segments now: nothing needs it.
		if old == w.sealSnapshot && old > base[len(base)-1].base {
			l.mu.trash = append(l.mu.trash, trash{path: segmentPath(l.dir, old, snapshotSuffix)})
		}
		w.sealSnapshot = end
	}
	return nil
}

// Untouched says whether the files of a sealed log in the directory dir are those that st
// speaks of. It looks at names and sizes only: bytes in front of a log's end never change.
func Untouched(fsys vfs.FS, dir string, st *State) bool {
	if !st.Sealed || st.Damaged {
		return false
	}
	size := func(base int64) int64 {
		info, err := fsys.Stat(filepath.Join(dir, segmentName(base, logSuffix)))
		switch {
		case errors.Is(err, os.ErrNotExist):
			return -1
		case err != nil:
			return -2
		}
		return info.Size()
	}
	if st.End == 0 && st.ActiveBytes == 0 {
		// Without a first segment there is no other only if there is no directory: it may have
		// been evicted since.
		_, err := fsys.Stat(dir)
		return size(0) == 0 || errors.Is(err, os.ErrNotExist)
	}
	return size(st.ActiveBase) == st.ActiveBytes && (st.End == st.ActiveBase || size(st.End) == -1)
}
