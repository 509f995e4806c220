package batch

import (
	"bytes"
	"errors"
	"io"

	"github.com/varve-io/varve/broker/kafka"
)

// streamFrom is how many decompressed bytes are held at once when a batch is compressed anew.
// What is longer goes from one codec to the other in a stream, so that a small batch that
// decompresses to hundreds of megabytes costs time, but no memory.
const streamFrom = 1 << 20

// errOverfull ends a stream whose compressed form passes the topic's limit.
var errOverfull = errors.New("the limit is passed")

// recompress appends the records of the batch b to dst as a batch compressed with target. The
// errors are Rejections.
func recompress(dst, b []byte, h Header, target Codec, r Rules) ([]byte, error) {
	payload := b[HeaderSize:]
	var rest io.Reader
	if h.Codec() != None {
		src, done, err := decompressor(h.Codec(), payload, r.Limits.max())
		defer done()
		if err != nil {
			return nil, rejectDecode(h, decodeError(h.Codec(), err))
		}
		var head bytes.Buffer
		n, err := head.ReadFrom(io.LimitReader(src, streamFrom+1))
		if err != nil {
			return nil, rejectDecode(h, decodeError(h.Codec(), err))
		}
		if payload = head.Bytes(); n > streamFrom {
			rest = src
		}
	}
	var out []byte
	var err error
	if rest == nil {
		out, err = seal(dst, h, target, r.Level, payload)
	} else {
		out, err = stream(dst, h, target, r, io.MultiReader(bytes.NewReader(payload), rest))
	}
	switch {
	case errors.Is(err, errOverfull):
		return nil, reject(kafka.MessageTooLarge, "the batch has more than %d bytes when compressed with %s, which is what the topic allows", r.MaxBytes, target)
	case errors.Is(err, kafka.MessageTooLarge), errors.Is(err, kafka.CorruptMessage):
		return nil, reject(kafka.Code(err), "%v", err)
	case err != nil:
		return nil, reject(kafka.UnknownServerError, "compress with %s: %v", target, err)
	case int64(len(out)) > r.MaxBytes:
		return nil, reject(kafka.MessageTooLarge, "the batch has %d bytes when compressed with %s, the topic allows %d", len(out), target, r.MaxBytes)
	}
	return out, nil
}

// stream is seal for records that are too many to be held at once.
func stream(dst []byte, h Header, target Codec, r Rules, src io.Reader) ([]byte, error) {
	start := len(dst)
	out := &bounded{b: append(dst, make([]byte, HeaderSize)...), start: start, most: r.MaxBytes}
	w, done, err := compressor(out, target, r.Level)
	if err != nil {
		return nil, err
	}
	defer done()
	most := r.Limits.max()
	n, err := io.Copy(onlyWriter{w}, decoding{h.Codec(), io.LimitReader(src, most+1)})
	if err == nil && n > most {
		err = errTooLarge(most)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		return nil, err
	}
	return sealed(out.b, start, h, target)
}

// onlyWriter hides the other ways to fill a writer: some read all of the source first.
type onlyWriter struct{ io.Writer }

// decoding marks the errors of a decompressor, to tell them from those of the writer.
type decoding struct {
	codec Codec
	src   io.Reader
}

// Read implements io.Reader.
func (d decoding) Read(p []byte) (int, error) {
	n, err := d.src.Read(p)
	if err != nil && err != io.EOF {
		err = decodeError(d.codec, err)
	}
	return n, err
}

// bounded appends what is written to b, up to a length from start on.
type bounded struct {
	b     []byte
	start int
	most  int64
}

// Write implements io.Writer.
func (o *bounded) Write(p []byte) (int, error) {
	if int64(len(o.b)-o.start+len(p)) > o.most {
		return 0, errOverfull
	}
	o.b = append(o.b, p...)
	return len(p), nil
}

// compressor opens a stream that compresses into out. done gives pooled parts back.
func compressor(out io.Writer, c Codec, level int) (w io.WriteCloser, done func(), err error) {
	done = func() {}
	switch c {
	case Gzip:
		w, err = newGzipWriter(out, level)
	case Snappy:
		_, err = out.Write(appendXerialHeader(nil))
		w = &xerialWriter{out: out}
	case LZ4:
		w, err = newLZ4Writer(out, level)
	case Zstd:
		z, put, zerr := zstdWriter(level)
		if zerr != nil {
			return nil, done, zerr
		}
		z.Reset(out)
		w, done = z, func() { z.Reset(nil); put() }
	default: // None: ParseCodec knows no other
		w = uncompressed{out}
	}
	return w, done, err
}

// uncompressed is the stream of codec None.
type uncompressed struct{ io.Writer }

// Close implements io.Closer.
func (uncompressed) Close() error { return nil }

// xerialWriter writes the blocks of snappy-java's framing.
type xerialWriter struct {
	out     io.Writer
	pending []byte // less than a block
	block   []byte
}

// Write implements io.Writer.
func (w *xerialWriter) Write(p []byte) (int, error) {
	w.pending = append(w.pending, p...)
	whole := len(w.pending) / xerialBlockSize * xerialBlockSize
	err := w.blocks(whole)
	return len(p), err
}

// Close writes the last block.
func (w *xerialWriter) Close() error { return w.blocks(len(w.pending)) }

func (w *xerialWriter) blocks(n int) error {
	if n == 0 {
		return nil
	}
	w.block = appendXerialBlocks(w.block[:0], w.pending[:n])
	w.pending = append(w.pending[:0], w.pending[n:]...)
	_, err := w.out.Write(w.block)
	return err
}
