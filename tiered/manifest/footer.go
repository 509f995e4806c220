package manifest

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/varve-io/varve/broker/kafka"
)

// BlockBytes is the run of log bytes that one CRC of a footer covers.
const BlockBytes = 1 << 20

// FooterVersion is the footer's format version that this release writes.
const FooterVersion = 1

// tailBytes is the end of a segment object: the footer's length with the tail, and
// endMagic, so that the footer is found from the object's size alone.
const tailBytes = 8

// endMagic ends every segment object.
const endMagic = "VEND"

// Footer is everything about a segment but its log bytes: an object can be served,
// checked and put back into a manifest with nothing else at hand.
type Footer struct {
	ID
	Base        int64
	Next        int64
	Epoch       int32
	Try         uint16
	LogBytes    int64
	MaxTsMs     int64
	OffsetIndex []byte       // Kafka's .index file
	TimeIndex   []byte       // Kafka's .timeindex file
	TxnIndex    []byte       // Kafka's .txnindex file
	Producers   []byte       // Kafka's .snapshot file at Next
	Epochs      []EpochEntry // of the log up to Next
	Blocks      []uint32     // CRC32C of each BlockBytes of the log, the last one shorter
}

// Blocks is how many CRCs cover logBytes.
func Blocks(logBytes int64) int64 { return (logBytes + BlockBytes - 1) / BlockBytes }

// Encode writes the footer with its tail.
func (f *Footer) Encode() ([]byte, error) {
	if err := f.validate(); err != nil {
		return nil, err
	}
	b := footerFormat.begin(256 + len(f.OffsetIndex) + len(f.TimeIndex) + len(f.TxnIndex) + len(f.Producers) + 4*len(f.Blocks))
	b = append(b, f.ClusterID[:]...)
	b = append(b, f.TopicID[:]...)
	b = binary.AppendUvarint(b, uint64(f.Partition))
	b = binary.AppendUvarint(b, uint64(f.Base))
	b = binary.AppendUvarint(b, uint64(f.Next))
	b = binary.AppendUvarint(b, uint64(f.Epoch))
	b = binary.BigEndian.AppendUint16(b, f.Try)
	b = binary.AppendUvarint(b, uint64(f.LogBytes))
	b = binary.AppendVarint(b, f.MaxTsMs)
	b = appendBytes(b, f.OffsetIndex)
	b = appendBytes(b, f.TimeIndex)
	b = appendBytes(b, f.TxnIndex)
	b = appendBytes(b, f.Producers)
	b = appendEpochs(b, f.Epochs)
	b = binary.AppendUvarint(b, BlockBytes)
	b = binary.AppendUvarint(b, uint64(len(f.Blocks)))
	for _, c := range f.Blocks {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	if len(b) > maxBody {
		return nil, fmt.Errorf("segment footer: %d bytes, over the limit of %d", len(b), maxBody)
	}
	b = seal(b)
	b = binary.BigEndian.AppendUint32(b, uint32(len(b)+tailBytes))
	return append(b, endMagic...), nil
}

// FooterSize reads a segment object's last bytes (8 or more) and tells how many
// bytes at its end are the footer.
func FooterSize(end []byte) (int64, error) {
	if len(end) < tailBytes || string(end[len(end)-4:]) != endMagic {
		return 0, fmt.Errorf("segment object does not end in %q: %w", endMagic, kafka.ErrCorrupt)
	}
	n := binary.BigEndian.Uint32(end[len(end)-tailBytes:])
	if n < frameExtra+tailBytes || n > maxBody {
		return 0, fmt.Errorf("segment object: footer of %d bytes: %w", n, kafka.ErrCorrupt)
	}
	return int64(n), nil
}

// DecodeFooter reads a footer with its tail. Errors match kafka.ErrCorrupt or ErrNewer.
func DecodeFooter(b []byte) (*Footer, error) {
	n, err := FooterSize(b)
	if err != nil {
		return nil, err
	}
	if n != int64(len(b)) {
		return nil, fmt.Errorf("segment footer: %d bytes, its tail says %d: %w", len(b), n, kafka.ErrCorrupt)
	}
	body, err := footerFormat.open(b[:len(b)-tailBytes])
	if err != nil {
		return nil, err
	}
	r := &reader{b: body, name: footerFormat.name}
	f := &Footer{ID: ID{ClusterID: r.uuid(), TopicID: r.uuid(), Partition: int32(r.small(math.MaxInt32))}}
	f.Base, f.Next = r.offset(), r.offset()
	f.Epoch, f.Try = int32(r.small(math.MaxInt32)), r.uint16()
	f.LogBytes, f.MaxTsMs = r.offset(), r.varint()
	f.OffsetIndex, f.TimeIndex, f.TxnIndex, f.Producers = r.bytes(), r.bytes(), r.bytes(), r.bytes()
	f.Epochs = r.epochs()
	if size := r.uvarint(); size != BlockBytes && r.err == nil {
		r.fail(fmt.Sprintf("blocks of %d bytes", size))
	}
	for n := r.count(4); n > 0 && r.err == nil; n-- {
		f.Blocks = append(f.Blocks, r.uint32())
	}
	if err := r.done(); err != nil {
		return nil, err
	}
	if err := f.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", err, kafka.ErrCorrupt)
	}
	return f, nil
}

// validate checks the footer against itself.
func (f *Footer) validate() error {
	switch {
	case f.Partition < 0 || f.Epoch < 0 || f.Base < 0 || f.Next <= f.Base || f.LogBytes <= 0:
		return fmt.Errorf("%w: segment footer: [%d, %d), epoch %d, %d log bytes", ErrInvalid, f.Base, f.Next, f.Epoch, f.LogBytes)
	case int64(len(f.Blocks)) != Blocks(f.LogBytes):
		return fmt.Errorf("%w: segment footer: %d block CRCs for %d log bytes", ErrInvalid, len(f.Blocks), f.LogBytes)
	}
	return nil
}

// Describes checks that the footer is that of segment s of partition id.
func (f *Footer) Describes(id ID, s Segment) error {
	if f.ID != id || f.Base != s.Base || f.Next != s.Next || f.Epoch != s.Epoch || f.Try != s.Try || f.LogBytes != s.SizeBytes {
		return fmt.Errorf("segment footer says [%d, %d) epoch %d try %d, %d log bytes of %s-%d; the manifest says [%d, %d) epoch %d try %d, %d log bytes of %s-%d: %w",
			f.Base, f.Next, f.Epoch, f.Try, f.LogBytes, f.TopicID, f.Partition,
			s.Base, s.Next, s.Epoch, s.Try, s.SizeBytes, id.TopicID, id.Partition, kafka.ErrCorrupt)
	}
	return nil
}

// CheckBlocks verifies log bytes that start at off, a multiple of BlockBytes, and end
// at a block's end or at the log's. The error matches kafka.ErrCorrupt and names the block.
func (f *Footer) CheckBlocks(off int64, p []byte) error {
	if off%BlockBytes != 0 || off+int64(len(p)) > f.LogBytes {
		return fmt.Errorf("BUG: block check of [%d, %d) in a log of %d bytes", off, off+int64(len(p)), f.LogBytes)
	}
	i := off / BlockBytes
	for block := range slices.Chunk(p, BlockBytes) {
		if got := crc32.Checksum(block, castagnoli); got != f.Blocks[i] {
			return fmt.Errorf("segment %d: block %d (bytes %d to %d): CRC %08x, want %08x: %w",
				f.Base, i, i*BlockBytes, i*BlockBytes+int64(len(block)), got, f.Blocks[i], kafka.ErrCorrupt)
		}
		i++
	}
	return nil
}
