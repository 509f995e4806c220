package batch_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/kafka"
)

const nowMs = 1_700_000_100_000

// lax refuses nothing that a topic may allow, and looks at every record.
func lax() batch.Rules {
	return batch.Rules{MaxBytes: batch.NoLimit, NowMs: nowMs, BeforeMaxMs: batch.NoLimit, AfterMaxMs: batch.NoLimit, ZstdOK: true, Full: true}
}

func with(change func(r *batch.Rules)) batch.Rules {
	r := lax()
	change(&r)
	return r
}

// edit changes a batch and makes its checksum right again.
func edit(b []byte, change func(b []byte)) []byte {
	b = slices.Clone(b)
	change(b)
	binary.BigEndian.PutUint32(b[17:], batch.Checksum(b))
	return b
}

func put32(at int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[at:], v) }
}

func TestValidateRefuses(t *testing.T) {
	plain := sample(batch.None, 4).Bytes()
	packed := sample(batch.Zstd, 4).Bytes()
	tests := []struct {
		name string
		b    []byte
		r    batch.Rules
		want kafka.Error
	}{
		{"P1 nothing", nil, lax(), kafka.InvalidRecord},
		{"P1 cut", plain[:len(plain)-1], lax(), kafka.InvalidRecord},
		{"P1 two batches", append(slices.Clone(plain), plain...), lax(), kafka.InvalidRecord},
		{"P1 bytes behind", append(slices.Clone(plain), 0), lax(), kafka.InvalidRecord},
		{"P1 magic 0", edit(plain, func(b []byte) { b[16] = 0 }), lax(), kafka.InvalidRecord},
		{"P1 magic 1", edit(plain, func(b []byte) { b[16] = 1 }), lax(), kafka.InvalidRecord},
		{"P1 magic 3", edit(plain, func(b []byte) { b[16] = 3 }), lax(), kafka.CorruptMessage},
		{"P1 length", edit(plain, put32(8, 1)), lax(), kafka.CorruptMessage},
		{"P1 negative length", edit(plain, put32(8, 1<<31)), lax(), kafka.CorruptMessage},
		{"P1 base offset", edit(plain, func(b []byte) { b[7] = 1 }), lax(), kafka.InvalidRecord},
		{"P1 count too high", edit(plain, put32(57, 5)), lax(), kafka.InvalidRecord},
		{"P1 count zero", edit(plain, put32(57, 0)), lax(), kafka.InvalidRecord},
		{"P1 last offset delta", edit(plain, put32(23, 7)), lax(), kafka.InvalidRecord},
		{"P1 both too high", edit(plain, func(b []byte) { put32(57, 5)(b); put32(23, 4)(b) }), lax(), kafka.InvalidRecord},
		{"P1 both too low", edit(plain, func(b []byte) { put32(57, 3)(b); put32(23, 2)(b) }), lax(), kafka.InvalidRecord},
		{"P1 huge count", edit(plain, func(b []byte) { put32(57, math.MaxInt32)(b); put32(23, math.MaxInt32-1)(b) }), batch.Rules{MaxBytes: batch.NoLimit, BeforeMaxMs: batch.NoLimit, AfterMaxMs: batch.NoLimit}, kafka.InvalidRecord},
		{"P1 control", edit(plain, func(b []byte) { b[22] |= 0x20 }), lax(), kafka.InvalidRecord},
		{"I producer without sequence", edit(plain, func(b []byte) { copy(b[43:], make([]byte, 8)) }), lax(), kafka.InvalidRecord},
		{"P2 checksum", slices.Concat(plain[:len(plain)-1], []byte{^plain[len(plain)-1]}), lax(), kafka.CorruptMessage},
		{"P4 bit set by producer", edit(plain, func(b []byte) { b[22] |= 0x08 }), lax(), kafka.InvalidTimestamp},
		{"P4 also on such a topic", edit(plain, func(b []byte) { b[22] |= 0x08 }), with(func(r *batch.Rules) { r.AppendTime = true }), kafka.InvalidTimestamp},
		{"P5 too old", plain, with(func(r *batch.Rules) { r.BeforeMaxMs = 1000 }), kafka.InvalidTimestamp},
		{"P5 too new", plain, with(func(r *batch.Rules) { r.NowMs -= 1_000_000; r.AfterMaxMs = 1000 }), kafka.InvalidTimestamp},
		{"P5 too old, header only", plain, with(func(r *batch.Rules) { r.BeforeMaxMs = 1000; r.Full = false }), kafka.InvalidTimestamp},
		{"P6 null keys", plain, with(func(r *batch.Rules) { r.KeyRequired = true }), kafka.InvalidRecord},
		{"P6 null keys, compressed", packed, with(func(r *batch.Rules) { r.KeyRequired = true; r.Full = false }), kafka.InvalidRecord},
		{"P7 size", packed, with(func(r *batch.Rules) { r.MaxBytes = int64(len(packed)) - 1 }), kafka.MessageTooLarge},
		{"P8 zstd before version 7", packed, with(func(r *batch.Rules) { r.ZstdOK = false }), kafka.UnsupportedCompressionType},
		{"P8 codec 5", edit(plain, func(b []byte) { b[22] |= 5 }), lax(), kafka.UnsupportedCompressionType},
		{"P8 inner count too high", edit(packed, func(b []byte) { put32(57, 5)(b); put32(23, 4)(b) }), lax(), kafka.InvalidRecord},
		{"P8 inner count too low", edit(packed, func(b []byte) { put32(57, 3)(b); put32(23, 2)(b) }), lax(), kafka.InvalidRecord},
		{"P8 not compressed at all", edit(plain, func(b []byte) { b[22] |= 4 }), lax(), kafka.CorruptMessage},
		{"P8 payload cut", edit(packed[:len(packed)-3], func(b []byte) { put32(8, uint32(len(b)-12))(b) }), lax(), kafka.InvalidRecord},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := slices.Clone(tt.b)
			_, err := batch.Validate(tt.b, tt.r)
			var rej *batch.Rejection
			if !errors.As(err, &rej) || !errors.Is(err, tt.want) {
				t.Fatalf("got %v, want a rejection with %s", err, tt.want.Name())
			}
			if !bytes.Equal(tt.b, before) {
				t.Error("a refused batch was changed")
			}
		})
	}
}

