package e2e

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/mem"
)

// deleteBelow deletes the records below an offset.
func deleteBelow(t *testing.T, adm *kadm.Client, offset int64) error {
	t.Helper()
	var o kadm.Offsets
	o.AddOffset(topic, 0, offset, -1)
	res, err := adm.DeleteRecords(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r, _ := res.Lookup(topic, 0)
	if r.Err == nil && r.LowWatermark != offset {
		t.Errorf("deleted below %d: the log starts at %d", offset, r.LowWatermark)
	}
	return r.Err
}

// segmentFiles counts the segments on disk.
func segmentFiles(t *testing.T, dir string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "logs", topic+"-0", "*.log"))
	if err != nil {
		t.Fatal(err)
	}
	return len(files)
}

// segmentObjects lists the segments in the store.
func segmentObjects(t *testing.T, bucket objstore.Bucket) []string {
	t.Helper()
	var keys []string
	for a, err := range objstore.All(t.Context(), bucket, "v1/", "") {
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(a.Key, ".vseg") {
			keys = append(keys, a.Key)
		}
	}
	return keys
}

// TestT37DeletionAcrossTheLayersIsExact: inside an object, across the end of what the store
// holds and inside the active segment, the log starts at the very offset; what lies below
// is gone from the store too, and a restart changes nothing.
func TestT37DeletionAcrossTheLayersIsExact(t *testing.T) {
	bucket, dir := mem.New(), t.TempDir()
	node := brokertest.Node{Bucket: bucket, Dir: dir}
	n := node.Start(t)
	cl, adm := client(t, n)
	grace := "0"
	configs := tieredTopic()
	configs["varve.tier.delete.grace.ms"] = &grace
	create(t, adm, configs)
	const records = 10_000
	produce(t, cl, 0, records)
	l := evicted(t, adm)
	if err := deleteBelow(t, adm, records+1); !errors.Is(err, kerr.OffsetOutOfRange) {
		t.Errorf("above the high watermark: %v", err)
	}
	const last = records - 5 // in the active segment
	for _, start := range []int64{1234, l.remoteEnd - 1, last} {
		if err := deleteBelow(t, adm, start); err != nil {
			t.Fatalf("delete below %d: %v", start, err)
		}
		if got := offsets(t, adm).start; got != start {
			t.Errorf("the log starts at %d, want %d", got, start)
		}
		readAll(t, n, int(start), records)
	}
	eventually(t, "the store holds no segment any more", func() bool { return len(segmentObjects(t, bucket)) == 0 })
	stop(t, n)
	n = node.Start(t)
	if _, adm = client(t, n); offsets(t, adm).start != last {
		t.Errorf("after a restart the log starts at %d, want %d", offsets(t, adm).start, last)
	}
	readAll(t, n, last, records)
}

// TestT19DeletionOfWhatWaitsForItsUpload: it needs no upload, and frees the disk.
func TestT19DeletionOfWhatWaitsForItsUpload(t *testing.T) {
	bucket, dir := mem.New(), t.TempDir()
	node := brokertest.Node{Bucket: bucket, Dir: dir}
	n := node.Start(t)
	cl, adm := client(t, n)
	lag, all := "864000000000", "-1"
	configs := tieredTopic()
	configs["remote.copy.lag.ms"], configs["remote.copy.lag.bytes"], configs["local.retention.bytes"] = &lag, &all, &all
	create(t, adm, configs)
	const records, start = 10_000, 9_900
	produce(t, cl, 0, records)
	if n := segmentFiles(t, dir); n < 4 {
		t.Fatalf("%d segments on disk, want several", n)
	}
	if err := deleteBelow(t, adm, start); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the disk is free of what was deleted", func() bool { return segmentFiles(t, dir) <= 2 })
	if n := len(segmentObjects(t, bucket)); n != 0 {
		t.Errorf("%d objects of deleted records in the store", n)
	}
	readAll(t, n, start, records)
	stop(t, n)
	n = node.Start(t)
	_, adm = client(t, n)
	if l := offsets(t, adm); l.start != start || l.end != records {
		t.Errorf("after a restart the log is [%d, %d), want [%d, %d)", l.start, l.end, start, records)
	}
	readAll(t, n, start, records)
}
