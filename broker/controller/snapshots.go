package controller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hashicorp/raft"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs"
)

// A snapshot file is a head that says where in the log it stands, the content that the state
// machine wrote, and a tail that covers the content. docs/formats/metadata-snapshot.md has
// the bytes.
const (
	snapshotMagic  = "VMSN"
	snapshotFormat = 1
	snapshotSuffix = ".snapshot"
	snapshotTail   = 8 + 4 // length and CRC-32C of the content
	snapshotFixed  = len(snapshotMagic) + 1 + 4
	snapshotKept   = 2
)

// snapshotStore implements raft.SnapshotStore. A snapshot gets its name when it is whole and
// synced; one that a crash cut short has the suffix of unfinished files.
type snapshotStore struct {
	fs  vfs.FS
	dir string
}

// openSnapshots removes unfinished files, and reads the newest through: a log whose
// snapshot is damaged must not be gone on with from an older one, because the entries
// between the two may be gone.
func openSnapshots(fsys vfs.FS, dir string) (*snapshotStore, error) {
	s := &snapshotStore{fs: fsys, dir: dir}
	entries, err := fsys.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), vfs.TempSuffix) {
			if err := fsys.Remove(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	metas, err := s.List()
	if err != nil || len(metas) == 0 {
		return s, err
	}
	_, r, err := s.Open(metas[0].ID)
	if err != nil {
		return nil, err
	}
	return s, r.Close()
}

// names lists the finished snapshots, newest first: names begin with the index.
func (s *snapshotStore) names() ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), snapshotSuffix) {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

// List implements raft.SnapshotStore. Only the newest snapshot is offered; the one before it
// is kept for an operator.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	names, err := s.names()
	if err != nil || len(names) == 0 {
		return nil, err
	}
	f, err := s.fs.OpenFile(filepath.Join(s.dir, names[0]), os.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	meta, _, err := readHead(f)
	if err != nil {
		return nil, err
	}
	meta.ID = strings.TrimSuffix(names[0], snapshotSuffix)
	return []*raft.SnapshotMeta{meta}, nil
}

// Open implements raft.SnapshotStore. The content was checked by the time it returns.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	f, err := s.fs.OpenFile(filepath.Join(s.dir, id+snapshotSuffix), os.O_RDONLY, 0)
	if err != nil {
		return nil, nil, err
	}
	meta, start, err := readHead(f)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	meta.ID = id
	content := io.NewSectionReader(f, start, meta.Size)
	if err := checkContent(f, content, start+meta.Size); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return meta, struct {
		io.Reader
		io.Closer
	}{content, f}, nil
}

// checkContent reads the content through and holds it against the tail.
func checkContent(f vfs.File, content *io.SectionReader, end int64) error {
	tail := make([]byte, snapshotTail)
	if _, err := f.ReadAt(tail, end); err != nil && err != io.EOF {
		return err
	}
	sum := crc32.New(castagnoli)
	n, err := io.Copy(sum, content)
	if err != nil {
		return err
	}
	if binary.BigEndian.Uint64(tail) != uint64(n) || binary.BigEndian.Uint32(tail[8:]) != sum.Sum32() {
		return fmt.Errorf("the content of the metadata snapshot %s fails its checksum: %w", f.Name(), kafka.ErrCorrupt)
	}
	return nil
}

// readHead reads a snapshot's head and returns where its content starts.
func readHead(f vfs.File) (*raft.SnapshotMeta, int64, error) {
	corrupt := func(what string) error {
		return fmt.Errorf("metadata snapshot %s: %s: %w", f.Name(), what, kafka.ErrCorrupt)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	fixed := make([]byte, snapshotFixed)
	if n, err := f.ReadAt(fixed, 0); n < len(fixed) {
		if err != io.EOF {
			return nil, 0, err
		}
		return nil, 0, corrupt("it is shorter than a head")
	}
	if string(fixed[:len(snapshotMagic)]) != snapshotMagic {
		return nil, 0, corrupt("it has another magic")
	}
	if v := fixed[len(snapshotMagic)]; v != snapshotFormat {
		return nil, 0, fmt.Errorf("metadata snapshot %s has format %d, this program knows %d: %w", f.Name(), v, snapshotFormat, metadata.ErrUnsupported)
	}
	size := int64(binary.BigEndian.Uint32(fixed[snapshotFixed-4:]))
	if size > info.Size()-int64(snapshotFixed)-4-snapshotTail {
		return nil, 0, corrupt("it is shorter than its head says")
	}
	head := make([]byte, int64(snapshotFixed)+size+4)
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, 0, err
	}
	if crc32.Checksum(head[:len(head)-4], castagnoli) != binary.BigEndian.Uint32(head[len(head)-4:]) {
		return nil, 0, corrupt("its head fails its checksum")
	}
	meta, ok := decodeMeta(head[snapshotFixed : len(head)-4])
	if !ok {
		return nil, 0, corrupt("its head is malformed")
	}
	meta.Size = info.Size() - int64(len(head)) - snapshotTail
	return meta, int64(len(head)), nil
}

