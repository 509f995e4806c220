package logdir

import (
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// find is the log dir with a path, as DirInfo and commitlog.Log.Dir have it.
func (m *Manager) find(path string) (*dir, error) {
	for _, d := range m.dirs {
		if d.path == path {
			if err := d.offline(); err != nil {
				return nil, fmt.Errorf("log dir %s is offline: %w: %w", path, kafka.KafkaStorageError, err)
			}
			return d, nil
		}
	}
	return nil, fmt.Errorf("%s is no log dir of this node: %w", path, kafka.LogDirNotFound)
}

// Usage is the size and the free bytes of the file system under a log dir. Errors wrap
// kafka.KafkaStorageError when the dir is offline, or kafka.LogDirNotFound.
func (m *Manager) Usage(path string) (vfs.Usage, error) {
	d, err := m.find(path)
	if err != nil {
		return vfs.Usage{}, err
	}
	u, err := m.opts.FS.Usage(d.path)
	if err != nil {
		return vfs.Usage{}, fmt.Errorf("log dir %s: %w: %w", path, kafka.KafkaStorageError, err)
	}
	return u, nil
}

// CheckpointDir makes durable what the logs of one dir say of themselves now, their starts
// above all. It syncs none of their files: what it promises of those stays what it was.
// Errors are those of Usage.
func (m *Manager) CheckpointDir(path string) error {
	d, err := m.find(path)
	if err != nil {
		return err
	}
	return m.writeCheckpoint(d, nil)
}
