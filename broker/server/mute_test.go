package server

import (
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
