package compat

import (
	"bufio"
	"encoding/binary"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/varve-io/varve/test/kit"
)

var (
	batchLine = regexp.MustCompile(`^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .*isvalid: (\w+)`)
	badLine   = regexp.MustCompile(`(?i)mismatch|exception|corrupt|error|found timestamp|non-consecutive`)
)

// checkFiles lets Kafka's own DumpLogSegments judge every local file of the broker's topics
// and the log part of every object of a file store. Each topic must hold want records.
func checkFiles(t *testing.T, b *kit.Broker, want int) {
	t.Helper()
	local, err := localFiles(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(local) == 0 {
		t.Fatal("found no local log file to dump")
	}
	counts := dumpLogs(t, local)
	for _, n := range counts {
		if n > want {
			t.Errorf("a local log holds %d records, more than the %d that were produced", n, want)
		}
	}
	objects := objectLogs(t, filepath.Dir(b.Dir))
	total := map[string]int{}
	for dir, files := range objects {
		for _, n := range dumpLogs(t, files) {
			total[dir] += n
		}
	}
	t.Logf("DumpLogSegments: %d local files and the logs of %d tiered partitions are sound", len(local), len(objects))
	for dir, n := range total {
		if n > want || n == 0 {
			t.Errorf("%s: its objects hold %d records, want 1 to %d", dir, n, want)
		}
	}
}

// localFiles lists log, index and snapshot files of live partitions.
func localFiles(dir string) ([]string, error) {
	var out []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return ignoreGone(err)
		}
		if d.IsDir() && (strings.HasSuffix(p, "-delete") || d.Name() == "store") {
			return filepath.SkipDir
		}
		switch filepath.Ext(p) {
		case ".log", ".index", ".timeindex", ".txnindex", ".snapshot":
			if len(strings.TrimSuffix(d.Name(), filepath.Ext(p))) == 20 {
				out = append(out, p)
			}
		}
		return nil
	})
	return out, err
}

// dumpLogs runs the tool over files and returns the number of records in each log file.
func dumpLogs(t *testing.T, files []string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for len(files) > 0 {
		n := min(len(files), 100)
		args := append(kit.JavaArgs(t, "org.apache.kafka.tools.DumpLogSegments"), "--deep-iteration", "--skip-record-metadata", "--files", strings.Join(files[:n], ","))
		cmd := exec.CommandContext(t.Context(), "java", args...)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		readDump(t, bufio.NewScanner(out), counts)
		if err := cmd.Wait(); err != nil {
			t.Errorf("DumpLogSegments: %v", err)
		}
		files = files[n:]
	}
	return counts
}

func readDump(t *testing.T, in *bufio.Scanner, counts map[string]int) {
	t.Helper()
	in.Buffer(nil, 1<<20)
	current := ""
	for in.Scan() {
		line := in.Text()
		if name, ok := strings.CutPrefix(line, "Dumping "); ok {
			current = name
			continue
		}
		if m := batchLine.FindStringSubmatch(line); m != nil {
			if m[4] != "true" {
				t.Errorf("%s: invalid batch: %s", current, line)
			}
			n, _ := strconv.Atoi(m[3])
			counts[current] += n
			continue
		}
		if badLine.MatchString(line) {
			t.Errorf("%s: %s", current, line)
		}
	}
	if err := in.Err(); err != nil {
		t.Errorf("reading the dump: %v", err)
	}
}

// objectLogs cuts the log part out of every segment object below dir, walking Kafka's batch
// headers and nothing else, and returns the cut files by partition.
func objectLogs(t *testing.T, dir string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".vseg" {
			return ignoreGone(err)
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return ignoreGone(err)
		}
		base, _, _ := strings.Cut(d.Name(), "-")
		target := filepath.Join(t.TempDir(), base+".log")
		if err := os.WriteFile(target, b[:logLength(b)], 0o600); err != nil {
			return err
		}
		key := filepath.Dir(p)
		out[key] = append(out[key], target)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// logLength is where the run of consecutive v2 batches ends.
func logLength(b []byte) int {
	pos, next := 0, int64(-1)
	for pos+61 <= len(b) && b[pos+16] == 2 {
		base := int64(binary.BigEndian.Uint64(b[pos:]))
		size := int(int32(binary.BigEndian.Uint32(b[pos+8:]))) + 12
		if size < 61 || pos+size > len(b) || (next >= 0 && base < next) {
			break
		}
		next = base + int64(binary.BigEndian.Uint32(b[pos+23:])) + 1
		pos += size
	}
	return pos
}