// TestHeaderValidation: what a header that looks right lets pass, and what not.
func TestHeaderValidation(t *testing.T) {
	byHeader := func(change func(*batch.Rules)) batch.Rules {
		return with(func(r *batch.Rules) { r.Full = false; r.AfterMaxMs = 3_600_000; change(r) })
	}
	same := func(*batch.Rules) {}
	plain, packed := sample(batch.None, 4).Bytes(), sample(batch.Zstd, 4).Bytes()
	junk := edit(plain, func(b []byte) { b[22] |= 4 })
	late := batch.Builder{}
	late.Append(nil, []byte("now"), nil, nowMs)
	late.Append(nil, []byte("in three hours"), nil, nowMs+3*3_600_000)
	putMax := func(ms int64) func([]byte) {
		return func(b []byte) { binary.BigEndian.PutUint64(b[35:], uint64(ms)) }
	}
	tests := []struct {
		name string
		b    []byte
		r    batch.Rules
		want kafka.Error
	}{
		{"uncompressed", plain, byHeader(same), kafka.NoError},
		{"compressed", packed, byHeader(same), kafka.NoError},
		{"compressed junk", junk, byHeader(same), kafka.NoError},
		{"compressed junk, to be compressed anew", junk, byHeader(func(r *batch.Rules) { r.Codec = "lz4" }), kafka.CorruptMessage},
		{"compressed junk, to be uncompressed", junk, byHeader(func(r *batch.Rules) { r.Codec = "uncompressed" }), kafka.CorruptMessage},
		{"compressed junk, its codec is the topic's", junk, byHeader(func(r *batch.Rules) { r.Codec = "zstd" }), kafka.NoError},
		{"compressed junk on a compacted topic", junk, byHeader(func(r *batch.Rules) { r.KeyRequired = true }), kafka.CorruptMessage},
		{"compressed count", edit(packed, func(b []byte) { put32(57, 5)(b); put32(23, 4)(b) }), byHeader(same), kafka.NoError},
		{"count too high", edit(plain, func(b []byte) { put32(57, 5)(b); put32(23, 4)(b) }), byHeader(same), kafka.InvalidRecord},
		{"count too low", edit(plain, func(b []byte) { put32(57, 3)(b); put32(23, 2)(b) }), byHeader(same), kafka.InvalidRecord},
		{"a negative size", edit(plain, func(b []byte) { b[61] |= 1 }), byHeader(same), kafka.InvalidRecord},
		{"a size beyond the end", edit(plain, func(b []byte) { b[61] += 2 }), byHeader(same), kafka.InvalidRecord},
		{"offset deltas", edit(plain, func(b []byte) { b[64] = 8 }), byHeader(same), kafka.NoError},
		{"an honest time ahead", late.Bytes(), byHeader(same), kafka.InvalidTimestamp},
		{"a time ahead under another header", edit(late.Bytes(), putMax(nowMs)), byHeader(same), kafka.NoError},
		{"a time ahead under a header without one", edit(late.Bytes(), putMax(-1)), byHeader(same), kafka.InvalidTimestamp},
		{"a bound on old times", edit(plain, putMax(nowMs)), byHeader(func(r *batch.Rules) { r.BeforeMaxMs = 1000 }), kafka.InvalidTimestamp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, _, err := batch.ValidateInto(nil, slices.Clone(tt.b), tt.r); kafka.Code(err) != tt.want {
				t.Errorf("%v, want %s", err, tt.want.Name())
			}
		})
	}
}

