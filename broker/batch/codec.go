package batch

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"github.com/varve-io/varve/broker/kafka"
)

// Codec is how the records of a batch are compressed, as the header's lowest three bits say it.
type Codec int8

// The codecs of Kafka. Five to seven are not assigned.
const (
	None   Codec = 0
	Gzip   Codec = 1
	Snappy Codec = 2
	LZ4    Codec = 3
	Zstd   Codec = 4
)

// codecNames are the words that compression.type takes for a codec.
var codecNames = [...]string{None: "uncompressed", Gzip: "gzip", Snappy: "snappy", LZ4: "lz4", Zstd: "zstd"}

// String is the codec's word in compression.type.
func (c Codec) String() string {
	if c < None || c > Zstd {
		return fmt.Sprintf("codec-%d", int8(c))
	}
	return codecNames[c]
}

// ParseCodec reads a value of compression.type; keep is true for "producer", which keeps
// whatever codec a batch came with.
func ParseCodec(name string) (c Codec, keep bool, err error) {
	switch name {
	case "producer", "":
		return None, true, nil
	case "none": // the producer's own word for it
		return None, false, nil
	}
	for i, n := range codecNames {
		if n == name {
			return Codec(i), false, nil
		}
	}
	return None, false, fmt.Errorf("compression type %q is not one of uncompressed, gzip, snappy, lz4, zstd, producer: %w", name, kafka.InvalidConfig)
}

// Limits bounds what decompression may cost.
type Limits struct {
	// MaxBytes is how many bytes the records of one batch may have when decompressed; 0 stands
	// for DefaultMaxBytes. Passing it is kafka.MessageTooLarge, found while streaming: memory
	// never grows beyond what was really decoded.
	MaxBytes int64
}

// DefaultMaxBytes is the decompressed size that Limits allows where the caller names none.
const DefaultMaxBytes = 256 << 20

func (l Limits) max() int64 {
	if l.MaxBytes <= 0 {
		return DefaultMaxBytes
	}
	return l.MaxBytes
}

// maxStreamWindow is the largest zstd window (RFC 8878 asks every decoder for 8 MiB) that is
// allocated on the word of a frame header. Frames that claim more, up to maxWindow (what
// Kafka's reader takes, level 22), are decoded straight into their output, which grows only
// with what was really decoded, up to maxWideBytes.
const (
	maxStreamWindow = 8 << 20
	maxWindow       = 128 << 20
	maxWideBytes    = 64 << 20
)

// zstdMaxRatio is the best that zstd can do: a block of 128 KiB from four bytes.
const zstdMaxRatio = 32 << 10

// Decoders and encoders are costly to build, so they are pooled. The pools hold caches only:
// which one is taken makes no difference to a result.
var (
	gzipReaders = sync.Pool{New: func() any { return new(gzip.Reader) }}
	lz4Readers  = sync.Pool{New: func() any { return lz4.NewReader(nil) }}
	zstdReaders = sync.Pool{New: func() any { return newZstdReader(DefaultMaxBytes, maxStreamWindow) }}
	zstdWriters [zstd.SpeedBestCompression + 1]sync.Pool
)

func newZstdReader(maxBytes, maxWindow int64) *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeBuffersBelow(0), zstd.WithDecoderMaxMemory(uint64(maxBytes)),
		zstd.WithDecoderMaxWindow(uint64(maxWindow)))
	if err != nil {
		panic("BUG: zstd decoder options: " + err.Error())
	}
	return d
}

// decompressor opens a stream over a compressed payload. maxBytes is a hint for codecs that
// must decode a block as a whole; the caller counts what it reads. done gives pooled parts
// back and must be called once the stream is no longer used.
func decompressor(c Codec, payload []byte, maxBytes int64) (r io.Reader, done func(), err error) {
	switch c {
	case Gzip:
		z := gzipReaders.Get().(*gzip.Reader)
		done = func() {
			_ = z.Reset(bytes.NewReader(nil)) // lets go of the payload; it reports the missing header
			gzipReaders.Put(z)
		}
		if err := z.Reset(bytes.NewReader(payload)); err != nil {
			return nil, done, err
		}
		return z, done, nil
	case Snappy:
		return &snappyReader{in: payload, maxBytes: maxBytes}, func() {}, nil
	case LZ4:
		z := lz4Readers.Get().(*lz4.Reader)
		z.Reset(bytes.NewReader(payload))
		return z, func() { z.Reset(nil); lz4Readers.Put(z) }, nil
	case Zstd:
		return zstdStream(payload, maxBytes)
	default:
		return nil, func() {}, fmt.Errorf("%s is not known: %w", c, kafka.UnsupportedCompressionType)
	}
}

