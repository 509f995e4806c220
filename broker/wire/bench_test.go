package wire_test

import (
	"fmt"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/wire"
)

// partitionCounts are a small and a large consumer or producer.
var partitionCounts = []int{1, 1000}

func BenchmarkProduceRequestRead(b *testing.B) {
	for _, n := range partitionCounts {
		m := wire.ProduceRequest{Acks: -1, TopicData: []wire.ProduceRequestTopic{{Name: "topic", PartitionData: make([]wire.ProduceRequestPartition, n)}}}
		records := make([]byte, 1<<20/n)
		for i := range m.TopicData[0].PartitionData {
			m.TopicData[0].PartitionData[i] = wire.ProduceRequestPartition{Index: int32(i), Records: records}
		}
		benchmarkRead(b, n, &m, new(wire.ProduceRequest), 9)
	}
}

func BenchmarkFetchRequestRead(b *testing.B) {
	for _, n := range partitionCounts {
		m := wire.FetchRequest{Topics: []wire.FetchRequestTopic{{TopicID: kafka.UUID{1}, Partitions: make([]wire.FetchRequestPartition, n)}}}
		for i := range m.Topics[0].Partitions {
			m.Topics[0].Partitions[i].Default()
		}
		benchmarkRead(b, n, &m, new(wire.FetchRequest), 13)
	}
}

func benchmarkRead(b *testing.B, n int, from, into wire.Message, version int16) {
	body := from.Append(nil, version)
	b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
		b.ReportAllocs()
		b.SetBytes(int64(len(body)))
		var r wire.Reader
		for b.Loop() {
			r.Reset(body)
			if err := into.Read(&r, version); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkFetchResponsePieces(b *testing.B) {
	for _, n := range partitionCounts {
		m := wire.FetchResponse{Responses: []wire.FetchResponseTopic{{TopicID: kafka.UUID{1}, Partitions: make([]wire.FetchResponsePartition, n)}}}
		for i := range m.Responses[0].Partitions {
			p := &m.Responses[0].Partitions[i]
			p.Default()
			p.Records = []vfs.Range{vfs.NewRange(memFile{}, 0, 1<<20, nil)}
		}
		b.Run(fmt.Sprintf("partitions=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var pieces []wire.Piece
			var buf []byte
			for b.Loop() {
				buf = wire.AppendResponseHeader(buf[:0], wire.KeyFetch, 13, 1)
				pieces, buf = m.Pieces(13, pieces[:0], buf)
			}
			if len(pieces) != 2*n+1 {
				b.Fatalf("%d pieces", len(pieces))
			}
		})
	}
}
