package controller

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/hashicorp/raft-wal/types"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/vfs"
)

// The state file is a journal: a head, then records that each hold the whole state, the last
// whole one being in force. Appending costs one sync where replacing a file costs two, and an
// election waits for three of them. docs/formats/metadata-snapshot.md has the bytes.
const (
	stateMagic  = "VMST"
	stateFormat = 1
	stateHead   = len(stateMagic) + 1 + 3
	// stateRewrite is the size in bytes from which the file is written anew with one record.
	stateRewrite = 64 << 10
)

// state is what a record of the state file holds. JSON is what raft-wal's own store keeps for
// the same few values; they change with elections and new log files only.
type state struct {
	Log    types.PersistentState `json:"log"`
	Stable map[string][]byte     `json:"stable"`
}

// stateStore implements types.MetaStore: which files make up the log, and raft's vote and
// term. It stands where raft-wal would put a bbolt database.
type stateStore struct {
	fs   vfs.FS
	name string

	mu struct {
		sync.Mutex
		file  vfs.File
		state state
		end   int64
		err   error // of a failed write, after which nobody knows what is on the disk
	}
}

// Load implements types.MetaStore.
func (s *stateStore) Load(dir string) (types.PersistentState, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.file != nil {
		return s.mu.state.Log, nil
	}
	s.name = filepath.Join(dir, stateFile)
	s.mu.state.Stable = map[string][]byte{}
	b, err := vfs.ReadFile(s.fs, s.name)
	if errors.Is(err, fs.ErrNotExist) {
		return s.mu.state.Log, s.rewrite()
	}
	if err != nil {
		return s.mu.state.Log, err
	}
	if err := s.read(b); err != nil {
		return s.mu.state.Log, fmt.Errorf("%s: %w", s.name, err)
	}
	if s.mu.end < int64(len(b)) { // a torn record: no later one may be taken for part of it
		return s.mu.state.Log, s.rewrite()
	}
	s.mu.file, err = s.fs.OpenFile(s.name, os.O_RDWR, 0)
	return s.mu.state.Log, err
}

// read finds the last whole record. The file was created with its first record in place, so
// there is always one.
func (s *stateStore) read(b []byte) error {
	if len(b) < stateHead || string(b[:len(stateMagic)]) != stateMagic {
		return fmt.Errorf("no state of a metadata log: %w", kafka.ErrCorrupt)
	}
	if f := b[len(stateMagic)]; f != stateFormat {
		return fmt.Errorf("format %d, this program knows %d: %w", f, stateFormat, metadata.ErrUnsupported)
	}
	at, broken, found := stateHead, false, false
	for len(b)-at >= 8 {
		size := int(binary.BigEndian.Uint32(b[at:]))
		if size > len(b)-at-8 {
			break
		}
		record := b[at+8 : at+8+size]
		var next state
		if crc32.Checksum(record, castagnoli) != binary.BigEndian.Uint32(b[at+4:]) || json.Unmarshal(record, &next) != nil {
			broken = true
		} else if broken {
			return fmt.Errorf("damaged before byte %d: %w", at, kafka.ErrCorrupt)
		} else {
			s.mu.state, found = next, true
			s.mu.end = int64(at + 8 + size)
		}
		at += 8 + size
	}
	if !found {
		return fmt.Errorf("no whole record: %w", kafka.ErrCorrupt)
	}
	if s.mu.state.Stable == nil {
		s.mu.state.Stable = map[string][]byte{}
	}
	return nil
}

func (s *stateStore) encode() ([]byte, error) {
	record, err := json.Marshal(s.mu.state)
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(record)))
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(record, castagnoli))
	return append(b, record...), nil
}

// rewrite replaces the file by one with a single record.
func (s *stateStore) rewrite() error {
	record, err := s.encode()
	if err != nil {
		return err
	}
	head := append(make([]byte, 0, stateHead), stateMagic...)
	head = append(head, stateFormat, 0, 0, 0)
	b := append(head, record...)
	if err := vfs.WriteFileAtomic(s.fs, s.name, b); err != nil {
		return err
	}
	if s.mu.file != nil {
		if err := s.mu.file.Close(); err != nil {
			return err
		}
	}
	s.mu.file, err = s.fs.OpenFile(s.name, os.O_RDWR, 0)
	s.mu.end = int64(len(b))
	return err
}

// save makes the state durable.
func (s *stateStore) save() error {
	if s.mu.err != nil {
		return s.mu.err
	}
	if s.mu.file == nil {
		return errors.New("the state of the metadata log is not open")
	}
	s.mu.err = s.append()
	return s.mu.err
}

func (s *stateStore) append() error {
	if s.mu.end > stateRewrite {
		return s.rewrite()
	}
	record, err := s.encode()
	if err != nil {
		return err
	}
	if _, err := s.mu.file.WriteAt(record, s.mu.end); err != nil {
		return err
	}
	s.mu.end += int64(len(record))
	return s.mu.file.Datasync()
}

// CommitState implements types.MetaStore.
func (s *stateStore) CommitState(log types.PersistentState) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.state.Log = log
	return s.save()
}

// GetStable implements types.MetaStore.
func (s *stateStore) GetStable(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mu.state.Stable[string(key)], nil
}

// SetStable implements types.MetaStore.
func (s *stateStore) SetStable(key, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.state.Stable[string(key)] = append([]byte(nil), value...)
	return s.save()
}

// Close implements io.Closer.
func (s *stateStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.file == nil {
		return nil
	}
	err := s.mu.file.Close()
	s.mu.file = nil
	return err
}

var _ io.Closer = (*stateStore)(nil)
