package server

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/wire"
)

// TestC8AnswersInRequestOrder answers hundreds of pipelined requests from many goroutines in
// random order; they arrive in request order all the same.
func TestC8AnswersInRequestOrder(t *testing.T) {
	later := make(chan *Request, 1000)
	k := newKit(t, Limits{InFlightRequests: 40}, func(r *Request) {
		if r.Header.Key == keyParked {
			later <- r
			return
		}
		echo(r)
	})
	for range 4 {
		go func() {
			var held []*Request
			for {
				select {
				case r := <-later:
					held = append(held, r)
				case <-time.After(time.Millisecond):
				}
				for len(held) > 0 && (len(later) == 0 || rand.IntN(3) == 0) {
					i := rand.IntN(len(held))
					held[i].ReplyBytes(answerTo(held[i], nil))
					held = append(held[:i], held[i+1:]...)
				}
				select {
				case <-k.srv.hardStop:
					return
				default:
				}
			}
		}()
	}
	c := k.dial()
	const n = 600
	go func() {
		for i := range int32(n) {
			key := []int16{keyAppend, keyParked, keyParked, keyEcho}[rand.IntN(4)]
			if _, err := c.nc.Write(frame(key, i, nil)); err != nil {
				return // the reading side fails the test
			}
		}
	}()
	for i := range int32(n) {
		c.want(i, nil)
	}
}

// TestC8ParkedRequestDelaysOnlyItsConnection: behind a parked Fetch, overlapping requests are
// handled but answered after it, an exclusive one waits, and another connection notices nothing.
func TestC8ParkedRequestDelaysOnlyItsConnection(t *testing.T) {
	parked := make(chan *Request, 1)
	handled := make(chan int16, 10)
	k := newKit(t, Limits{}, func(r *Request) {
		if r.Header.Key == keyParked {
			parked <- r
			return
		}
		handled <- r.Header.Key
		echo(r)
	})
	c := k.dial()
	c.send(keyParked, 1, nil)
	r := receive(t, parked)
	c.send(keyAppend, 2, []byte("b"))
	if key := receive(t, handled); key != keyAppend {
		t.Fatalf("handled key %d", key)
	}
	c.send(keyEcho, 3, []byte("c"))
	c.send(keyAppend, 4, []byte("d"))

	other := k.dial()
	other.send(keyEcho, 9, nil)
	other.want(9, nil)
	receive(t, handled)
	if len(handled) != 0 {
		t.Error("an exclusive request, or one behind it, was handled beside a waiting one")
	}
	r.ReplyBytes(answerTo(r, []byte("a")))
	for i, body := range []string{"a", "b", "c", "d"} {
		c.want(int32(i+1), []byte(body))
	}
}

// TestInFlightCap: a connection is not read beyond its share of requests in flight.
func TestInFlightCap(t *testing.T) {
	parked := make(chan *Request, 100)
	k := newKit(t, Limits{InFlightRequests: 3}, func(r *Request) { parked <- r })
	c := k.dial()
	for i := range int32(10) {
		c.send(keyParked, i, nil)
	}
	var held []*Request
	for range 3 {
		held = append(held, receive(t, parked))
	}
	select {
	case <-parked:
		t.Fatal("a fourth request was handled with three in flight")
	case <-time.After(150 * time.Millisecond):
	}
	for i := range int32(10) {
		held[0].ReplyBytes(answerTo(held[0], nil))
		c.want(i, nil)
		held = held[1:]
		if i < 7 {
			held = append(held, receive(t, parked))
		}
	}
}

// TestDisconnectCancelsParked: the context of a waiting request ends soon after the peer has
// gone, also when the connection is not being read because an exclusive request waits.
func TestDisconnectCancelsParked(t *testing.T) {
	for name, behind := range map[string][]int16{"reading": nil, "stopped": {keyEcho, keyEcho}} {
		t.Run(name, func(t *testing.T) {
			parked := make(chan *Request, 1)
			k := newKit(t, Limits{}, func(r *Request) {
				if r.Header.Key == keyParked {
					parked <- r
					return
				}
				echo(r)
			})
			c := k.dial()
			c.send(keyParked, 1, nil)
			for _, key := range behind {
				c.send(key, 2, nil)
			}
			r := receive(t, parked)
			c.nc.Close()
			receive(t, r.Ctx.Done())
			r.ReplyBytes(answerTo(r, nil))
			eventually(t, "the connection forgotten", func() bool { return len(k.srv.open()) == 0 })
		})
	}
}

