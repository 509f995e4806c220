package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore/file"
	"github.com/varve-io/varve/test/kit"
	"github.com/varve-io/varve/tiered"
)

// clusterOf reads the cluster's id from the log directory.
func clusterOf(t *testing.T, b *kit.Broker) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(b.Dir, "logs", "meta.properties"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if id, ok := strings.CutPrefix(strings.TrimSpace(line), "cluster.id="); ok {
			return id
		}
	}
	t.Fatal("meta.properties names no cluster")
	return ""
}

// checkTier wants every manifest to match its bucket exactly once the clean-up has run:
// nothing missing, nothing left over.
func checkTier(t *testing.T, b *kit.Broker) {
	t.Helper()
	bucket, err := file.Open(filepath.Join(filepath.Dir(b.Dir), "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	kit.Eventually(t, 90*time.Second, "every manifest matches its bucket", func() error {
		partitions, err := tiered.Partitions(t.Context(), bucket, clusterOf(t, b))
		if err != nil {
			return err
		}
		if len(partitions) == 0 {
			return fmt.Errorf("no partition in the bucket")
		}
		for _, id := range partitions {
			r, err := tiered.Check(t.Context(), bucket, clusterOf(t, b), id.TopicID, id.Partition, tiered.CheckOptions{})
			if err != nil {
				return err
			}
			if !r.Exact() {
				return fmt.Errorf("partition %d: faults %v, orphans %v, %d pending", id.Partition, r.Faults, r.Orphans, r.Pending)
			}
		}
		return nil
	})
}
