package broker_test

import (
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/brokertest"
)

// processCPU is the processor time of this process, user and system, in ns.
func processCPU(b *testing.B) int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// skipAnswer reads an answer into buf, over and over if it is longer.
func skipAnswer(r io.Reader, buf []byte) error {
	n, err := io.ReadAtLeast(r, buf, 4)
	if err != nil {
		return err
	}
	left := int(uint32(buf[0])<<24|uint32(buf[1])<<16|uint32(buf[2])<<8|uint32(buf[3])) + 4 - n
	for left > 0 {
		if n, err = r.Read(buf[:min(left, len(buf))]); err != nil {
			return err
		}
		left -= n
	}
	return nil
}

func requestFrame(version int16, req kmsg.Request) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
}

// askOn sends a request and answers its answer.
func askOn(b *testing.B, nc net.Conn, version int16, req kmsg.Request) kmsg.Response {
	b.Helper()
	if _, err := nc.Write(requestFrame(version, req)); err != nil {
		b.Fatal(err)
	}
	answer, err := readAnswer(nc)
	if err != nil {
		b.Fatal(err)
	}
	resp := req.ResponseKind()
	resp.SetVersion(version)
	if answer = answer[4:]; resp.IsFlexible() {
		answer = answer[1:]
	}
	if err := resp.ReadFrom(answer); err != nil {
		b.Fatal(err)
	}
	return resp
}

// benchNode is a node with topics t0 to tN-1 of one partition.
func benchNode(b *testing.B, topics int, settings ...string) *broker.Node {
	b.Helper()
	// At the stock pace: with tests' 20 ms, walks over 10,000 partitions are most of what is measured.
	n := brokertest.Node{Set: append(settings, "log.retention.check.interval.ms=300000", "remote.log.manager.task.interval.ms=30000")}.Start(b)
	nc, err := net.Dial("tcp", n.KafkaAddr())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	ask := func(version int16, req kmsg.Request) kmsg.Response { return askOn(b, nc, version, req) }
	for i := 0; i < topics; {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.TimeoutMillis = 60_000
		for range min(1000, topics-i) {
			t := kmsg.NewCreateTopicsRequestTopic()
			t.Topic, t.NumPartitions, t.ReplicationFactor = fmt.Sprint("t", i), 1, 1
			req.Topics = append(req.Topics, t)
			i++
		}
		for _, t := range ask(7, req).(*kmsg.CreateTopicsResponse).Topics {
			if t.ErrorCode != 0 {
				b.Fatalf("%s: %d", t.Topic, t.ErrorCode)
			}
		}
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKey = "g0"
	ask(0, find)
	for end := time.Now().Add(20 * time.Second); ; {
		if ask(8, benchCommit(0)).(*kmsg.OffsetCommitResponse).Topics[0].Partitions[0].ErrorCode == 0 {
			return n
		}
		if time.Now().After(end) {
			b.Fatal("no coordinator")
		}
	}
}

func benchCommit(conn int) *kmsg.OffsetCommitRequest {
	req := commitOf(fmt.Sprint("g", conn), "")
	req.Topics[0].Topic = "t0"
	return req
}

// BenchmarkOffsetCommit commits one offset at a time, for a group on each of 16 connections.
func BenchmarkOffsetCommit(b *testing.B) {
	n := benchNode(b, 1)
	exchangeAll(b, n.KafkaAddr(), 16, func(conn int) []byte { return requestFrame(8, benchCommit(conn)) })
}

// BenchmarkMetadataOf10000Topics asks for all of them on one connection.
func BenchmarkMetadataOf10000Topics(b *testing.B) {
	n := benchNode(b, 10_000)
	for _, v := range []int16{1, 12} {
		b.Run(fmt.Sprint("v", v), func(b *testing.B) {
			exchangeAll(b, n.KafkaAddr(), 1, func(int) []byte {
				req := kmsg.NewPtrMetadataRequest()
				req.Topics = nil
				return requestFrame(v, req)
			})
		})
	}
}
