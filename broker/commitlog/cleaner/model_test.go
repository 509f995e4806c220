package cleaner

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

type txnStatus int

const (
	open txnStatus = iota
	committed
	aborted
)

// fact is one record of the flat model.
type fact struct {
	offset     int64
	key, value string
	txn        *txnStatus // nil outside of transactions
	coveredMs  int64      // of the first cleaning that may have reached it, 0 = none
}

func (f fact) stable() bool { return f.txn == nil || *f.txn == committed }

// model is all that was ever written, and who wrote it.
type model struct {
	*bench
	r      *rand.Rand
	facts  []fact
	byText map[string]int       // by what the bench shows of a record
	txns   map[int64]*txnStatus // open ones, by producer
	firsts map[int64]int64
	epochs map[int64]int16
	floor  int64 // nothing from here on was ever cleaned
}

// TestModel writes random histories (keys, deletions, transactions, codecs, producers with
// changing epochs) under random settings, cleans, and compares with a flat model, also after
// a power cut in front of each change to the file system.
func TestModel(t *testing.T) {
	for seed := range uint64(16) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			b := newBench(t)
			m := &model{bench: b, r: rand.New(rand.NewPCG(seed, 77)), txns: map[int64]*txnStatus{}, firsts: map[int64]int64{}, epochs: map[int64]int16{}, byText: map[string]int{}}
			m.settings()
			for range 4 {
				m.write(20 + m.r.IntN(60))
				m.restart()
				m.cleanWithCrashes(seed, seed%4 == 0)
				m.restart()
			}
		})
	}
}

func (m *model) settings() {
	m.policy.MaxGroupBytes = int64(500 + m.r.IntN(4000))
	m.policy.DeleteRetentionMs = int64(m.r.IntN(3) * 500)
	m.policy.MinLagMs = int64(m.r.IntN(2) * m.r.IntN(300))
	m.s.IOBufferBytes = int64(m.r.IntN(4096))
	if m.r.IntN(3) == 0 {
		m.s.DedupeBytes = int64(entryBytes * (8 + m.r.IntN(30)))
	}
	c := m.o.Config
	c.SegmentBytes, c.IndexIntervalBytes = int64(400+m.r.IntN(2000)), int64(m.r.IntN(500))
	m.o.Config = c
	if err := m.log.SetConfig(c); err != nil {
		m.t.Fatal(err)
	}
}

// write appends n batches and markers.
func (m *model) write(n int) {
	for range n {
		m.nowMs += int64(m.r.IntN(50))
		pid := int64(1 + m.r.IntN(4))
		_, inTxn := m.txns[pid]
		switch {
		case m.r.IntN(15) == 0:
			if err := m.log.Roll(); err != nil {
				m.t.Fatal(err)
			}
		case pid <= 2 && inTxn && m.r.IntN(3) == 0:
			m.finish(pid)
		case pid <= 2 && (inTxn || m.r.IntN(2) == 0):
			m.data(pid, batch.Transactional)
		case pid <= 2:
			m.data(pid, 0)
		case pid == 3:
			m.data(0, 0)
		default:
			m.data(9, 0)
		}
	}
}

func (m *model) data(pid int64, attrs batch.Attributes) {
	bb := &batch.Builder{Codec: batch.Codec(m.r.IntN(5)), Attributes: attrs}
	if pid > 0 {
		bb.ProducerID, bb.ProducerEpoch, bb.BaseSequence = pid, m.epochs[pid], m.seq[pid]
	}
	var txn *txnStatus
	if attrs&batch.Transactional != 0 {
		if txn = m.txns[pid]; txn == nil {
			txn = new(txnStatus)
			m.txns[pid], m.firsts[pid] = txn, m.log.End()
		}
	}
	var recs []kv
	for range 1 + m.r.IntN(4) {
		rec := kv{fmt.Sprint("k", m.r.IntN(12)), strings.Repeat(fmt.Sprint(m.r.IntN(10)), m.r.IntN(30))}
		if m.r.IntN(5) == 0 {
			rec.value = tombstone
		}
		recs = append(recs, rec)
	}
	base := m.append(m.build(bb, recs...))
	m.seq[pid] += int32(len(recs))
	for i, rec := range recs {
		value := rec.value
		if value == tombstone {
			value = "-"
		}
		m.byText[fmt.Sprintf("%d=%s:%s", base+int64(i), rec.key, value)] = len(m.facts)
		m.facts = append(m.facts, fact{offset: base + int64(i), key: rec.key, value: rec.value, txn: txn})
	}
}

