package logs

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// reconcile compares a log with the model after a start, and brings the model in line with
// what the end of the last process left.
func (w *world) reconcile(f *part, powerLost bool) {
	w.t.Helper()
	sure := f.acked
	if powerLost {
		sure = f.floor
	}
	log, ok := w.m.Log(f.tp, f.id)
	if !ok && !f.unclear && sure > f.base {
		w.t.Fatalf("%s: the log is gone; [%d, %d) was sure", f.tp, f.base, sure)
	}
	if !ok || f.unclear {
		w.drop(f)
		return
	}
	f.log, f.resting, f.dirs = log, false, []string{log.Dir()}
	w.check(errors.Join(log.Err(), log.Damage()))
	end, start := log.End(), log.LogStart()
	i := f.at(end)
	if end < sure || end > f.end() || i < len(f.all) && f.all[i].base != end {
		w.t.Fatalf("%s: ends at %d; sure was %d, appended up to %d; power lost %v, %+v", f.tp, end, sure, f.end(), powerLost, f.c)
	}
	if start < min(f.start, end) {
		w.t.Fatalf("%s: starts at %d, it was told to start at %d", f.tp, start, f.start)
	}
	lost := i < len(f.all)
	f.cut(i)
	if f.c.Compact && powerLost && (sure < end || lost) {
		// What a power cut took in front of what it left passes for a gap of compaction, and with
		// it may have gone a marker by which records in front of the transaction were compacted.
		w.drop(f)
		return
	}
	f.acked, f.floor, f.start, f.since = end, min(f.floor, end), start, len(f.all)
	if f.c.Group {
		f.floor = end // what is shown after a start is durable
	}
	w.verify(f)
}

// verify wants of a log, from its start to its end, what the model says.
func (w *world) verify(f *part) {
	w.t.Helper()
	if got := f.log.LastStable(f.end()); got != f.stable() {
		w.t.Fatalf("%s: last stable offset %d, want %d", f.tp, got, f.stable())
	}
	w.verifyProducers(f)
	if f.c.Compact {
		w.verifyCompacted(f)
		return
	}
	for off := f.log.LocalStart(); off < f.end(); {
		off = w.read(f, off, f.end(), 1+w.rng.Int64N(1<<w.rng.IntN(20)), func(int64) {})
	}
	for _, e := range f.all[f.at(f.log.LocalStart()):] {
		// A start that was raised and then lost with the process may have taken the history along.
		if got := f.log.EpochAt(max(e.base, f.log.LogStart())); got != e.epoch && (got != kafka.NoEpoch || e.base >= f.raised) {
			w.t.Fatalf("%s: epoch at %d is %d, want %d: %v", f.tp, e.base, got, e.epoch, f.log.Epochs())
		}
	}
}

func (w *world) verifyProducers(f *part) {
	w.t.Helper()
	got, err := commitlog.Producers(f.log)
	w.check(err)
	want, _ := f.producers()
	for _, p := range got {
		q, ok := want[p.ProducerID]
		if !ok || q.epoch != p.Epoch || q.lastSeq != p.LastSequence || (q.txnFirst < 0) != (p.TxnFirstOffset < 0) {
			w.t.Fatalf("%s: producer %+v, want %+v", f.tp, p, q)
		}
		delete(want, p.ProducerID)
	}
	if len(want) > 0 {
		w.t.Fatalf("%s: producers %+v are forgotten", f.tp, want)
	}
}

// look reads somewhere, or looks for a time.
func (w *world) look(f *part) {
	if w.rng.IntN(8) == 0 {
		if _, err := commitlog.Producers(f.log); !w.may(f, err) && !w.ended() {
			w.verifyProducers(f)
		}
		return
	}
	start, end := f.log.LocalStart(), f.end()
	if f.c.Compact || start == end {
		return
	}
	if w.rng.IntN(3) == 0 {
		w.lookForTime(f, start)
		return
	}
	off := start + w.rng.Int64N(end-start)
	w.read(f, off, off+1+w.rng.Int64N(end-off), w.rng.Int64N(1<<w.rng.IntN(18)), func(upTo int64) {
		if upTo = min(upTo, f.acked); w.rng.IntN(8) == 0 && upTo > f.log.LogStart() {
			w.evict(f, upTo)
		}
	})
}

// read compares one read with the model and answers where the next one goes on. during is called
// while the reader holds what it has been given.
func (w *world) read(f *part, off, upTo, maxBytes int64, during func(upTo int64)) int64 {
	w.t.Helper()
	r, err := f.log.Read(off, maxBytes, upTo, true)
	if w.may(f, err) {
		return upTo
	}
	defer r.Range.Release()
	during(r.UpperBound)
	got, err := r.Range.ReadAll()
	if w.may(f, err) || w.ended() {
		return upTo
	}
	i := f.at(off)
	var want []byte
	for _, e := range f.all[i:] {
		if e.next <= upTo {
			want = append(want, e.raw...)
		}
	}
	if !bytes.HasPrefix(want, got) || len(want) > 0 && len(got) == 0 {
		w.t.Fatalf("%s: read at %d up to %d: %d bytes that are none of the %d from %d on", f.tp, off, upTo, len(got), len(want), f.all[i].base)
	}
	if len(got) == 0 { // the batch reaches behind upTo
		return upTo
	}
	if w.rng.IntN(4) == 0 {
		w.verifyAborted(f, r.Aborted, r.Base, r.UpperBound)
		// What was evicted meanwhile has taken its part of the transaction index along.
		if list, err := f.log.AbortedTxns(r.Base, r.UpperBound); !w.may(f, err) && f.log.LocalStart() <= r.Base && !w.ended() {
			w.verifyAborted(f, list, r.Base, r.UpperBound)
		}
	}
	return r.UpperBound
}

