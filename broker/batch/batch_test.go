package batch_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

var codecs = []batch.Codec{batch.None, batch.Gzip, batch.Snappy, batch.LZ4, batch.Zstd}

// sample is a batch of n records with every kind of field: null, empty, headers, times out of order.
func sample(codec batch.Codec, n int) *batch.Builder {
	b := &batch.Builder{Codec: codec}
	for i := range n {
		var key, value []byte
		if i%3 != 0 {
			key = fmt.Appendf(nil, "key-%d", i%100)
		}
		switch i % 5 {
		case 0:
			value = []byte{}
		case 1: // null
		default:
			value = bytes.Repeat(fmt.Appendf(nil, "value %d ", i), 1+i%20)
		}
		var headers []batch.RecordHeader
		if i%4 == 0 {
			headers = []batch.RecordHeader{{Key: "trace", Value: []byte{byte(i)}}, {Key: "", Value: nil}}
		}
		b.Append(key, value, headers, 1_700_000_000_000+int64(i%7))
	}
	return b
}

func records(t *testing.T, b []byte) []batch.Record {
	t.Helper()
	var out []batch.Record
	for r, err := range batch.Records(b, batch.Limits{}) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	return out
}

func equalRecords(t *testing.T, got, want []batch.Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d records, want %d", len(got), len(want))
	}
	for i := range want {
		if g, w := fmt.Sprintf("%#v", got[i]), fmt.Sprintf("%#v", want[i]); g != w {
			t.Fatalf("record %d: %s, want %s", i, g, w)
		}
	}
}

// The bytes of a batch never change: they are in users' logs and buckets.
func TestGoldenBytes(t *testing.T) {
	b := batch.Builder{ProducerID: 77, ProducerEpoch: 3, BaseSequence: 9, BaseOffset: 5, LeaderEpoch: 2}
	b.Append([]byte("k"), []byte("hello"), []batch.RecordHeader{{Key: "h", Value: []byte("v")}}, 1000)
	b.Append(nil, []byte("x"), nil, 1002)
	const want = "0000000000000005" + "0000004a" + "00000002" + "02" + "%s" + "0000" + "00000001" +
		"00000000000003e8" + "00000000000003ea" + "000000000000004d" + "0003" + "00000009" + "00000002" +
		"20" + "00" + "00" + "00" + "02" + "6b" + "0a" + "68656c6c6f" + "02" + "02" + "68" + "02" + "76" +
		"0e" + "00" + "04" + "02" + "01" + "02" + "78" + "00"
	covered := fmt.Sprintf(want, "00000000")
	raw, err := hex.DecodeString(covered)
	if err != nil {
		t.Fatal(err)
	}
	crc := crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli))
	if got, want := hex.EncodeToString(b.Bytes()), fmt.Sprintf(want, fmt.Sprintf("%08x", crc)); got != want {
		t.Fatalf("batch\n%s, want\n%s", got, want)
	}
	const marker = "0000000000000000" + "00000042" + "00000000" + "02" + "035e2b43" + "0030" + "00000000" +
		"000000000000002a" + "000000000000002a" + "00000000000003e8" + "0001" + "ffffffff" + "00000001" +
		"20" + "00" + "00" + "00" + "08" + "00000001" + "0c" + "000000000007" + "00"
	if got := hex.EncodeToString(batch.ControlBatch(batch.Commit, 7, 1000, 1, 42)); got != marker {
		t.Fatalf("marker\n%s, want\n%s", got, marker)
	}
}

func TestHeaderAgreesWithKmsg(t *testing.T) {
	for _, codec := range codecs {
		b := sample(codec, 50).Bytes()
		var k kmsg.RecordBatch
		if err := k.ReadFrom(b); err != nil {
			t.Fatal(err)
		}
		h, err := batch.ParseHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		want := batch.Header{
			BaseOffset: k.FirstOffset, Length: k.Length, LeaderEpoch: k.PartitionLeaderEpoch, Magic: k.Magic,
			CRC: uint32(k.CRC), Attributes: batch.Attributes(k.Attributes), LastOffsetDelta: k.LastOffsetDelta,
			BaseTimestampMs: k.FirstTimestamp, MaxTimestampMs: k.MaxTimestamp, ProducerID: k.ProducerID,
			ProducerEpoch: k.ProducerEpoch, BaseSequence: k.FirstSequence, Count: k.NumRecords,
		}
		if h != want {
			t.Errorf("%s: %+v, want %+v", codec, h, want)
		}
		if err := batch.CheckCRC(b); err != nil {
			t.Error(err)
		}
	}
}

// franz-go must read what we write, and we what it writes, for every codec.
func TestCodecsAgreeWithFranzGo(t *testing.T) {
	theirs := map[batch.Codec]kgo.CompressionCodec{
		batch.Gzip: kgo.GzipCompression(), batch.Snappy: kgo.SnappyCompression(),
		batch.LZ4: kgo.Lz4Compression(), batch.Zstd: kgo.ZstdCompression(),
	}
	for codec, their := range theirs {
		for _, n := range []int{1, 50, 5000} {
			plain := sample(batch.None, n).Bytes()
			ours := sample(codec, n).Bytes()
			payload, err := kgo.DefaultDecompressor().Decompress(ours[batch.HeaderSize:], kgo.CompressionCodecType(codec))
			if err != nil {
				t.Fatalf("franz-go reads our %s: %v", codec, err)
			}
			if !bytes.Equal(payload, plain[batch.HeaderSize:]) {
				t.Fatalf("franz-go reads other records from our %s", codec)
			}
			equalRecords(t, records(t, ours), records(t, plain))

			z, err := kgo.DefaultCompressor(their)
			if err != nil {
				t.Fatal(err)
			}
			packed, _ := z.Compress(new(bytes.Buffer), plain[batch.HeaderSize:])
			b := repack(t, plain, codec, packed)
			equalRecords(t, records(t, b), records(t, plain))
			if _, err := batch.Validate(b, lax()); err != nil {
				t.Errorf("%s of %d records from franz-go: %v", codec, n, err)
			}
		}
	}
}

