package server

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"
)

// TestC13AMutedConnection: the answer goes out at once, and what follows on that connection
// waits; another connection does not.
func TestC13AMutedConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		k := newKitOn(t, Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: l}, Limits{}, func(r *Request) {
			if r.Header.CorrelationID == 1 {
				r.Mute(time.Second)
				r.Mute(3 * time.Second)
				r.Mute(2 * time.Second)
			}
			echo(r)
		})
		muted, other := newClient(t, l.dial()), newClient(t, l.dial())
		start := time.Now()
		go muted.nc.Write(append(frame(keyAppend, 1, []byte("a")), frame(keyAppend, 2, []byte("b"))...))
		muted.want(1, []byte("a"))
		if d := time.Since(start); d != 0 {
			t.Errorf("the answer to the throttled request took %v", d)
		}
		other.send(keyAppend, 7, []byte("c"))
		other.want(7, []byte("c"))
		if d := time.Since(start); d != 0 {
			t.Errorf("another connection was held up for %v", d)
		}
		muted.want(2, []byte("b"))
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("the next request was answered after %v, want 3s", d)
		}
		muted.send(keyAppend, 3, []byte("d"))
		muted.want(3, []byte("d"))
		if d := time.Since(start); d != 3*time.Second {
			t.Errorf("muted again: %v", d)
		}
		if n := k.srv.metrics.muted.Load(); n != 0 {
			t.Errorf("%d connections are muted", n)
		}
		k.srv.Close()
	})
}

// TestAMutedConnectionEndsWithItsServerAndItsPeer: nobody waits for the end of the time.
func TestAMutedConnectionEndsWithItsServerAndItsPeer(t *testing.T) {
	muting := func(r *Request) {
		r.Mute(time.Hour)
		echo(r)
	}
	k := newKit(t, Limits{}, muting)
	c := k.dial()
	c.send(keyEcho, 1, nil)
	c.want(1, nil)
	eventually(t, "muted", func() bool { return k.srv.metrics.muted.Load() == 1 })
	c.nc.Close()
	eventually(t, "the connection to end with its peer", func() bool { return len(k.srv.open()) == 0 })
	c = k.dial()
	c.send(keyEcho, 1, nil)
	c.want(1, nil)
	if err := k.srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestC13MutedByALateAnswer: a request that mutes its connection when it is answered, later
// than in Handle, holds up what has been waiting for its turn behind it.
func TestC13MutedByALateAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		k := newKitOn(t, Listener{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: l}, Limits{}, func(r *Request) {
			if r.Header.CorrelationID != 1 {
				echo(r)
				return
			}
			r.Go(func() {
				<-time.After(time.Second)
				r.Mute(3 * time.Second)
				if r.Muted() != 3*time.Second {
					t.Errorf("muted for %v", r.Muted())
				}
				echo(r)
			})
		})
		c := newClient(t, l.dial())
		start := time.Now()
		go c.nc.Write(append(frame(keyEcho, 1, nil), frame(keyEcho, 2, nil)...))
		c.want(1, nil)
		if d := time.Since(start); d != time.Second {
			t.Errorf("the first answer came after %v, want 1s", d)
		}
		c.want(2, nil)
		if d := time.Since(start); d != 4*time.Second {
			t.Errorf("the second answer came after %v, want 4s", d)
		}
		k.srv.Close()
	})
}

// TestA9ThrottledConnections: a connection too many of its address is closed, but not at once.
func TestA9ThrottledConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		var pause time.Duration
		srv, err := New(Options{
			Listeners: []Listener{{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Accept: l}},
			Handler:   handlerFunc(echo), Logger: slog.New(slog.DiscardHandler),
			Throttle: func(ip string) time.Duration { return pause },
		})
		if err != nil {
			t.Fatal(err)
		}
		srv.Start()
		good := newClient(t, l.dial())
		good.send(keyEcho, 1, nil)
		good.want(1, nil)
		pause = 700 * time.Millisecond
		start := time.Now()
		newClient(t, l.dial()).wantClosed()
		if d := time.Since(start); d != pause {
			t.Errorf("closed after %v, want %v", d, pause)
		}
		good.send(keyEcho, 2, nil)
		good.want(2, nil)
		srv.Close()
	})
}
