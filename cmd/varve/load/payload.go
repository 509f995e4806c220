package load

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
)

// A record's value begins with a stamp of five fields, big-endian: a word that says so, the CRC-32C of all that follows
// it, the run, the number of the record in its run, and the time of the run when it was due, in nanoseconds.
const (
	stampWord  = 0x56425231 // VBR1
	stampBytes = 4 + 4 + 8 + 8 + 8
)

// poolBytes of content are made once, and records are cut from them: more than any compressor looks back.
const poolBytes = 16 << 20

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Payload makes the content of records.
type Payload struct{ pool []byte }

// ParsePayload reads random (which no codec makes smaller), compressible:RATIO (which becomes about a RATIO-th), or
// file:PATH (cut from a file, which is as compressible as it is). recordBytes is the size of the records.
func ParsePayload(s string, recordBytes int) (Payload, error) {
	if recordBytes < stampBytes {
		return Payload{}, fmt.Errorf("a record has at least the %d bytes that its checksum, its number and its time take", stampBytes)
	}
	kind, arg, _ := strings.Cut(s, ":")
	ratio := 1.0
	switch kind {
	case "random":
	case "compressible":
		var err error
		if ratio, err = strconv.ParseFloat(arg, 64); err != nil || ratio < 1 {
			return Payload{}, fmt.Errorf("compressible:RATIO takes a number of 1 or more, not %q", arg)
		}
	case "file":
		return filePayload(arg, recordBytes)
	default:
		return Payload{}, fmt.Errorf("want random, compressible:RATIO or file:PATH, not %q", s)
	}
	pool := make([]byte, poolBytes+recordBytes)
	rng := rand.NewChaCha8([32]byte{1})
	const grain = 256 // of which the last part is zeros, so that each record is as compressible as the others
	for at := 0; at < len(pool); at += grain {
		part := pool[at:min(at+grain, len(pool))]
		rng.Read(part[:int(float64(len(part))/ratio)]) // never fails
	}
	return Payload{pool}, nil
}

func filePayload(path string, recordBytes int) (Payload, error) {
	f, err := os.Open(path)
	if err != nil {
		return Payload{}, err
	}
	defer f.Close()
	pool, err := io.ReadAll(io.LimitReader(f, poolBytes))
	if err != nil {
		return Payload{}, err
	}
	if len(pool) == 0 {
		return Payload{}, fmt.Errorf("%s is empty", path)
	}
	for len(pool) < 2*recordBytes {
		pool = append(pool, pool...)
	}
	return Payload{pool}, nil
}

// fill writes record number seq of a run into value, and returns its checksum.
func (p Payload) fill(value []byte, run uint64, seq, due int64) uint32 {
	room := len(p.pool) - len(value)
	at := int(seq * int64(len(value)) % int64(room+1))
	copy(value[stampBytes:], p.pool[at:])
	binary.BigEndian.PutUint32(value, stampWord)
	binary.BigEndian.PutUint64(value[8:], run)
	binary.BigEndian.PutUint64(value[16:], uint64(seq))
	binary.BigEndian.PutUint64(value[24:], uint64(due))
	crc := crc32.Checksum(value[8:], castagnoli)
	binary.BigEndian.PutUint32(value[4:], crc)
	return crc
}

// stamp is what a record says of itself.
type stamp struct {
	run      uint64
	seq, due int64
	crc      uint32
}

// readStamp reads a record's stamp; ours says that it has one, intact that its checksum is right.
func readStamp(value []byte) (s stamp, ours, intact bool) {
	if len(value) < stampBytes || binary.BigEndian.Uint32(value) != stampWord {
		return stamp{}, false, false
	}
	s.crc = binary.BigEndian.Uint32(value[4:])
	s.run = binary.BigEndian.Uint64(value[8:])
	s.seq = int64(binary.BigEndian.Uint64(value[16:]))
	s.due = int64(binary.BigEndian.Uint64(value[24:]))
	return s, true, crc32.Checksum(value[8:], castagnoli) == s.crc
}
