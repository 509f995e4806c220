package commitlog

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/fault"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// asideInfix is in the names of segment files that were found damaged and set aside:
// `<base>.log.quarantine-<first missing offset>`. Kafka ignores such names.
const asideInfix = ".quarantine-"

// extent is a run of bytes of a file.
type extent struct{ pos, size int64 }

// walked is what following the batches of a segment came to.
type walked struct {
	good []extent // the whole batches
	why  error    // the last break of the chain, nil when every byte belongs to it
	cut  bool     // the log ends at the break
}

// contiguous says that the good part is one run from the file's first byte.
func (w walked) contiguous() bool {
	return len(w.good) == 0 || len(w.good) == 1 && w.good[0].pos == 0
}

func (ld *loader) firstBase() int64 {
	if len(ld.segs) == 0 {
		return 0
	}
	return ld.segs[0].base
}

// interrupted says that a crash may have come between the note of a hole in the segment of
// offsets [base, next) and the replacement of its file.
func (ld *loader) interrupted(base, next int64) bool {
	return slices.ContainsFunc(ld.holes, func(h Hole) bool { return !h.Accepted && h.From >= base && h.From < next })
}

// readHoles takes the list of holes. One that can't be read is found anew, as gaps.
func (ld *loader) readHoles() error {
	if !ld.found {
		return nil
	}
	hs, err := ReadHoles(ld.l.opts.FS, ld.l.dir)
	if errors.Is(err, kafka.ErrCorrupt) {
		ld.l.opts.Logger.Error("the list of holes is unreadable; what was accepted is reported anew", "dir", ld.l.dir, "error", err)
		ld.holesDirty = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", filepath.Join(ld.l.dir, DamageName), err)
	}
	ld.holes = hs
	return nil
}

func (ld *loader) saveHoles() error {
	if !ld.holesDirty {
		return nil
	}
	if err := writeHoles(ld.l.opts.FS, ld.l.dir, ld.holes); err != nil {
		return err
	}
	ld.holesDirty = false
	return nil
}

// addHole notes that offsets from s.next up to to are missing.
func (ld *loader) addHole(s *segment, to, pos int64, why error) {
	if ld.holes.end(s.next) >= to {
		return // known
	}
	h := Hole{From: s.next, To: to, FoundMs: ld.l.opts.nowMs(), File: segmentName(s.base, logSuffix), Byte: pos}
	ld.holes, ld.holesDirty = ld.holes.with(h), true
	ld.l.opts.Stats.damaged()
	ld.l.opts.Logger.Error("damaged records; readers of the range get an error, or what the object store holds",
		"partition", ld.l.opts.TP.String(), "file", s.path(logSuffix), "byte", pos, "from", h.From, "to", h.To, "error", why)
}

// walk follows the batches of segment i, accounts for each in it, and goes on behind what
// is damaged.
func (ld *loader) walk(f vfs.File, i int) (w walked, err error) {
	s, size, limit := ld.segs[i], ld.sizes[i], int64(math.MaxInt64)
	last := i == len(ld.segs)-1
	if !last {
		limit = ld.segs[i+1].base
	}
	sure := (checker{ld}).survived(s, limit)
	for pos := int64(0); ; {
		end, why, err := ld.chain(f, s, extent{pos, size - pos}, limit, sure)
		if err != nil {
			return w, err
		}
		if end > pos {
			w.good = append(w.good, extent{pos, end - pos})
		}
		if why == nil && !last && s.next < limit && !ld.mayLack(s.next) && ld.holes.end(s.next) < limit {
			w.cut, err = ld.mayCut(f, i, end, fmt.Errorf("the file ends at offset %d, the next segment starts at %d", s.next, limit))
			if err != nil || w.cut {
				return w, err
			}
		}
		if why == nil {
			break
		}
		w.why = corruptAt(s.path(logSuffix), end, s.next, why)
		if w.cut, err = ld.mayCut(f, i, end, why); err != nil || w.cut {
			return w, err
		}
		at, base, err := resume(f, end, size, s.next, limit)
		if err != nil {
			return w, err
		}
		if at < 0 {
			break
		}
		ld.addHole(s, base, end, why)
		s.next, pos = base, at
	}
	why := w.why
	if why == nil {
		why = fmt.Errorf("the file ends at offset %d", s.next)
	}
	switch {
	case last && ld.online && s.next < ld.state.End:
		ld.addHole(s, ld.state.End, size, why)
		fallthrough
	case last:
		s.next = ld.holes.end(s.next)
	case s.next < limit:
		if !ld.mayLack(s.next) || w.why != nil {
			ld.addHole(s, limit, size, fmt.Errorf("%w; the next segment starts at %d", why, limit))
		}
		s.next = limit
	}
	return w, nil
}

