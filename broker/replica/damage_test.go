package replica

import (
	"errors"
	"os"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// flip changes one bit of the partition's first segment file.
func (k *kit) flip(p *Partition, at int64) {
	k.t.Helper()
	f, err := k.fs.OpenFile("/data/"+p.tp.String()+"/00000000000000000000.log", os.O_RDWR, 0)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], at)
	b[0] ^= 0x40
	if _, werr := f.WriteAt(b[:], at); err != nil || werr != nil {
		k.t.Fatal(err, werr)
	}
}

// TestDamageUnderARunningBroker: a fetch that meets bytes that are no batch has the segment
// checked. From then on only the records that are lost answer an error.
func TestDamageUnderARunningBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		p := k.create(newTopic("t"))
		size := int64(len(k.records(5)))
		for range 4 {
			k.produce(p, 5)
		}
		k.flip(p, size+16) // the magic of the second batch
		f := k.fetch(long(1, ask(p, 10)))
		synctest.Wait()
		if err := f.answer()[0].Err; kafka.Code(err) != kafka.KafkaStorageError || !errors.Is(err, kafka.ErrCorrupt) {
			t.Fatalf("the first read: %v", err)
		}
		for off, want := range map[int64][]int64{0: {0}, 10: {10, 15}} {
			f := k.fetch(long(1, ask(p, off)))
			synctest.Wait()
			if got := offsets(t, f.answer()[0]); !reflect.DeepEqual(got, want) {
				t.Errorf("fetch at %d: batches %v, want %v", off, got, want)
			}
		}
		f = k.fetch(long(1, ask(p, 7)))
		synctest.Wait()
		if err := f.answer()[0].Err; kafka.Code(err) != kafka.CorruptMessage {
			t.Errorf("a read of what is lost: %v", err)
		}
		if n := k.holes(); n != 1 {
			t.Errorf("%d damaged ranges, want 1", n)
		}
		if res := k.produce(p, 1); res.Base != 20 {
			t.Errorf("goes on at %d, want 20", res.Base)
		}
	})
}

// TestDamageIsReadFromTheStore: where the store holds the range, consumers notice nothing.
func TestDamageIsReadFromTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKit(t)
		store := &fakeTier{fs: k.fs}
		k.withTier(store)
		p := k.create(newTopic("t", "remote.storage.enable", "true"))
		k.produce(p, 5)
		k.produce(p, 5)
		if err := p.Log().Roll(); err != nil {
			t.Fatal(err)
		}
		k.produce(p, 5)
		store.upload(t, p)
		k.flip(p, 16)
		if err := (commitlog.Mender{Log: p.Log()}).Check(0); err != nil {
			t.Fatal(err)
		}
		for off, want := range map[int64][]int64{0: {0, 5}, 5: {5}, 10: {10}} {
			f := k.fetch(long(1, ask(p, off)))
			synctest.Wait()
			if got := offsets(t, f.answer()[0]); !reflect.DeepEqual(got, want) {
				t.Errorf("fetch at %d: batches %v, want %v", off, got, want)
			}
		}
		if store.reads != 1 {
			t.Errorf("%d reads of the store, want 1", store.reads)
		}
	})
}
