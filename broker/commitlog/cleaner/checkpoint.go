package cleaner

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// CheckpointName is the file in a log dir that says up to where each log is clean: Kafka's
// name and format. A line with the version 0, one with the count, then
// "topic partition offset" a line.
const CheckpointName = "cleaner-offset-checkpoint"

// AppendCheckpoint writes that text, in the order of topics and partitions.
func AppendCheckpoint(dst []byte, offsets map[kafka.TopicPartition]int64) []byte {
	dst = fmt.Appendf(dst, "0\n%d\n", len(offsets))
	for _, tp := range slices.SortedFunc(maps.Keys(offsets), func(a, b kafka.TopicPartition) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition) - int(b.Partition)
	}) {
		dst = fmt.Appendf(dst, "%s %d %d\n", tp.Topic, tp.Partition, offsets[tp])
	}
	return dst
}

// ParseCheckpoint reads that text. Errors wrap kafka.ErrCorrupt.
func ParseCheckpoint(b []byte) (map[kafka.TopicPartition]int64, error) {
	corrupt := func(what string) (map[kafka.TopicPartition]int64, error) {
		return nil, fmt.Errorf("%s: %s: %w", CheckpointName, what, kafka.ErrCorrupt)
	}
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) < 2 || lines[0] != "0" {
		return corrupt("no version 0 header")
	}
	n, err := strconv.ParseUint(lines[1], 10, 31)
	if err != nil || int(n) != len(lines)-2 {
		return corrupt("the count does not fit the lines")
	}
	out := make(map[kafka.TopicPartition]int64, n)
	for _, line := range lines[2:] {
		f := strings.Fields(line)
		if len(f) != 3 {
			return corrupt(fmt.Sprintf("line %q", line))
		}
		p, err1 := strconv.ParseInt(f[1], 10, 32)
		off, err2 := strconv.ParseInt(f[2], 10, 64)
		tp := kafka.TopicPartition{Topic: f[0], Partition: int32(p)}
		if _, twice := out[tp]; err1 != nil || err2 != nil || p < 0 || off < 0 || twice {
			return corrupt(fmt.Sprintf("line %q", line))
		}
		out[tp] = off
	}
	return out, nil
}

// readCheckpoint answers nothing for a file that is not there or not readable: then every
// log is cleaned from its start.
func (c *Cleaner) readCheckpoint(dir string) map[kafka.TopicPartition]int64 {
	path := filepath.Join(dir, CheckpointName)
	b, err := vfs.ReadFile(c.o.FS, path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var out map[kafka.TopicPartition]int64
	if err == nil {
		out, err = ParseCheckpoint(b)
	}
	if err != nil {
		c.o.Logger.Warn("the cleaner's checkpoint can't be read; its logs are cleaned from their start", "file", path, "error", err)
	}
	return out
}

// writeCheckpoint replaces the checkpoint of dir and says whether it is durable. A failure costs
// work after the next start.
func (c *Cleaner) writeCheckpoint(dir string) bool {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.mu.Lock()
	offsets := map[kafka.TopicPartition]int64{}
	for log, st := range c.mu.logs {
		if log.Dir() == dir && st.cleaned > 0 {
			offsets[log.TopicPartition()] = st.cleaned
		}
	}
	c.mu.Unlock()
	if err := vfs.WriteFileAtomic(c.o.FS, filepath.Join(dir, CheckpointName), AppendCheckpoint(nil, offsets)); err != nil {
		c.metrics.checkpoint.Inc()
		c.o.Logger.Error("the cleaner's checkpoint could not be written; a start would clean logs again", "dir", dir, "error", err)
		return false
	}
	return true
}
