package replica

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/commitlog/logdir"
	"github.com/varve-io/varve/broker/commitlog/wal"
	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
	"github.com/varve-io/varve/tiered"
	"github.com/varve-io/varve/tiered/manifest"
)

const testNode int32 = 7

// kit is a Manager over logs in memory, with the image in the test's hands.
type kit struct {
	*Manager
	t     testing.TB
	fs    *memfs.FS
	dirs  *logdir.Manager
	paths []string
	known []kafka.UUID
	nowMs int64
	fate  errorfs.Inject // of what the log directories do on disk, nil for nothing
}

func newKit(t testing.TB) *kit { return newKitIn(t, "/data") }

// newKitIn is a kit with these log directories.
func newKitIn(t testing.TB, paths ...string) *kit {
	t.Helper()
	k := &kit{t: t, nowMs: 1_000_000, fs: memfs.New(), paths: paths}
	k.openDirs()
	k.start()
	t.Cleanup(func() { k.Manager.Close() })
	return k
}

// start makes the Manager.
func (k *kit) start() {
	k.t.Helper()
	node, _, err := config.Load(config.Sources{})
	if err != nil {
		k.t.Fatal(err)
	}
	k.Manager = New(Options{
		NodeID: testNode, Dirs: k.dirs, Node: func() *config.Node { return node }, Now: k.now, Logger: slog.New(slog.DiscardHandler),
	})
}

// restart ends the broker in order and starts another process of it on what is on disk. The
// topics of the new process are the ones given, each in the next leader epoch.
func (k *kit) restart(between func(), topics ...*metadata.Topic) []*Partition {
	k.t.Helper()
	lead, stop := k.Manager.lead, k.Manager.stop
	k.Manager.Close()
	if err := k.dirs.Close(); err != nil {
		k.t.Fatal(err)
	}
	if between != nil {
		between()
	}
	k.openDirs()
	k.start()
	k.Manager.lead, k.Manager.stop = lead, stop
	var out []*Partition
	for _, topic := range topics {
		topic.Partitions[0].LeaderEpoch++
		out = append(out, k.create(topic))
	}
	return out
}

// openDirs opens the log directories of the kit's file system.
func (k *kit) openDirs() {
	k.t.Helper()
	dirs, err := logdir.Open(logdir.Options{
		FS: errorfs.Wrap(k.fs, k.step), Dirs: k.paths, KnownDirs: k.known, WALBytes: int64(wal.MinBytes), ClusterID: "c", NodeID: testNode, Now: k.now,
		Marks:  commitlog.Watermarks{EvictPercent: 85, ThrottlePercent: 90, RefusePercent: 95},
		Logger: slog.New(slog.DiscardHandler), ProducerIDExpirationMs: 86_400_000, BootID: "boot",
		Config: func(kafka.TopicPartition, kafka.UUID) commitlog.Config { return commitlog.DefaultConfig() },
	})
	if err != nil {
		k.t.Fatal(err)
	}
	k.dirs = dirs
}

func (k *kit) step(op errorfs.Op, name string) error {
	if k.fate == nil {
		return nil
	}
	return k.fate(op, name)
}

func (k *kit) now() time.Time { return time.UnixMilli(k.nowMs) }

// newTopic is a topic of one partition that the kit's broker leads in epoch 0.
func newTopic(name string, settings ...string) *metadata.Topic {
	t := &metadata.Topic{Name: name, ID: kafka.NewUUID(), Config: map[string]string{}}
	for i := 0; i+1 < len(settings); i += 2 {
		t.Config[settings[i]] = settings[i+1]
	}
	t.Partitions = []metadata.Partition{{Replicas: []int32{testNode}, ISR: []int32{testNode}, Leader: testNode}}
	return t
}

