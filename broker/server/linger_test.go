package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"testing"
	"time"
)

// closing is a server whose every answer ends its connection; to "close" it gives none.
func closing(t *testing.T) *kit { return newKit(t, Limits{}, endAfter) }

func endAfter(r *Request) {
	if string(r.Body) == "close" {
		r.CloseConn(ErrLogin)
		return
	}
	r.ReplyClose(answerTo(r, r.Body), ErrLogin)
}

// wantEnd expects the connection to end in order, not by a reset, and says after how long.
func (c *client) wantEnd() time.Duration {
	c.t.Helper()
	start := time.Now()
	_ = c.nc.SetReadDeadline(start.Add(20 * time.Second))
	if n, err := c.nc.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.EOF) {
		c.t.Fatalf("read %d bytes, error %v; want the end", n, err)
	}
	return time.Since(start)
}

// A peer has time to read an answer before the connection ends: there are clients that drop an answer
// with which the end comes.
func TestAnswerComesBeforeTheEnd(t *testing.T) {
	plain := closing(t).dial()
	over := newKitOn(t, tlsListener(t), Limits{}, endAfter).dial()
	over.nc = tls.Client(over.nc, &tls.Config{InsecureSkipVerify: true})
	for _, c := range []*client{plain, over} {
		c.send(keyEcho, 1, []byte("no"))
		c.want(1, []byte("no"))
		if waited := c.wantEnd(); waited < lingerTime/10 {
			t.Errorf("%T: the end came %v after the answer", c.nc, waited)
		}
	}
}

// A connection that ends with an answer while the peer still sends is not reset, and one whose peer closes ends at once.
func TestAnswerIsNotOvertakenByAReset(t *testing.T) {
	for _, body := range []string{"no", "close"} {
		k := closing(t)
		c := k.dial()
		c.write(append(frame(keyEcho, 1, []byte(body)), bytes.Repeat(frame(keyEcho, 2, make([]byte, 1000)), 100)...))
		if body != "close" {
			c.want(1, []byte(body))
		}
		if err := c.nc.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if waited := c.wantEnd(); waited >= lingerTime {
			t.Errorf("%s: a peer that had closed was waited for: %v", body, waited)
		}
	}
}

// A peer that goes on to send is not listened to for long.
func TestLingerIsBounded(t *testing.T) {
	c := closing(t).dial()
	c.send(keyEcho, 1, []byte("no"))
	c.want(1, []byte("no"))
	start, more := time.Now(), make([]byte, lingerBytes)
	for {
		if _, err := c.nc.Write(more); err != nil {
			break
		}
		if time.Since(start) > 10*lingerTime {
			t.Fatal("the server still reads")
		}
	}
}

// A stop does not reset a connection whose peer still sends: what was answered reaches it.
func TestStopDoesNotReset(t *testing.T) {
	parked := make(chan *Request, 1)
	k := newKit(t, Limits{}, func(r *Request) {
		if r.Header.CorrelationID == 1 {
			parked <- r
			return
		}
		echo(r)
	})
	c := k.dial()
	c.write(append(frame(keyEcho, 1, nil), bytes.Repeat(frame(keyEcho, 2, make([]byte, 1000)), 200)...))
	r := receive(t, parked)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- k.srv.Shutdown(ctx) }()
	<-r.Ctx.Done()
	r.ReplyBytes(answerTo(r, nil))
	c.want(1, nil)
	_ = c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, c.nc); err != nil {
		t.Errorf("the connection ended by %v", err)
	}
	c.nc.Close()
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
}
