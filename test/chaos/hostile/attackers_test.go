package hostile

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// kinds are the attacks, each of which may run alone; "hold" is a process of its own.
var kinds = []string{"fuzz", "slow", "unread", "storm", "half-open", "handshakes", "passwords", "tokens", "bombs", "hold"}

// counts are what the attackers did.
type counts struct {
	fuzzed, dripped, unread, stormed, halfOpen, shaken, logins, tokens, bombs, refusedBombs atomic.Int64
}

// String tells them all.
func (c *counts) String() string {
	return fmt.Sprintf("%d fuzzed frames, %d slow senders, %d that never read, %d connections of storms, %d half-open TLS, %d TLS handshakes, "+
		"%d wrong passwords, %d forged tokens, %d bombs of which %d were refused",
		c.fuzzed.Load(), c.dripped.Load(), c.unread.Load(), c.stormed.Load(), c.halfOpen.Load(), c.shaken.Load(),
		c.logins.Load(), c.tokens.Load(), c.bombs.Load(), c.refusedBombs.Load())
}

// attack is a process that mounts attacks, until ctx ends: KIND+KIND@PLAIN,TLS,SASL are which, and the broker's listeners.
func attack(ctx context.Context, arg string) {
	which, addrs, _ := strings.Cut(arg, "@")
	at := strings.Split(addrs, ",")
	plain, secure, sasl := at[0], at[1], at[2]
	c, wg := &counts{}, sync.WaitGroup{}
	again := func(workers int, f func(context.Context)) {
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					f(ctx)
				}
			})
		}
	}
	for kind := range strings.SplitSeq(which, "+") {
		switch kind {
		case "fuzz":
			again(4, func(ctx context.Context) { fuzz(ctx, plain, &c.fuzzed) })
		case "slow":
			again(200, func(ctx context.Context) { drip(ctx, plain, request(3, 1, make([]byte, 1<<20)), &c.dripped) })
		case "unread":
			again(50, func(ctx context.Context) { neverRead(ctx, plain, &c.unread) })
		case "storm":
			again(1, func(ctx context.Context) { storm(ctx, plain, &c.stormed) })
		case "half-open":
			again(300, func(ctx context.Context) { halfOpen(ctx, secure, &c.halfOpen) })
		case "handshakes":
			hello := clientHello()
			again(64, func(ctx context.Context) { shake(ctx, secure, hello, &c.shaken) })
		case "passwords":
			again(8, func(ctx context.Context) { badLogin(ctx, sasl, &c.logins) })
		case "tokens":
			again(8, func(ctx context.Context) { badToken(ctx, sasl, &c.tokens) })
		case "bombs":
			bomb := gzipBomb()
			again(2, func(ctx context.Context) { detonate(ctx, plain, bomb, c) })
		}
	}
	wg.Wait()
	fmt.Println(c)
}

// dial opens a connection that ends with ctx; nil after a short rest when it is refused.
func dial(ctx context.Context, addr string) net.Conn {
	return dialFrom(ctx, net.IPv4(127, 0, 0, 4), addr)
}

func dialFrom(ctx context.Context, from net.IP, addr string) net.Conn {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from}, Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		wait(ctx, 50*time.Millisecond)
		return nil
	}
	context.AfterFunc(ctx, func() { c.Close() })
	return c
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// fuzz sends frames of every kind of nonsense on a connection until it is closed.
func fuzz(ctx context.Context, addr string, count *atomic.Int64) {
	c := dial(ctx, addr)
	if c == nil {
		return
	}
	defer c.Close()
	go func() { _, _ = io.Copy(io.Discard, c) }()
	for {
		var b []byte
		switch body := make([]byte, rand.IntN(2000)); rand.IntN(4) {
		case 0: // lengths that lie
			b = binary.BigEndian.AppendUint32(nil, []uint32{1<<31 - 1, 1<<32 - 1, 0, 1 << 30, 3}[rand.IntN(5)])
		case 1: // bytes
			for i := range body {
				body[i] = byte(rand.Uint32())
			}
			b = append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
		case 2: // a request of any kind, with any body
			for i := range body {
				body[i] = byte(rand.Uint32())
			}
			b = request(int16(rand.IntN(95)), int16(rand.IntN(20)), body)
		default: // a real request with flipped bytes, and counts that lie
			f := kmsg.RequestForKey(int16(rand.IntN(75)))
			if f == nil {
				continue
			}
			f.SetVersion(int16(rand.IntN(int(f.MaxVersion()) + 1)))
			b = kmsg.NewRequestFormatter().AppendRequest(nil, f, 7)
			for range 1 + rand.IntN(4) {
				b[4+rand.IntN(len(b)-4)] = []byte{0, 0xff, 0x7f, 0x80, byte(rand.Uint32())}[rand.IntN(5)]
			}
		}
		_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
		if _, err := c.Write(b); err != nil {
			return
		}
		count.Add(1)
		wait(ctx, 2*time.Millisecond)
	}
}

