package wire

import (
	"encoding/binary"
	"math"
	"math/bits"
)

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 1)
	}
	return append(dst, 0)
}

func appendInt16(dst []byte, v int16) []byte {
	return binary.BigEndian.AppendUint16(dst, uint16(v))
}

func appendInt32(dst []byte, v int32) []byte {
	return binary.BigEndian.AppendUint32(dst, uint32(v))
}

func appendInt64(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(v))
}

func appendFloat64(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(dst, math.Float64bits(v))
}

func appendUvarint(dst []byte, v uint32) []byte {
	return binary.AppendUvarint(dst, uint64(v))
}

func appendVarint(dst []byte, v int32) []byte {
	return binary.AppendVarint(dst, int64(v))
}

func appendVarlong(dst []byte, v int64) []byte {
	return binary.AppendVarint(dst, v)
}

// appendCount writes the count of an array or the length of bytes.
func appendCount(dst []byte, flex bool, n int) []byte {
	if flex {
		return appendUvarint(dst, uint32(n)+1)
	}
	return appendInt32(dst, int32(n))
}

// appendNull writes a null array or null bytes.
func appendNull(dst []byte, flex bool) []byte {
	if flex {
		return append(dst, 0)
	}
	return appendInt32(dst, -1)
}

// appendString cuts what an int16 can't count, which only a long error message or
// documentation text can be, so that the rest of the message stays readable.
func appendString(dst []byte, flex bool, s string) []byte {
	if flex {
		dst = appendUvarint(dst, uint32(len(s))+1)
		return append(dst, s...)
	}
	s = s[:min(len(s), math.MaxInt16)]
	dst = appendInt16(dst, int16(len(s)))
	return append(dst, s...)
}

// appendNullString writes nil as null where null allows it, else as the empty string.
func appendNullString(dst []byte, flex, null bool, s *string) []byte {
	switch {
	case s != nil:
		return appendString(dst, flex, *s)
	case !null:
		return appendString(dst, flex, "")
	case flex:
		return append(dst, 0)
	}
	return appendInt16(dst, -1)
}

// appendBytes writes nil as null where null allows it, else as no bytes.
func appendBytes(dst []byte, flex, null bool, b []byte) []byte {
	if b == nil && null {
		return appendNull(dst, flex)
	}
	dst = appendCount(dst, flex, len(b))
	return append(dst, b...)
}

// openTag writes the head of a tag, and answers where its content starts. closeTag
// writes the size of the content before it.
func openTag(dst []byte, tag uint32) (_ []byte, at int) {
	dst = appendUvarint(dst, tag)
	dst = append(dst, 0) // the size, if it fits into one byte
	return dst, len(dst)
}

func closeTag(dst []byte, at int) []byte {
	size := len(dst) - at
	if size < 0x80 {
		dst[at-1] = byte(size)
		return dst
	}
	extra := (bits.Len32(uint32(size))+6)/7 - 1
	for range extra {
		dst = append(dst, 0)
	}
	copy(dst[at+extra:], dst[at:at+size])
	binary.PutUvarint(dst[at-1:], uint64(size))
	return dst
}

// appendNoTags writes an empty tag section where the version has one.
func appendNoTags(dst []byte, flex bool) []byte {
	if flex {
		return append(dst, 0)
	}
	return dst
}