// chain follows the batches of a segment in part, the rest of its file, and accounts for each;
// the CRC of those in the file's first sure bytes is not checked. It answers where and why the
// chain ends before the file does; why is nil when it does not.
func (ld *loader) chain(f vfs.File, s *segment, part extent, limit, sure int64) (end int64, why, err error) {
	sc := newScanner(f, part.pos, part.pos+part.size, chunk(part.size))
	defer func() { ld.scanned += sc.pos - part.pos; ld.l.opts.Stats.scanned(sc.pos - part.pos) }()
	for {
		h, err := sc.header()
		if errors.Is(err, io.EOF) {
			return sc.pos, nil, nil
		}
		var b []byte
		check := err == nil && sc.pos+h.Size() > sure
		if check {
			b, err = sc.body(h)
		}
		switch {
		case errors.Is(err, errDamaged):
			return sc.pos, err, nil
		case err != nil:
			return sc.pos, nil, err
		}
		if check && !fault.Planted(fault.BugCRCNotChecked) {
			if err := batch.CheckCRC(b); err != nil {
				return sc.pos, err, nil
			}
		}
		gap := h.BaseOffset > s.next && (ld.mayLack(s.next) || ld.holes.end(s.next) >= h.BaseOffset)
		if h.BaseOffset != s.next && !gap || h.LastOffset() >= limit {
			return sc.pos, fmt.Errorf("batch of offsets %d to %d where %d follows", h.BaseOffset, h.LastOffset(), s.next), nil
		}
		if why := (checker{ld}).epochFollows(s, sc.pos, &h); why != nil {
			return sc.pos, why, nil
		}
		s.grow(&ld.c, h.Size(), h.MaxTimestampMs, h.LastOffset())
		sc.skip(h)
	}
}

// resume finds the batch with which a chain goes on behind the damage at byte pos: where
// it is and its base offset, -1 when there is none. Where the lengths still lead from batch
// to batch, two that fit each other are enough. Otherwise every place is looked at; but
// record values may hold bytes that look like batches, so one counts only when its chain
// leads to the end of the file.
func resume(f io.ReaderAt, pos, size, next, limit int64) (at, base int64, err error) {
	fits := func(at int64) (batch.Header, bool, error) {
		ok, err := validAt(f, at, size)
		if err != nil || !ok {
			return batch.Header{}, false, err
		}
		h, err := headerAt(f, at, size)
		return h, err == nil && h.BaseOffset > next && h.LastOffset() < limit, err
	}
	try := []int64{pos}
	if h, err := headerAt(f, pos, size); err == nil {
		try = append(try, pos+h.Size())
	}
	for _, at := range try {
		h, ok, err := fits(at)
		if err != nil {
			return -1, 0, err
		}
		if !ok {
			continue
		}
		behind, err := headerAt(f, at+h.Size(), size)
		if errors.Is(err, io.EOF) || err == nil && behind.BaseOffset > h.LastOffset() && behind.BaseOffset < limit {
			return at, h.BaseOffset, nil
		}
	}
	for at = pos; ; {
		if at, err = nextBatch(f, at, size, next+1); err != nil || at < 0 {
			return -1, 0, err
		}
		h, ok, err := fits(at)
		if err == nil && ok {
			ok, err = leadsToEnd(f, at, size, next)
		}
		if err != nil || ok {
			return at, h.BaseOffset, err
		}
	}
}

// headerAt reads one header; its errors are those of a scanner.
func headerAt(f io.ReaderAt, pos, limit int64) (batch.Header, error) {
	return newScanner(f, pos, limit, make([]byte, lookupChunk)).header()
}

// leadsToEnd says whether the chain of batches at byte pos reaches the end of the file, or
// a torn last batch: nothing of an offset from low on is behind it.
func leadsToEnd(f io.ReaderAt, pos, size, low int64) (bool, error) {
	sc := newScanner(f, pos, size, make([]byte, recoverChunk))
	next := low
	for {
		h, err := sc.header()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		var b []byte
		if err == nil {
			b, err = sc.body(h)
		}
		if errors.Is(err, errDamaged) || err == nil && (batch.CheckCRC(b) != nil || h.BaseOffset < next) {
			more, err := followed(f, sc.pos, size, low)
			return !more, err
		}
		if err != nil {
			return false, err
		}
		next = h.LastOffset() + 1
		sc.skip(h)
	}
}