// drip sends a byte of a large frame each second, until it is closed.
func drip(ctx context.Context, addr string, frame []byte, count *atomic.Int64) {
	c := dial(ctx, addr)
	if c == nil {
		return
	}
	defer c.Close()
	count.Add(1)
	for i := range frame {
		if _, err := c.Write(frame[i : i+1]); err != nil {
			return
		}
		wait(ctx, time.Second)
	}
}

// neverRead asks for as much as it can and reads nothing.
func neverRead(ctx context.Context, addr string, count *atomic.Int64) {
	c := dial(ctx, addr)
	if c == nil {
		return
	}
	defer c.Close()
	count.Add(1)
	burst := bytes.Repeat(append(bytes.Clone(apiVersions), request(3, 1, []byte{0xff, 0xff, 0xff, 0xff})...), 50)
	for {
		_ = c.SetWriteDeadline(time.Now().Add(20 * time.Second))
		if _, err := c.Write(burst); err != nil {
			return
		}
	}
}

// storm connects and disconnects a thousand times a second.
func storm(ctx context.Context, addr string, count *atomic.Int64) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, 200)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for range 10 {
			select {
			case slots <- struct{}{}:
			default:
				continue
			}
			wg.Go(func() {
				defer func() { <-slots }()
				if c := dial(ctx, addr); c != nil {
					count.Add(1)
					_ = c.(*net.TCPConn).SetLinger(0) // ports are free again at once
					c.Close()
				}
			})
		}
	}
}

// halfOpen begins a TLS handshake, or does not even do that, and falls silent.
func halfOpen(ctx context.Context, addr string, count *atomic.Int64) {
	c := dial(ctx, addr)
	if c == nil {
		return
	}
	defer c.Close()
	count.Add(1)
	if rand.IntN(2) == 0 {
		_, _ = c.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3})
	}
	_ = c.SetReadDeadline(time.Now().Add(time.Minute))
	_, _ = c.Read(make([]byte, 1))
}

// badLogin logs in with a wrong password.
func badLogin(ctx context.Context, addr string, count *atomic.Int64) {
	user := scram.Auth{User: []string{"good", "nobody"}[rand.IntN(2)], Pass: "wrong"}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 4)}}
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.SASL(user.AsSha256Mechanism()), kgo.Dialer(d.DialContext))
	if err != nil {
		return
	}
	defer cl.Close()
	short, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if cl.Ping(short) != nil {
		count.Add(1)
	}
}

// badToken sends a token of OAUTHBEARER that nobody has signed, of as many bytes as are looked at, or of a megabyte.
func badToken(ctx context.Context, addr string, count *atomic.Int64) {
	c := dial(ctx, addr)
	if c == nil {
		return
	}
	defer c.Close()
	size := []int{20 << 10, 1 << 20}[rand.IntN(2)]
	b64 := base64.RawURLEncoding.EncodeToString
	token := b64([]byte(`{"alg":"RS256","kid":"k"}`)) + "." + b64(fmt.Appendf(nil, `{"sub":"good","aud":"varve","exp":%d,"iat":1,"x":"%s"}`,
		time.Now().Unix()+1000, strings.Repeat("x", size))) + "." + b64(make([]byte, 256))
	handshake, auth := kmsg.NewPtrSASLHandshakeRequest(), kmsg.NewPtrSASLAuthenticateRequest()
	handshake.Mechanism, auth.SASLAuthBytes = "OAUTHBEARER", []byte("n,,\x01auth=Bearer "+token+"\x01\x01")
	handshake.SetVersion(1)
	auth.SetVersion(1)
	format := kmsg.NewRequestFormatter()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(format.AppendRequest(format.AppendRequest(nil, handshake, 1), auth, 2)); err == nil {
		for range 2 { // of the handshake and the token, or the end
			if !skipFrame(c) {
				break
			}
		}
	}
	count.Add(1)
}

// skipFrame reads an answer; false: the broker has closed the connection.
func skipFrame(c net.Conn) bool {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return false
	}
	_, err := io.CopyN(io.Discard, c, int64(binary.BigEndian.Uint32(size[:])))
	return err == nil
}