// zstdStream looks at what a frame claims before anything is allocated for it.
func zstdStream(payload []byte, maxBytes int64) (io.Reader, func(), error) {
	nothing := func() {}
	var h zstd.Header
	if err := h.Decode(payload); err != nil {
		return nil, nothing, fmt.Errorf("zstd frame header: %w", err)
	}
	if h.HasFCS && h.FrameContentSize > zstdMaxRatio*uint64(len(payload)) {
		return nil, nothing, fmt.Errorf("zstd frame of %d bytes claims to hold %d", len(payload), h.FrameContentSize)
	}
	if h.WindowSize > maxStreamWindow {
		maxBytes = min(maxBytes, maxWideBytes, zstdMaxRatio*int64(len(payload)))
		d := newZstdReader(maxBytes, maxWindow)
		defer d.Close()
		out, err := d.DecodeAll(payload, nil)
		if errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			err = errTooLarge(maxBytes)
		}
		return bytes.NewReader(out), nothing, err
	}
	d := zstdReaders.Get().(*zstd.Decoder)
	done := func() {
		_ = d.Reset(nil) // lets go of the payload; it cannot fail
		zstdReaders.Put(d)
	}
	return d, done, d.Reset(bytes.NewReader(payload))
}

func errTooLarge(maxBytes int64) error {
	return fmt.Errorf("records exceed %d bytes when decompressed: %w", maxBytes, kafka.MessageTooLarge)
}

// decompress returns the whole payload decoded, bounded by lim. The result is the caller's.
func decompress(c Codec, payload []byte, lim Limits) ([]byte, error) {
	maxBytes := lim.max()
	r, done, err := decompressor(c, payload, maxBytes)
	defer done()
	if err != nil {
		return nil, decodeError(c, err)
	}
	var out bytes.Buffer
	n, err := out.ReadFrom(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, decodeError(c, err)
	}
	if n > maxBytes {
		return nil, errTooLarge(maxBytes)
	}
	return out.Bytes(), nil
}

// Decompress returns a payload decoded that is no record batch, bounded by lim; None gives the
// payload itself. Errors: kafka.UnsupportedCompressionType, kafka.MessageTooLarge,
// kafka.CorruptMessage.
func Decompress(c Codec, payload []byte, lim Limits) ([]byte, error) {
	if c == None {
		return payload, nil
	}
	return decompress(c, payload, lim)
}

// decodeError marks what a codec complains about as a corrupt message, unless it says better.
func decodeError(c Codec, err error) error {
	if _, ok := errors.AsType[kafka.Error](err); ok {
		return err
	}
	return fmt.Errorf("%s data does not decode: %v: %w", c, err, kafka.CorruptMessage)
}

// compress appends the compressed payload to dst. Level 0 is the codec's default; other
// levels are those of compression.gzip.level, compression.lz4.level and compression.zstd.level.
func compress(dst []byte, c Codec, level int, payload []byte) ([]byte, error) {
	switch c {
	case None:
		return append(dst, payload...), nil
	case Gzip:
		out := bytes.NewBuffer(dst)
		w, err := newGzipWriter(out, level)
		if err != nil {
			return nil, err
		}
		return finish(w, payload, out)
	case Snappy:
		return appendXerial(dst, payload), nil
	case LZ4:
		out := bytes.NewBuffer(dst)
		w, err := newLZ4Writer(out, level)
		if err != nil {
			return nil, err
		}
		return finish(w, payload, out)
	case Zstd:
		return compressZstd(dst, level, payload)
	default:
		return nil, fmt.Errorf("%s is not known: %w", c, kafka.UnsupportedCompressionType)
	}
}

func newGzipWriter(out io.Writer, level int) (*gzip.Writer, error) {
	if level == 0 {
		level = gzip.DefaultCompression
	}
	return gzip.NewWriterLevel(out, level)
}

func newLZ4Writer(out io.Writer, level int) (*lz4.Writer, error) {
	w := lz4.NewWriter(out)
	// Java's reader takes independent blocks only; it neither needs nor checks a content checksum.
	return w, w.Apply(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false),
		lz4.ConcurrencyOption(1), lz4.CompressionLevelOption(lz4Level(level)))
}

func compressZstd(dst []byte, level int, payload []byte) ([]byte, error) {
	w, done, err := zstdWriter(level)
	if err != nil {
		return nil, err
	}
	defer done()
	return w.EncodeAll(payload, dst), nil
}

// zstdWriter takes an encoder from its pool, which done gives back. It maps the reference
// levels onto the library's four; level 0 is Kafka's default, 3.
func zstdWriter(level int) (w *zstd.Encoder, done func(), err error) {
	if level == 0 {
		level = 3
	}
	l := zstd.EncoderLevelFromZstd(level)
	w, ok := zstdWriters[l].Get().(*zstd.Encoder)
	if !ok {
		w, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderLevel(l), zstd.WithEncoderCRC(false))
	}
	return w, func() { zstdWriters[l].Put(w) }, err
}

func finish(w io.WriteCloser, payload []byte, out *bytes.Buffer) ([]byte, error) {
	if _, err := w.Write(payload); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// lz4Level maps Kafka's 1 to 17 onto the library's ten levels.
func lz4Level(level int) lz4.CompressionLevel {
	if level <= 0 {
		return lz4.Fast
	}
	return 1 << (8 + min(level, 9))
}
