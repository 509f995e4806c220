package commitlog

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// DamageName is the file in a partition's directory that lists its holes. It is there only
// when there are any. Format page: docs/formats/damage.md.
const DamageName = "varve-damage"

const damageHead = "varve-damage 1\n"

// Hole is a range of offsets of which the log's files hold nothing any more, although
// records had been there: damaged bytes, or a segment that is missing.
type Hole struct {
	From int64 // first offset that is missing
	To   int64 // first offset that is there again
	// Accepted says that an operator knows of the loss: readers pass over the range. One
	// that is not accepted answers CORRUPT_MESSAGE, or is read from the object store.
	Accepted bool
	FoundMs  int64  // wall clock
	File     string // in the partition's directory, where it was found
	Byte     int64  // in File as it was
}

// String names the range and where it was found.
func (h Hole) String() string {
	return fmt.Sprintf("offsets %d to %d (%s, byte %d)", h.From, h.To-1, h.File, h.Byte)
}

// AppendDamage encodes the content of DamageName.
func AppendDamage(dst []byte, holes []Hole) []byte {
	start := len(dst)
	dst = append(dst, damageHead...)
	for _, h := range holes {
		state := "open"
		if h.Accepted {
			state = "accepted"
		}
		dst = fmt.Appendf(dst, "%d %d %s %d %d %s\n", h.From, h.To, state, h.FoundMs, h.Byte, h.File)
	}
	return fmt.Appendf(dst, "crc32c %08x\n", crc32.Checksum(dst[start:], castagnoli))
}

// newerDamage says whether a first line is that of a later version.
func newerDamage(line string) bool {
	v, ok := strings.CutPrefix(line, "varve-damage ")
	n, err := strconv.ParseUint(v, 10, 16)
	return ok && err == nil && n > 1
}

// ParseDamage decodes it. Errors wrap kafka.ErrCorrupt, or kafka.UnsupportedVersion for what
// a later version of this program wrote.
func ParseDamage(b []byte) ([]Hole, error) {
	corrupt := func(format string, args ...any) ([]Hole, error) {
		return nil, fmt.Errorf("%s: %s: %w", DamageName, fmt.Sprintf(format, args...), kafka.ErrCorrupt)
	}
	text := string(b)
	body, ok := strings.CutPrefix(text, damageHead)
	at := strings.LastIndex(text, "crc32c ")
	if first, _, _ := strings.Cut(text, "\n"); !ok && newerDamage(first) {
		return nil, fmt.Errorf("%s begins with %q, this program knows version 1: %w", DamageName, first, kafka.UnsupportedVersion)
	}
	if !ok || at < 0 {
		return corrupt("no head, or no CRC")
	}
	if text[at:] != fmt.Sprintf("crc32c %08x\n", crc32.Checksum(b[:at], castagnoli)) {
		return corrupt("fails its CRC")
	}
	var out []Hole
	for line := range strings.Lines(body[:at-len(damageHead)]) {
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 6)
		if len(f) != 6 || f[2] != "open" && f[2] != "accepted" {
			return corrupt("line %q", line)
		}
		h := Hole{Accepted: f[2] == "accepted", File: f[5]}
		for i, dst := range map[int]*int64{0: &h.From, 1: &h.To, 3: &h.FoundMs, 4: &h.Byte} {
			n, err := strconv.ParseInt(f[i], 10, 64)
			if err != nil {
				return corrupt("line %q", line)
			}
			*dst = n
		}
		if h.From < 0 || h.To <= h.From || len(out) > 0 && h.From < out[len(out)-1].To {
			return corrupt("line %q does not ascend", line)
		}
		out = append(out, h)
	}
	return out, nil
}

// holes is the ranges of a log that its files do not hold, ascending and apart.
type holes []Hole

// end is the first offset from off on that is in no hole.
func (hs holes) end(off int64) int64 {
	for _, h := range hs {
		if h.From <= off && off < h.To {
			off = h.To
		}
	}
	return off
}

// open answers the first hole from off on that nobody has accepted.
func (hs holes) open(off int64) (Hole, bool) {
	i := slices.IndexFunc(hs, func(h Hole) bool { return h.To > off && !h.Accepted })
	if i < 0 {
		return Hole{}, false
	}
	return hs[i], true
}

// with adds what h holds beyond the others: what was found before keeps its place.
func (hs holes) with(h Hole) holes {
	out := slices.Clone(hs)
	for _, o := range hs {
		if o.From <= h.From && h.From < o.To {
			h.From = min(o.To, h.To)
		}
	}
	for h.From < h.To {
		part := h
		for _, o := range hs {
			if o.From > h.From && o.From < part.To {
				part.To = o.From
			}
		}
		out = append(out, part)
		h.From = hs.end(part.To)
	}
	slices.SortFunc(out, func(a, b Hole) int { return cmp.Compare(a.From, b.From) })
	return out
}

// within drops what lies outside [start, end).
func (hs holes) within(start, end int64) holes {
	var out holes
	for _, h := range hs {
		if h.To > start && h.From < end {
			h.To = min(h.To, end)
			out = append(out, h)
		}
	}
	return out
}

