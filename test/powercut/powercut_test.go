//go:build linux && powercut

// Package powercut takes the power from a real broker on a real file system: an image on a
// loop device is shut down under it without its journal being flushed, mounted again, and
// what comes back is compared with what was acknowledged before the cut. It needs root.
package powercut

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"github.com/varve-io/varve/test/kit"
)

// Both ext4 and xfs know this call (EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN) and this flag:
// stop at once, and leave the journal as it is.
const (
	goingDown  = 0x8004587d
	noLogFlush = 2
)

const (
	partitions = 8
	imageBytes = 384 << 20
	imageCuts  = 40 // then a new image: nothing expires, so that every record is asked for after every cut
)

// TestPowerCut cuts the power POWERCUT_CUTS times on each file system (POWERCUT_FS, default
// both) and wants every record that was acknowledged before the cut back. Of the topic in
// pagecache mode it wants a prefix.
func TestPowerCut(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("power cuts need root: loop devices, mount and the shutdown call of the file system; run make powercut as root, or not at all")
	}
	kit.Binary(t)
	cuts := 20
	if s := os.Getenv("POWERCUT_CUTS"); s != "" {
		var err error
		if cuts, err = strconv.Atoi(s); err != nil {
			t.Fatalf("POWERCUT_CUTS: %v", err)
		}
	}
	ran := 0
	for _, fs := range []string{"ext4", "xfs"} {
		if only := os.Getenv("POWERCUT_FS"); only != "" && only != fs {
			continue
		}
		t.Run(fs, func(t *testing.T) {
			if _, err := exec.LookPath("mkfs." + fs); err != nil {
				t.Skipf("no mkfs.%s on this machine: %v", fs, err)
			}
			ran++
			acked := 0
			for done := 0; done < cuts; done += imageCuts {
				t.Run(fmt.Sprintf("from=%d", done), func(t *testing.T) { acked += run(t, fs, min(imageCuts, cuts-done)) })
				if t.Failed() {
					return
				}
			}
			t.Logf("%s: %d cuts, %d records acknowledged before one, none of them lost", fs, cuts, acked)
		})
	}
	if ran == 0 {
		t.Fatal("no file system was cut: install e2fsprogs or xfsprogs")
	}
}

// disk is a file system in an image.
type disk struct {
	t              *testing.T
	fs, image, dir string
}

func newDisk(t *testing.T, fs string) *disk {
	base := os.Getenv("POWERCUT_DIR") // the image's place; a tmpfs makes cuts quicker
	if base == "" {
		base = t.TempDir()
	}
	d := &disk{t: t, fs: fs, image: filepath.Join(base, "powercut-"+fs+".img"), dir: filepath.Join(t.TempDir(), "mnt")}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(d.image)
	if err == nil {
		err = f.Truncate(imageBytes)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	kit.Run(t, nil, "mkfs."+fs, "-q", d.image)
	t.Cleanup(func() { _ = os.Remove(d.image) })
	d.mount()
	t.Cleanup(func() { _ = exec.Command("umount", d.dir).Run() })
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	kit.Run(d.t, nil, "mount", "-o", "loop", "-t", d.fs, d.image, d.dir)
}

// cut shuts the file system down as it is.
func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.dir)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noLogFlush); err != nil {
		d.t.Fatalf("shutdown call on %s: %v", d.fs, err)
	}
	_ = f.Close() // of a file system that is dead
}

// again mounts what the cut left.
func (d *disk) again() {
	d.t.Helper()
	kit.Run(d.t, nil, "umount", d.dir)
	d.mount()
}

// acks is what was acknowledged before the cut.
type acks struct {
	mu   sync.Mutex
	cut  bool
	done map[int32]map[int64]uint64 // partition, offset → number in the value
	sent uint64
}

func (a *acks) note(r *kgo.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cut {
		return // stamped too late: the call may have overlapped the cut
	}
	if a.done[r.Partition] == nil {
		a.done[r.Partition] = map[int64]uint64{}
	}
	a.done[r.Partition][r.Offset] = binary.BigEndian.Uint64(r.Value)
}

