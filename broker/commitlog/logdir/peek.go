package logdir

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/varve-io/varve/broker/vfs"
)

// ClusterOf reads which cluster the directories belong to, "" when none of them was used
// yet. It takes no lock and changes nothing, so it can be asked before anything is opened.
// Directories of two clusters, and one that holds other files, are an ErrForeign; one that
// cannot be read is skipped, Open will call it offline. own is as Options.Own.
func ClusterOf(fsys vfs.FS, dirs, own []string) (string, error) {
	cluster, where := "", ""
	for _, dir := range dirs {
		b, err := vfs.ReadFile(fsys, filepath.Join(dir, metaName))
		if errors.Is(err, fs.ErrNotExist) {
			if err := lookEmpty(&Options{FS: fsys, Own: own}, &inspected{path: filepath.Clean(dir)}); err != nil {
				return "", err
			}
		}
		if err != nil {
			continue
		}
		m, err := parseMetaProperties(b)
		if err != nil {
			return "", fmt.Errorf("log dir %s: %w", dir, err)
		}
		if cluster != "" && m.clusterID != cluster {
			return "", fmt.Errorf("%s belongs to cluster %s, %s to cluster %s; name directories of one cluster only: %w", where, cluster, dir, m.clusterID, ErrForeign)
		}
		cluster, where = m.clusterID, dir
	}
	return cluster, nil
}