// TestHeaderValidationFollowsLongSizes: records whose sizes take one, two and more bytes.
func TestHeaderValidationFollowsLongSizes(t *testing.T) {
	var b batch.Builder
	for _, n := range []int{0, 50, 100, 8000, 9000, 3_000_000, 1} {
		b.Append(nil, make([]byte, n), nil, nowMs)
	}
	if _, err := batch.Validate(b.Bytes(), with(func(r *batch.Rules) { r.Full = false })); err != nil {
		t.Error(err)
	}
}

func TestValidateAccepts(t *testing.T) {
	for _, codec := range codecs {
		for _, n := range []int{1, 4, 3000} {
			b := sample(codec, n).Bytes()
			before := slices.Clone(b)
			h, err := batch.Validate(b, with(func(r *batch.Rules) { r.MaxBytes = int64(len(b)) }))
			if err != nil {
				t.Fatalf("%s of %d: %v", codec, n, err)
			}
			if int(h.Count) != n || !bytes.Equal(b, before) {
				t.Errorf("%s of %d: the batch was changed: %+v", codec, n, h)
			}
		}
	}
	marker := batch.ControlBatch(batch.Commit, 1, 2, 3, nowMs)
	if _, err := batch.Validate(marker, with(func(r *batch.Rules) { r.AllowControl = true })); err != nil {
		t.Errorf("a coordinator's marker: %v", err)
	}
}