// TestC9NoReplyAndClose: acks=0 sends no byte, and CloseConn closes after earlier answers.
func TestC9NoReplyAndClose(t *testing.T) {
	parked := make(chan *Request, 1)
	k := newKit(t, Limits{}, func(r *Request) {
		switch string(r.Body) {
		case "park":
			parked <- r
		case "silent":
			r.NoReply()
		case "close":
			r.CloseConn(errors.New("acks=0 and an error"))
		default:
			echo(r)
		}
	})
	c := k.dial()
	c.send(keyAppend, 1, []byte("silent"))
	c.send(keyParked, 2, []byte("park"))
	c.send(keyAppend, 3, []byte("close"))
	c.send(keyAppend, 4, []byte("never"))
	r := receive(t, parked)
	r.ReplyBytes(answerTo(r, nil))
	c.want(2, nil)
	c.wantClosed()
}

// TestPanicClosesOneConnection: the broker survives a handler's panic, also in Request.Go.
func TestPanicClosesOneConnection(t *testing.T) {
	k := newKit(t, Limits{}, func(r *Request) {
		switch string(r.Body) {
		case "panic":
			panic("in the handler")
		case "later":
			r.Go(func() { panic("in a goroutine") })
		default:
			echo(r)
		}
	})
	other := k.dial()
	for _, how := range []string{"panic", "later"} {
		c := k.dial()
		c.send(keyEcho, 1, []byte(how))
		c.wantClosed()
		other.send(keyEcho, 2, nil)
		other.want(2, nil)
	}
}

// TestShutdownDrains: Shutdown answers what is in flight, cancels what still waits after the
// grace, accepts nothing new and leaves no goroutine.
func TestShutdownDrains(t *testing.T) {
	parked := make(chan *Request, 2)
	k := newKit(t, Limits{}, func(r *Request) {
		if r.Header.Key == keyEcho {
			echo(r)
			return
		}
		parked <- r
		go func() {
			<-r.Ctx.Done()
			r.ReplyBytes(answerTo(r, []byte("cancelled")))
		}()
	})
	idle, c := k.dial(), k.dial()
	idle.send(keyEcho, 1, nil)
	idle.want(1, nil)
	c.send(keyParked, 2, nil)
	receive(t, parked)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- k.srv.Shutdown(ctx) }()
	idle.wantClosed()
	c.want(2, []byte("cancelled"))
	c.wantClosed()
	if err := receive(t, done); err != nil {
		t.Errorf("shutdown: %v", err)
	}
}

// TestShutdownDeadline: a request that never answers does not hold Shutdown beyond its context.
func TestShutdownDeadline(t *testing.T) {
	parked := make(chan *Request, 1)
	k := newKit(t, Limits{}, func(r *Request) { parked <- r })
	c := k.dial()
	c.send(keyParked, 1, nil)
	receive(t, parked)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := k.srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown: %v, want the deadline", err)
	}
	c.wantClosed()
}

// memFile is a vfs.File without a descriptor.
type memFile struct {
	vfs.File
	b []byte
}

func (f memFile) Name() string { return "memory" }
func (f memFile) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(f.b).ReadAt(p, off)
}

// diskFile is a vfs.File with one.
type diskFile struct {
	vfs.File
	f *os.File
}

func (f diskFile) Name() string                            { return f.f.Name() }
func (f diskFile) Fd() uintptr                             { return f.f.Fd() }
func (f diskFile) ReadAt(p []byte, off int64) (int, error) { return f.f.ReadAt(p, off) }

