package replica

import (
	"fmt"
	"testing"
	"time"

	"github.com/varve-io/varve/broker/metadata"
)

// BenchmarkSession: a fetch of a session of n partitions, of which one has new records. What
// the others cost shows in how the time grows with n: not at all.
func BenchmarkSession(b *testing.B) {
	for _, n := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			k := newKit(b)
			topic := newTopic("t")
			for len(topic.Partitions) < n {
				topic.Partitions = append(topic.Partitions, topic.Partitions[0])
			}
			k.apply(&metadata.Delta{Created: []*metadata.Topic{topic}})
			var asks []FetchPartition
			for i := range n {
				p, err := k.ByID(topic.ID, int32(i))
				if err != nil {
					b.Fatal(err)
				}
				asks = append(asks, ask(p, 0))
			}
			s := k.NewSession(asks, <-k.fetch(FetchParams{Partitions: asks}).done)
			defer s.Close()
			active, err := k.ByID(topic.ID, 0)
			if err != nil {
				b.Fatal(err)
			}
			at := asks[:1]
			fetch := func() {
				done := make(chan []SessionResult, 1)
				s.Fetch(b.Context(), FetchParams{MaxWait: time.Minute, MinBytes: 1, MaxBytes: 1 << 20}, func(res []SessionResult, err error) {
					if err != nil {
						b.Error(err)
					}
					done <- res
				})
				res := <-done
				if len(res) != 1 || len(res[0].Records) != 1 {
					b.Fatalf("%d results", len(res))
				}
				res[0].release()
			}
			round := func() {
				at[0].Offset = k.produce(active, 1).Base
				s.Update(at, nil)
				fetch()
			}
			round() // the first fetch of a session looks at all of it
			b.ReportAllocs()
			for b.Loop() {
				round()
			}
		})
	}
}
