package server

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/varve-io/varve/broker/kafka"
)

// A5: the peer of a TLS listener that says nothing, or does not log in, is closed in time, also when
// it sends a byte a second.
func TestA5HalfOpenConnectionsEnd(t *testing.T) {
	for _, c := range []struct {
		name, protocol string
		config         *tls.Config
		drip           bool
		want           time.Duration
	}{
		{"no ClientHello", "SSL", &tls.Config{}, false, 10 * time.Second},
		{"a byte a second of one", "SASL_SSL", &tls.Config{}, true, 10 * time.Second},
		{"no login", "SASL_PLAINTEXT", nil, false, 30 * time.Second},
		{"a byte a second of a request", "SASL_PLAINTEXT", nil, true, 30 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newPipeListener()
				k := newKitOn(t, Listener{Name: "L", Protocol: c.protocol, Accept: l, TLS: c.config}, Limits{}, echo)
				defer k.srv.Close()
				nc, start := l.dial(), time.Now()
				var dripping sync.WaitGroup
				if c.drip {
					dripping.Go(func() { // the start of a handshake record, or of a frame of 768 bytes
						for _, b := range append([]byte{0, 0, 3, 0}, make([]byte, 100)...) {
							if c.config != nil {
								b |= 22
							}
							if _, err := nc.Write([]byte{b}); err != nil {
								return
							}
							time.Sleep(time.Second)
						}
					})
				}
				_, err := io.ReadAll(nc)
				if took := time.Since(start); took > c.want+2*time.Second || (!c.drip && took < c.want-3*time.Second) || err != nil && !errors.Is(err, io.ErrClosedPipe) {
					t.Errorf("closed after %v, %v; want %v", took, err, c.want)
				}
				nc.Close()
				dripping.Wait()
			})
		})
	}
}

// selfSigned is a certificate that nobody else has signed, with its key.
func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// tlsListener is a listener with a certificate that nobody has signed.
func tlsListener(t *testing.T) Listener {
	t.Helper()
	config := &tls.Config{Certificates: []tls.Certificate{selfSigned(t)}}
	return Listener{Name: "PLAINTEXT", Protocol: "SSL", Accept: listenLoopback(t), TLS: config,
		Identify: func(tls.ConnectionState) (kafka.Principal, error) { return kafka.User("dave"), nil }}
}

// Frames of every size come back whole over TLS, and the peer has the name that Identify gives it.
func TestFramesOverTLS(t *testing.T) {
	k := newKitOn(t, tlsListener(t), Limits{}, func(r *Request) {
		if r.Conn.Principal() != kafka.User("dave") {
			t.Errorf("the peer is %s", r.Conn.Principal())
		}
		r.ReplyBytes(answerTo(r, bytes.Clone(r.Body)))
	})
	nc, err := tls.Dial("tcp", k.srv.Addr("PLAINTEXT").String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	for i, size := range []int{0, 1, 100, 16 << 10, 32 << 10, 64<<10 - 1, 64 << 10, 100_000, 3 << 20} {
		body := make([]byte, size)
		_, _ = rand.Read(body)
		frame := binary.BigEndian.AppendUint32(nil, uint32(10+size))
		frame = append(frame, 0, keyEcho, 0, 0, 0, 0, 0, byte(i), 0xff, 0xff)
		if _, err := nc.Write(append(frame, body...)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 8+size)
		if _, err := io.ReadFull(nc, answer); err != nil {
			t.Fatal(err)
		}
		if got := binary.BigEndian.Uint32(answer); int(got) != 4+size || !bytes.Equal(answer[8:], body) {
			t.Errorf("an echo of %d bytes came back as %d", size, got)
		}
	}
}
