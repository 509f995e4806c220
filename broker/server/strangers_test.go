package server

import (
	"crypto/tls"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A handshake works in GetCertificate here for as long as it is held there.
func heldTLS(t *testing.T, held <-chan struct{}) (config *tls.Config, working, worked *atomic.Int64) {
	t.Helper()
	cert := selfSigned(t)
	working, worked = &atomic.Int64{}, &atomic.Int64{}
	return &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		working.Add(1)
		<-held
		working.Add(-1)
		worked.Add(1)
		return &cert, nil
	}}, working, worked
}

// shakeHands begins handshakes; what comes of each is sent.
func shakeHands(l *pipeListener, n int) <-chan error {
	out := make(chan error, n)
	for range n {
		go func() {
			nc := l.dial()
			defer nc.Close()
			out <- tls.Client(nc, &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.CurveP256}}).Handshake() // its first message is read at once
		}()
	}
	return out
}

// However many handshakes and logins are under way, they are at work on a quarter of the processors, and who is known is
// served beside them.
func TestStrangersHaveAQuarterOfTheProcessors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		config, working, worked := heldTLS(t, held)
		secure, logins, known := newPipeListener(), newPipeListener(), newPipeListener()
		inHandler := &atomic.Int64{}
		s, err := New(Options{
			Listeners: []Listener{
				{Name: "S", Protocol: "SASL_SSL", Accept: secure, TLS: config}, {Name: "L", Protocol: "SASL_PLAINTEXT", Accept: logins},
				{Name: "K", Protocol: "PLAINTEXT", Accept: known},
			},
			Handler: handlerFunc(func(r *Request) {
				if !r.Conn.Authenticated() {
					inHandler.Add(1)
					<-held
					inHandler.Add(-1)
				}
				echo(r)
			}),
			Logger: slog.New(slog.DiscardHandler), Limits: Limits{Processors: 9},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Start()
		defer s.Close()
		var silent []net.Conn
		for range 50 { // who says nothing takes no place
			silent = append(silent, secure.dial())
		}
		const most = 2
		shaken := shakeHands(secure, most+2)
		synctest.Wait()
		if got := working.Load(); got != most {
			t.Errorf("%d handshakes are at work, want %d", got, most)
		}
		login := newClient(t, logins.dial())
		login.send(keyEcho, 1, []byte("a login"))
		synctest.Wait()
		if got := working.Load() + inHandler.Load(); got != most || s.strangers.waits.Load() != 3 {
			t.Errorf("%d strangers are at work, want %d; %d have waited, want 3", got, most, s.strangers.waits.Load())
		}
		friend := newClient(t, known.dial())
		friend.send(keyEcho, 7, []byte("a request"))
		friend.want(7, []byte("a request"))
		close(held)
		login.want(1, []byte("a login"))
		for range most + 2 {
			if err := <-shaken; err != nil {
				t.Errorf("a handshake failed: %v", err)
			}
		}
		synctest.Wait() // the broker's side ends after ours
		if worked.Load() != most+2 || len(s.strangers.places) != 0 {
			t.Errorf("%d handshakes have worked, want %d; %d places are taken at the end", worked.Load(), most+2, len(s.strangers.places))
		}
		for _, nc := range silent {
			nc.Close()
		}
	})
}

// A handshake whose time is over when its turn comes costs nothing more.
func TestStrangersWhoWaitedTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		held := make(chan struct{})
		close(held)
		config, _, worked := heldTLS(t, held)
		l := newPipeListener()
		k := newKitOn(t, Listener{Name: "S", Protocol: "SSL", Accept: l, TLS: config}, Limits{Processors: 2}, echo)
		defer k.srv.Close()
		for range cap(k.srv.strangers.places) {
			_, _ = k.srv.strangers.enter(nil)
		}
		shaken := shakeHands(l, 5)
		time.Sleep(11 * time.Second)
		for range cap(k.srv.strangers.places) {
			k.srv.strangers.leave(time.Now())
		}
		for range 5 {
			if err := <-shaken; err == nil {
				t.Error("a handshake succeeded after its time")
			}
		}
		if worked.Load() != 0 {
			t.Errorf("%d handshakes went on after their time", worked.Load())
		}
		err := <-shakeHands(l, 1)
		synctest.Wait()
		if err != nil || len(k.srv.strangers.places) != 0 {
			t.Errorf("the next handshake: %v; %d places are taken", err, len(k.srv.strangers.places))
		}
	})
}

// A fifth of a processor is a twentieth for strangers: ten of them who need 10 ms each are done after 1,800 ms and 10 ms.
func TestStrangersOfAPartOfAProcessor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, began := newStrangers(0.2), time.Now()
		for range 10 {
			since, _ := g.enter(nil)
			time.Sleep(10 * time.Millisecond)
			g.leave(since)
		}
		if took := time.Since(began); took.Round(time.Millisecond) != 1810*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		since, _ := g.enter(nil)
		time.Sleep(time.Minute) // the process stood still, or the machine did
		g.leave(since)
		began = time.Now()
		if since, _ = g.enter(nil); time.Since(began) != longestRest {
			t.Errorf("the place was empty for %v", time.Since(began))
		}
		g.leave(since)
		time.Sleep(time.Second)
	})
}
