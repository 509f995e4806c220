package server

import (
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/wire"
)

// benchServer serves on loopback for a benchmark.
func benchServer(b *testing.B, h handlerFunc) net.Conn {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Options{
		Listeners: []Listener{{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: l}}, Handler: h,
		Limits: Limits{SendBufferBytes: 100 << 10}, Logger: slog.New(slog.DiscardHandler), Overlap: func(int16) bool { return true },
	})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() { s.Close() })
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close() })
	return nc
}

// BenchmarkReceive pushes requests of a size, several in flight, and reads the short answers.
func BenchmarkReceive(b *testing.B) {
	for _, c := range []struct{ size, inFlight int }{{1 << 10, 16}, {4 << 10, 16}, {16 << 10, 16}, {64 << 10, 5}, {1 << 20, 5}} {
		b.Run(fmt.Sprintf("%dB/%d", c.size, c.inFlight), func(b *testing.B) {
			answer := make([]byte, 40)
			nc := benchServer(b, func(r *Request) { r.ReplyBytes(answer) })
			var burst []byte
			for range c.inFlight {
				burst = append(burst, frame(keyAppend, 1, make([]byte, c.size))...)
			}
			answers := make([]byte, (lengthBytes+len(answer))*c.inFlight)
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			for i := 0; i < b.N; i += c.inFlight {
				if _, err := nc.Write(burst); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(nc, answers); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkSendRange answers with a range of a file in the page cache.
func BenchmarkSendRange(b *testing.B) {
	name := filepath.Join(b.TempDir(), "segment")
	if err := os.WriteFile(name, make([]byte, 4<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int64{16 << 10, 64 << 10, 1 << 20, 4 << 20} {
		b.Run(fmt.Sprintf("%dB", size), func(b *testing.B) {
			head := binary.BigEndian.AppendUint32(nil, 1)
			nc := benchServer(b, func(r *Request) {
				r.Reply([]wire.Piece{{Bytes: head}, {Range: vfs.NewRange(diskFile{f: f}, 0, size, nil)}})
			})
			request := frame(keyParked, 1, nil)
			answer := make([]byte, lengthBytes+int64(len(head))+size)
			b.SetBytes(size)
			b.ReportAllocs()
			for range b.N {
				if _, err := nc.Write(request); err != nil {
					b.Fatal(err)
				}
				if _, err := io.ReadFull(nc, answer); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
