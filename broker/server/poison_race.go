//go:build race

package server

// poisonByte fills memory that a request no longer owns. As a length it is negative, as a
// count impossible, as text no UTF-8, so that a kept alias is seen at once.
const poisonByte = 0xDB

// poison overwrites freed request memory, so that a test sees whoever kept an alias of it.
func poison(b []byte) {
	for i := range b {
		b[i] = poisonByte
	}
}
