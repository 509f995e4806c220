package cleaner

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/errorfs"
)

func TestOffsetMap(t *testing.T) {
	m := newOffsetMap(1<<20, 0.9, 100)
	if got := len(m.slots) / entryBytes; got > 120 {
		t.Errorf("%d slots for 100 keys", got)
	}
	want := map[string]int64{}
	for i := int64(0); !m.full(); i++ {
		k := fmt.Sprint(i % 70)
		m.put([]byte(k), i)
		want[k] = i
		if i == 500 {
			break
		}
	}
	for k, off := range want {
		if got := m.get([]byte(k)); got != off {
			t.Errorf("key %s is at %d, want %d", k, got, off)
		}
	}
	if m.keys != 70 || m.get([]byte("none")) != -1 {
		t.Errorf("%d keys", m.keys)
	}
	small := newOffsetMap(10*entryBytes, 1, math.MaxInt64)
	for i := 0; !small.full(); i++ {
		small.put([]byte{byte(i)}, 0)
	}
	if small.keys != 9 || small.get([]byte("none")) != -1 { // ends, because one slot is free
		t.Errorf("%d keys in 10 slots", small.keys)
	}
}

func TestCheckpoint(t *testing.T) {
	in := map[kafka.TopicPartition]int64{{Topic: "b", Partition: 10}: 7, {Topic: "b", Partition: 2}: 0, {Topic: "__consumer_offsets", Partition: 49}: 1 << 40}
	text := string(AppendCheckpoint(nil, in))
	if want := "0\n3\n__consumer_offsets 49 1099511627776\nb 2 0\nb 10 7\n"; text != want {
		t.Errorf("%q", text)
	}
	if got, err := ParseCheckpoint([]byte(text)); err != nil || !maps.Equal(got, in) {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "1\n0\n", "0\n2\na 0 1\n", "0\n1\na 0\n", "0\n1\na -1 5\n", "0\n1\na 0 -5\n", "0\n2\na 0 1\na 0 2\n", "0\n1\na 0 x\n"} {
		if _, err := ParseCheckpoint([]byte(bad)); !errors.Is(err, kafka.ErrCorrupt) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestCheckpointOfAnEarlierTopic: what the file says of a topic that was deleted is not believed
// of the next one of its name. Taken for clean, its first records would outlive their deletion.
func TestCheckpointOfAnEarlierTopic(t *testing.T) {
	b := newBench(t)
	if err := vfs.WriteFileAtomic(b.fs, "/data/"+CheckpointName, AppendCheckpoint(nil, map[kafka.TopicPartition]int64{testTP: 6})); err != nil {
		t.Fatal(err)
	}
	b.put(kv{"a", "1"})
	b.put(kv{"a", "2"})
	want := []string{"1=a:2"}
	for i := range 8 {
		b.put(kv{fmt.Sprint("k", i), "v"})
		want = append(want, fmt.Sprintf("%d=k%d:v", i+2, i))
	}
	b.settle()
	b.clean()
	b.want("after the first cleaning", want...)
	if !commitlog.CleanedKept(b.log) {
		t.Error("the file speaks of this log now, and is not to be believed")
	}
}

func FuzzCheckpoint(f *testing.F) {
	f.Add([]byte("0\n1\na 0 1\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := ParseCheckpoint(b)
		if err != nil {
			return
		}
		if again, err := ParseCheckpoint(AppendCheckpoint(nil, got)); err != nil || !maps.Equal(again, got) {
			t.Fatalf("%q: %v, then %v, %v", b, got, again, err)
		}
	})
}

func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var th throttle
		began := time.Now()
		for range 50 {
			if err := th.take(t.Context(), 1000, 10_000); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took < 4800*time.Millisecond || took > 5*time.Second {
			t.Errorf("50,000 bytes at 10,000 a second took %v", took)
		}
		if err := th.take(t.Context(), 1<<30, math.MaxFloat64); err != nil || time.Since(began) > 5*time.Second {
			t.Error("a rate without bound waits")
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := th.take(ctx, 1<<30, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// TestRun cleans by itself, rests in between, and ends with its context.
func TestRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.s.Threads, b.s.Backoff = 2, 15*time.Second
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { b.cleaner.Run(ctx); close(done) }()
		synctest.Wait()
		b.put(kv{"a", "1"})
		b.put(kv{"a", "2"})
		b.settle()
		time.Sleep(14 * time.Second)
		synctest.Wait()
		b.want("before the backoff is over", "0=a:1", "1=a:2")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		b.want("after the backoff", "1=a:2")
		cancel()
		<-done
	})
}

// TestForget takes a deleted log's offset out of the checkpoint, so that a later log of that
// name is cleaned from its start.
func TestForget(t *testing.T) {
	b := newBench(t)
	b.put(kv{"a", "1"})
	b.put(kv{"a", "2"})
	b.settle()
	b.clean()
	if got := b.cleaner.readCheckpoint("/data")[testTP]; got != 2 {
		t.Fatalf("clean up to %d", got)
	}
	if err := b.log.Delete(); err != nil {
		t.Fatal(err)
	}
	old := b.cleaner
	old.o.Partitions = func() iter.Seq[Partition] { return slices.Values([]Partition(nil)) }
	old.CleanOne(t.Context())
	if got, ok := old.readCheckpoint("/data")[testTP]; ok {
		t.Errorf("the checkpoint still says %d", got)
	}
}

// TestRestart goes on where the checkpoint says, without a look at a log that is clean.
func TestRestart(t *testing.T) {
	b := newBench(t)
	b.put(kv{"a", "1"})
	b.put(kv{"a", "2"})
	b.settle()
	b.clean()
	if err := b.log.Close(); err != nil {
		t.Fatal(err)
	}
	st := b.log.State()
	reads := 0
	b.fs = errorfs.Wrap(b.fs, func(op errorfs.Op, name string) error {
		if strings.HasSuffix(name, ".log") {
			reads++
		}
		return nil
	})
	b.open(&st, true)
	b.stable = func() int64 { return st.End }
	if n := b.clean(); n != 0 || reads != 0 {
		t.Errorf("%d rounds, %d calls on segments", n, reads)
	}
	b.put(kv{"a", "3"})
	b.settle()
	b.stable = nil
	b.clean()
	b.want("goes on", "2=a:3")
}

// TestEvicted goes on when retention takes the front of the log (compact,delete).
func TestEvicted(t *testing.T) {
	b := newBench(t)
	b.policy.MaxGroupBytes = 100 // nothing is merged
	for i := range 6 {
		b.put(kv{fmt.Sprint(i), "1"}, kv{"same", fmt.Sprint(i)})
		if err := b.log.Roll(); err != nil {
			t.Fatal(err)
		}
	}
	b.checkpoint()
	b.clean()
	if n, err := b.log.EvictBelow(6); err != nil || n != 3 {
		t.Fatalf("%d evicted, %v", n, err)
	}
	b.put(kv{"4", "2"})
	b.settle()
	b.clean()
	b.want("after the eviction", "6=3:1", "10=5:1", "11=same:5", "12=4:2")
	st := b.saved
	b.open(&st, false)
	b.want("after a restart", "6=3:1", "10=5:1", "11=same:5", "12=4:2")
}

// TestTieredStays leaves a log with a remote part alone.
func TestTieredStays(t *testing.T) {
	b := newBench(t)
	b.put(kv{"a", "1"})
	b.put(kv{"a", "2"})
	b.settle()
	b.log.SetHighestRemote(0)
	if n := b.clean(); n != 0 {
		t.Errorf("%d rounds", n)
	}
}

// TestFullDisk waits for room and loses nothing.
func TestFullDisk(t *testing.T) {
	b := newBench(t)
	b.put(kv{"a", "1"})
	b.put(kv{"a", "2"})
	b.settle()
	inner, full := b.fs, true
	b.fs = errorfs.Wrap(inner, func(op errorfs.Op, name string) error {
		if full && op == errorfs.FileWriteAt && strings.HasSuffix(name, ".cleaned") {
			return errNoSpace
		}
		return nil
	})
	st := b.saved
	b.open(&st, false)
	b.clean()
	b.want("while the disk is full", "0=a:1", "1=a:2")
	if err := b.log.Err(); err != nil {
		t.Fatal(err)
	}
	full = false
	if n := b.clean(); n != 0 {
		t.Error("it did not wait")
	}
	b.nowMs += retryAfter.Milliseconds()
	b.clean()
	b.want("when there is room", "1=a:2")
}

// TestSmallMap says what to do when one batch has more keys than the map takes.
func TestSmallMap(t *testing.T) {
	b := newBench(t)
	b.s.DedupeBytes = 3 * entryBytes
	b.put(kv{"a", "1"}, kv{"b", "1"}, kv{"c", "1"}, kv{"d", "1"})
	b.settle()
	b.cleaner.CleanOne(t.Context())
	st := b.cleaner.mu.logs[b.log]
	if st.failed == nil || !strings.Contains(st.failed.Error(), "log.cleaner.dedupe.buffer.size") {
		t.Errorf("%v", st.failed)
	}
}

// TestUnchanged does not write a segment that loses nothing.
func TestUnchanged(t *testing.T) {
	b := newBench(t)
	b.policy.MaxGroupBytes = 1
	b.put(kv{"a", "1"})
	if err := b.log.Roll(); err != nil {
		t.Fatal(err)
	}
	b.put(kv{"b", "1"}, kv{"b", "2"})
	b.settle()
	written := 0
	b.fs = errorfs.Wrap(b.fs, func(op errorfs.Op, name string) error {
		if op == errorfs.Rename && strings.HasSuffix(name, ".log") {
			written++
		}
		return nil
	})
	st := b.saved
	b.open(&st, false)
	b.clean()
	b.want("both", "0=a:1", "2=b:2")
	if written != 1 {
		t.Errorf("%d segments were replaced, want one", written)
	}
	if v, ok := commitlog.ViewCompaction(b.log, false); !ok || v.Cleaned != 3 {
		t.Errorf("%+v", v)
	}
}

const errNoSpace = syscall.ENOSPC