// run cuts one image so often and answers how many records were acknowledged before a cut.
func run(t *testing.T, fs string, cuts int) (acked int) {
	d := newDisk(t, fs)
	rng := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	b := kit.Start(t, filepath.Join(d.dir, "node"), "--set", "varve.wal.bytes=16777216", "--set", "log.flush.offset.checkpoint.interval.ms=500")
	b.Varve("topic", "create", "durable", "--partitions", fmt.Sprint(partitions), "--config", "varve.durability=group", "--config", "segment.bytes=1048576")
	b.Varve("topic", "create", "cached", "--partitions", "1", "--config", "segment.bytes=1048576")
	a := &acks{done: map[int32]map[int64]uint64{}}
	lost := 0
	for i := range cuts {
		produce(t, b, a, time.Duration(30+rng.IntN(400))*time.Millisecond, d.cut)
		b.Kill()
		d.again()
		b.Start()
		lost += compare(t, b, a)
		if t.Failed() {
			t.Fatalf("cut %d of %d", i+1, cuts)
		}
		a.cut = false
	}
	for _, p := range a.done {
		acked += len(p)
	}
	t.Logf("%s: %d cuts, %d records acknowledged before one, %d of them lost", fs, cuts, acked, lost)
	b.Kill()
	return acked
}

// produce writes to both topics until the cut.
func produce(t *testing.T, b *kit.Broker, a *acks, after time.Duration, cut func()) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0),
		kgo.DisableIdempotentWrite(), kgo.RequiredAcks(kgo.AllISRAcks()), kgo.MaxProduceRequestsInflightPerBroker(4), kgo.RecordRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for p := range int32(partitions) {
		wg.Go(func() {
			for ctx.Err() == nil {
				a.mu.Lock()
				a.sent++
				v := binary.BigEndian.AppendUint64(nil, a.sent)
				a.mu.Unlock()
				v = append(v, bytes.Repeat([]byte{byte(p)}, int(v[7])*40)...)
				cl.Produce(ctx, &kgo.Record{Topic: "cached", Value: v}, nil)
				r := &kgo.Record{Topic: "durable", Partition: p, Value: v}
				if cl.ProduceSync(ctx, r).FirstErr() == nil {
					a.note(r)
				}
			}
		})
	}
	<-time.After(after)
	a.mu.Lock() // what is noted by now was acknowledged before the cut
	a.cut = true
	a.mu.Unlock()
	cut()
	stop()
	wg.Wait()
	cl.Close()
}

// compare reads everything and counts what is missing.
func compare(t *testing.T, b *kit.Broker, a *acks) (lost int) {
	t.Helper()
	for p, want := range a.done {
		got := read(t, b, "durable", p)
		for off, number := range want {
			if have, ok := got[off]; !ok || have != number {
				t.Errorf("partition %d, offset %d: acknowledged record %d is not there (%v, %d)", p, off, number, ok, have)
				lost++
			}
		}
	}
	read(t, b, "cached", 0)
	return lost
}

// read reads a partition from its start; offsets must have no gap.
func read(t *testing.T, b *kit.Broker, topic string, p int32) map[int64]uint64 {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(b.Addr), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {p: kgo.NewOffset().AtStart()}}), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	ends, err := kadm.NewClient(cl).ListEndOffsets(ctx, topic)
	if err != nil {
		t.Fatal(err)
	}
	o, ok := ends.Lookup(topic, p)
	if !ok || o.Err != nil {
		t.Fatalf("end of %s-%d: %v", topic, p, o.Err)
	}
	got := map[int64]uint64{}
	for next := int64(0); next < o.Offset; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("read %s-%d: %v", topic, p, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next {
				t.Errorf("%s-%d: offset %d follows %d", topic, p, r.Offset, next-1)
			}
			next = r.Offset + 1
			got[r.Offset] = binary.BigEndian.Uint64(r.Value)
		})
	}
	return got
}