// setAside replaces a damaged segment file by its good parts. The file as it was stays
// under a name of its own. The holes are durable first: after a crash at any point the
// segment is scanned again.
func (ld *loader) setAside(f vfs.File, s *segment, w walked) error {
	if err := ld.saveHoles(); err != nil {
		return err
	}
	fs, path := ld.l.opts.FS, s.path(logSuffix)
	aside, err := ld.keepAside(f, path, s)
	if err != nil {
		return err
	}
	tmp := path + vfs.TempSuffix
	out, err := fs.OpenFile(tmp, os.O_RDWR|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return fmt.Errorf("create %s: %w", tmp, err)
	}
	err = copyExtents(out, f, w.good)
	if err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return fmt.Errorf("write %s: %w", tmp, errors.Join(err, fs.Remove(tmp)))
	}
	for _, suffix := range []string{indexSuffix, timeIndexSuffix} { // new files: readers keep the old ones
		if err := fs.Remove(s.path(suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove %s: %w", s.path(suffix), err)
		}
	}
	if err := errors.Join(fs.Rename(tmp, path), fs.SyncDir(s.dir)); err != nil {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	ld.l.opts.Logger.Error("a damaged segment file was set aside, its good parts stay in service", "file", aside, "bytes", s.size, "reason", w.why)
	return nil
}

// keepAside gives the damaged file a second, durable name. One from an earlier attempt will do.
func (ld *loader) keepAside(f vfs.File, path string, s *segment) (string, error) {
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("stat %s: %w", path, err)
	}
	from := s.base
	for _, h := range ld.holes {
		if h.File == filepath.Base(path) {
			from = h.From
		}
	}
	for try := 0; ; try++ {
		aside := fmt.Sprintf("%s%s%020d", path, asideInfix, from)
		if try > 0 {
			aside += fmt.Sprintf("-%d", try)
		}
		err := ld.l.opts.FS.Link(path, aside)
		if errors.Is(err, os.ErrExist) {
			if old, err := ld.l.opts.FS.Stat(aside); err == nil && old.Size() == info.Size() {
				return aside, nil
			}
			continue
		}
		if err == nil {
			err = ld.l.opts.FS.SyncDir(s.dir)
		}
		if err != nil {
			return "", fmt.Errorf("set %s aside: %w", path, err)
		}
		return aside, nil
	}
}

func copyExtents(dst io.WriterAt, src io.ReaderAt, parts []extent) error {
	b := make([]byte, recoverChunk)
	at := int64(0)
	for _, p := range parts {
		for p.size > 0 {
			n := min(int64(len(b)), p.size)
			if _, err := src.ReadAt(b[:n], p.pos); err != nil {
				return err
			}
			if _, err := dst.WriteAt(b[:n], at); err != nil {
				return err
			}
			p.pos, p.size, at = p.pos+n, p.size-n, at+n
		}
	}
	return nil
}

// Check reads the whole segment that holds offset and compares every CRC. A damaged
// segment is set aside, and its good parts stay in service; what is lost of it becomes a
// hole. Indexes are written anew in any case. The error is about the check, not about
// damage: see Holes.
func (l Mender) Check(offset int64) error {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.ready(); err != nil {
		return err
	}
	return (cutter{l.Log}).check(offset)
}

// check is Check with appendMu held too.
func (l cutter) check(offset int64) error {
	l.mu.RLock()
	segs, hs := slices.Clone(l.mu.segs), slices.Clone(l.mu.holes)
	l.mu.RUnlock()
	i := slices.IndexFunc(segs, func(s *segment) bool { return offset < s.next })
	if i < 0 {
		return nil
	}
	ld := &loader{l: l.Log, c: l.config(), state: l.State(), known: true, evicted: -1, snapshot: -1, online: true, holes: hs}
	ld.state.End = segs[i].next
	for _, s := range segs {
		ld.segs, ld.sizes = append(ld.segs, s), append(ld.sizes, s.size)
	}
	old := segs[i]
	s := newSegment(l.dir, old.base, old.createdMs, old.jitterMs)
	ld.segs[i] = s
	err := ld.scan(i, vfs.WriteFileAtomic)
	if err == nil {
		err = ld.saveHoles()
	}
	if outOfDescriptors(err) {
		return l.busy(err)
	}
	if err != nil {
		return l.fail(err)
	}
	l.mu.Lock()
	s.hasTxns, s.synced = old.hasTxns, old.synced
	l.forget(old)
	l.mu.segs = slices.Clone(segs)
	l.mu.segs[i] = s
	l.mu.swaps++
	l.mu.holes = ld.holes
	l.mu.dirDirty, l.mu.sealed = true, false
	l.w.dirty = true
	l.mu.Unlock()
	return nil
}
