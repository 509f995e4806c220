package broker

import (
	"math"
	"os"
	"path"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/vfs"
)

// defaultRequestMemory bounds request memory where queued.max.request.bytes leaves it open, of a process that may use as
// much memory as it likes. Others get a fifth of theirs: one request may exceed the bound, and its answer and what the
// runtime keeps come on top.
const (
	defaultRequestMemory = 512 << 20
	leastRequestMemory   = 16 << 20
)

func memoryBound(c *config.Node, processBytes int64) int64 {
	if c.QueuedMaxRequestBytes > 0 {
		return c.QueuedMaxRequestBytes
	}
	bound := max(defaultRequestMemory, c.SocketRequestMaxBytes)
	return min(bound, max(leastRequestMemory, processBytes/5))
}

// limitMemory has the runtime collect garbage in time where a control group bounds the process's memory and GOMEMLIMIT
// does not say otherwise, and answers how many bytes the process may use.
func limitMemory(fs vfs.FS) int64 {
	limit := debug.SetMemoryLimit(-1)
	if group := groupMemory(fs); limit == math.MaxInt64 && group < limit {
		limit = group - group/10 // what the runtime does not count
		debug.SetMemoryLimit(limit)
	}
	return limit
}

// groupMemory is the memory limit of the process's control group, in either version of Linux's cgroups, or
// math.MaxInt64.
func groupMemory(fs vfs.FS) int64 {
	least := int64(math.MaxInt64)
	controlGroups(fs, "memory", func(dir string, version int) {
		file := "memory.max"
		if version == 1 {
			file = "memory.limit_in_bytes"
		}
		text, err := readSmall(fs, path.Join(dir, file))
		if n, bad := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil && bad == nil && n > 0 && n < 1<<60 {
			least = min(least, n)
		}
	})
	return least
}

// processors is how many the process may use: those of the machine, or the share of them that its control group
// has, which may be a part of one.
func processors(fs vfs.FS) float64 {
	least := float64(runtime.GOMAXPROCS(0))
	controlGroups(fs, "cpu", func(dir string, version int) {
		var fields []string // microseconds, in a period of microseconds
		if version == 1 {
			quota, _ := readSmall(fs, path.Join(dir, "cpu.cfs_quota_us"))
			period, _ := readSmall(fs, path.Join(dir, "cpu.cfs_period_us"))
			fields = []string{strings.TrimSpace(quota), strings.TrimSpace(period)}
		} else {
			text, _ := readSmall(fs, path.Join(dir, "cpu.max"))
			fields = append(strings.Fields(text), "", "")
		}
		quota, bad := strconv.ParseFloat(fields[0], 64) // "max" and -1 are none
		period, worse := strconv.ParseFloat(fields[1], 64)
		if bad == nil && worse == nil && quota > 0 && period > 0 {
			least = min(least, quota/period)
		}
	})
	return least
}

// controlGroups shows the directories of the process's control groups of a controller, in either version of cgroups.
func controlGroups(fs vfs.FS, controller string, show func(dir string, version int)) {
	groups, err := readSmall(fs, "/proc/self/cgroup")
	if err != nil {
		return
	}
	for line := range strings.Lines(groups) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) < 3 {
			continue
		}
		root, version := "/sys/fs/cgroup", 2
		if slices.Contains(strings.Split(f[1], ","), controller) {
			root, version = "/sys/fs/cgroup/"+controller, 1
		} else if f[1] != "" {
			continue
		}
		for _, dir := range []string{f[2], "/"} { // in a container the path may be of the machine's root
			show(path.Join(root, dir), version)
		}
	}
}

// readSmall reads a file of the kernel's, whose size is told as 0.
func readSmall(fs vfs.FS, name string) (string, error) {
	f, err := fs.OpenFile(name, os.O_RDONLY, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b := make([]byte, 4096)
	n, err := f.ReadAt(b, 0)
	if n > 0 {
		err = nil
	}
	return string(b[:n]), err
}
