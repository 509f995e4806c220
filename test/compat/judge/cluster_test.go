package judge

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerIDsScript: InitProducerId without a transaction, at every version.
func producerIDsScript(s *side) {
	c := s.conn()
	defer c.close()
	s.poll("producer ids are given", func() bool { // Kafka's broker has to fetch some first
		resp, ok := c.try(0, kmsg.NewPtrInitProducerIDRequest()).(*kmsg.InitProducerIDResponse)
		return ok && resp.ErrorCode == 0
	})
	for v := int16(0); v <= 5; v++ {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.ProducerID, req.ProducerEpoch, req.TransactionTimeoutMillis = -1, -1, 60_000
		first, _ := c.ask("new", v, req).(*kmsg.InitProducerIDResponse)
		second, _ := c.try(v, req).(*kmsg.InitProducerIDResponse)
		s.note(fmt.Sprintf("v%d another", v), fmt.Sprint("another id: ", first != nil && second != nil && first.ProducerID != second.ProducerID))
		req.TransactionTimeoutMillis = -1
		c.ask("timeout -1", v, req)
		empty := *req
		empty.TransactionalID = kmsg.StringPtr("")
		c.ask("empty transactional id", v, &empty)
		if v < 3 {
			continue
		}
		for _, known := range []struct {
			id    int64
			epoch int16
		}{{5, 3}, {5, -1}, {-1, 3}, {-2, 0}} {
			req.ProducerID, req.ProducerEpoch = known.id, known.epoch
			c.ask(fmt.Sprintf("with id %d and epoch %d", known.id, known.epoch), v, req)
		}
	}
	s.unsupported(c, 22, 7)
}

// describe asks for the settings of one resource; names nil for all.
func describe(kind kmsg.ConfigResourceType, name string, names []string) *kmsg.DescribeConfigsRequest {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms, req.IncludeDocumentation = true, true
	r := kmsg.NewDescribeConfigsRequestResource()
	r.ResourceType, r.ResourceName, r.ConfigNames = kind, name, names
	req.Resources = append(req.Resources, r)
	return req
}

// topicConfigsScript: DescribeConfigs of topics, at every version.
func topicConfigsScript(s *side) {
	c := s.conn()
	defer c.close()
	plain, set := s.topic("plain"), s.topic("set")
	s.create(plain, 1)
	s.create(set, 1, "retention.ms", "5000", "cleanup.policy", "compact,delete", "compression.type", "zstd", "segment.bytes", "2000000",
		"min.cleanable.dirty.ratio", "0.3", "preallocate", "true", "message.timestamp.type", "LogAppendTime", "max.message.bytes", "500")
	topic := kmsg.ConfigResourceTypeTopic
	for v := int16(1); v <= 4; v++ {
		c.ask("all of a plain topic", v, describe(topic, plain, nil))
		c.ask("all of a topic with settings", v, describe(topic, set, nil))
		bare := describe(topic, set, nil)
		bare.IncludeSynonyms, bare.IncludeDocumentation = false, false
		c.ask("neither synonyms nor documentation", v, bare)
		c.ask("two", v, describe(topic, set, []string{"retention.ms", "segment.ms"}))
		c.ask("an unknown one", v, describe(topic, set, []string{"retention.ms", "no.such.setting"}))
		c.ask("one twice", v, describe(topic, set, []string{"retention.ms", "retention.ms"}))
		c.ask("an empty list", v, describe(topic, plain, []string{}))
		c.ask("unknown topic", v, describe(topic, s.topic("nowhere"), nil))
		c.ask("invalid name", v, describe(topic, "a b", nil))
		c.ask("empty name", v, describe(topic, "", nil))
		two := describe(topic, set, []string{"retention.ms"})
		two.Resources = append(two.Resources, describe(topic, s.topic("nowhere"), nil).Resources...)
		c.ask("two topics", v, two)
		again := describe(topic, set, []string{"retention.ms"})
		again.Resources = append(again.Resources, describe(topic, set, []string{"segment.ms"}).Resources...)
		c.ask("one topic twice", v, again)
		none := kmsg.NewPtrDescribeConfigsRequest()
		c.ask("no resources", v, none)
	}
	s.unsupported(c, 32, 0)
	s.unsupported(c, 32, 5)
}

