package file

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

const (
	// lockFiles is how many lock files the keys share; they stay for ever.
	lockFiles = 64
	// Waiting for another process: a lock is held for a rename, so the first looks are quick.
	lockWaitMin = 500 * time.Microsecond
	lockWaitMax = 20 * time.Millisecond
)

// locks keeps writers of one key apart: a channel of one within this Bucket, an flock on a
// file between Buckets and processes. A process that dies lets go of its flock.
type locks struct {
	dir  string
	here [lockFiles]chan struct{}
}

func (l *locks) init(dir string) {
	l.dir = dir
	for i := range l.here {
		l.here[i] = make(chan struct{}, 1)
	}
}

// lock waits for the lock of a key, no longer than the context. The lock file is opened anew
// each time: an flock belongs to the open file, and must go with it.
func (l *locks) lock(ctx context.Context, key string) (unlock func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	h := fnv.New32a()
	h.Write([]byte(key))
	i := h.Sum32() % lockFiles
	select {
	case l.here[i] <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	f, err := l.flock(ctx, fmt.Sprintf("%02d", i))
	if err != nil {
		<-l.here[i]
		return nil, err
	}
	return func() {
		f.Close() // releases the flock
		<-l.here[i]
	}, nil
}

func (l *locks) flock(ctx context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR|os.O_CREATE, filePerm)
	if err != nil {
		return nil, err
	}
	for wait := lockWaitMin; ; wait = min(2*wait, lockWaitMax) {
		held, err := tryLock(f)
		if err == nil && held {
			return f, nil
		}
		if err == nil {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
				continue
			case <-ctx.Done():
				timer.Stop()
				err = ctx.Err()
			}
		}
		f.Close()
		return nil, err
	}
}

// tryLock takes an exclusive flock, or reports that somebody else has it.
func tryLock(f *os.File) (held bool, err error) {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
	}
}