// create applies a new topic and returns its partition 0.
func (k *kit) create(topic *metadata.Topic) *Partition {
	k.t.Helper()
	k.apply(&metadata.Delta{Created: []*metadata.Topic{topic}})
	p, err := k.ByID(topic.ID, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	return p
}

func (k *kit) apply(d *metadata.Delta) {
	k.t.Helper()
	if err := k.Apply(new(metadata.Image), d); err != nil {
		k.t.Fatal(err)
	}
}

// records is a batch of n records.
func (k *kit) records(n int) []byte {
	b := batch.Builder{ProducerID: kafka.NoProducerID, ProducerEpoch: -1, BaseSequence: -1, BaseTimestampMs: k.nowMs}
	for i := range n {
		b.Append([]byte("key"), fmt.Appendf(nil, "value %d", i), nil, k.nowMs)
	}
	return b.Bytes()
}

// produce appends a batch of n records with acks=1.
func (k *kit) produce(p *Partition, n int) AppendResult {
	k.t.Helper()
	res, err := p.Append(k.records(n), AppendOptions{Acks: 1, ZstdOK: true})
	if err != nil {
		k.t.Fatal(err)
	}
	return res
}

// ask is a fetch of one partition from an offset on, with generous limits.
func ask(p *Partition, off int64) FetchPartition {
	return FetchPartition{
		TopicID: p.topicID, ByID: true, Index: p.tp.Partition, Offset: off, MaxBytes: 1 << 20,
		CurrentLeaderEpoch: kafka.NoEpoch, LastFetchedEpoch: kafka.NoEpoch,
	}
}

// fetching is a fetch under way.
type fetching struct {
	t    testing.TB
	done chan []FetchResult
}

func (k *kit) fetch(params FetchParams) *fetching {
	f := &fetching{t: k.t, done: make(chan []FetchResult, 1)}
	if params.MaxBytes == 0 {
		params.MaxBytes = 10 << 20
	}
	k.Fetch(k.t.Context(), &params, func(res []FetchResult) { f.done <- res })
	return f
}

// answer is what the fetch came to; it must have come by now.
func (f *fetching) answer() []FetchResult {
	f.t.Helper()
	select {
	case res := <-f.done:
		return res
	default:
		f.t.Fatal("the fetch has not been answered")
		return nil
	}
}

// pending fails the test if the fetch has been answered.
func (f *fetching) pending() {
	f.t.Helper()
	select {
	case res := <-f.done:
		f.t.Fatalf("the fetch was answered with %+v", res)
	default:
	}
}

// offsets lists the base offsets of the batches of a result, and releases it.
func offsets(t testing.TB, res FetchResult) []int64 {
	t.Helper()
	defer res.release()
	var all bytes.Buffer
	for _, r := range res.Records {
		b, err := r.ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		all.Write(b)
	}
	var out []int64
	for b := all.Bytes(); len(b) > 0; {
		h, err := batch.ParseHeader(b)
		if err != nil || h.Size() > int64(len(b)) {
			break // a batch that was cut off
		}
		out = append(out, h.BaseOffset)
		b = b[h.Size():]
	}
	return out
}

// fakeTier plays the object store of one partition.
type fakeTier struct {
	mu      sync.Mutex
	view    tiered.View
	wakes   int
	known   bool // View tells what Load would answer
	err     error
	loads   int
	reads   int
	gate    chan struct{} // when set, a read waits until it is closed
	batches [][]byte      // one for each stored batch, with its offset in place
	aborted []commitlog.AbortedTxn
	during  func(reads int) // when set, called in a read once its manifest is taken

	segments  []manifest.Segment
	epochs    []commitlog.EpochEntry
	producers []byte
	log       *commitlog.Log
	fs        *memfs.FS
}

func (f *fakeTier) Wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wakes++
}

func (f *fakeTier) View() tiered.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.known {
		return tiered.View{}
	}
	return f.answer()
}

func (f *fakeTier) answer() tiered.View {
	v := f.view
	v.Known = true
	return v
}

func (f *fakeTier) Load(context.Context) (tiered.View, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loads++
	if f.err != nil {
		return tiered.View{}, f.err
	}
	f.known = true
	return f.answer(), nil
}

func (f *fakeTier) Manifest() *manifest.Manifest {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.known || f.view.Segments == 0 {
		return nil
	}
	return &manifest.Manifest{Start: f.view.Start, Next: f.view.Next, Segments: f.segments}
}

