package objstore_test

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/varve-io/varve/objstore"
)

func TestCombineCRC32C(t *testing.T) {
	b := make([]byte, 10_000)
	rand.NewChaCha8([32]byte{1}).Read(b)
	sum := func(b []byte) uint32 { return crc32.Checksum(b, objstore.Castagnoli) }
	for _, at := range []int{0, 1, 7, 4096, 9_999, 10_000} {
		if got, want := objstore.CombineCRC32C(sum(b[:at]), sum(b[at:]), int64(len(b)-at)), sum(b); got != want {
			t.Errorf("cut at %d: %08x, want %08x", at, got, want)
		}
	}
}