// encodeMeta is the variable part of the head.
func encodeMeta(m *raft.SnapshotMeta) []byte {
	b := binary.AppendUvarint(nil, uint64(m.Version))
	b = binary.AppendUvarint(b, m.Index)
	b = binary.AppendUvarint(b, m.Term)
	b = binary.AppendUvarint(b, m.ConfigurationIndex)
	b = binary.AppendUvarint(b, uint64(len(m.Configuration.Servers)))
	for _, s := range m.Configuration.Servers {
		b = binary.AppendUvarint(b, uint64(s.Suffrage))
		for _, text := range []string{string(s.ID), string(s.Address)} {
			b = binary.AppendUvarint(b, uint64(len(text)))
			b = append(b, text...)
		}
	}
	return b
}

func decodeMeta(b []byte) (m *raft.SnapshotMeta, ok bool) {
	ok = true
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() string {
		n := number()
		if n > uint64(len(b)) {
			ok, b = false, nil
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	m = &raft.SnapshotMeta{Version: raft.SnapshotVersion(number()), Index: number(), Term: number(), ConfigurationIndex: number()}
	for n := number(); n > 0 && ok; n-- {
		m.Configuration.Servers = append(m.Configuration.Servers, raft.Server{
			Suffrage: raft.ServerSuffrage(number()), ID: raft.ServerID(text()), Address: raft.ServerAddress(text()),
		})
	}
	return m, ok && len(b) == 0
}

// Create implements raft.SnapshotStore.
func (s *snapshotStore) Create(version raft.SnapshotVersion, index, term uint64, config raft.Configuration, configIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	id := fmt.Sprintf("%020d-%020d", index, term)
	name := filepath.Join(s.dir, id+snapshotSuffix)
	f, err := s.fs.OpenFile(name+vfs.TempSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	meta := encodeMeta(&raft.SnapshotMeta{Version: version, Index: index, Term: term, Configuration: config, ConfigurationIndex: configIndex})
	head := append(make([]byte, 0, snapshotFixed+len(meta)+4), snapshotMagic...)
	head = append(head, snapshotFormat)
	head = binary.BigEndian.AppendUint32(head, uint32(len(meta)))
	head = append(head, meta...)
	head = binary.BigEndian.AppendUint32(head, crc32.Checksum(head, castagnoli))
	sink := &snapshotSink{store: s, id: id, name: name, file: f, at: int64(len(head))}
	if _, err := f.WriteAt(head, 0); err != nil {
		return nil, errors.Join(err, sink.Cancel())
	}
	return sink, nil
}

// snapshotSink implements raft.SnapshotSink.
type snapshotSink struct {
	store *snapshotStore
	id    string
	name  string
	file  vfs.File
	at    int64
	size  int64
	crc   uint32
	done  bool
}

// ID implements raft.SnapshotSink.
func (s *snapshotSink) ID() string { return s.id }

// Write implements io.Writer.
func (s *snapshotSink) Write(b []byte) (int, error) {
	n, err := s.file.WriteAt(b, s.at)
	s.at += int64(n)
	s.size += int64(n)
	s.crc = crc32.Update(s.crc, castagnoli, b[:n])
	return n, err
}

// Cancel implements raft.SnapshotSink.
func (s *snapshotSink) Cancel() error {
	if s.done {
		return nil
	}
	s.done = true
	return errors.Join(s.file.Close(), s.store.fs.Remove(s.name+vfs.TempSuffix))
}

// Close implements io.Closer: it makes the snapshot whole, durable and known by its name, and
// then removes older ones than are kept.
func (s *snapshotSink) Close() error {
	if s.done {
		return nil
	}
	tail := binary.BigEndian.AppendUint64(nil, uint64(s.size))
	tail = binary.BigEndian.AppendUint32(tail, s.crc)
	if _, err := s.file.WriteAt(tail, s.at); err != nil {
		return errors.Join(err, s.Cancel())
	}
	if err := s.file.Sync(); err != nil {
		return errors.Join(err, s.Cancel())
	}
	s.done = true
	if err := s.file.Close(); err != nil {
		return err
	}
	if err := s.store.fs.Rename(s.name+vfs.TempSuffix, s.name); err != nil {
		return err
	}
	if err := s.store.fs.SyncDir(s.store.dir); err != nil {
		return err
	}
	return s.store.prune()
}

func (s *snapshotStore) prune() error {
	names, err := s.names()
	if err != nil || len(names) <= snapshotKept {
		return err
	}
	for _, name := range names[snapshotKept:] {
		if err := s.fs.Remove(filepath.Join(s.dir, name)); err != nil {
			return err
		}
	}
	return s.fs.SyncDir(s.dir)
}
