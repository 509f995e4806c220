package server

import (
	"bufio"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/wire"
)

// What TLS costs is told apart from what it costs the client, which is a process of its own: this test's binary, in
// TestTLSPeer. Beside each benchmark there is the same on crypto/tls alone ("raw").

const (
	tlsBytes  = 1 << 20 // of a request that is received, and of an answer that is sent
	tlsAnswer = 40
)

// tlsConfig is a server's with a key of its own.
func tlsConfig(b *testing.B) *tls.Config {
	b.Helper()
	return &tls.Config{Certificates: []tls.Certificate{selfSigned(b)}, DynamicRecordSizingDisabled: true}
}

// varveTLS serves with the server, and answers each request with f.
func varveTLS(b *testing.B, f handlerFunc) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	s, err := New(Options{
		Listeners: []Listener{{Name: "SSL", Protocol: "SSL", Accept: l, TLS: tlsConfig(b)}}, Handler: f,
		Logger: slog.New(slog.DiscardHandler), Overlap: func(int16) bool { return true },
	})
	if err != nil {
		b.Fatal(err)
	}
	s.Start()
	b.Cleanup(func() { s.Close() })
	return l.Addr().String()
}

// rawTLS serves with crypto/tls alone.
func rawTLS(b *testing.B, f func(net.Conn)) string {
	b.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", tlsConfig(b))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); f(c) }()
		}
	}()
	return l.Addr().String()
}

// peer is the client's process.
type peer struct {
	b   *testing.B
	in  io.WriteCloser
	out *bufio.Reader
}

// startPeer starts a client that does one thing (mode) as often as it is told to.
func startPeer(b *testing.B, mode, addr string) *peer {
	b.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestTLSPeer$")
	cmd.Env = append(os.Environ(), "VARVE_TLS_PEER="+mode, "VARVE_TLS_ADDR="+addr)
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return &peer{b, in, bufio.NewReader(out)}
}

// do has the client do it n times, and answers the processor time that this process has used meanwhile.
func (p *peer) do(n int) time.Duration {
	p.b.Helper()
	before := cpu()
	if _, err := fmt.Fprintln(p.in, n); err != nil {
		p.b.Fatal(err)
	}
	if line, err := p.out.ReadString('\n'); line != "done\n" {
		p.b.Fatalf("the client says %q, %v", line, err)
	}
	return cpu() - before
}

func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// TestTLSPeer is the client of the benchmarks below, in its own process.
func TestTLSPeer(t *testing.T) {
	mode, addr := os.Getenv("VARVE_TLS_PEER"), os.Getenv("VARVE_TLS_ADDR")
	if mode == "" {
		t.Skip("the client of the benchmarks of TLS")
	}
	dial := func() net.Conn {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	small := frame(keyParked, 1, nil)
	request, answer := small, make([]byte, lengthBytes+tlsAnswer)
	switch mode {
	case "receive":
		request = frame(keyAppend, 1, make([]byte, tlsBytes))
	case "send":
		answer = make([]byte, lengthBytes+4+tlsBytes)
	}
	ask := func(c net.Conn) {
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(c, answer); err != nil {
			t.Fatal(err)
		}
	}
	var kept []net.Conn
	var c net.Conn
	for n := 0; ; {
		if _, err := fmt.Scanln(&n); err != nil {
			return
		}
		for range n {
			switch mode {
			case "handshake", "idle":
				c = dial()
				ask(c)
				if kept = append(kept, c); mode == "handshake" {
					c.Close()
					kept = nil
				}
			default:
				if c == nil {
					c = dial()
				}
				ask(c)
			}
		}
		fmt.Println("done")
	}
}

// echoTLS answers small requests on crypto/tls alone.
func echoTLS(c net.Conn) {
	request, answer := make([]byte, len(frame(keyParked, 1, nil))), make([]byte, lengthBytes+tlsAnswer)
	for {
		if _, err := io.ReadFull(c, request); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// BenchmarkTLSHandshake is a connection with one request: TLS 1.3, a key on P-256.
func BenchmarkTLSHandshake(b *testing.B) {
	answer := make([]byte, tlsAnswer)
	for name, addr := range map[string]string{"varve": varveTLS(b, func(r *Request) { r.ReplyBytes(answer) }), "raw": rawTLS(b, echoTLS)} {
		b.Run(name, func(b *testing.B) {
			p := startPeer(b, "handshake", addr)
			p.do(10)
			b.ResetTimer()
			b.ReportMetric(float64(p.do(b.N).Microseconds())/float64(b.N), "cpu-us/op")
		})
	}
}

// BenchmarkTLSReceive takes requests of 1 MiB.
func BenchmarkTLSReceive(b *testing.B) {
	answer := make([]byte, tlsAnswer)
	raw := rawTLS(b, func(c net.Conn) {
		request, out := make([]byte, len(frame(keyAppend, 1, make([]byte, tlsBytes)))), make([]byte, lengthBytes+tlsAnswer)
		for {
			if _, err := io.ReadFull(c, request); err != nil {
				return
			}
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	})
	for name, addr := range map[string]string{"varve": varveTLS(b, func(r *Request) { r.ReplyBytes(answer) }), "raw": raw} {
		b.Run(name, func(b *testing.B) { perGB(b, startPeer(b, "receive", addr)) })
	}
}

// BenchmarkTLSSend answers with 1 MiB of a file in the page cache.
func BenchmarkTLSSend(b *testing.B) {
	name := filepath.Join(b.TempDir(), "segment")
	if err := os.WriteFile(name, make([]byte, tlsBytes), 0o600); err != nil {
		b.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	head := binary.BigEndian.AppendUint32(nil, 1)
	varve := varveTLS(b, func(r *Request) {
		r.Reply([]wire.Piece{{Bytes: head}, {Range: vfs.NewRange(diskFile{f: f}, 0, tlsBytes, nil)}})
	})
	raw := rawTLS(b, func(c net.Conn) {
		request, buf := make([]byte, len(frame(keyParked, 1, nil))), make([]byte, scratchBytes)
		for {
			if _, err := io.ReadFull(c, request); err != nil {
				return
			}
			if _, err := c.Write(make([]byte, lengthBytes+4)); err != nil {
				return
			}
			for off := int64(0); off < tlsBytes; off += scratchBytes {
				if _, err := f.ReadAt(buf, off); err != nil {
					return
				}
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		}
	})
	for name, addr := range map[string]string{"varve": varve, "raw": raw} {
		b.Run(name, func(b *testing.B) { perGB(b, startPeer(b, "send", addr)) })
	}
}

func perGB(b *testing.B, p *peer) {
	p.do(10)
	b.SetBytes(tlsBytes)
	b.ResetTimer()
	b.ReportMetric(p.do(b.N).Seconds()/(float64(b.N)*tlsBytes/1e9), "cpu-s/GB")
}

// BenchmarkTLSIdle is the memory of connections that have had a request and are idle now; run it with -benchtime=2000x.
func BenchmarkTLSIdle(b *testing.B) {
	answer := make([]byte, tlsAnswer)
	for name, addr := range map[string]string{"varve": varveTLS(b, func(r *Request) { r.ReplyBytes(answer) }), "raw": rawTLS(b, echoTLS)} {
		b.Run(name, func(b *testing.B) {
			p := startPeer(b, "idle", addr)
			p.do(1)
			before := inUse()
			p.do(b.N)
			b.ReportMetric((inUse()-before)/float64(b.N), "bytes/conn")
		})
	}
}

// inUse is the memory of heap and stacks, after garbage has gone.
func inUse() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc + m.StackInuse)
}
