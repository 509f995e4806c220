package main

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How long a disk gets between samples that measure latency: first for the deletion of the
// last sample's topic, then for what the disk does by itself after a sync.
const (
	calmBefore = 300 * time.Millisecond
	calmAfter  = 700 * time.Millisecond
)

// calm waits until the last sample has left nothing behind in dir's file system that the next
// one would wait for. Without it the write-back of one broker lands in the sample of the other.
func calm(dir string) error {
	time.Sleep(calmBefore)
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return fmt.Errorf("sync of the file system of %s: %w", dir, err)
	}
	time.Sleep(calmAfter)
	return nil
}