func (m *model) finish(pid int64) {
	kind, status := batch.Commit, committed
	if m.r.IntN(2) == 0 {
		kind, status = batch.Abort, aborted
	}
	if m.r.IntN(4) == 0 { // as after a fencing: the marker brings a new epoch
		m.epochs[pid]++
		m.seq[pid] = 0
	}
	m.append(batch.ControlBatch(kind, 0, pid, m.epochs[pid], m.nowMs))
	*m.txns[pid] = status
	delete(m.txns, pid)
	delete(m.firsts, pid)
}

// cleanWithCrashes cleans, and with crashes looks at what a power cut would leave in front of each change.
func (m *model) cleanWithCrashes(seed uint64, crashes bool) {
	m.t.Helper()
	if m.r.IntN(4) > 0 {
		if err := m.log.Roll(); err != nil {
			m.t.Fatal(err)
		}
	}
	if err := m.log.Flush(); err != nil {
		m.t.Fatal(err)
	}
	if m.r.IntN(4) > 0 {
		m.checkpoint()
	}
	m.check(m.bench, "before")
	segs := m.log.Segments()
	m.floor = segs[len(segs)-1].Base
	for i := range m.facts {
		if f := &m.facts[i]; f.offset < m.floor && f.coveredMs == 0 {
			f.coveredMs = m.nowMs
		}
	}
	m.nowMs += int64(m.r.IntN(300))
	disk := m.fs.(*memfs.FS)
	n := uint64(0)
	st := m.saved
	m.fs = errorfs.Wrap(disk, func(op errorfs.Op, name string) error {
		switch op {
		case errorfs.FileWriteAt, errorfs.FileTruncate, errorfs.FileSync, errorfs.FileDatasync, errorfs.Rename, errorfs.Remove, errorfs.SyncDir:
			if n++; !crashes {
				return nil
			}
			m.checkClone(disk.CrashClone(seed<<20+n), st, fmt.Sprintf("power cut %d, before %s %s", n, op, name))
		}
		return nil
	})
	m.open(&st, false)
	n = 0
	m.clean()
	m.fs = disk
	m.open(&st, false)
	m.check(m.bench, "after")
	m.checkClean()
}

// checkClone looks at what a crash left, and cleans it to the end.
func (m *model) checkClone(disk *memfs.FS, st commitlog.State, what string) {
	m.t.Helper()
	b := *m.bench
	b.fs = disk
	b.open(&st, false)
	m.check(&b, what)
	b.clean()
	m.check(&b, what+", then cleaned")
}

// restart opens the log anew, now and then without any checkpoint or snapshot.
func (m *model) restart() {
	m.t.Helper()
	if err := m.log.Flush(); err != nil {
		m.t.Fatal(err)
	}
	before, err := commitlog.Producers(m.log)
	if err != nil {
		m.t.Fatal(err)
	}
	b := *m.bench
	b.fs = m.fs.(*memfs.FS).CrashClone(1)
	entries, err := b.fs.ReadDir("/data/states-2")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".snapshot") {
			if err := b.fs.Remove("/data/states-2/" + e.Name()); err != nil {
				m.t.Fatal(err)
			}
		}
	}
	st := m.saved
	st.RecoveryPoint = 0
	b.open(&st, false)
	m.check(&b, "scanned from the start")
	after, err := commitlog.Producers(b.log)
	if err != nil {
		m.t.Fatal(err)
	}
	for i := range before {
		x := before[i]
		j := slices.IndexFunc(after, func(p commitlog.ProducerSnapshotEntry) bool { return p.ProducerID == x.ProducerID })
		if j < 0 || after[j].Epoch != x.Epoch || after[j].LastSequence != x.LastSequence || (after[j].TxnFirstOffset < 0) != (x.TxnFirstOffset < 0) {
			m.t.Fatalf("rebuilt producers %+v, they were %+v", after, before)
		}
	}
}

