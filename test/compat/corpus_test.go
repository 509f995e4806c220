// Package compat judges Varve by clients that its authors did not write: kcat
// (librdkafka), Kafka's own command-line tools and its Java client. 'make compat' installs
// them and runs these tests; nothing here imports the broker.
package compat

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/varve-io/varve/test/kit"
)

// TestCorpusThroughEveryTier sends every non-empty line of Go's own source tree through
// kcat into a one-partition topic with 4 MiB segments, waits until the closed segments are
// in the store and evicted, and reads the same bytes back, also after kill -9.
func TestCorpusThroughEveryTier(t *testing.T) {
	kit.Binary(t)
	corpus, want, lines := writeCorpus(t)
	t.Logf("corpus: %d lines, SHA-256 %s", lines, want)
	for _, store := range []string{"s3", "file"} {
		t.Run(store, func(t *testing.T) {
			dir := t.TempDir()
			objects := filepath.Join(dir, "store")
			url := "file://" + objects
			if store == "s3" {
				url, objects = s3Store(t)
			}
			b := kit.Start(t, filepath.Join(dir, "node"), "--tier", url,
				"--set", "message.max.bytes=2000000", "--set", "log.retention.check.interval.ms=500", "--set", "remote.log.manager.task.interval.ms=200")
			for _, codec := range []string{"none", "zstd"} {
				topic := "corpus-" + codec
				b.Varve("topic", "create", topic, "--partitions", "1", "--config", "segment.bytes=4194304",
					"--config", "max.message.bytes=2097152", "--config", "remote.storage.enable=true",
					"--config", "local.retention.bytes=1", "--config", "retention.ms=-1")
				in, err := os.Open(corpus)
				if err != nil {
					t.Fatal(err)
				}
				start := time.Now()
				b.Kcat(in, "-P", "-t", topic, "-l", "-z", codec, "-X", "enable.idempotence=true", "-X", "acks=all",
					"-X", "message.max.bytes=2000000", "-X", "queue.buffering.max.messages=1000000", corpus)
				in.Close()
				t.Logf("%s: produced in %v", topic, time.Since(start).Round(time.Millisecond))
				kit.Eventually(t, 60*time.Second, "closed segments are evicted", func() error { return fewClosedSegments(b.Dir, topic) })
				checkCorpus(t, b, topic, want, lines)
			}
			b.Kill()
			b.Start()
			for _, codec := range []string{"none", "zstd"} {
				checkCorpus(t, b, "corpus-"+codec, want, lines)
			}
			checkFiles(t, b, objects, lines)
		})
	}
}

// s3Store is a prefix of its own in the bucket of a running S3 server, and the directory in
// which that server keeps its objects.
func s3Store(t *testing.T) (url, dir string) {
	t.Helper()
	server := os.Getenv("VARVE_TEST_S3")
	if server == "" {
		t.Fatal("VARVE_TEST_S3 names no bucket: run 'make compat'")
	}
	prefix := strings.ToLower(strconv.FormatInt(time.Now().UnixNano(), 36))
	bucket, query, _ := strings.Cut(server, "?")
	return bucket + "/" + prefix + "?" + query, filepath.Join(os.Getenv("VARVE_TEST_S3_DIR"), prefix)
}

func writeCorpus(t *testing.T) (path, sum string, lines int) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "corpus")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	h := sha256.New()
	w := bufio.NewWriterSize(io.MultiWriter(out, h), 1<<20)
	err = filepath.WalkDir(filepath.Join(goroot(t), "src"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".go" {
			return err
		}
		n, err := copyLines(w, p)
		lines += n
		return err
	})
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path, hex.EncodeToString(h.Sum(nil)), lines
}

func goroot(t *testing.T) string {
	t.Helper()
	return strings.TrimSpace(kit.Run(t, nil, "go", "env", "GOROOT"))
}

// copyLines writes the non-empty lines of one file.
func copyLines(w *bufio.Writer, path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	n := 0
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		n++
		if _, err := w.WriteString(line + "\n"); err != nil {
			return n, err
		}
	}
	return n, nil
}

// checkCorpus reads the topic from its beginning with kcat and compares bytes and count.
func checkCorpus(t *testing.T, b *kit.Broker, topic, want string, lines int) {
	t.Helper()
	start := time.Now()
	cmd := exec.CommandContext(t.Context(), "kcat", "-b", b.Addr, "-C", "-t", topic, "-o", "beginning", "-e", "-q",
		"-X", "fetch.message.max.bytes=4000000", "-X", "check.crcs=true")
	counter := &lineCounter{h: sha256.New()}
	cmd.Stdout, cmd.Stderr = counter, os.Stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("kcat -C: %v", err)
	}
	if got := hex.EncodeToString(counter.h.Sum(nil)); got != want || counter.lines != lines {
		t.Fatalf("%s: read %d lines, SHA-256 %s; want %d lines, %s", topic, counter.lines, got, lines, want)
	}
	t.Logf("%s: read back in %v, identical", topic, time.Since(start).Round(time.Millisecond))
}

type lineCounter struct {
	h     hash.Hash
	lines int
}

// Write counts the lines of what it hashes.
func (c *lineCounter) Write(p []byte) (int, error) {
	c.lines += strings.Count(string(p), "\n")
	return c.h.Write(p)
}

// localSegments lists the log files of a topic's partitions that are still on disk.
func localSegments(dir, topic string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		parent := filepath.Base(filepath.Dir(p))
		if filepath.Ext(p) == ".log" && strings.HasPrefix(parent, topic+"-") && !strings.HasSuffix(parent, "-delete") {
			out = append(out, p)
		}
		return nil
	})
	return out, err
}

func ignoreGone(err error) error {
	if os.IsNotExist(err) {
		return nil
	}
	return err
}

func fewClosedSegments(dir, topic string) error {
	segments, err := localSegments(dir, topic)
	if err != nil {
		return err
	}
	if closed := len(segments) - 1; closed >= 2 {
		return fmt.Errorf("%d closed segments are still local", closed)
	}
	return nil
}