// clientHello is how a TLS handshake begins. The same bytes serve for any number: the key in them, and what the broker
// answers, need not be known to who sends them again.
func clientHello() []byte {
	here, there := net.Pipe()
	go func() {
		_ = tls.Client(there, &tls.Config{InsecureSkipVerify: true}).Handshake() //nolint:gosec // it attacks
	}()
	defer here.Close()
	hello := make([]byte, 16<<10)
	n, _ := here.Read(hello) // one record, written at once
	return hello[:n]
}

// shake has the broker make its half of a TLS handshake, keys and signature, for nothing. It comes from many addresses,
// for each of which there is a quota of connections.
func shake(ctx context.Context, addr string, hello []byte, count *atomic.Int64) {
	c := dialFrom(ctx, net.IPv4(127, 0, 1, byte(1+rand.IntN(50))), addr)
	if c == nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = c.Write(hello)
	if n, _ := c.Read(make([]byte, 4096)); n > 0 {
		count.Add(1)
	}
	_ = c.(*net.TCPConn).SetLinger(0) // ports are free again at once
}

// gzipBomb is a batch whose records are half a gigabyte of nothing.
func gzipBomb() []byte {
	var z bytes.Buffer
	w, _ := gzip.NewWriterLevel(&z, gzip.BestCompression) // the level is valid
	zeros := make([]byte, 1<<20)
	for range 512 {
		_, _ = w.Write(zeros) // into memory
	}
	_ = w.Close()
	batch := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, Attributes: 1, ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
		NumRecords: 1, FirstTimestamp: time.Now().UnixMilli(), MaxTimestamp: time.Now().UnixMilli(), Records: z.Bytes()}
	batch.Length = int32(49 + len(batch.Records))
	raw := batch.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// detonate produces the bomb to a compacted topic, whose records are looked at.
func detonate(ctx context.Context, addr string, bomb []byte, n *counts) {
	c := dial(ctx, addr)
	if c == nil {
		return
	}
	defer c.Close()
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = 1, 5000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: "bombs", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: bomb}}}}
	req.SetVersion(9)
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(kmsg.NewRequestFormatter().AppendRequest(nil, req, 1)); err != nil {
		return
	}
	n.bombs.Add(1)
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return
	}
	answer := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(c, answer); err != nil {
		return
	}
	resp := req.ResponseKind().(*kmsg.ProduceResponse)
	resp.SetVersion(9)
	if resp.ReadFrom(answer[5:]) == nil && len(resp.Topics) == 1 && resp.Topics[0].Partitions[0].ErrorCode != 0 {
		n.refusedBombs.Add(1)
	}
	wait(ctx, time.Second)
}

// held is how many connections one process holds, as far as files may be opened.
const held = 9000

// hold is a process that holds connections, until ctx ends: as many as it gets, each with a request answered. ADDRESS@PLAIN
// are where it comes from and the broker's listener.
func hold(ctx context.Context, arg string) {
	from, addr, _ := strings.Cut(arg, "@")
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: 2 * time.Second}
	var open []net.Conn
	dialed, refused := 0, 0
	for ctx.Err() == nil {
		if len(open) >= held {
			open = use(open)
			wait(ctx, 10*time.Second)
			continue
		}
		c, err := dialer.DialContext(ctx, "tcp", addr)
		if dialed++; err != nil {
			refused++
			wait(ctx, 5*time.Millisecond)
			continue
		}
		_, _ = c.Write(apiVersions)
		_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
		if _, err := io.ReadFull(c, make([]byte, 4)); err != nil {
			refused++
			c.Close()
			wait(ctx, 5*time.Millisecond)
			continue
		}
		open = append(open, c)
	}
	fmt.Printf("dialed %d, refused %d, open %d\n", dialed, refused, len(open))
}

// use sends a request on each connection, so that none is idle for long, and keeps those that live.
func use(open []net.Conn) []net.Conn {
	for _, c := range open {
		_, _ = c.Write(apiVersions)
	}
	kept := open[:0]
	for _, c := range open {
		_ = c.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := c.Read(make([]byte, 4096)); err == nil {
			kept = append(kept, c)
		} else {
			c.Close()
		}
	}
	return kept
}

// request is a frame with a header of version 1 and a body.
func request(key, version int16, body []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(10+len(body)))
	b = binary.BigEndian.AppendUint16(b, uint16(key))
	b = binary.BigEndian.AppendUint16(b, uint16(version))
	b = append(b, 0, 0, 0, 7, 0xff, 0xff)
	return append(b, body...)
}

var apiVersions = request(18, 0, nil)
