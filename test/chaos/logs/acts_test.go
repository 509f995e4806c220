package logs

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/kafka"
)

// create adds a partition, at times of the name of one that was deleted.
func (w *world) create() {
	w.ids++
	f := &part{tp: kafka.TopicPartition{Topic: "t"}, id: kafka.UUID{w.ids, 1}, c: commitlog.DefaultConfig()}
	for slices.ContainsFunc(slices.Concat(w.parts, w.absent), func(o *part) bool { return o.tp == f.tp }) {
		f.tp.Partition++
	}
	f.c.Group, f.c.Compact = w.rng.IntN(2) == 0, w.rng.IntN(3) == 0
	f.settings(w.rng)
	log, err := w.m.Create(f.tp, f.id, f.c, logdir.Placement{Fresh: true})
	if err != nil && (w.ended() || w.flaw != nil && w.flaw.hit.Load()) {
		return // every disk may be offline
	}
	w.check(err)
	w.tell("%s: create in %s, compact %v, group %v", f.tp, log.Dir(), f.c.Compact, f.c.Group)
	f.log, f.dirs = log, []string{log.Dir()}
	w.parts = append(w.parts, f)
}

// act does one thing to a partition.
func (w *world) act(f *part) {
	if w.rng.IntN(40) == 0 && len(w.parts) < 5 {
		w.create()
	}
	if f.resting = f.resting || f.log.Err() != nil; f.resting {
		return
	}
	switch n := w.rng.IntN(100); {
	case n < 50:
		w.append(f)
	case n < 54:
		w.again(f)
	case n < 56:
		w.skip(f)
	case n < 68:
		w.look(f)
	case n < 71:
		w.may(f, f.log.Roll())
	case n < 73:
		w.flush(f)
	case n < 78:
		w.checkpoint()
	case n < 86 && f.c.Compact, n < 80:
		w.clean(f)
	case n < 82:
		w.truncate(f)
	case n < 86:
		w.raise(f)
	case n < 89:
		w.move(f)
	case n < 92:
		w.mode(f)
	case n < 96:
		w.remove(f)
	case n < 97:
		w.reset(f)
	default:
		<-time.After(time.Duration(w.rng.IntN(1<<w.rng.IntN(14))) * time.Millisecond)
		w.may(f, f.log.MaybeRollByTime())
	}
}

// append appends a batch, and waits until it is durable where that is what is acknowledged.
func (w *world) append(f *part) {
	if w.rng.IntN(20) == 0 {
		f.epoch++
	}
	e := f.build(w.rng)
	w.tell("%s: append [%d, %d) of producer %d, group %v", f.tp, e.base, e.next, e.pid, f.c.Group)
	w.fit(f, e)
	f.all = append(f.all, e)
	h, err := batch.ParseHeader(e.raw)
	w.check(err)
	start := f.log.LogStart()
	a, err := commitlog.AppendFrom(f.log, e.raw, h, f.epoch, e.origin())
	if w.may(f, err) {
		if !w.ended() && !f.resting && f.log.End() != e.next { // nothing of it is in the log
			f.cut(len(f.all) - 1)
		}
		return
	}
	if !w.ended() && (a.BaseOffset != e.base || a.LastOffset+1 != e.next || a.Duplicate) {
		w.t.Fatalf("%s: appended as %+v, want [%d, %d)", f.tp, a, e.base, e.next)
	}
	for f.c.Group && f.log.Durable() < e.next && f.log.Err() == nil {
		<-time.After(time.Millisecond)
	}
	if f.log.Err() != nil {
		f.resting = true
		return
	}
	w.note(func() {
		if f.acked = e.next; f.c.Group || f.c.FlushMessages == 1 {
			f.floor = e.next
		}
		if f.c.Group {
			f.start = max(f.start, start)
		}
	})
}

// fit has segments take a batch.
func (w *world) fit(f *part, e entry) {
	if n := int64(len(e.raw)); n > f.c.SegmentBytes {
		f.c.SegmentBytes = n
		w.check(f.log.SetConfig(f.c))
	}
}

func (e *entry) origin() commitlog.Origin {
	if e.marker {
		return commitlog.Origin{Kind: commitlog.FromCoordinator}
	}
	return commitlog.Origin{}
}