// P5, P6: exactly the records that are to blame are named.
func TestRecordErrorsNameTheRecords(t *testing.T) {
	for _, codec := range codecs {
		b := batch.Builder{Codec: codec}
		b.Append([]byte("k"), []byte("0"), nil, nowMs)
		b.Append(nil, []byte("1"), nil, nowMs)
		b.Append([]byte("k"), []byte("2"), nil, nowMs-5000)
		b.Append([]byte("k"), []byte("3"), nil, -1) // no time is no wrong time
		b.Append([]byte("k"), []byte("4"), nil, nowMs+5000)
		tests := []struct {
			r    batch.Rules
			want kafka.Error
			bad  []int32
		}{
			{with(func(r *batch.Rules) { r.KeyRequired = true }), kafka.InvalidRecord, []int32{1}},
			{with(func(r *batch.Rules) { r.BeforeMaxMs = 4999 }), kafka.InvalidTimestamp, []int32{2}},
			{with(func(r *batch.Rules) { r.BeforeMaxMs, r.AfterMaxMs = 4999, 4999 }), kafka.InvalidTimestamp, []int32{2, 4}},
			{with(func(r *batch.Rules) { r.KeyRequired = true; r.AfterMaxMs = 0 }), kafka.InvalidTimestamp, []int32{1, 4}},
			{with(func(r *batch.Rules) { r.BeforeMaxMs, r.AfterMaxMs = 5000, 5000 }), kafka.NoError, nil},
			{with(func(r *batch.Rules) { r.AppendTime = true; r.BeforeMaxMs = 0 }), kafka.NoError, nil},
		}
		for i, tt := range tests {
			_, err := batch.Validate(b.Bytes(), tt.r)
			if kafka.Code(err) != tt.want {
				t.Errorf("%s, case %d: %v, want %s", codec, i, err, tt.want.Name())
			}
			var rej *batch.Rejection
			var bad []int32
			if errors.As(err, &rej) {
				for _, r := range rej.Records {
					bad = append(bad, r.Index)
				}
			}
			if !slices.Equal(bad, tt.bad) {
				t.Errorf("%s, case %d: records %v are blamed, want %v", codec, i, bad, tt.bad)
			}
		}
	}
}

// P4: a LogAppendTime topic stamps the batch; nothing else of it moves.
func TestAppendTimeTopicStampsTheBatch(t *testing.T) {
	for _, codec := range codecs {
		b := sample(codec, 5).Bytes()
		h, err := batch.Validate(b, with(func(r *batch.Rules) { r.AppendTime = true }))
		if err != nil {
			t.Fatal(err)
		}
		if !h.IsLogAppendTime() || h.MaxTimestampMs != nowMs || h.Codec() != codec {
			t.Errorf("%s: header %+v", codec, h)
		}
		if err := batch.CheckCRC(b); err != nil {
			t.Error(err)
		}
	}
}

// A header whose maximum timestamp the records do not bear out is put right, as Kafka does.
func TestMaxTimestampIsPutRight(t *testing.T) {
	for _, codec := range codecs {
		b := edit(sample(codec, 5).Bytes(), func(b []byte) { binary.BigEndian.PutUint64(b[35:], nowMs+9) })
		h, err := batch.Validate(b, lax())
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(1_700_000_000_004); h.MaxTimestampMs != want {
			t.Errorf("%s: maximum timestamp %d, want %d", codec, h.MaxTimestampMs, want)
		}
		if err := batch.CheckCRC(b); err != nil {
			t.Error(err)
		}
	}
}

func TestRecordFormIsChecked(t *testing.T) {
	base := batch.Builder{}
	base.Append([]byte("key"), []byte("value"), []batch.RecordHeader{{Key: "h", Value: []byte("v")}}, nowMs)
	good := base.Bytes()
	// size attributes time offset | 06 key | 0a value | 02 headers: 02 h 02 v
	for name, at := range map[string]int{"size": 61, "offset": 64, "key length": 65, "value length": 69, "header count": 75, "header key length": 76, "header value length": 78} {
		for _, v := range []byte{0x7e, 0x01, 0xff} {
			if name == "header value length" && v == 0xff {
				continue // takes the value's byte into the number: null, and all bytes are used
			}
			b := edit(good, func(b []byte) { b[at] = v })
			nullable := v == 0x01 && (name == "key length" || name == "value length" || name == "header value length")
			_, err := batch.Validate(b, lax())
			if !errors.Is(err, kafka.InvalidRecord) {
				t.Errorf("%s = %#x: Validate: %v", name, v, err)
			}
			var last error
			for _, err := range batch.Records(b, batch.Limits{}) {
				last = err
			}
			if name != "offset" && !nullable && !errors.Is(last, kafka.CorruptMessage) {
				t.Errorf("%s = %#x: Records: %v", name, v, last)
			}
		}
	}
}

