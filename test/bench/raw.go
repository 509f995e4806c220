package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// Raw requests use old, inflexible versions that Kafka 4 and Varve both serve and that are
// easy to write by hand: Produce v7, Fetch v11, CreateTopics v2, Metadata v1.
const (
	keyProduce, produceVersion = 0, 7
	keyFetch, fetchVersion     = 1, 11
	keyCreateTopics            = 19
	batchHeader                = 61
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeBatch makes one record batch of about size bytes from records of recordSize bytes,
// half of it random so that it compresses like ordinary data.
func encodeBatch(size, recordSize int) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, batchHeader, size+recordSize+64)
	count := 0
	for len(b) < size {
		value := make([]byte, recordSize)
		for i := range value {
			if i%2 == 0 {
				value[i] = byte(rng.IntN(256))
			}
		}
		rec := []byte{0, 0}                               // attributes, timestamp delta
		rec = binary.AppendVarint(rec, int64(count))      // offset delta
		rec = append(rec, 1)                              // key: null
		rec = binary.AppendVarint(rec, int64(len(value))) // value
		rec = append(append(rec, value...), 0)            // no headers
		b = append(binary.AppendVarint(b, int64(len(rec))), rec...)
		count++
	}
	now := uint64(time.Now().UnixMilli())
	be := binary.BigEndian
	be.PutUint32(b[8:], uint32(len(b)-12))
	be.PutUint32(b[12:], ^uint32(0)) // leader epoch -1
	b[16] = 2
	be.PutUint32(b[23:], uint32(count-1))
	be.PutUint64(b[27:], now)
	be.PutUint64(b[35:], now)
	be.PutUint64(b[43:], ^uint64(0))
	be.PutUint16(b[51:], ^uint16(0))
	be.PutUint32(b[53:], ^uint32(0))
	be.PutUint32(b[57:], uint32(count))
	be.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// frame wraps a request body with size and header v1.
func frame(key, version int16, body []byte) []byte {
	b := make([]byte, 4, 32+len(body))
	b = be16(b, key)
	b = be16(b, version)
	b = append(b, 0, 0, 0, 1) // correlation id
	b = str(b, "bench")
	b = append(b, body...)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func be16(b []byte, v int16) []byte { return binary.BigEndian.AppendUint16(b, uint16(v)) }
func be32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }
func be64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }
func str(b []byte, s string) []byte { return append(be16(b, int16(len(s))), s...) }

func produceFrame(topic string, partition int32, batch []byte) []byte {
	b := be16(nil, -1) // transactional id: null
	b = be16(b, -1)    // acks
	b = be32(b, 30000)
	b = str(be32(b, 1), topic)
	b = be32(be32(b, 1), partition)
	b = append(be32(b, int32(len(batch))), batch...)
	return frame(keyProduce, produceVersion, b)
}

func fetchFrame(topic string, partition int32, offset int64, maxBytes int32) []byte {
	b := be32(nil, -1) // replica
	b = be32(b, 500)   // max wait
	b = be32(b, 1)     // min bytes
	b = be32(b, maxBytes)
	b = append(b, 0)         // isolation
	b = be32(be32(b, 0), -1) // no session
	b = str(be32(b, 1), topic)
	b = be32(be32(b, 1), partition)
	b = be32(b, -1) // leader epoch
	b = be64(b, offset)
	b = be64(b, -1)
	b = be32(b, maxBytes)
	b = be32(b, 0) // forgotten
	b = str(b, "") // rack
	return frame(keyFetch, fetchVersion, b)
}

func createTopicFrame(topic string, partitions int32) []byte {
	b := str(be32(nil, 1), topic)
	b = be16(be32(b, partitions), 1)
	b = be32(b, 0) // assignments
	b = be32(b, 2)
	b = str(str(b, "max.message.bytes"), "8388608")
	b = str(str(b, "file.delete.delay.ms"), "0")
	b = be32(b, 30000)
	b = append(b, 0)
	return frame(keyCreateTopics, 2, b)
}