// TestFileRanges sends answers of bytes and file ranges of all sizes to a peer that starts
// reading late, through sendfile and through memory, and counts that every range is released.
func TestFileRanges(t *testing.T) {
	content := pattern(9<<20, 11)
	name := filepath.Join(t.TempDir(), "segment")
	if err := os.WriteFile(name, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var held atomic.Int64
	rangeOf := func(file vfs.File, off, n int64) vfs.Range {
		held.Add(1)
		return vfs.NewRange(file, off, n, vfs.NewRef(func() { held.Add(-1) }))
	}
	files := map[string]vfs.File{"sendfile": diskFile{f: f}, "copy": memFile{b: content}}
	for _, how := range []string{"sendfile", "copy"} {
		file := files[how]
		answer := func(r *Request) ([]wire.Piece, []byte) {
			pieces := []wire.Piece{bytesPiece(answerTo(r, nil))}
			var want []byte
			for i, n := range []int64{1, 100, 31 << 10, 32 << 10, 0, 100 << 10, 8 << 20} {
				head := []byte(strings.Repeat("h", i))
				off := int64(i * 1001)
				pieces = append(pieces, bytesPiece(head), wire.Piece{Range: rangeOf(file, off, n)})
				want = append(append(want, head...), content[off:off+n]...)
			}
			return pieces, want
		}
		wants := make(chan []byte, 100) // in order of handling
		handler := func(r *Request) {
			pieces, want := answer(r)
			wants <- want
			if r.Header.Key == keyParked {
				go r.Reply(pieces)
				return
			}
			r.Reply(pieces)
		}
		t.Run(how, func(t *testing.T) {
			k := newKit(t, Limits{SendBufferBytes: 100 << 10}, handler)
			c := k.dial()
			for i, key := range []int16{keyEcho, keyParked, keyAppend, keyEcho} {
				c.send(key, int32(i), nil)
			}
			for i := range 4 {
				c.want(int32(i), receive(t, wants))
			}
			eventually(t, "all ranges released", func() bool { return held.Load() == 0 })

			gone := k.dial() // asks for much, reads nothing, leaves
			for i := range int32(3) {
				gone.send(keyParked, i, nil)
			}
			receive(t, wants)
			gone.nc.Close()
			eventually(t, "all ranges released after a disconnect", func() bool {
				return len(k.srv.open()) == 1 && held.Load() == 0
			})
		})
		t.Run(how+"/pipe", func(t *testing.T) {
			for len(wants) > 0 {
				<-wants // of the peer that left
			}
			l := newPipeListener()
			newKitOn(t, Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: l}, Limits{}, handler)
			c := newClient(t, l.dial())
			c.send(keyEcho, 1, nil)
			c.want(1, receive(t, wants))
			eventually(t, "all ranges released", func() bool { return held.Load() == 0 })
		})
	}
}

// TestShortFileClosesConnection: a file that ends before its range does leaves the answer
// unfinished, so the connection must not go on.
func TestShortFileClosesConnection(t *testing.T) {
	name := filepath.Join(t.TempDir(), "short")
	if err := os.WriteFile(name, make([]byte, 50_000), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, file := range []vfs.File{diskFile{f: f}, memFile{b: make([]byte, 50_000)}} {
		k := newKit(t, Limits{}, func(r *Request) {
			r.Reply([]wire.Piece{bytesPiece(answerTo(r, nil)), {Range: vfs.NewRange(file, 0, 60_000, nil)}})
		})
		c := k.dial()
		c.send(keyEcho, 1, nil)
		if _, _, err := c.read(); err == nil {
			t.Error("an answer longer than its file arrived whole")
		}
	}
}

// TestSlowReaderDelaysNobody: a peer that does not read its answers blocks neither the
// goroutine that answers it nor another connection, and is closed after the stall timeout.
func TestSlowReaderDelaysNobody(t *testing.T) {
	big := make([]byte, 32<<20)
	parked := make(chan *Request, 1)
	k := newKit(t, Limits{StallTimeout: 200 * time.Millisecond, SendBufferBytes: 64 << 10}, func(r *Request) {
		if r.Header.Key == keyParked {
			parked <- r
			return
		}
		echo(r)
	})
	slow := k.dial()
	slow.send(keyParked, 1, nil)
	r := receive(t, parked)
	r.ReplyBytes(big) // returns at once
	other := k.dial()
	other.send(keyEcho, 2, nil)
	other.want(2, nil)
	receive(t, r.Ctx.Done())
}

// TestUnreadAnswersStopRequests: a peer that asks and never reads makes the server hold one
// answer, not one for each of its requests.
func TestUnreadAnswersStopRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, requests = 100 << 10, 20
		handled := 0
		pipe := newPipeListener()
		newKitOn(t, Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: pipe}, Limits{UnsentBytes: size / 2}, func(r *Request) {
			handled++
			r.ReplyBytes(answerTo(r, make([]byte, size)))
		})
		c := newClient(t, pipe.dial())
		var burst []byte
		for i := range int32(requests) {
			burst = append(burst, frame(keyEcho, i, nil)...)
		}
		c.write(burst)
		synctest.Wait()
		if handled != 1 {
			t.Errorf("%d requests were answered to a peer that reads nothing, want 1", handled)
		}
		for i := range int32(requests) {
			c.want(i, make([]byte, size))
		}
	})
}
