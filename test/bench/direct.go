package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/varve-io/varve/broker/vfs"
)

// What docs/adr/0005-direct-io.md weighs: a broker's appends of 1 MB through the page cache,
// whose readers are served by sendfile, against appends by direct I/O from the memory into
// which they were received, whose readers are served from that memory. The CPU time is that of
// the one thread that does it.
const (
	directPiece = 1 << 20
	// directTail is the memory that readers are served from: more than a cache of the CPU.
	directTail = 256 << 20
)

// way is one of the things that are compared. It moves n bytes, and calls ready when nothing
// but that is left to do.
type way struct {
	name string
	move func(dir string, n int64, ready func()) error
}

func ways() []way {
	return []way{
		{"append through the page cache", func(dir string, n int64, ready func()) error { return appendPieces(dir, n, 0, false, ready) }},
		{"append by direct I/O, file grows", func(dir string, n int64, ready func()) error {
			return appendPieces(dir, n, unix.O_DIRECT, false, ready)
		}},
		{"append by direct I/O, space reserved", func(dir string, n int64, ready func()) error { return appendPieces(dir, n, unix.O_DIRECT, true, ready) }},
		{"answer by sendfile from the page cache", func(dir string, n int64, ready func()) error { return sendPieces(dir, n, ready) }},
		{"answer from memory", func(_ string, n int64, ready func()) error { return writePieces(n, ready) }},
	}
}

func directMain(args []string) error {
	fs := flag.NewFlagSet("direct", flag.ExitOnError)
	dir := fs.String("dir", ".", "directory for files, on the file system in question")
	gib := fs.Float64("gib", 1, "GiB per sample")
	pairs := fs.Int("pairs", 4, "A-B-B-A pairs")
	_ = fs.Parse(args)
	runtime.LockOSThread()
	n := int64(*gib*(1<<30)) / directPiece * directPiece
	all := ways()
	cpu, speed := make([][]float64, len(all)), make([][]float64, len(all))
	for range (*pairs + 1) / 2 {
		for turn := range 2 * len(all) {
			i := min(turn, 2*len(all)-1-turn)
			release, err := pretouch(n + directTail)
			if err != nil {
				return err
			}
			var begun time.Time
			var before float64
			err = all[i].move(*dir, n, func() { begun, before = time.Now(), threadCPU() })
			cpu[i] = append(cpu[i], (threadCPU()-before)*1e9/float64(n))
			speed[i] = append(speed[i], float64(n)/1e6/time.Since(begun).Seconds())
			release()
			if err != nil {
				return fmt.Errorf("%s: %w", all[i].name, err)
			}
		}
	}
	fmt.Println("| pieces of 1 MiB | CPU-s/GB | MB/s |\n|--|--|--|")
	for i, w := range all {
		fmt.Printf("| %s | %s | %.0f |\n", w.name, spread("%.3f", cpu[i]), median(speed[i]))
	}
	return nil
}

// threadCPU is the user and system time of this thread, in seconds.
func threadCPU() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(unix.RUSAGE_THREAD, &u) != nil {
		return 0
	}
	return (time.Duration(u.Utime.Nano()) + time.Duration(u.Stime.Nano())).Seconds()
}

func appendPieces(dir string, n int64, flags int, reserve bool, ready func()) error {
	f, err := os.OpenFile(filepath.Join(dir, "direct.log"), os.O_RDWR|os.O_CREATE|os.O_TRUNC|flags, 0o600)
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	b := vfs.AlignedBytes(directPiece)
	for i := range b {
		b[i] = byte(i)
	}
	ready()
	if reserve {
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, n); err != nil {
			return err
		}
	}
	for at := int64(0); at < n; at += directPiece {
		if _, err := f.WriteAt(b, at); err != nil {
			return err
		}
	}
	return nil
}

// toReader has send put n bytes, piece after piece, into a TCP connection whose other end
// reads them on a thread of its own. at is where a piece begins in a tail that goes round.
func toReader(n int64, ready func(), send func(c *net.TCPConn, at int64) error) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			done <- err
			return
		}
		defer c.Close()
		got, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
		if err == nil && got != n {
			err = fmt.Errorf("%d of %d bytes arrived", got, n)
		}
		done <- err
	}()
	c, err := net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr))
	if err != nil {
		return err
	}
	ready()
	for at := int64(0); at < n && err == nil; at += directPiece {
		err = send(c, at%directTail)
	}
	return errors.Join(err, c.Close(), <-done)
}

// sendPieces answers by sendfile from a file that the page cache holds.
func sendPieces(dir string, n int64, ready func()) error {
	f, err := os.Create(filepath.Join(dir, "direct.tail"))
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(make([]byte, directTail)); err != nil {
		return err
	}
	return toReader(n, ready, func(c *net.TCPConn, at int64) error {
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
		_, err := c.ReadFrom(io.LimitReader(f, directPiece))
		return err
	})
}

// writePieces answers from memory.
func writePieces(n int64, ready func()) error {
	tail := make([]byte, directTail)
	for i := range tail {
		tail[i] = 1
	}
	return toReader(n, ready, func(c *net.TCPConn, at int64) error {
		_, err := c.Write(tail[at : at+directPiece])
		return err
	})
}
