package objstore

import "hash/crc32"

// CombineCRC32C is the CRC32C of two runs of bytes one behind the other, from those of each;
// n is the length of the second in bytes.
//
// A CRC is a remainder of polynomials over one bit: the first run's is moved up by 8n places,
// that is multiplied by x^(8n), and the second's is added.
func CombineCRC32C(first, second uint32, n int64) uint32 {
	const one, x8 = 1 << 31, 1 << 23 // the highest bit is the coefficient of x^0
	shift, square := uint32(one), uint32(x8)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			shift = multiply(shift, square)
		}
		square = multiply(square, square)
	}
	return multiply(first, shift) ^ second
}

// multiply is a·b modulo Castagnoli's polynomial, lowest coefficient in the highest bit.
func multiply(a, b uint32) uint32 {
	var product uint32
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			product ^= b
		}
		carry := b & 1
		b >>= 1
		if carry == 1 {
			b ^= crc32.Castagnoli
		}
	}
	return product
}