// again sends one of a producer's last five batches once more: it is where it was.
func (w *world) again(f *part) {
	pid, seen := 1+w.rng.Int64N(producerIDs-1), 0
	back := w.rng.IntN(5)
	producers, _ := f.producers()
	for i, e := range slices.Backward(f.all) {
		if e.pid != pid || e.marker || e.pepoch != producers[pid].epoch {
			continue
		}
		if seen++; seen <= back {
			continue
		}
		w.fit(f, e)
		raw := slices.Clone(e.raw)
		h, err := batch.ParseHeader(raw)
		w.check(err)
		a, err := f.log.Append(raw, h, f.epoch)
		known := i >= f.since || back == 0
		if !known && errors.Is(err, kafka.OutOfOrderSequenceNumber) {
			return // a start, or a truncation, looks so far back and no further
		}
		if !w.may(f, err) && !w.ended() && (!a.Duplicate || a.BaseOffset != e.base) {
			w.t.Fatalf("%s: batch of [%d, %d), sent again: %+v", f.tp, e.base, e.next, a)
		}
		return
	}
}

// skip leaves sequence numbers out.
func (w *world) skip(f *part) {
	pid := 1 + w.rng.Int64N(firstTxnID-1)
	producers, _ := f.producers()
	p, ok := producers[pid]
	if !ok || p.lastSeq < 0 {
		return
	}
	b := batch.Builder{ProducerID: pid, ProducerEpoch: p.epoch, BaseSequence: p.lastSeq + 8}
	b.Append(nil, []byte("refused"), nil, 1)
	raw := b.Bytes()
	h, err := batch.ParseHeader(raw)
	w.check(err)
	_, err = f.log.Append(raw, h, f.epoch)
	if !errors.Is(err, kafka.OutOfOrderSequenceNumber) && !w.may(f, err) && !w.ended() {
		w.t.Fatalf("%s: sequence %d of producer %d after %d was taken", f.tp, p.lastSeq+8, pid, p.lastSeq)
	}
}

func (w *world) flush(f *part) {
	w.tell("%s: flush", f.tp)
	if !w.may(f, f.log.Flush()) {
		w.note(func() { f.floor = f.acked })
	}
}

// checkpoint is what a log dir does every minute.
func (w *world) checkpoint() {
	type known struct {
		f           *part
		start, base int64
	}
	var ks []known
	for _, f := range w.parts {
		k := known{f: f, start: f.log.LogStart()}
		if segs := f.log.Segments(); !f.resting && len(segs) > 0 {
			k.base = segs[len(segs)-1].Base
		}
		ks = append(ks, k)
	}
	err := w.m.Checkpoint()
	w.tell("checkpoint: %v", err)
	for _, k := range ks {
		k.f.resting = k.f.resting || k.f.log.Err() != nil || w.offline(k.f.log.Dir())
	}
	if err != nil {
		if !w.ended() && (w.flaw == nil || !w.flaw.hit.Load()) {
			w.t.Fatal(err)
		}
		return
	}
	w.note(func() {
		for _, k := range ks {
			if !k.f.resting {
				k.f.floor, k.f.start = max(k.f.floor, k.base), max(k.f.start, k.start)
			}
		}
	})
}

// offline says whether a log dir is: its logs are told a moment later, and no checkpoint is
// written there meanwhile.
func (w *world) offline(dir string) bool {
	return slices.ContainsFunc(w.m.Dirs(), func(d logdir.DirInfo) bool { return d.Path == dir && d.Offline != nil })
}

// truncate cuts the log somewhere.
func (w *world) truncate(f *part) {
	segs := f.log.Segments()
	if f.c.Compact || len(segs) == 0 || f.log.LocalStart() == f.end() {
		return
	}
	from := f.log.LocalStart()
	to := from + w.rng.Int64N(f.end()-from)
	i := f.at(to)
	if i == len(f.all) || f.all[i].base < segs[0].Base {
		return
	}
	low := f.all[i].base
	w.tell("%s: truncate to %d, so to %d", f.tp, to, low)
	w.note(func() {
		f.acked, f.floor, f.start = min(f.acked, low), min(f.floor, low), min(f.start, low)
	})
	if w.may(f, f.log.TruncateTo(to)) {
		f.resting = true
		return
	}
	if got := f.log.End(); got != low && !w.ended() {
		w.t.Fatalf("%s: truncated to %d: ends at %d, want %d", f.tp, to, got, low)
	}
	w.note(func() { f.cut(i); f.since = len(f.all) })
}

// raise moves the log start up, as retention and DeleteRecords do, and evicts what it can.
func (w *world) raise(f *part) {
	from := f.log.LogStart()
	if f.c.Compact || f.acked <= from {
		return
	}
	to := from + w.rng.Int64N(f.acked-from) + 1
	if w.evict(f, to) {
		return
	}
	if start := f.log.LogStart(); w.rng.IntN(2) == 0 && !w.may(f, w.m.CheckpointDir(f.log.Dir())) {
		w.note(func() { f.start = max(f.start, start) })
	}
}

