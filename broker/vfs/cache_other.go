//go:build !linux

package vfs

// PageCache tells what of a file is in memory, and moves it in and out; on this system it
// knows nothing and moves nothing. It may be used from several goroutines.
type PageCache struct{}

// Holds says whether n bytes of f from off on are in memory; known is false.
func (*PageCache) Holds(File, int64, int64) (hot, known bool) { return false, false }

// ReadAt reads b at off if all of it is in memory, which is never known.
func (*PageCache) ReadAt(File, []byte, int64) bool { return false }

// Load brings bytes into memory: not here.
func (*PageCache) Load(File, int64, int64) {}

// Drop takes bytes out of memory: not here.
func (*PageCache) Drop(File, int64, int64) {}
