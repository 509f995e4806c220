package compat

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
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
	gapLine   = regexp.MustCompile(`^\d+ is followed by \d+$`)
	badLine   = regexp.MustCompile(`(?i)mismatch|exception|corrupt|error|found timestamp|non-consecutive`)
)

// checkFiles lets Kafka's own DumpLogSegments judge every local file of the broker's topics
// and the log part of every object in its store, whose objects are files below a directory.
// Segments are told apart by their base offset, so that one which is in both places counts
// once: each tiered topic must hold exactly want records.
func checkFiles(t *testing.T, b *kit.Broker, store string, want int) {
	t.Helper()
	local, err := localFiles(b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(local) == 0 {
		t.Fatal("found no local log file to dump")
	}
	records := map[string]map[string]int{} // partition → base offset → records
	add := func(partition, file string, n int) {
		if records[partition] == nil {
			records[partition] = map[string]int{}
		}
		records[partition][strings.TrimSuffix(filepath.Base(file), ".log")] = n
	}
	for file, n := range dumpLogs(t, local, false) {
		add(partitionOf(t, filepath.Dir(file)), file, n)
	}
	objects := objectLogs(t, store)
	for partition, files := range objects {
		for file, n := range dumpLogs(t, files, false) {
			add(partition, file, n)
		}
	}
	for partition := range objects {
		total := 0
		for _, n := range records[partition] {
			total += n
		}
		if total != want {
			t.Errorf("partition %s: %d segments hold %d records, %d were acknowledged", partition, len(records[partition]), total, want)
		}
	}
	t.Logf("DumpLogSegments: %d local files and the logs of %d tiered partitions are sound", len(local), len(objects))
}

// partitionOf names a local partition as the store does: TOPIC-ID/PARTITION, the id in hexadecimal.
func partitionOf(t *testing.T, dir string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "partition.metadata"))
	if err != nil {
		t.Fatal(err)
	}
	_, id, _ := strings.Cut(string(raw), "topic_id: ")
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(id))
	if err != nil {
		t.Fatalf("%s: partition.metadata: %v", dir, err)
	}
	name := filepath.Base(dir)
	return hex.EncodeToString(b) + "/" + name[strings.LastIndexByte(name, '-')+1:]
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

// dumpLogs runs the tool over files and returns the number of records in each log file; with
// gaps offsets may be missing, as in a compacted log.
func dumpLogs(t *testing.T, files []string, gaps bool) map[string]int {
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
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		readDump(t, bufio.NewScanner(out), counts)
		if err := cmd.Wait(); err != nil {
			t.Errorf("DumpLogSegments: %v", err)
		}
		readComplaints(t, errOut.String(), gaps)
		files = files[n:]
	}
	return counts
}

// readComplaints wants nothing on the tool's stderr but what it says of every log that does
// not begin at offset 0, Kafka's own too: that the first offset does not follow -1.
func readComplaints(t *testing.T, out string, gaps bool) {
	t.Helper()
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "Non-consecutive offsets in ") && !strings.HasPrefix(line, "-1 is followed by ") &&
			!(gaps && gapLine.MatchString(line)) {
			t.Errorf("DumpLogSegments complains: %s", line)
		}
	}
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
		dir := filepath.Dir(filepath.Dir(p)) // …/TOPIC-ID/PARTITION/s
		key := filepath.Base(filepath.Dir(dir)) + "/" + filepath.Base(dir)
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
