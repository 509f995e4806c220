package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func FuzzDecodeEntry(f *testing.F) {
	for _, r := range append(samples(), adminSamples()...) {
		b, err := EncodeEntry([]Record{r}, 1)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= entryHead { // let the fuzzer reach the records
			copy(b, entryMagic)
			b[len(entryMagic)] = entryFormat
			reseal(b)
		}
		records, err := DecodeEntry(b)
		if err != nil {
			if !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("an error of no kind: %v", err)
			}
			return
		}
		again, err := EncodeEntry(records, FormatLevel)
		if err != nil {
			t.Fatal(err)
		}
		back, err := DecodeEntry(again)
		if err != nil || !reflect.DeepEqual(back, records) {
			t.Fatalf("%v\n%+v became\n%+v", err, records, back)
		}
	})
}

func FuzzReadImage(f *testing.F) {
	img := &Image{}
	f.Add(encodedFuzz(f, img))
	img, _, err := img.Apply(1, samples())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(encodedFuzz(f, img))
	f.Fuzz(func(t *testing.T, b []byte) {
		if img, err := ReadImage(bytes.NewReader(b)); err == nil {
			checkImage(t, img)
		} else if !errors.Is(err, kafka.ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
			t.Fatalf("an error of no kind: %v", err)
		}
	})
}

func encodedFuzz(f *testing.F, img *Image) []byte {
	var b bytes.Buffer
	if _, err := img.WriteTo(&b); err != nil {
		f.Fatal(err)
	}
	return b.Bytes()
}

// BenchmarkApply is one change of one partition among 100,000.
func BenchmarkApply(b *testing.B) {
	img := &Image{}
	for i := range 10_000 {
		records := []Record{TopicRecord{Name: fmt.Sprintf("topic-%d", i), ID: id(i + 1), Version: 1}}
		for p := range int32(10) {
			records = append(records, partition(int32(i+1), p, 1))
		}
		next, _, err := img.Apply(int64(i+1), records)
		if err != nil {
			b.Fatal(err)
		}
		img = next
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rec := partition(int32(i%10_000+1), 3, 1)
		rec.PartitionEpoch = img.TopicByID(rec.TopicID).Partitions[3].PartitionEpoch + 1
		next, _, err := img.Apply(img.Version()+1, []Record{rec})
		if err != nil {
			b.Fatal(err)
		}
		img = next
	}
}
