package hostile

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

// counts are what the attackers did.
type counts struct{ fuzzed, dripped, unread, stormed, halfOpen, logins, bombs, refusedBombs atomic.Int64 }

// String tells them all.
func (c *counts) String() string {
	return fmt.Sprintf("%d fuzzed frames, %d slow senders, %d that never read, %d connections of storms, %d half-open TLS, %d failed logins, %d bombs of which %d were refused",
		c.fuzzed.Load(), c.dripped.Load(), c.unread.Load(), c.stormed.Load(), c.halfOpen.Load(), c.logins.Load(), c.bombs.Load(), c.refusedBombs.Load())
}

// attack starts them all; they end with ctx.
func (n *node) attack(ctx context.Context, wg *sync.WaitGroup) *counts {
	c := &counts{}
	again := func(workers int, f func(context.Context)) {
		for range workers {
			wg.Go(func() {
				for ctx.Err() == nil {
					f(ctx)
				}
			})
		}
	}
	again(4, func(ctx context.Context) { fuzz(ctx, n.Addr, &c.fuzzed) })
	again(200, func(ctx context.Context) { drip(ctx, n.Addr, request(3, 1, make([]byte, 1<<20)), &c.dripped) })
	again(50, func(ctx context.Context) { neverRead(ctx, n.Addr, &c.unread) })
	again(300, func(ctx context.Context) { halfOpen(ctx, n.tls, &c.halfOpen) })
	again(8, func(ctx context.Context) { badLogin(ctx, n.sasl, &c.logins) })
	bomb := gzipBomb()
	again(2, func(ctx context.Context) { detonate(ctx, n.Addr, bomb, c) })
	wg.Go(func() { storm(ctx, n.Addr, &c.stormed) })
	return c
}

// dial opens a connection that ends with ctx; nil after a short rest when it is refused.
func dial(ctx context.Context, addr string) net.Conn {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 4)}, Timeout: 5 * time.Second}
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
