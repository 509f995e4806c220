package broker_test

import (
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker"
	"github.com/varve-io/varve/broker/batch"
)

// BenchmarkProduceGuarded produces batches in turn to a node without quotas and an authorizer, and to one with 10,000 rules and
// every quota that a producer can have, none of which it meets: "ratio" is the median of what neighbouring rounds cost.
func BenchmarkProduceGuarded(b *testing.B) {
	open := benchNode(b, 1)
	guarded := benchNode(b, 1, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "allow.everyone.if.no.acl.found=true")
	guard(b, guarded)
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("batch=%dKiB", size>>10), func(b *testing.B) {
			frame := requestFrame(9, produceOf(size))
			const rounds = 12
			n := max(1, b.N/rounds)
			var spent [2]int64
			var ratios []float64
			nodes := []*broker.Node{open, guarded}
			for round := range rounds {
				var took [2]int64
				for turn := range nodes { // who writes second may find other memory
					i := (round + turn) % 2
					took[i] = exchangeSome(b, nodes[i].KafkaAddr(), 1, n, func(int) []byte { return frame })
					spent[i] += took[i]
				}
				ratios = append(ratios, float64(took[1])/float64(took[0]))
			}
			slices.Sort(ratios)
			b.ReportMetric(float64(spent[0])/float64(rounds*n)/1000, "open-cpu-µs/op")
			b.ReportMetric(float64(spent[1])/float64(rounds*n)/1000, "guarded-cpu-µs/op")
			b.ReportMetric((ratios[rounds/2-1]+ratios[rounds/2])/2, "ratio")
		})
	}
}

// produceOf is a batch of one record to t0.
func produceOf(size int) *kmsg.ProduceRequest {
	batch := batch.Builder{BaseTimestampMs: time.Now().UnixMilli(), ProducerID: -1, ProducerEpoch: -1, BaseSequence: -1}
	batch.Append(nil, make([]byte, size), nil, batch.BaseTimestampMs)
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = 1, 10_000
	req.Topics = []kmsg.ProduceRequestTopic{{Topic: "t0", Partitions: []kmsg.ProduceRequestTopicPartition{{Records: batch.Bytes()}}}}
	return req
}

// guard sets rules and quotas; the client is User:ANONYMOUS.
func guard(b *testing.B, n *broker.Node) {
	b.Helper()
	nc, err := net.Dial("tcp", n.KafkaAddr())
	if err != nil {
		b.Fatal(err)
	}
	defer nc.Close()
	for from := 0; from < 10_000; from += 1000 {
		req := kmsg.NewPtrCreateACLsRequest()
		for i := range 1000 {
			c := kmsg.NewCreateACLsRequestCreation()
			c.ResourceType, c.ResourceName, c.ResourcePatternType = kmsg.ACLResourceTypeTopic, fmt.Sprint("t", from+i), kmsg.ACLResourcePatternTypeLiteral
			c.Principal, c.Host, c.Operation, c.PermissionType = "User:ANONYMOUS", "*", kmsg.ACLOperationWrite, kmsg.ACLPermissionTypeAllow
			req.Creations = append(req.Creations, c)
		}
		for _, r := range askOn(b, nc, 3, req).(*kmsg.CreateACLsResponse).Results {
			if r.ErrorCode != 0 {
				b.Fatalf("a rule: %d", r.ErrorCode)
			}
		}
	}
	entry := kmsg.NewAlterClientQuotasRequestEntry()
	entry.Entity = []kmsg.AlterClientQuotasRequestEntryEntity{{Type: "user"}, {Type: "client-id"}} // everybody's
	for _, key := range []string{"producer_byte_rate", "consumer_byte_rate", "request_percentage"} {
		entry.Ops = append(entry.Ops, kmsg.AlterClientQuotasRequestEntryOp{Key: key, Value: 1e12})
	}
	quotas := kmsg.NewPtrAlterClientQuotasRequest()
	quotas.Entries = append(quotas.Entries, entry)
	if r := askOn(b, nc, 1, quotas).(*kmsg.AlterClientQuotasResponse); r.Entries[0].ErrorCode != 0 {
		b.Fatalf("quotas: %d", r.Entries[0].ErrorCode)
	}
}
