package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varve-io/varve/broker/brokertest"
	"github.com/varve-io/varve/test/kit"
)

// TestOffsetsCompaction commits offsets until their topic is compacted, and wants all of
// them back from what is left, after a restart and another round.
func TestOffsetsCompaction(t *testing.T) {
	dir := t.TempDir()
	node := brokertest.Node{Dir: dir, Set: []string{
		"group.initial.rebalance.delay.ms=0", "offsets.topic.num.partitions=1", "offsets.topic.segment.bytes=1048576",
		"log.cleaner.backoff.ms=20", "log.flush.offset.checkpoint.interval.ms=20", "log.cleaner.min.cleanable.ratio=0",
	}}
	n := node.Start(t)
	const groups, each = 6, 150
	commit := func(adm *kadm.Client, from int) {
		t.Helper()
		for i := from; i < from+each; i++ {
			for g := range groups {
				var o kadm.Offsets
				o.Add(kadm.Offset{Topic: topic, Partition: 0, At: int64(i), LeaderEpoch: -1, Metadata: strings.Repeat("m", 2000)})
				if err := adm.CommitAllOffsets(t.Context(), fmt.Sprint("group", g), o); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	size := func(adm *kadm.Client) int64 {
		t.Helper()
		all, err := adm.DescribeAllLogDirs(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var sum int64
		all.Each(func(d kadm.DescribedLogDir) {
			if p, ok := d.Topics.Lookup("__consumer_offsets", 0); ok {
				sum += p.Size
			}
		})
		return sum
	}
	want := func(adm *kadm.Client, at int64) {
		t.Helper()
		for g := range groups {
			o, err := adm.FetchOffsets(t.Context(), fmt.Sprint("group", g))
			if err != nil {
				t.Fatal(err)
			}
			if got, ok := o.Lookup(topic, 0); !ok || got.At != at || len(got.Metadata) != 2000 {
				t.Fatalf("group%d: offset %+v, want %d", g, got, at)
			}
		}
	}
	_, adm := client(t, n)
	create(t, adm, nil)
	for from := 0; from < 2*each; from += each {
		commit(adm, from)
		kit.Eventually(t, 30*time.Second, "the offsets are compacted", func() error {
			if s := size(adm); s > 1200<<10 { // the active segment, and a few records
				return fmt.Errorf("they have %d bytes", s)
			}
			return nil
		})
		want(adm, int64(from+each-1))
		stop(t, n)
		n = node.Start(t)
		_, adm = client(t, n)
		want(adm, int64(from+each-1))
	}
	if files, err := filepath.Glob(filepath.Join(dir, "logs", "cleaner-offset-checkpoint")); err != nil || len(files) != 1 {
		t.Errorf("no checkpoint of the cleaner: %v", err)
	}
}
