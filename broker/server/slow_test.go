package server

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestR46SlowSender: a peer that sends a byte of its frame each second is closed, though it is never silent for
// long; one that sends steadily, and slowly, is served.
func TestR46SlowSender(t *testing.T) {
	for _, tt := range []struct {
		name  string
		bytes int           // of the frame
		step  int           // at a time
		every time.Duration // between two of them
		ends  bool
	}{
		{"a byte a second", 1 << 20, 1, time.Second, true},
		{"one KiB a second", 100 << 10, 1 << 10, time.Second, false},
		{"small and late", 64, 1, 300 * time.Millisecond, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipeListener()
				newKitOn(t, Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: l}, Limits{}, func(r *Request) { r.ReplyBytes(answerTo(r, nil)) })
				nc := l.dial()
				defer nc.Close()
				frame := binary.BigEndian.AppendUint32(nil, uint32(10+tt.bytes))
				frame = append(append(frame, 0, keyEcho, 0, 0, 0, 0, 0, 7, 0xff, 0xff), make([]byte, tt.bytes)...)
				start := time.Now()
				for len(frame) > 0 {
					n := min(tt.step, len(frame))
					if _, err := nc.Write(frame[:n]); err != nil {
						break
					}
					frame = frame[n:]
					time.Sleep(tt.every)
				}
				took := time.Since(start)
				_, err := io.ReadFull(nc, make([]byte, 8))
				if tt.ends && (err == nil || took > 35*time.Second) {
					t.Errorf("after %v the connection says %v", took, err)
				}
				if !tt.ends && err != nil {
					t.Errorf("after %v there is no answer: %v", took, err)
				}
			})
		})
	}
}

// TestR46SlowReader: a peer that takes a byte of its answer each second is closed too.
func TestR46SlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		newKitOn(t, Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: l}, Limits{}, func(r *Request) { r.ReplyBytes(answerTo(r, make([]byte, 1<<20))) })
		nc := l.dial()
		defer nc.Close()
		if _, err := nc.Write([]byte{0, 0, 0, 10, 0, keyEcho, 0, 0, 0, 0, 0, 7, 0xff, 0xff}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for {
			if _, err := nc.Read(make([]byte, 1)); err != nil {
				break
			}
			if time.Sleep(time.Second); time.Since(start) > 5*time.Minute {
				t.Fatal("it may go on for ever")
			}
		}
		if took := time.Since(start); took < 25*time.Second || took > 35*time.Second {
			t.Errorf("closed after %v", took)
		}
	})
}

// TestR47ConnectionLimits: the limit of an address that has one of its own, and the pace of new connections.
func TestR47ConnectionLimits(t *testing.T) {
	k := newKit(t, Limits{MaxConnectionsPerIP: 1, PerIP: map[string]int{"127.0.0.1": 2}}, echo)
	for i := range 2 {
		c := k.dial()
		c.send(keyEcho, int32(i), nil)
		c.want(int32(i), nil)
	}
	k.dial().wantClosed()
	k.srv.SetConnectionLimits(ConnectionLimits{PerIP: map[string]int{"127.0.0.1": 0}})
	k.dial().wantClosed()
	k.srv.SetConnectionLimits(ConnectionLimits{PerIP: map[string]int{"127.0.0.2": 0}})
	c := k.dial()
	c.send(keyEcho, 9, nil)
	c.want(9, nil)
}

func TestR47Pace(t *testing.T) {
	var p pace
	now := time.Unix(1000, 0)
	if w := p.take(now); w != 0 {
		t.Errorf("without a rate one waits for %v", w)
	}
	p.set(10)
	for i := range 10 {
		if w := p.take(now); w > 0 {
			t.Fatalf("connection %d of the first second waits for %v", i, w)
		}
	}
	for i := 1; i <= 3; i++ {
		if w := p.take(now); w != time.Duration(i)*100*time.Millisecond {
			t.Errorf("connection %d above the rate is followed after %v", i, w)
		}
	}
	if w := p.take(now.Add(time.Hour)); w > 0 {
		t.Errorf("after a rest one waits for %v", w)
	}
}

// TestR47PaceOfAListener: connections above the rate wait to be accepted, and are.
func TestR47PaceOfAListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		newKitOn(t, Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: l}, Limits{ConnectionsPerSecond: 5}, echo)
		start := time.Now()
		var all []net.Conn
		for range 16 {
			all = append(all, l.dial())
		}
		if took := time.Since(start); took < 1900*time.Millisecond || took > 2200*time.Millisecond {
			t.Errorf("16 connections at 5 a second, 5 of them at once, took %v", took)
		}
		for _, nc := range all {
			nc.Close()
		}
	})
}