func TestValidateIntoRecompresses(t *testing.T) {
	for _, from := range codecs {
		for _, to := range codecs {
			b := sample(from, 100).Bytes()
			want := records(t, b)
			out, h, err := batch.ValidateInto(nil, b, with(func(r *batch.Rules) { r.Codec = to.String() }))
			if err != nil {
				t.Fatal(err)
			}
			if h.Codec() != to || h.Size() != int64(len(out)) {
				t.Errorf("%s to %s: header %+v", from, to, h)
			}
			if from == to && &out[0] != &b[0] {
				t.Errorf("%s to %s: the batch was copied", from, to)
			}
			if err := batch.CheckCRC(out); err != nil {
				t.Error(err)
			}
			equalRecords(t, records(t, out), want)
		}
		b := sample(from, 100).Bytes()
		out, _, err := batch.ValidateInto(nil, b, with(func(r *batch.Rules) { r.Codec = "producer" }))
		if err != nil || &out[0] != &b[0] {
			t.Errorf("producer keeps the bytes: %v", err)
		}
	}
	small := sample(batch.Zstd, 5000).Bytes()
	_, _, err := batch.ValidateInto(nil, small, with(func(r *batch.Rules) { r.MaxBytes = int64(len(small)); r.Codec = "uncompressed" }))
	if !errors.Is(err, kafka.MessageTooLarge) {
		t.Errorf("a batch that grew beyond the topic's limit: %v", err)
	}
}

// bombs are batches that claim or hold far more than they have bytes.
func bombs(t *testing.T) map[string][]byte {
	t.Helper()
	plain := sample(batch.None, 1).Bytes()
	zeros := make([]byte, 64<<20)
	var gz bytes.Buffer
	w := gzip.NewWriter(&gz)
	if _, err := w.Write(zeros); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	wide := []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3} // a window of 128 MiB
	wide = append(wide, bytes.Repeat([]byte{0x02, 0, 0x10, 0}, 2000)...)
	claim := binary.LittleEndian.AppendUint64([]byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0}, 1<<40) // holds 1 TiB, it says
	return map[string][]byte{
		"snappy lie":        repack(t, plain, batch.Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0x0f, 0}),
		"snappy framed lie": repack(t, plain, batch.Snappy, append([]byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x06"), 0xff, 0xff, 0xff, 0xff, 0x0f, 0)),
		"gzip":              repack(t, plain, batch.Gzip, gz.Bytes()),
		"zstd":              repack(t, plain, batch.Zstd, enc.EncodeAll(zeros, nil)),
		"zstd wide window":  repack(t, plain, batch.Zstd, wide),
		"zstd claim":        repack(t, plain, batch.Zstd, claim),
	}
}

func TestBombsCostLittle(t *testing.T) {
	lim := batch.Limits{MaxBytes: 1 << 20}
	for name, b := range bombs(t) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, verr := batch.Validate(slices.Clone(b), with(func(r *batch.Rules) { r.Limits = lim }))
		var rerr error
		for _, err := range batch.Records(b, lim) {
			rerr = err
		}
		runtime.ReadMemStats(&after)
		for _, err := range []error{verr, rerr} {
			if !errors.Is(err, kafka.MessageTooLarge) && !errors.Is(err, kafka.CorruptMessage) && !errors.Is(err, kafka.InvalidRecord) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
			t.Errorf("%s allocated %d MiB for at most 1 MiB of records", name, got>>20)
		}
	}
}

