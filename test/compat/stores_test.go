package compat

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// stores names the environment variables of each kind of store, as 'localstack/store run' sets them.
var stores = []struct{ name, url, server string }{
	{"s3", "VARVE_TEST_S3", "VARVE_TEST_S3_SERVER"},
	{"azure", "VARVE_TEST_AZURE", "VARVE_TEST_AZURE_SERVER"},
	{"gcs", "VARVE_TEST_GCS", "VARVE_TEST_GCS_SERVER"},
}

// TestEveryStore sends 20 MiB of lines through kcat into one topic, waits until the closed
// segments are in the store and no longer on disk, and reads the same bytes back, also after
// kill -9: on each store that 'localstack/store run' has started.
func TestEveryStore(t *testing.T) {
	kit.Binary(t)
	corpus, want, lines := writeLines(t, 20<<20)
	tried := 0
	for _, s := range stores {
		server := os.Getenv(s.url)
		if server == "" {
			continue
		}
		tried++
		t.Run(s.name+"@"+os.Getenv(s.server), func(t *testing.T) {
			b := kit.Start(t, filepath.Join(t.TempDir(), "node"), "--tier", below(server),
				"--set", "log.retention.check.interval.ms=500", "--set", "remote.log.manager.task.interval.ms=200")
			const topic = "corpus"
			b.Varve("topic", "create", topic, "--partitions", "1", "--config", "segment.bytes=4194304",
				"--config", "remote.storage.enable=true", "--config", "local.retention.bytes=1", "--config", "retention.ms=-1")
			b.Kcat(nil, "-P", "-t", topic, "-l", "-X", "enable.idempotence=true", "-X", "acks=all", corpus)
			kit.Eventually(t, 90*time.Second, "closed segments are evicted", func() error { return fewClosedSegments(b.Dir, topic) })
			checkCorpus(t, b, topic, want, lines)
			b.Kill()
			b.Start()
			checkCorpus(t, b, topic, want, lines)
		})
	}
	if tried == 0 {
		t.Fatal("no store is there: run 'make compat', or 'localstack/store run NAME go test -run EveryStore ./test/compat'")
	}
}

// below is a prefix of the test's own in the bucket of a URL.
func below(url string) string {
	bucket, query, _ := strings.Cut(url, "?")
	return bucket + "/" + strings.ToLower(strconv.FormatInt(time.Now().UnixNano(), 36)) + "?" + query
}

// writeLines writes a file of lines that differ, about as long as asked for.
func writeLines(t *testing.T, size int) (path, sum string, lines int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "lines")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(out, h), 1<<20)
	for n := 0; n < size; lines++ {
		m, err := fmt.Fprintf(w, "%09d %s\n", lines, strings.Repeat(strconv.Itoa(lines*7919), 12))
		if err != nil {
			t.Fatal(err)
		}
		n += m
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return path, hex.EncodeToString(h.Sum(nil)), lines
}