// brokerConfigsScript: DescribeConfigs of everything else.
func brokerConfigsScript(s *side) {
	c := s.conn()
	defer c.close()
	broker := kmsg.ConfigResourceTypeBroker
	for v := int16(1); v <= 4; v++ {
		c.ask("this broker", v, describe(broker, "1", nil))
		c.ask("some of this broker", v, describe(broker, "1", []string{"log.retention.ms", "log.retention.hours", "num.partitions", "message.max.bytes", "node.id"}))
		c.ask("an unknown one", v, describe(broker, "1", []string{"no.such.setting"}))
		c.ask("cluster defaults", v, describe(broker, "", nil))
		for _, name := range []string{"-1", "2", "x", "01"} {
			c.ask("broker "+name, v, describe(broker, name, nil))
		}
		for _, kind := range []kmsg.ConfigResourceType{0, 1, 3, 5, 99} {
			c.ask(fmt.Sprint("resource type ", kind.String(), int8(kind)), v, describe(kind, "1", nil))
		}
	}
	alterBroker(s, c)
}

// clusterScript: DescribeCluster at every version.
func clusterScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(0); v <= 2; v++ {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.EndpointType = 1
		c.ask("brokers", v, req)
		req.IncludeClusterAuthorizedOperations = true
		c.ask("authorized operations", v, req)
		if v >= 1 {
			req.EndpointType = 2
			c.ask("controllers", v, req)
			for _, kind := range []int8{0, 3} {
				req.EndpointType = kind
				c.ask(fmt.Sprint("endpoint type ", kind), v, req)
			}
		}
		if v >= 2 {
			req.EndpointType, req.IncludeFencedBrokers = 1, true
			c.ask("fenced brokers too", v, req)
		}
	}
	s.unsupported(c, 60, 3)
}

// versionsScript: ApiVersions (C1, C2, C4, C5).
func versionsScript(s *side) {
	c := s.conn()
	defer c.close()
	for v := int16(0); v <= 4; v++ {
		for _, client := range [][2]string{{"judge", "1.0"}, {"a", "1"}, {"apache-kafka-java", "4.3.1"}, {"", ""}, {"judge", ""}, {"", "1"}, {"ju dge", "1"}, {"-judge", "1"}, {"judge.", "1"}, {"judge", "1.0-"}, {"jüdge", "1"}} {
			req := kmsg.NewPtrApiVersionsRequest()
			req.ClientSoftwareName, req.ClientSoftwareVersion = client[0], client[1]
			c.ask(fmt.Sprintf("client %q %q", client[0], client[1]), v, req)
			if v < 3 {
				break
			}
		}
	}
	for _, v := range []int16{99, -1, 32767} {
		frame := c.frame(0, kmsg.NewPtrApiVersionsRequest())
		binary.BigEndian.PutUint16(frame[6:], uint16(v))
		body, err := c.exchange(append(frame[:4:4], append(frame[4:], 0xff, 0xff, 0xff)...))
		if err != nil {
			s.note(fmt.Sprintf("ApiVersions v%d", v), outcome(err))
			c.close()
			continue
		}
		resp := kmsg.NewPtrApiVersionsResponse()
		s.must(parse(body, 0, resp))
		s.answered(fmt.Sprintf("ApiVersions v%d", v), resp)
		c.close()
	}
}

