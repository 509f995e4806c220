package vfs

import (
	"fmt"
	"syscall"
	"unsafe"
)

// DirectAlignment is what positions, sizes and addresses of direct I/O are multiples of.
const DirectAlignment = 4096

// directOpener is what an FS implements as well when its files can be read and written past
// the page cache.
type directOpener interface {
	openDirect(name string, flag int) (File, error)
}

// OpenDirect opens a file that exists for reads and writes past the page cache, in multiples
// of DirectAlignment and with memory from AlignedBytes. What is written is durable only after
// Datasync all the same. Errors wrap syscall.EINVAL where the file system does not take it,
// which some tell only at the first read.
func OpenDirect(fsys FS, name string, flag int) (File, error) {
	d, ok := fsys.(directOpener)
	if !ok {
		return nil, fmt.Errorf("open %s for direct I/O: %w", name, syscall.EINVAL)
	}
	return d.openDirect(name, flag)
}

// AlignedBytes are n zeros, or somewhat more, at an address that direct I/O takes.
func AlignedBytes(n int) []byte {
	n = (n + DirectAlignment - 1) / DirectAlignment * DirectAlignment
	b := make([]byte, n+DirectAlignment)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % DirectAlignment // heap memory never moves
	return b[skip : skip+uintptr(n) : skip+uintptr(n)]
}
