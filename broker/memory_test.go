package broker

import (
	"errors"
	"math"
	"path"
	"runtime"
	"testing"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

func TestR48MemoryOfAControlGroup(t *testing.T) {
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"none", nil, math.MaxInt64},
		{"version 2", map[string]string{"/proc/self/cgroup": "0::/varve.service\n", "/sys/fs/cgroup/varve.service/memory.max": "268435456\n"}, 256 << 20},
		{"version 2 without a limit", map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/memory.max": "max\n"}, math.MaxInt64},
		{"version 1", map[string]string{"/proc/self/cgroup": "3:cpu:/x\n2:memory:/x\n", "/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "1000000\n"}, 1000000},
		{"version 1 without a limit", map[string]string{"/proc/self/cgroup": "2:memory:/\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, math.MaxInt64},
		{"a container", map[string]string{"/proc/self/cgroup": "0::/docker/abc\n", "/sys/fs/cgroup/memory.max": "500000\n"}, 500000},
	} {
		if got := groupMemory(filesOf(t, tt.files)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestR48RequestMemory(t *testing.T) {
	for _, tt := range []struct{ set, process, want int64 }{
		{-1, math.MaxInt64, 512 << 20}, {-1, 256 << 20, 256 << 20 / 5}, {-1, 1 << 20, 16 << 20}, {200 << 20, 256 << 20, 200 << 20},
	} {
		c := &config.Node{QueuedMaxRequestBytes: tt.set, SocketRequestMaxBytes: 100 << 20}
		if got := memoryBound(c, tt.process); got != tt.want {
			t.Errorf("queued.max.request.bytes=%d in %d bytes: %d, want %d", tt.set, tt.process, got, tt.want)
		}
	}
}

// filesOf is a file system with files.
func filesOf(t *testing.T, files map[string]string) vfs.FS {
	t.Helper()
	fs := memfs.New()
	for name, text := range files {
		if err := errors.Join(fs.MkdirAll(path.Dir(name), 0o755), vfs.WriteFileAtomic(fs, name, []byte(text))); err != nil {
			t.Fatal(err)
		}
	}
	return fs
}

func TestR48ProcessorsOfAControlGroup(t *testing.T) {
	all := float64(runtime.GOMAXPROCS(0))
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  float64
	}{
		{"none", nil, all},
		{"version 2", map[string]string{"/proc/self/cgroup": "0::/varve.service\n", "/sys/fs/cgroup/varve.service/cpu.max": "20000 100000\n"}, 0.2},
		{"version 2 without a limit", map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "max 100000\n"}, all},
		{"version 1", map[string]string{"/proc/self/cgroup": "3:cpu,cpuacct:/x\n2:memory:/x\n", "/sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "50000\n",
			"/sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n"}, 0.5},
		{"version 1 without a limit", map[string]string{"/proc/self/cgroup": "3:cpu:/\n", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
			"/sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n"}, all},
		{"more than there are", map[string]string{"/proc/self/cgroup": "0::/\n", "/sys/fs/cgroup/cpu.max": "10000000 100\n"}, all},
	} {
		if got := processors(filesOf(t, tt.files)); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}
