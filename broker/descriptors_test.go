package broker

import "testing"

func TestR47ConnectionsLeaveDescriptorsToTheLogs(t *testing.T) {
	for _, limit := range []uint64{64, 256, 1024, 4096, 20_000, 1 << 20, 1<<64 - 1} {
		files, conns := shareDescriptors(limit)
		if files < 16 || conns < minConnections {
			t.Errorf("of %d: %d files, %d connections", limit, files, conns)
		}
		if rest := int64(min(limit, 1<<31-1)) - int64(files) - int64(conns); rest < int64(min(limit, 1<<31-1)/8) {
			t.Errorf("of %d: %d files and %d connections leave %d", limit, files, conns, rest)
		}
	}
	if files, conns := shareDescriptors(20_000); files != maxLogFiles || conns != 12_892 {
		t.Errorf("of 20000: %d files, %d connections", files, conns)
	}
}
