package file

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/varve-io/varve/objstore"
)

// The trailer's bytes are part of the format (docs/formats/object-file.md) and must not
// change within one format number.
const (
	magic         = "VARVEO"
	formatVersion = 1
	footerSize    = 16 // attribute length, format number, CRC32C, magic
	attrsFixed    = 16 + 8 + 8 + 4 + 2
	// attrsMax bounds what a reader allocates. Metadata is at most objstore.MaxMeta bytes, in
	// entries of at least one byte, with three bytes of lengths each.
	attrsMax = attrsFixed + 4*objstore.MaxMeta
)

var (
	errDamaged = errors.New("no object trailer")
	errIsDir   = errors.New("a directory of objects")
)

// trailer is what is written behind an object's bytes.
type trailer struct {
	id         [16]byte // random, new with each write: the version
	modifiedMs int64
	size       int64
	crc        uint32 // CRC32C of the object's bytes
	meta       map[string]string
}

func newTrailer(size int64, crc uint32, now time.Time, meta map[string]string) trailer {
	t := trailer{modifiedMs: now.UnixMilli(), size: size, crc: crc, meta: meta}
	rand.Read(t.id[:])
	return t
}

func (t trailer) version() objstore.Version { return objstore.Version(hex.EncodeToString(t.id[:])) }

func (t trailer) attrs(key string) objstore.Attrs {
	return objstore.Attrs{
		Key: key, Size: t.size, Version: t.version(), Modified: time.UnixMilli(t.modifiedMs),
		Meta: maps.Clone(t.meta), CRC32C: t.crc, HasCRC: true,
	}
}

// append encodes the trailer. Metadata is in the order of its names, so that equal trailers
// are equal bytes.
func (t trailer) append(dst []byte) []byte {
	start := len(dst)
	dst = append(dst, t.id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.modifiedMs))
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.size))
	dst = binary.BigEndian.AppendUint32(dst, t.crc)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.meta)))
	for _, name := range slices.Sorted(maps.Keys(t.meta)) {
		dst = append(dst, byte(len(name)))
		dst = append(dst, name...)
		dst = binary.BigEndian.AppendUint16(dst, uint16(len(t.meta[name])))
		dst = append(dst, t.meta[name]...)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(dst)-start))
	dst = binary.BigEndian.AppendUint16(dst, formatVersion)
	dst = binary.BigEndian.AppendUint32(dst, crc32.Checksum(dst[start:], objstore.Castagnoli))
	return append(dst, magic...)
}

// readTrailer reads the trailer of an object's file. Errors match errDamaged when the file
// is not what a Put left, and errIsDir.
func readTrailer(f *os.File) (trailer, error) {
	st, err := f.Stat()
	if err != nil {
		return trailer{}, err
	}
	if st.IsDir() {
		return trailer{}, errIsDir
	}
	// Nearly every trailer fits: one read.
	tail := make([]byte, min(st.Size(), 512))
	if _, err := f.ReadAt(tail, st.Size()-int64(len(tail))); err != nil && len(tail) > 0 {
		return trailer{}, err
	}
	n, err := attrsLength(tail)
	if err != nil {
		return trailer{}, err
	}
	if need := int64(n) + footerSize; need > int64(len(tail)) {
		if need > st.Size() {
			return trailer{}, fmt.Errorf("%w: cut short", errDamaged)
		}
		tail = make([]byte, need)
		if _, err := f.ReadAt(tail, st.Size()-need); err != nil {
			return trailer{}, err
		}
	}
	t, err := decodeTrailer(tail)
	if err != nil {
		return trailer{}, err
	}
	if t.size != st.Size()-int64(n)-footerSize {
		return trailer{}, fmt.Errorf("%w: it describes %d bytes, the file has %d", errDamaged, t.size, st.Size()-int64(n)-footerSize)
	}
	return t, nil
}

// attrsLength reads the footer at the end of tail.
func attrsLength(tail []byte) (int, error) {
	if len(tail) < footerSize || string(tail[len(tail)-len(magic):]) != magic {
		return 0, fmt.Errorf("%w: it does not end in %s", errDamaged, magic)
	}
	foot := tail[len(tail)-footerSize:]
	if v := binary.BigEndian.Uint16(foot[4:]); v != formatVersion {
		return 0, fmt.Errorf("%w: format %d, this program reads %d", errDamaged, v, formatVersion)
	}
	n := binary.BigEndian.Uint32(foot)
	if n < attrsFixed || n > attrsMax {
		return 0, fmt.Errorf("%w: %d bytes of attributes", errDamaged, n)
	}
	return int(n), nil
}

// decodeTrailer decodes the trailer that tail ends with; tail holds all of it.
func decodeTrailer(tail []byte) (trailer, error) {
	n, err := attrsLength(tail)
	if err != nil {
		return trailer{}, err
	}
	if n+footerSize > len(tail) {
		return trailer{}, fmt.Errorf("%w: cut short", errDamaged)
	}
	foot := tail[len(tail)-footerSize:]
	b := tail[len(tail)-footerSize-n:]
	if crc32.Checksum(b[:n+6], objstore.Castagnoli) != binary.BigEndian.Uint32(foot[6:]) {
		return trailer{}, fmt.Errorf("%w: its checksum does not match", errDamaged)
	}
	var t trailer
	copy(t.id[:], b)
	t.modifiedMs = int64(binary.BigEndian.Uint64(b[16:]))
	t.size = int64(binary.BigEndian.Uint64(b[24:]))
	t.crc = binary.BigEndian.Uint32(b[32:])
	count := int(binary.BigEndian.Uint16(b[36:]))
	t.meta, err = decodeMeta(b[attrsFixed:n], count)
	if err == nil && t.size < 0 {
		err = fmt.Errorf("%w: a negative size", errDamaged)
	}
	return t, err
}

func decodeMeta(b []byte, count int) (map[string]string, error) {
	if count == 0 && len(b) == 0 {
		return nil, nil
	}
	if count*3 > len(b) {
		return nil, fmt.Errorf("%w: metadata cut short", errDamaged)
	}
	meta := make(map[string]string, count)
	field := func(size int) (string, bool) {
		if size > len(b) {
			return "", false
		}
		s := string(b[:size])
		b = b[size:]
		return s, true
	}
	for range count {
		var name, value string
		ok := len(b) >= 1
		if ok {
			size := int(b[0])
			b = b[1:]
			name, ok = field(size)
		}
		if ok = ok && len(b) >= 2; ok {
			size := int(binary.BigEndian.Uint16(b))
			b = b[2:]
			value, ok = field(size)
		}
		if !ok {
			return nil, fmt.Errorf("%w: metadata cut short", errDamaged)
		}
		meta[name] = value
	}
	if len(b) != 0 || len(meta) != count {
		return nil, fmt.Errorf("%w: metadata does not add up", errDamaged)
	}
	return meta, nil
}
