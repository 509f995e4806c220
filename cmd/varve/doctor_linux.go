package main

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// fileLimit is how many descriptors a process may raise its limit to.
func fileLimit() (uint64, error) {
	var lim unix.Rlimit
	err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim)
	return lim.Max, err
}

// diskOf looks at the file system of a directory that is there.
func diskOf(dir string) (disk, error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return disk{}, err
	}
	d := disk{free: 100, inodes: 100, readOnly: unix.Access(dir, unix.W_OK|unix.X_OK) != nil}
	d.name, d.doubtful = fileSystemName(int64(fs.Type))
	if fs.Blocks > 0 {
		d.free = int64(fs.Bavail) * 100 / int64(fs.Blocks)
	}
	if fs.Files > 0 { // some file systems count none
		d.inodes = int64(fs.Ffree) * 100 / int64(fs.Files)
	}
	return d, nil
}

// fileSystemName is the name of a kind of file system, and whether a log on it is doubtful.
func fileSystemName(magic int64) (name string, doubtful bool) {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4", false
	case unix.XFS_SUPER_MAGIC:
		return "xfs", false
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs", false
	case unix.TMPFS_MAGIC:
		return "tmpfs", true
	case unix.NFS_SUPER_MAGIC:
		return "nfs", true
	case unix.SMB_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "cifs", true
	case unix.FUSE_SUPER_MAGIC:
		return "fuse", true
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlay", true
	}
	return fmt.Sprintf("of kind %#x", magic), false
}
