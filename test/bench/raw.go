package main

import (
	"bufio"
	"bytes"
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

// encodeBatch makes one record batch of about size bytes from records of recordSize bytes, of
// which every other byte is random: to lz4 that is noise.
func encodeBatch(size, recordSize int) []byte {
	return encode(size, recordSize, func(rng *rand.Rand, value []byte) {
		for i := 0; i < len(value); i += 2 {
			value[i] = byte(rng.IntN(256))
		}
	})
}

// encodeJSON is encodeBatch with log lines as services write them, a few to a record: lz4 leaves
// 0.29 of their bytes, zstd 0.17.
func encodeJSON(size, recordSize int) []byte {
	paths := []string{"/api/v1/orders", "/api/v1/users/profile", "/health", "/api/v2/search?q=", "/static/app.js", "/checkout/confirm"}
	levels := []string{"INFO", "INFO", "INFO", "WARN", "ERROR", "DEBUG"}
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return encode(size, recordSize, func(rng *rand.Rand, value []byte) {
		var lines []byte
		for len(lines) < len(value) {
			at = at.Add(time.Duration(rng.IntN(5000)) * time.Microsecond)
			lines = fmt.Appendf(lines, `{"time":%q,"level":%q,"service":"shop-%d","trace":"%016x","user":%d,"method":"GET","path":%q,"status":%d,"bytes":%d,"millis":%d}`+"\n",
				at.Format(time.RFC3339Nano), levels[rng.IntN(len(levels))], rng.IntN(20), rng.Uint64(), 100_000+rng.IntN(50_000),
				paths[rng.IntN(len(paths))], 200+100*(rng.IntN(12)/10), rng.IntN(20_000), rng.IntN(300))
		}
		copy(value, lines)
	})
}

func encode(size, recordSize int, fill func(rng *rand.Rand, value []byte)) []byte {
	rng := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, batchHeader, size+recordSize+64)
	count := 0
	for len(b) < size {
		value := make([]byte, recordSize)
		fill(rng, value)
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

// fetchFrame asks for records from an offset on; where there are none the broker may wait.
func fetchFrame(topic string, partition int32, offset int64, maxBytes, maxWaitMs int32) []byte {
	b := be32(nil, -1) // replica
	b = be32(b, maxWaitMs)
	b = be32(b, 1) // min bytes
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

func createTopicFrame(topic string, partitions int32, configs map[string]string) []byte {
	b := str(be32(nil, 1), topic)
	b = be16(be32(b, partitions), 1)
	b = be32(b, 0) // assignments
	b = be32(b, int32(2+len(configs)))
	b = str(str(b, "max.message.bytes"), "8388608")
	b = str(str(b, "file.delete.delay.ms"), "0")
	for name, value := range configs {
		b = str(str(b, name), value)
	}
	b = be32(b, 30000)
	b = append(b, 0)
	return frame(keyCreateTopics, 2, b)
}

func deleteTopicFrame(topic string) []byte {
	return frame(20, 1, be32(str(be32(nil, 1), topic), 30000))
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

// leads fails as long as the broker does not serve the partition.
func leads(addr, topic string, partition int32) error {
	answer, err := ask(addr, fetchFrame(topic, partition, 0, 1, 0))
	if err != nil {
		return err
	}
	if code := int16(binary.BigEndian.Uint16(answer[4+4+2+4+4+2+len(topic)+4+4:])); code != 0 {
		return fmt.Errorf("fetch answered error %d", code)
	}
	return nil
}

// produce sends n copies of a batch of count records with inFlight requests on the way.
// It checks that each is accepted and, from the second on, that its offset follows the one
// before; what it returns is the offset behind the last.
func produce(addr, topic string, batch []byte, n, inFlight int) (int64, error) {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return 0, err
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
	count, next := int64(binary.BigEndian.Uint32(batch[57:])), int64(-1)
	for range n {
		if buf, err = readFrame(in, buf); err != nil {
			return 0, err
		}
		// correlation, topics, name, partitions, partition, error, base offset
		at := 4 + 4 + 2 + len(topic) + 4 + 4
		if code := int16(binary.BigEndian.Uint16(buf[at:])); code != 0 {
			return 0, fmt.Errorf("produce answered error %d", code)
		}
		base := int64(binary.BigEndian.Uint64(buf[at+2:]))
		if next >= 0 && base != next {
			return 0, fmt.Errorf("a batch was put at offset %d where %d was due", base, next)
		}
		next = base + count
		<-slots
	}
	return next, <-failed
}

// fetch reads total bytes of records, from the start of the log to its end and again. It
// checks that each answer starts at the offset that was asked for, that the batches in it
// follow each other, and that their bytes are those of want, one batch as it was produced.
func fetch(addr, topic string, maxBytes int32, end, total int64, want []byte) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	in := bufio.NewReaderSize(c, 256<<10)
	r := &reader{in: in, topic: topic, want: want, buf: make([]byte, 256<<10)}
	for r.got < total {
		if _, err := c.Write(fetchFrame(topic, 0, r.offset, maxBytes, 500)); err != nil {
			return err
		}
		before := r.offset
		if err := r.answer(); err != nil {
			return err
		}
		switch r.offset {
		case end:
			r.offset = 0
		case before:
			return fmt.Errorf("nothing at offset %d of %d", before, end)
		}
	}
	return nil
}

// reader consumes fetch answers without keeping them.
type reader struct {
	in     *bufio.Reader
	topic  string
	want   []byte
	buf    []byte
	offset int64 // next
	got    int64 // record bytes so far, those of batches cut off at the end of an answer too
	whole  int   // batches so far
}

// answer reads one answer.
func (r *reader) answer() error {
	// size, correlation, throttle, error, session, topics, name, partitions; partition, error, hw, lso, log start, aborted, preferred, size
	head := 4 + 4 + 4 + 2 + 4 + 4 + 2 + len(r.topic) + 4
	tail := 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4
	b := r.buf[:head+tail]
	if _, err := io.ReadFull(r.in, b); err != nil {
		return err
	}
	size := int64(binary.BigEndian.Uint32(b))
	if code := int16(binary.BigEndian.Uint16(b[head+4:])); code != 0 {
		return fmt.Errorf("fetch at %d answered error %d", r.offset, code)
	}
	records := max(0, int64(int32(binary.BigEndian.Uint32(b[head+tail-4:]))))
	if size+4 != int64(head+tail)+records {
		return errors.New("fetch answer has an unexpected shape")
	}
	r.got += records
	return r.batches(records)
}

// compareEvery is how many batches pass between two whose bodies are compared: comparing
// all would cost more than the fetch, on a machine that the generator shares.
const compareEvery = 16

// batches walks over n bytes of batches, of which the last may be cut off; that one will be
// fetched again.
func (r *reader) batches(n int64) error {
	size := int64(len(r.want))
	for ; n >= size; n -= size {
		if _, err := io.ReadFull(r.in, r.buf[:batchHeader]); err != nil {
			return err
		}
		base := int64(binary.BigEndian.Uint64(r.buf))
		// The broker may write the offset and the leader epoch, nothing else.
		if base != r.offset || !bytes.Equal(r.buf[8:12], r.want[8:12]) || !bytes.Equal(r.buf[16:batchHeader], r.want[16:batchHeader]) {
			return fmt.Errorf("at offset %d something else than what was produced", r.offset)
		}
		if r.whole++; r.whole%compareEvery == 1 {
			if err := r.compare(r.want[batchHeader:]); err != nil {
				return err
			}
		} else if _, err := r.in.Discard(int(size - batchHeader)); err != nil {
			return err
		}
		r.offset = base + int64(binary.BigEndian.Uint32(r.want[57:]))
	}
	_, err := r.in.Discard(int(n))
	return err
}

func (r *reader) compare(want []byte) error {
	for len(want) > 0 {
		n := min(len(want), len(r.buf))
		if _, err := io.ReadFull(r.in, r.buf[:n]); err != nil {
			return err
		}
		if !bytes.Equal(r.buf[:n], want[:n]) {
			return fmt.Errorf("the batch at offset %d has other bytes than what was produced", r.offset)
		}
		want = want[n:]
	}
	return nil
}