func (f *fakeTier) Tail(ctx context.Context) (tiered.Tail, error) {
	v, err := f.Load(ctx)
	return tiered.Tail{Next: v.Next, Epochs: f.epochs, ProducerSnapshot: f.producers}, err
}

func (f *fakeTier) Claim(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.view.Owned = f.err == nil
	return f.err
}

func (f *fakeTier) Expire(_ context.Context, newStart int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err != nil {
		return f.err
	}
	f.view.Start = max(f.view.Start, newStart)
	for len(f.segments) > 0 && f.segments[0].Next <= newStart {
		f.segments = f.segments[1:]
		f.view.Segments--
	}
	return nil
}

func (f *fakeTier) EvictLocal(offset int64) (int, error) {
	if !f.view.Owned {
		return 0, nil
	}
	return f.log.EvictBelow(min(offset, f.view.Next))
}

func (f *fakeTier) Read(ctx context.Context, off, maxBytes int64, minOne bool) (tiered.Read, error) {
	f.mu.Lock()
	f.reads++
	gate, err, reads := f.gate, f.err, f.reads
	out := tiered.Read{Base: off, UpperBound: f.view.Next, Next: f.view.Next, Aborted: slices.Clone(f.aborted)}
	f.mu.Unlock()
	if f.during != nil {
		f.during(reads)
	}
	if gate != nil {
		select {
		case <-gate:
		case <-ctx.Done():
			return tiered.Read{}, ctx.Err()
		}
	}
	if err != nil {
		return tiered.Read{}, err
	}
	for i, b := range f.batches {
		h, err := batch.ParseHeader(b)
		if err != nil {
			return out, err
		}
		if h.LastOffset() < off {
			continue
		}
		if int64(len(b)) > maxBytes && !(minOne && len(out.Ranges) == 0) {
			break
		}
		maxBytes -= int64(len(b))
		name := fmt.Sprintf("/chunk-%d", i)
		if err := vfs.WriteFileAtomic(f.fs, name, b); err != nil {
			return out, err
		}
		file, err := f.fs.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			return out, err
		}
		out.Ranges = append(out.Ranges, vfs.NewRange(file, 0, int64(len(b)), nil))
	}
	return out, nil
}

func (f *fakeTier) OffsetForTime(_ context.Context, tsMs int64) (int64, int64, int32, bool, error) {
	for _, b := range f.batches {
		if h, err := batch.ParseHeader(b); err == nil && h.MaxTimestampMs >= tsMs {
			return h.BaseOffset, h.MaxTimestampMs, h.LeaderEpoch, true, nil
		}
	}
	return 0, 0, 0, false, f.err
}

// upload copies what p has below its active segment into the store.
func (f *fakeTier) upload(t *testing.T, p *Partition) {
	t.Helper()
	for _, seg := range p.Log().Segments() {
		if seg.Active {
			break
		}
		for off := seg.Base; off < seg.Next; {
			r, err := p.Log().Read(off, 1, seg.Next, true)
			if err != nil {
				t.Fatal(err)
			}
			b, err := r.Range.ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			r.Range.Release()
			f.batches = append(f.batches, b)
			off = r.UpperBound
			for _, a := range r.Aborted {
				if !slices.Contains(f.aborted, a) && a.LastOffset < seg.Next {
					f.aborted = append(f.aborted, a)
				}
			}
		}
		f.view.Segments++
		f.view.Bytes += seg.SizeBytes
		f.segments = append(f.segments, manifest.Segment{Base: seg.Base, Next: seg.Next, SizeBytes: seg.SizeBytes, MaxTsMs: seg.MaxTimestampMs})
		f.view.Next = seg.Next
		f.view.HighestRemote = seg.Next - 1
	}
	f.known, f.log = true, p.Log()
}

// withTier has the kit tier its topics to f.
func (k *kit) withTier(f RemoteLog) (stopped *int) {
	stopped = new(int)
	k.Manager.lead = func(r tiered.Replica) RemoteLog {
		_, _ = r.LeaderEpoch(), r.Config() // must not be called with the partition locked
		return f
	}
	k.Manager.stop = func(kafka.UUID, int32) { *stopped++ }
	return stopped
}
