package metadata

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/varve-io/varve/broker/kafka"
)

// The head of a stored image: magic, format, the image's version, and the CRC-32C of those.
const (
	imageMagic  = "VMIM"
	imageFormat = 1
	imageHead   = len(imageMagic) + 1 + 8 + 4

	// imageChunk is how many records go into one entry of a stored image, and maxImageEntry
	// the most bytes that one may have.
	imageChunk    = 256
	maxImageEntry = 64 << 20
)

// WriteTo writes the image: a head, then log entries whose records build it from nothing,
// each behind its length, then a length of zero. Equal images have equal bytes.
func (img *Image) WriteTo(w io.Writer) (int64, error) {
	out := &countingWriter{w: bufio.NewWriterSize(w, 64<<10)}
	head := append(make([]byte, 0, imageHead), imageMagic...)
	head = append(head, imageFormat)
	head = binary.BigEndian.AppendUint64(head, uint64(img.version))
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	out.write(head)

	level := max(img.Feature(FormatFeature), 1)
	var chunk []Record
	flush := func() {
		if len(chunk) == 0 || out.err != nil {
			return
		}
		var entry []byte
		if entry, out.err = EncodeEntry(chunk, level); out.err != nil {
			return
		}
		out.write(binary.BigEndian.AppendUint32(nil, uint32(len(entry))))
		out.write(entry)
		chunk = chunk[:0]
	}
	img.records(func(r Record) {
		if chunk = append(chunk, r); len(chunk) == imageChunk {
			flush()
		}
	})
	flush()
	out.write(make([]byte, 4))
	if out.err == nil {
		out.err = out.w.Flush()
	}
	return out.n, out.err
}

// records lists what builds the image from nothing. Features come first, because the format
// level decides how the others are read; brokers before topics, because registering a broker
// raises the epochs of what it leads.
func (img *Image) records(add func(Record)) {
	for name, level := range img.Features() {
		add(FeatureRecord{Name: name, Level: level})
	}
	if img.clusterID != "" {
		add(ClusterRecord{ClusterID: img.clusterID})
	}
	for b := range img.Brokers() {
		add(RegisterBrokerRecord(*b))
	}
	for t := range img.Topics() {
		add(TopicRecord{Name: t.Name, ID: t.ID, Version: t.Version, Config: t.Config})
		for i, p := range t.Partitions {
			add(PartitionRecord{TopicID: t.ID, Index: int32(i), Partition: p})
		}
	}
	for r := range img.ConfigResources() {
		add(ConfigRecord{Resource: r, Config: img.Config(r)})
	}
	for s := range img.ScramCredentials() {
		add(ScramRecord{s})
	}
	for e := range img.QuotaEntities() {
		add(ClientQuotaRecord{Entity: e, Quotas: img.Quotas(e)})
	}
	for a := range img.ACLs() {
		add(ACLRecord{ACL: a})
	}
	for t := range img.DelegationTokens() {
		add(DelegationTokenRecord{DelegationToken: t})
	}
	for p := range img.Purging() {
		add(PurgeRecord{TopicID: p.ID, Name: p.Name})
	}
	if img.nextProducerID > 0 {
		add(ProducerIDsRecord{Next: img.nextProducerID})
	}
}

// ReadImage reads what WriteTo wrote. Errors wrap kafka.ErrCorrupt or ErrUnsupported, or are
// those of r.
func ReadImage(r io.Reader) (*Image, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	head := make([]byte, imageHead)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, imageError(err)
	}
	if string(head[:len(imageMagic)]) != imageMagic {
		return nil, fmt.Errorf("a metadata image without the magic %s: %w", imageMagic, kafka.ErrCorrupt)
	}
	if f := head[len(imageMagic)]; f != imageFormat {
		return nil, fmt.Errorf("metadata image format %d, this program knows %d: %w", f, imageFormat, ErrUnsupported)
	}
	if crc32.Checksum(head[:imageHead-4], castagnoli) != binary.BigEndian.Uint32(head[imageHead-4:]) {
		return nil, fmt.Errorf("the head of a metadata image fails its checksum: %w", kafka.ErrCorrupt)
	}
	version := int64(binary.BigEndian.Uint64(head[len(imageMagic)+1:]))
	empty := &Image{}
	c := empty.change(version) // one change for all: a topic's partitions may span entries
	var size [4]byte
	for {
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return nil, imageError(err)
		}
		n := binary.BigEndian.Uint32(size[:])
		if n == 0 {
			c.publish(empty)
			return c.img, nil
		}
		if n > maxImageEntry {
			return nil, fmt.Errorf("a metadata image has an entry of %d bytes: %w", n, kafka.ErrCorrupt)
		}
		if err := c.readEntry(in, int64(n)); err != nil {
			return nil, err
		}
	}
}

func (c *change) readEntry(in io.Reader, n int64) error {
	entry, err := io.ReadAll(io.LimitReader(in, n)) // grows with what is there, not with what is claimed
	if err != nil {
		return err
	}
	if int64(len(entry)) < n {
		return imageError(io.ErrUnexpectedEOF)
	}
	records, err := DecodeEntry(entry)
	if err != nil {
		return err
	}
	if err := c.apply(records); errors.Is(err, ErrUnsupported) {
		return err
	} else if err != nil {
		return fmt.Errorf("a metadata image contradicts itself: %v: %w", err, kafka.ErrCorrupt)
	}
	return nil
}

func imageError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("a metadata image ends early: %w", kafka.ErrCorrupt)
	}
	return err
}

// countingWriter keeps the first error and goes silent after it.
type countingWriter struct {
	w   *bufio.Writer
	n   int64
	err error
}

func (w *countingWriter) write(b []byte) {
	if w.err != nil {
		return
	}
	n, err := w.w.Write(b)
	w.n += int64(n)
	w.err = err
}