// writeHoles replaces DamageName, durably; without holes there is no such file.
func writeHoles(fs vfs.FS, dir string, hs holes) error {
	path := filepath.Join(dir, DamageName)
	if len(hs) > 0 {
		return vfs.WriteFileAtomic(fs, path, AppendDamage(nil, hs))
	}
	err := fs.Remove(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fs.SyncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// ReadHoles reads the holes of the partition in dir; none when it has no DamageName.
// Errors wrap kafka.ErrCorrupt.
func ReadHoles(fs vfs.FS, dir string) ([]Hole, error) {
	b, err := vfs.ReadFile(fs, filepath.Join(dir, DamageName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return ParseDamage(b)
}

// Mender is the side of a Log that finds and settles damage. Like the Log it may be used
// from any goroutine.
type Mender struct{ *Log }

// Holes are the ranges that the files do not hold any more, accepted or not, as far as
// they are known: they are read with the files, and found by recovery and by reads.
func (l Mender) Holes() []Hole {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return slices.Clone(l.mu.holes)
}

// holeError is what readers of an open hole get.
func (l finder) holeError(h Hole) error {
	return fmt.Errorf("log %s in %s: %v are damaged; read on at offset %d, or settle it ('varve log repair'): %w: %w",
		l.opts.TP, l.opts.Dir, h, h.To, kafka.CorruptMessage, kafka.ErrCorrupt)
}

// Unsettled lists what this log lost and nobody has accepted: its open holes, and what it
// holds less than had been promised (Damage). The files are read if they were not yet.
func (l Mender) Unsettled() ([]Hole, error) {
	if err := l.view(); err != nil {
		return nil, err
	}
	defer l.mu.RUnlock()
	return (finder{l.Log}).unsettled(), nil
}

// unsettled is Unsettled with mu held.
func (l finder) unsettled() []Hole {
	var out []Hole
	for _, h := range l.mu.holes {
		if !h.Accepted {
			out = append(out, h)
		}
	}
	p := l.mu.promise
	if l.mu.damage == nil || p == nil {
		return out
	}
	promised := p.RecoveryPoint
	if len(l.mu.segs) == 0 {
		promised = max(promised, p.End)
	} else if first := l.mu.segs[0].base; p.LocalStart < first {
		out = append([]Hole{{From: p.LocalStart, To: first, File: segmentName(p.LocalStart, logSuffix)}}, out...)
	}
	if l.mu.end < promised {
		out = append(out, Hole{From: l.mu.end, To: promised, File: segmentName(l.mu.end, logSuffix)})
	}
	return out
}

// AcceptLoss settles damage for good: the operator knows that the offsets from from up to,
// not including, to hold records that are lost. Every unsettled range must lie wholly
// inside or outside of it. Readers pass over the range from then on; a log that had ended
// below what was promised goes on at to, so that no offset is given twice. It answers what
// was accepted, which DamageName records. Errors wrap kafka.InvalidRequest when the range
// cuts one that is damaged, or accepts nothing.
func (l Mender) AcceptLoss(from, to int64) ([]Hole, error) {
	l.maintMu.Lock()
	defer l.maintMu.Unlock()
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.ready(); err != nil {
		return nil, err
	}
	l.mu.RLock()
	found, hs, end, segs := (finder{l.Log}).unsettled(), slices.Clone(l.mu.holes), l.mu.end, len(l.mu.segs)
	l.mu.RUnlock()
	var lost []Hole
	for _, h := range found {
		switch {
		case h.From >= from && h.To <= to:
			lost = append(lost, h)
		case h.From < to && h.To > from:
			return nil, fmt.Errorf("%v are damaged, accept them as a whole: %w", h, kafka.InvalidRequest)
		}
	}
	if len(lost) > 0 && len(lost) < len(found) && l.Damage() != nil {
		return nil, fmt.Errorf("log %s has more damage (%v); accept all of it at once: %w", l.opts.TP, found, kafka.InvalidRequest)
	}
	if len(lost) == 0 {
		return nil, fmt.Errorf("log %s has no damage in offsets %d to %d: %w", l.opts.TP, from, to-1, kafka.InvalidRequest)
	}
	nowMs := l.opts.nowMs()
	for i := range hs {
		hs[i].Accepted = hs[i].Accepted || hs[i].From >= from && hs[i].To <= to
	}
	if last := lost[len(lost)-1]; l.Damage() != nil && last.From == end && segs > 0 {
		hs = append(hs, Hole{From: end, To: last.To, Accepted: true, FoundMs: nowMs, File: last.File, Byte: last.Byte})
	}
	if err := (cutter{l.Log}).accept(hs, lost[len(lost)-1].To); err != nil {
		return nil, l.fail(err)
	}
	return lost, nil
}

// accept makes an accepted loss durable. appendMu is held too.
func (l cutter) accept(hs holes, to int64) error {
	if len(l.mu.segs) == 0 && l.Damage() != nil { // all files are gone: a new log begins behind them
		return l.reset(to)
	}
	if err := writeHoles(l.opts.FS, l.dir, hs); err != nil {
		return err
	}
	l.mu.Lock()
	l.mu.holes = hs
	s := l.mu.segs[len(l.mu.segs)-1]
	if end := hs.end(s.next); end > s.next { // the next batch comes behind the hole
		s.next, l.mu.end = end, end
		l.w.producers.end, l.w.dirty = end, true
	}
	l.mu.Unlock()
	if l.Damage() != nil {
		l.Accept()
	}
	return nil
}