// verifyAborted compares a list of the aborted transactions that overlap a range.
func (w *world) verifyAborted(f *part, list []commitlog.AbortedTxn, from, upTo int64) {
	w.t.Helper()
	var got, want []aborted
	for _, a := range list {
		got = append(got, aborted{a.ProducerID, a.FirstOffset, a.LastOffset})
	}
	_, all := f.producers()
	for _, a := range all {
		if a.last >= from && a.first < upTo {
			want = append(want, a)
		}
	}
	slices.SortFunc(want, func(a, b aborted) int { return int(a.first - b.first) })
	if !slices.Equal(got, want) {
		w.t.Fatalf("%s: aborted transactions in [%d, %d): %v, want %v", f.tp, from, upTo, got, want)
	}
}

// lookForTime compares the search for the first record of a time.
func (w *world) lookForTime(f *part, start int64) {
	ts := time.Now().UnixMilli() - int64(w.rng.IntN(1<<w.rng.IntN(15))) + 1000
	want := int64(-1)
	for _, e := range f.all[f.at(start):] {
		for i, r := range e.recs {
			if off := e.base + int64(i); want < 0 && off >= start && r.tsMs >= ts {
				want = off
			}
		}
		if e.marker {
			if h, err := batch.ParseHeader(e.raw); want < 0 && err == nil && h.MaxTimestampMs >= ts {
				want = e.base
			}
		}
	}
	off, _, _, ok, err := f.log.OffsetForTime(ts)
	if !w.may(f, err) && !w.ended() && (ok != (want >= 0) || ok && off != want) {
		w.t.Fatalf("%s: time %d is first at %d (%v), want %d", f.tp, ts, off, ok, want)
	}
}

// verifyCompacted wants readers of a compacted log to come to the same content of each key as
// of the whole log, no record that was never written, and each newest deletion for its time.
func (w *world) verifyCompacted(f *part) {
	w.t.Helper()
	stable, now := f.stable(), time.Now().UnixMilli()
	list, err := f.log.AbortedTxns(0, f.end())
	w.check(err)
	served, got := map[int64]bool{}, map[string]string{}
	for off := f.log.LocalStart(); off < f.end(); {
		r, err := f.log.Read(off, 1, f.end(), true)
		w.check(err)
		raw, err := r.Range.ReadAll()
		r.Range.Release()
		w.check(err)
		if len(raw) == 0 {
			break // nothing is left up to the end
		}
		h, err := batch.ParseHeader(raw)
		w.check(errors.Join(err, batch.CheckCRC(raw)))
		skip := h.IsTransactional() && slices.ContainsFunc(list, func(a commitlog.AbortedTxn) bool {
			return a.ProducerID == h.ProducerID && a.FirstOffset <= h.BaseOffset && h.BaseOffset < a.LastOffset
		})
		for rec, err := range batch.Records(raw, batch.Limits{}) {
			w.check(err)
			if h.IsControl() {
				continue
			}
			w.check(f.wrote(rec))
			if served[rec.Offset] = true; rec.Offset < stable && !skip {
				apply(got, string(rec.Key), string(rec.Value), rec.Value == nil)
			}
		}
		off = max(h.LastOffset(), off) + 1
	}
	want, newest := f.content(stable)
	if !maps.Equal(got, want) {
		w.t.Fatalf("%s: readers of [%d, %d) come to\n%.60q, want\n%.60q", f.tp, f.log.LocalStart(), stable, got, want)
	}
	for off, r := range newest {
		if !served[off] && (!r.null || r.coveredMs == 0 || now < r.coveredMs+deleteRetentionMs) {
			w.t.Fatalf("%s: the newest record of key %s, at %d, is gone at %d: null %v, cleaned at %d", f.tp, r.key, off, now, r.null, r.coveredMs)
		}
	}
}

func apply(content map[string]string, key, value string, null bool) {
	if null {
		delete(content, key)
		return
	}
	content[key] = value
}

// wrote says whether a record is one that was written at its offset.
func (f *part) wrote(rec batch.Record) error {
	i := f.at(rec.Offset)
	if i < len(f.all) && f.all[i].base <= rec.Offset && !f.all[i].marker {
		r := f.all[i].recs[rec.Offset-f.all[i].base]
		if r.key == string(rec.Key) && r.null == (rec.Value == nil) && r.value == string(rec.Value) {
			return nil
		}
	}
	return fmt.Errorf("%s: at %d is %s=%.30q, which was never written there", f.tp, rec.Offset, rec.Key, rec.Value)
}

// content is what a reader of all committed records below stable comes to, and the newest
// record of each key by its offset.
func (f *part) content(stable int64) (map[string]string, map[int64]record) {
	_, list := f.producers()
	content, at := map[string]string{}, map[string]int64{}
	newest := map[int64]record{}
	for _, e := range f.all {
		if e.marker || e.txn && slices.ContainsFunc(list, func(a aborted) bool { return a.pid == e.pid && a.first <= e.base && e.base < a.last }) {
			continue
		}
		for i, r := range e.recs {
			off := e.base + int64(i)
			if off >= stable {
				continue
			}
			apply(content, r.key, r.value, r.null)
			if old, ok := at[r.key]; ok {
				delete(newest, old)
			}
			at[r.key], newest[off] = off, r
		}
	}
	return content, newest
}
