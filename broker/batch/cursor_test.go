package batch

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// TestScanShortAgrees holds the short cut against the way around: what it takes, scanBody
// takes too and reads alike; and it does take ordinary records.
func TestScanShortAgrees(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	taken := 0
	for range 200_000 {
		key, value := rng.Int64N(200)-20, rng.Int64N(300)-20
		b := []byte{0}
		b = binary.AppendVarint(b, rng.Int64N(1<<rng.IntN(24))-rng.Int64N(100))
		b = binary.AppendVarint(b, rng.Int64N(1<<rng.IntN(24)))
		b = binary.AppendVarint(b, key)
		b = append(b, make([]byte, max(key, 0))...)
		b = binary.AppendVarint(b, value)
		b = append(b, make([]byte, max(value, 0))...)
		b = append(b, 0)
		switch rng.IntN(3) {
		case 0: // a flipped byte
			b[rng.IntN(len(b))] = byte(rng.IntN(256))
		case 1: // cut, or with a byte more
			b = append(b, 0)[:rng.IntN(len(b)+2)]
		}
		short, ok := scanShort(b)
		if !ok {
			continue
		}
		taken++
		if long, ok := scanBody(b); !ok || long != short {
			t.Fatalf("% x: %+v, by the way around %+v, %v", b, short, long, ok)
		}
	}
	if taken < 50_000 {
		t.Errorf("only %d of 200000 records took the short cut", taken)
	}
}