// readFrame reads one answer into buf, which grows when it must.
func readFrame(r io.Reader, buf []byte) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return buf, err
	}
	n := int(binary.BigEndian.Uint32(size[:]))
	if cap(buf) < n {
		buf = make([]byte, n)
	}
	_, err := io.ReadFull(r, buf[:n])
	return buf[:n], err
}

// ask sends one frame and reads its answer.
func ask(addr string, f []byte) ([]byte, error) {
	c, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := c.Write(f); err != nil {
		return nil, err
	}
	return readFrame(c, nil)
}

// produce sends n copies of a batch with inFlight requests on the way and checks each answer.
func produce(addr, topic string, batch []byte, n, inFlight int) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	f := produceFrame(topic, 0, batch)
	slots := make(chan struct{}, inFlight)
	failed := make(chan error, 1)
	go func() {
		for range n {
			slots <- struct{}{}
			if _, err := c.Write(f); err != nil {
				failed <- err
				return
			}
		}
		failed <- nil
	}()
	in := bufio.NewReaderSize(c, 64<<10)
	var buf []byte
	for range n {
		if buf, err = readFrame(in, buf); err != nil {
			return err
		}
		// correlation, topics, name, partitions, partition, error
		at := 4 + 4 + 2 + len(topic) + 4 + 4
		if code := int16(binary.BigEndian.Uint16(buf[at:])); code != 0 {
			return fmt.Errorf("produce answered error %d", code)
		}
		<-slots
	}
	return <-failed
}

// fetch reads total bytes of records from the start of the log, again and again, and
// checks that each answer starts with a batch at the offset that was asked for.
func fetch(addr, topic string, maxBytes int32, total int64) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReaderSize(c, 256<<10)
	var offset, got int64
	buf := make([]byte, 256<<10)
	for got < total {
		if _, err := c.Write(fetchFrame(topic, 0, offset, maxBytes)); err != nil {
			return err
		}
		n, next, err := readFetch(in, buf, topic, offset)
		if err != nil {
			return err
		}
		got += n
		offset = next
		if n == 0 {
			offset = 0
		}
	}
	return nil
}

// readFetch consumes one fetch answer without keeping it. It returns the record bytes and the next offset.
func readFetch(in *bufio.Reader, buf []byte, topic string, offset int64) (int64, int64, error) {
	// size, correlation, throttle, error, session, topics, name, partitions; partition, error, hw, lso, log start, aborted, preferred, size
	head := 4 + 4 + 4 + 2 + 4 + 4 + 2 + len(topic) + 4
	tail := 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4
	if _, err := io.ReadFull(in, buf[:head+tail]); err != nil {
		return 0, 0, err
	}
	size := int64(binary.BigEndian.Uint32(buf))
	if code := int16(binary.BigEndian.Uint16(buf[head+4:])); code != 0 {
		return 0, 0, fmt.Errorf("fetch at %d answered error %d", offset, code)
	}
	records := int64(int32(binary.BigEndian.Uint32(buf[head+tail-4:])))
	if records < 0 {
		records = 0
	}
	if size+4 != int64(head+tail)+records {
		return 0, 0, errors.New("fetch answer has an unexpected shape")
	}
	return skim(in, buf, records, offset)
}

// skim walks the batches of an answer by their headers and throws the bodies away.
func skim(in *bufio.Reader, buf []byte, records, offset int64) (int64, int64, error) {
	left := records
	for left > 0 {
		if left < batchHeader {
			_, err := io.CopyN(io.Discard, in, left)
			return records, offset, err
		}
		if _, err := io.ReadFull(in, buf[:batchHeader]); err != nil {
			return 0, 0, err
		}
		base := int64(binary.BigEndian.Uint64(buf))
		size := int64(binary.BigEndian.Uint32(buf[8:])) + 12
		if base != offset || buf[16] != 2 {
			return 0, 0, fmt.Errorf("a batch at offset %d where %d was due", base, offset)
		}
		left -= batchHeader
		body := min(size-batchHeader, left)
		if _, err := in.Discard(int(body)); err != nil {
			return 0, 0, err
		}
		left -= body
		if body == size-batchHeader { // else a batch cut off at the end, to be fetched again
			offset = base + int64(binary.BigEndian.Uint32(buf[23:])) + 1
		}
	}
	return records, offset, nil
}
