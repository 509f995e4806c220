package cleaner

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
)

// entryBytes is what a key takes in the map: 16 bytes of hash and 8 of offset, as in Kafka.
const entryBytes = 24

// offsetMap knows the newest offset of each key, in memory of a fixed size: it keeps a
// 128-bit hash in place of the key. Kafka takes MD5; here it is half of a SHA-256, because
// two keys that collide are one key to compaction, and for MD5 anybody can make two.
//
// Open addressing with linear probing; nothing is ever deleted.
type offsetMap struct {
	slots []byte
	n     uint64 // how many
	keys  int
	limit int // of keys: the load factor's share of n
}

// newOffsetMap makes a map of at most maxBytes, and of no more than what wanted keys need.
func newOffsetMap(maxBytes int64, loadFactor float64, wanted int64) *offsetMap {
	n := max(maxBytes/entryBytes, 2)
	if need := float64(wanted)/loadFactor + 2; need < float64(n) {
		n = int64(need)
	}
	m := &offsetMap{n: uint64(n), limit: max(int(float64(n)*loadFactor), 1)}
	m.limit = min(m.limit, int(n)-1) // one slot stays free, so that every search ends
	m.slots = make([]byte, n*entryBytes)
	return m
}

// full says whether no other key fits.
func (m *offsetMap) full() bool { return m.keys >= m.limit }

// put notes an offset; a later call for the same key counts.
func (m *offsetMap) put(key []byte, offset int64) {
	s, found, hash := m.find(key)
	if !found {
		copy(s, hash[:])
		m.keys++
	}
	binary.LittleEndian.PutUint64(s[16:], uint64(offset)+1) // 0 marks a free slot
}

// get is the newest offset of the key, -1 when there is none.
func (m *offsetMap) get(key []byte) int64 {
	s, found, _ := m.find(key)
	if !found {
		return -1
	}
	return int64(binary.LittleEndian.Uint64(s[16:])) - 1
}

func (m *offsetMap) find(key []byte) (slot []byte, found bool, hash [16]byte) {
	sum := sha256.Sum256(key)
	copy(hash[:], sum[:])
	for i := binary.LittleEndian.Uint64(hash[:]) % m.n; ; i = (i + 1) % m.n {
		slot = m.slots[i*entryBytes : (i+1)*entryBytes]
		if binary.LittleEndian.Uint64(slot[16:]) == 0 {
			return slot, false, hash
		}
		if bytes.Equal(slot[:16], hash[:]) {
			return slot, true, hash
		}
	}
}