// repack gives the batch b another payload and codec, with a right length and checksum.
func repack(t *testing.T, b []byte, codec batch.Codec, payload []byte) []byte {
	t.Helper()
	var k kmsg.RecordBatch
	if err := k.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	k.Records = payload
	k.Attributes = k.Attributes&^7 | int16(codec)
	k.Length = int32(49 + len(payload))
	k.CRC = 0
	out := k.AppendTo(nil)
	k.CRC = int32(batch.Checksum(out))
	return k.AppendTo(nil)
}

func TestRecompressKeepsRecords(t *testing.T) {
	plain := sample(batch.None, 200).Bytes()
	b := plain
	for _, from := range codecs {
		for _, to := range codecs {
			var err error
			if b, err = batch.Recompress(b, from, 0); err != nil {
				t.Fatal(err)
			}
			if b, err = batch.Recompress(b, to, 1); err != nil {
				t.Fatal(err)
			}
			if err := batch.CheckCRC(b); err != nil {
				t.Fatal(err)
			}
			equalRecords(t, records(t, b), records(t, plain))
		}
	}
}

func TestSnappyFramings(t *testing.T) {
	plain := sample(batch.None, 4000).Bytes()
	framed := sample(batch.Snappy, 4000).Bytes()
	// Two streams one behind the other, as snappy-java's writer leaves them when it is reused.
	payload := plain[batch.HeaderSize:]
	half := len(payload) / 2
	first := batch.AppendXerial(nil, payload[:half])
	both := repack(t, plain, batch.Snappy, batch.AppendXerial(first, payload[half:]))
	for name, b := range map[string][]byte{"framed": framed, "two streams": both} {
		equalRecords(t, records(t, b), records(t, plain))
		if _, err := batch.Validate(b, lax()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHeaderRewrites(t *testing.T) {
	b := sample(batch.None, 3).Bytes()
	batch.SetBaseOffset(b, 1<<40)
	batch.SetLeaderEpoch(b, 12)
	if err := batch.CheckCRC(b); err != nil {
		t.Fatalf("offset and epoch are outside the checksum: %v", err)
	}
	b[21] |= 0x07 // attribute bits without a meaning
	batch.SetAppendTime(b, 99)
	if err := batch.CheckCRC(b); err != nil {
		t.Fatal(err)
	}
	if b[21] != 0 {
		t.Errorf("unknown attribute bits %#x are left, which Kafka clears", b[21])
	}
	for i, r := range records(t, b) {
		if r.TimestampMs != 99 || r.Offset != 1<<40+int64(i) {
			t.Errorf("record %d has offset %d and time %d", i, r.Offset, r.TimestampMs)
		}
	}
	h, err := batch.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.LeaderEpoch != 12 || !h.IsLogAppendTime() || h.LastOffset() != 1<<40+2 {
		t.Errorf("header %+v", h)
	}
}

func TestLastSequenceWraps(t *testing.T) {
	h := batch.Header{BaseSequence: 1<<31 - 2, LastOffsetDelta: 4}
	if got := h.LastSequence(); got != 2 {
		t.Errorf("last sequence %d, want 2", got)
	}
	if got := (batch.Header{BaseSequence: -1, LastOffsetDelta: 4}).LastSequence(); got != -1 {
		t.Errorf("last sequence without producer %d, want -1", got)
	}
}

func TestControlBatch(t *testing.T) {
	b := batch.ControlBatch(batch.Abort, 5, 1000, 2, 42)
	h, err := batch.ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	if !h.IsControl() || !h.IsTransactional() || h.ProducerID != 1000 || h.ProducerEpoch != 2 || h.BaseSequence != -1 {
		t.Errorf("header %+v", h)
	}
	if err := batch.CheckCRC(b); err != nil {
		t.Error(err)
	}
	kind, epoch, err := batch.ParseControl(records(t, b)[0])
	if err != nil || kind != batch.Abort || epoch != 5 {
		t.Errorf("control record: %v, epoch %d, %v", kind, epoch, err)
	}
	if _, _, err := batch.ParseControl(batch.Record{Key: []byte{0, 0, 0}}); !errors.Is(err, kafka.CorruptMessage) {
		t.Errorf("a short key: %v", err)
	}
}

func TestFlippedBitsAreFound(t *testing.T) {
	b := sample(batch.Zstd, 20).Bytes()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		at := 17 + r.IntN(len(b)-17)
		b[at] ^= 1 << r.IntN(8)
		if err := batch.CheckCRC(b); !errors.Is(err, kafka.CorruptMessage) {
			t.Fatalf("a flipped bit at %d: %v", at, err)
		}
		b = sample(batch.Zstd, 20).Bytes()
	}
}