// evict raises the log start and lets what lies below it go, at times. It says whether it failed.
func (w *world) evict(f *part, to int64) bool {
	w.tell("%s: raise the start to %d", f.tp, to)
	f.raised = max(f.raised, to)
	if w.may(f, f.log.SetStart(to)) {
		return true
	}
	if w.rng.IntN(3) == 0 {
		return false
	}
	_, err := f.log.EvictBelow(to)
	return w.may(f, err)
}

// move brings the log into another log dir.
func (w *world) move(f *part) {
	to := w.dirs[w.rng.IntN(len(w.dirs))]
	if to == f.log.Dir() || w.away != "" {
		return
	}
	fail := func(err error) bool {
		if l, ok := w.m.Log(f.tp, f.id); ok {
			f.log = l
		}
		return err != nil && w.may(f, err, w.dirs...)
	}
	mv, err := w.m.StartMove(f.tp, f.id, to, func(ctx context.Context, _ int64) error { return ctx.Err() })
	w.tell("%s: move to %s: %v", f.tp, to, err)
	if fail(err) {
		return
	}
	defer mv.Stop()
	for range w.rng.IntN(3) {
		_, err = mv.Advance(context.Background())
		if fail(err) {
			return
		}
		w.append(f)
		if f.resting || w.ended() {
			return
		}
	}
	switch w.rng.IntN(6) {
	case 0: // the next process goes on with it
	case 1:
		fail(mv.Cancel())
	default:
		from := f.log.Dir()
		w.note(func() { f.dirs = []string{from, to} })
		_, err = mv.Switch(f.c)
		f.since = len(f.all)
		failed := fail(err)
		if f.log.Err() == nil {
			w.note(func() { f.dirs = []string{f.log.Dir()} })
		}
		if failed || w.rng.IntN(3) == 0 {
			return
		}
		fail(w.m.Settle(f.tp, f.id))
	}
}

// clean has the cleaner go over the logs, and looks at what it leaves of one.
func (w *world) clean(f *part) {
	if w.rng.IntN(3) > 0 { // else it may have nothing that a checkpoint vouches for
		w.may(f, f.log.Roll())
		w.checkpoint()
	}
	now := time.Now().UnixMilli()
	for _, o := range w.parts {
		segs := o.log.Segments()
		if !o.c.Compact || len(segs) == 0 {
			continue
		}
		for i := range o.all[:o.at(segs[len(segs)-1].Base)] {
			for j := range o.all[i].recs {
				if r := &o.all[i].recs[j]; r.coveredMs == 0 {
					r.coveredMs = now
				}
			}
		}
	}
	w.tell("clean")
	for range 3 {
		if !w.c.CleanOne(context.Background()) {
			break
		}
	}
	for _, o := range w.parts {
		w.may(o, o.log.Err())
	}
	if !w.ended() && !f.resting && f.c.Compact && w.flaw == nil {
		w.verifyCompacted(f)
	}
}

// mode changes the durability.
func (w *world) mode(f *part) {
	f.c.Group = !f.c.Group
	w.tell("%s: group %v", f.tp, f.c.Group)
	w.check(f.log.SetConfig(f.c))
}

// remove deletes the partition; it comes back under another topic id.
func (w *world) remove(f *part) {
	w.tell("%s: delete", f.tp)
	w.note(func() { f.unclear = true })
	if w.may(f, w.m.Delete(f.tp, f.id)) || w.ended() {
		f.resting = true
		return
	}
	w.parts = slices.DeleteFunc(w.parts, func(o *part) bool { return o == f })
	w.create()
	if len(w.parts) == 0 {
		w.parts = append(w.parts, f)
		f.resting = true
	}
}

// reset starts the log anew behind its end.
func (w *world) reset(f *part) {
	if w.rng.IntN(3) > 0 || f.end() == 0 {
		return
	}
	to := f.end() + w.rng.Int64N(10)
	w.tell("%s: reset to %d", f.tp, to)
	w.note(func() { f.unclear = true })
	if w.may(f, f.log.ResetTo(to)) {
		f.resting = true
		return
	}
	w.note(func() {
		f.unclear = false
		f.all, f.base, f.since = nil, to, 0
		f.acked, f.floor, f.start = to, to, to
	})
}