func FuzzRecords(f *testing.F) {
	for _, codec := range codecs {
		f.Add(sample(codec, 3).Bytes())
		f.Add(sample(codec, 300).Bytes())
	}
	f.Add(batch.ControlBatch(batch.Commit, 1, 2, 3, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		lim := batch.Limits{MaxBytes: 1 << 20}
		var decodes error
		n := 0
		for _, err := range batch.Records(b, lim) {
			if decodes = err; err == nil {
				n++
			}
		}
		if len(b) >= batch.HeaderSize { // let the fuzzer reach the records
			binary.BigEndian.PutUint32(b[17:], batch.Checksum(b))
		}
		h, err := batch.Validate(b, with(func(r *batch.Rules) { r.Limits = lim }))
		if err == nil && (decodes != nil || n != int(h.Count)) {
			t.Fatalf("accepted, but %d of %d records decode: %v", n, h.Count, decodes)
		}
		quick := with(func(r *batch.Rules) { r.Limits, r.Full = lim, false })
		if _, hErr := batch.Validate(b, quick); err == nil && hErr != nil {
			t.Fatalf("accepted record by record, and refused by its header: %v", hErr)
		}
	})
}

func BenchmarkValidate(b *testing.B) {
	for _, codec := range codecs {
		for _, full := range []bool{false, true} {
			name := codec.String() + "/header"
			if full {
				name = codec.String() + "/full"
			}
			b.Run(name, func(b *testing.B) {
				build := batch.Builder{Codec: codec}
				value := []byte(`{"level":"info","service":"checkout","order":4711,"message":"payment accepted","latency":23}`)
				for i := range 10_000 {
					build.Append(nil, append(value, byte(i)), nil, nowMs)
				}
				data := build.Bytes()
				r := with(func(r *batch.Rules) { r.Full = full })
				b.SetBytes(10_000 * 100)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := batch.Validate(data, r); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// TestLongBatchesAreCompressedAnew: records that are more than streamFrom together are the same
// behind each pair of codecs, and stay within the topic's limit and that of decompression.
func TestLongBatchesAreCompressedAnew(t *testing.T) {
	long := bytes.Repeat([]byte("some words that compress well, "), 40_000)
	for _, from := range codecs {
		b := batch.Builder{Codec: from, BaseTimestampMs: 5}
		b.Append([]byte("k"), long, nil, 7)
		b.Append(nil, []byte("last"), nil, 9)
		for _, to := range codecs {
			rules := with(func(r *batch.Rules) { r.Codec, r.MaxBytes, r.Full = to.String(), batch.NoLimit, true })
			out, h, err := batch.ValidateInto([]byte("before"), b.Bytes(), rules)
			if err != nil {
				t.Errorf("%v to %v: %v", from, to, err)
				continue
			}
			if h.Codec() != to || h.Count != 2 || h.MaxTimestampMs != 9 || binary.BigEndian.Uint32(out[17:]) != batch.Checksum(out) {
				t.Errorf("%v to %v: header %+v", from, to, h)
			}
			var got []string
			for r, err := range batch.Records(out, batch.Limits{}) {
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, string(r.Value))
			}
			if len(got) != 2 || got[0] != string(long) || got[1] != "last" {
				t.Errorf("%v to %v: %d records", from, to, len(got))
			}
			if from == to || from == batch.None {
				continue
			}
			rules.MaxBytes = int64(len(out)) - 6
			if _, _, err := batch.ValidateInto(nil, b.Bytes(), rules); !errors.Is(err, kafka.MessageTooLarge) && int(rules.MaxBytes) < len(b.Bytes()) {
				t.Errorf("%v to %v, beyond the topic's limit: %v", from, to, err)
			}
			rules.MaxBytes, rules.Limits.MaxBytes = batch.NoLimit, 9<<17
			if _, _, err := batch.ValidateInto(nil, b.Bytes(), rules); !errors.Is(err, kafka.MessageTooLarge) {
				t.Errorf("%v to %v, beyond the limit of decompression: %v", from, to, err)
			}
		}
	}
}
