package broker_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/varve-io/varve/broker/brokertest"
)

// TestAFullTmpfs: the same on a real file system of 16 MiB, which also others fill, to the last
// byte. It takes root to mount one.
func TestAFullTmpfs(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("mount a tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	n := brokertest.Node{Set: []string{"log.dirs=" + filepath.Join(disk, "logs"), "log.flush.offset.checkpoint.interval.ms=20", "varve.disk.throttle.percent=95"}}.Start(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(n.KafkaAddr()), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.DefaultProduceTopic("t"),
		kgo.RecordRetries(0), kgo.DisableIdempotentWrite())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	segment := "1048576"
	if _, err := kadm.NewClient(client).CreateTopic(t.Context(), 1, 1, map[string]*string{"segment.bytes": &segment}, "t"); err != nil {
		t.Fatal(err)
	}
	acked := 0
	produce := func() error {
		err := client.ProduceSync(t.Context(), &kgo.Record{Value: payload(acked)}).FirstErr()
		if err == nil {
			acked++
		}
		return err
	}
	for ; err == nil && acked < 100; err = produce() {
	}
	if !errors.Is(err, kerr.KafkaStorageError) || acked < 30 {
		t.Fatalf("after %d records: %v", acked, err)
	}
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the rest of the disk: %v", err)
	}
	for range 3 { // some checkpoints, which do not fit
		if err := produce(); !errors.Is(err, kerr.KafkaStorageError) {
			t.Fatalf("without a free byte: %v", err)
		}
	}
	wantRecords(t, n.KafkaAddr(), "t", acked)
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	offsets := kadm.Offsets{}
	offsets.AddOffset("t", 0, int64(acked)-5, -1)
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	for limit := time.Now().Add(20 * time.Second); produce() != nil; {
		if time.Now().After(limit) {
			t.Fatal("the disk has room, and records are refused")
		}
	}
}