// connectionsScript: what closes a connection (C6, C7, C10, C11).
func connectionsScript(s *side) {
	header := []byte{0, 18, 0, 0, 0, 0, 0, 1, 255, 255}
	frame := func(size int32, content ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(nil, uint32(size)), content...)
	}
	framed := func(content ...byte) []byte { return frame(int32(len(content)), content...) }
	metadata := func(version byte, body ...byte) []byte {
		return framed(append([]byte{0, 3, 0, version, 0, 0, 0, 1, 255, 255}, body...)...)
	}
	for _, x := range []struct {
		name  string
		bytes []byte
	}{
		{"a good request", framed(header...)},
		{"unknown key 999", framed(3, 231, 0, 0, 0, 0, 0, 1, 255, 255)},
		{"unknown key -1", framed(255, 255, 0, 0, 0, 0, 0, 1, 255, 255)},
		{"removed key 4", framed(0, 4, 0, 0, 0, 0, 0, 1, 255, 255)},
		{"controller key 52", framed(0, 52, 0, 0, 0, 0, 0, 1, 255, 255)},
		{"negative size", frame(-1, header...)},
		{"size 0", frame(0)},
		{"size 4", frame(4, 0, 18, 0, 0)},
		{"size 8, no client id", framed(header[:8]...)},
		{"size above the limit", frame(100<<20+1, header...)},
		{"trailing bytes", framed(append(header[:10:10], 1, 2, 3)...)},
		{"client id longer than the frame", framed(0, 18, 0, 0, 0, 0, 0, 1, 0, 99)},
		{"client id length -2", framed(0, 18, 0, 0, 0, 0, 0, 1, 255, 254)},
		{"Metadata v1 cut off", metadata(1, 0, 0, 0, 1, 0, 5, 'a')},
		{"Metadata v1, a billion topics", metadata(1, 64, 0, 0, 0)},
		{"Metadata v1, topics -2", metadata(1, 255, 255, 255, 254)},
		{"Metadata v1, null name", metadata(1, 0, 0, 0, 1, 255, 255)},
		{"Metadata v1, not UTF-8", metadata(1, 0, 0, 0, 1, 0, 1, 0xff)},
		{"Metadata v9, header tag", metadata(9, 1, 7, 2, 1, 2, 1, 0, 0, 0, 0)},
		{"Metadata v9, body tag", metadata(9, 0, 1, 0, 0, 0, 1, 99, 1, 5)},
		{"Metadata v9, tags out of order", metadata(9, 0, 1, 0, 0, 0, 2, 99, 1, 5, 98, 1, 5)},
		{"Metadata v9, a tag twice", metadata(9, 0, 1, 0, 0, 0, 2, 99, 1, 5, 99, 1, 5)},
		{"Metadata v9, a million tags", metadata(9, 0, 1, 0, 0, 0, 0x80, 0x80, 0x40)},
		{"Metadata v9, bool of 2", metadata(9, 0, 1, 2, 0, 0, 0)},
		{"Metadata v9, array length overlong", metadata(9, 0, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0, 0, 0, 0)},
		{"ApiVersions v3 cut off", framed(0, 18, 0, 3, 0, 0, 0, 1, 255, 255, 0, 3, 'a')},
	} {
		c := s.conn()
		c.send(x.bytes)
		_, err := c.receive(patience)
		c.close()
		s.note(x.name, outcome(err))
	}
	c := s.conn()
	defer c.close()
	for v := int16(0); v <= 1; v++ {
		c.ask("ApiVersions of a null client id", v, kmsg.NewPtrApiVersionsRequest())
	}
	s.pipelined(c)
}

// pipelined: answers come in the order of the requests (C8).
func (s *side) pipelined(c *conn) {
	var first int32
	for i := range 20 {
		req := kmsg.Request(kmsg.NewPtrApiVersionsRequest())
		if i%3 == 1 {
			req = metadataOf()
		}
		c.send(c.frame(1, req))
		if i == 0 {
			first = c.correlation
		}
	}
	order := "in order"
	for i := range int32(20) {
		body, err := c.receive(patience)
		s.must(err)
		if int32(binary.BigEndian.Uint32(body)) != first+i {
			order = "out of order"
		}
	}
	s.note("20 requests at once", order)
}