// check compares what is served with the model.
func (m *model) check(b *bench, what string) {
	m.t.Helper()
	if err := b.log.Err(); err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
	if err := b.log.Damage(); err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
	stable := b.log.End()
	for _, first := range m.firsts {
		stable = min(stable, first)
	}
	if got := b.log.LastStable(b.log.End()); got != stable {
		m.t.Fatalf("%s: last stable offset %d, a transaction is open from %d", what, got, stable)
	}
	abortedTxns, err := b.log.AbortedTxns(0, b.log.End())
	if err != nil {
		m.t.Fatalf("%s: %v", what, err)
	}
	served := map[int64]bool{}
	state := map[string]string{}
	for _, s := range b.batches() {
		skip := s.h.IsTransactional() && slices.ContainsFunc(abortedTxns, func(t commitlog.AbortedTxn) bool {
			return t.ProducerID == s.h.ProducerID && t.FirstOffset <= s.h.BaseOffset && s.h.BaseOffset < t.LastOffset
		})
		for _, rec := range s.recs {
			f := m.fact(rec, what)
			served[f.offset] = true
			if f.txn != nil && *f.txn != open && skip != (*f.txn == aborted) {
				m.t.Fatalf("%s: record %s has status %d, the index lists %v", what, rec, *f.txn, abortedTxns)
			}
			if f.offset < stable && !skip {
				apply(state, f)
			}
		}
	}
	want := map[string]string{}
	newest := map[string]fact{}
	for _, f := range m.facts {
		if f.offset >= m.floor && !served[f.offset] {
			m.t.Fatalf("%s: record %+v of the active segment is gone", what, f)
		}
		if f.offset < stable && f.stable() {
			apply(want, f)
			newest[f.key] = f
		}
	}
	if !maps.Equal(state, want) {
		m.t.Fatalf("%s: readers come to %v, want %v", what, state, want)
	}
	for _, f := range newest {
		gone := !served[f.offset]
		if gone && (f.value != tombstone || f.coveredMs == 0 || b.nowMs < f.coveredMs+m.policy.DeleteRetentionMs) {
			m.t.Fatalf("%s: the newest record of its key is gone: %+v at %d", what, f, b.nowMs)
		}
	}
}

func apply(state map[string]string, f fact) {
	if f.value == tombstone {
		delete(state, f.key)
		return
	}
	state[f.key] = f.value
}

// fact finds what was written at the offset of a served record, which must be the same.
func (m *model) fact(rec, what string) fact {
	m.t.Helper()
	if i, ok := m.byText[rec]; ok {
		return m.facts[i]
	}
	m.t.Fatalf("%s: record %s was never written", what, rec)
	return fact{}
}

// checkClean wants one record of a key at most, and nothing aborted, where the log is clean.
func (m *model) checkClean() {
	m.t.Helper()
	cleaned := m.cleaner.readCheckpoint("/data")[testTP]
	n := map[string]int{}
	for _, rec := range m.records() {
		f := m.fact(rec, "clean part")
		if f.offset >= cleaned {
			break
		}
		if n[f.key]++; n[f.key] > 1 || f.txn != nil && *f.txn != committed {
			m.t.Fatalf("below %d, which is clean, lies %s", cleaned, rec)
		}
	}
}
