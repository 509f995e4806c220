// Command golang runs sarama and kafka-go against a broker: every codec, transactions, groups,
// administration. It is a module of its own, so that the broker's go.mod names neither.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/segmentio/kafka-go"
)

func main() {
	addr := os.Args[1]
	how, err := readSecurity()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	for _, client := range []struct {
		name string
		run  func(security security, addr, topic string) error
	}{{"sarama", runSarama}, {"kafka-go", runKafkaGo}} {
		if client.name == "kafka-go" && how.Mechanism == sarama.SASLTypeOAuth {
			continue // it has no such mechanism
		}
		if err := client.run(how, addr, fmt.Sprintf("%s-%d", client.name, time.Now().UnixNano())); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", client.name, err)
			os.Exit(1)
		}
	}
	fmt.Println("sarama: produce, transactions, groups, administration; kafka-go: produce, groups")
}

const perStep = 100

func runSarama(how security, addr, topic string) error {
	cfg := sarama.NewConfig()
	cfg.Version = sarama.MaxVersion
	if err := how.sarama(cfg); err != nil {
		return err
	}
	cfg.Producer.Return.Successes, cfg.Producer.Idempotent, cfg.Net.MaxOpenRequests = true, true, 1
	cfg.Producer.RequiredAcks = sarama.WaitForAll
	cfg.Consumer.Offsets.Initial, cfg.Consumer.IsolationLevel = sarama.OffsetOldest, sarama.ReadCommitted
	admin, err := sarama.NewClusterAdmin([]string{addr}, cfg)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := admin.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 3, ReplicationFactor: 1}, false); err != nil {
		return err
	}
	codecs := []sarama.CompressionCodec{sarama.CompressionNone, sarama.CompressionGZIP, sarama.CompressionSnappy, sarama.CompressionLZ4, sarama.CompressionZSTD}
	for _, codec := range codecs {
		c := *cfg
		c.Producer.Compression = codec
		if err := send(addr, topic, &c, nil); err != nil {
			return fmt.Errorf("codec %v: %w", codec, err)
		}
	}
	c := *cfg
	c.Producer.Transaction.ID = topic
	if err := send(addr, topic, &c, []bool{true, false, true, true}); err != nil {
		return fmt.Errorf("transactions: %w", err)
	}
	if err := readGroup(addr, topic, cfg, int64(len(codecs)+3)*perStep); err != nil {
		return err
	}
	if err := admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"retention.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: new("60000")}}, false); err != nil {
		return err
	}
	if _, err := admin.DescribeLogDirs([]int32{1}); err != nil {
		return err
	}
	return errors.Join(admin.DeleteConsumerGroup(topic), admin.DeleteTopic(topic))
}

// send produces perStep records, or as many in each of some transactions, which commit or not.
func send(addr, topic string, cfg *sarama.Config, commits []bool) error {
	p, err := sarama.NewSyncProducer([]string{addr}, cfg)
	if err != nil {
		return err
	}
	defer p.Close()
	step := func() error {
		for i := range perStep {
			if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(fmt.Sprint(i))}); err != nil {
				return err
			}
		}
		return nil
	}
	if commits == nil {
		return step()
	}
	for _, commit := range commits {
		end := p.AbortTxn
		if commit {
			end = p.CommitTxn
		}
		if err := p.BeginTxn(); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
		if err := end(); err != nil {
			return err
		}
	}
	return nil
}

// counter counts what its group reads.
type counter struct{ n atomic.Int64 }

func (*counter) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*counter) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (c *counter) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case m, open := <-claim.Messages():
			if !open {
				return nil
			}
			s.MarkMessage(m, "")
			c.n.Add(1)
		case <-s.Context().Done():
			return nil
		}
	}
}

func readGroup(addr, topic string, cfg *sarama.Config, want int64) error {
	group, err := sarama.NewConsumerGroup([]string{addr}, topic, cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, ended := &counter{}, make(chan error, 1)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			err = group.Consume(ctx, []string{topic}, c)
		}
		ended <- err
	}()
	for c.n.Load() < want && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond) // for what must not come
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, sarama.ErrClosedConsumerGroup) {
		return err
	}
	if got := c.n.Load(); got != want {
		return fmt.Errorf("the group has read %d of %d records", got, want)
	}
	return group.Close()
}

func runKafkaGo(how security, addr, topic string) error {
	dialer, transport, err := how.kafkaGo()
	if err != nil {
		return err
	}
	conn, err := dialer.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.CreateTopics(kafka.TopicConfig{Topic: topic, NumPartitions: 2, ReplicationFactor: 1}); err != nil {
		return err
	}
	w := &kafka.Writer{Transport: transport, Addr: kafka.TCP(addr), Topic: topic, RequiredAcks: kafka.RequireAll, Compression: kafka.Zstd, BatchTimeout: 10 * time.Millisecond}
	messages := make([]kafka.Message, perStep)
	for i := range messages {
		messages[i].Value = fmt.Append(nil, i)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(w.WriteMessages(ctx, messages...), w.Close()); err != nil {
		return err
	}
	r := kafka.NewReader(kafka.ReaderConfig{Dialer: dialer, Brokers: []string{addr}, GroupID: topic, Topic: topic, MaxWait: 200 * time.Millisecond, StartOffset: kafka.FirstOffset})
	for i := range messages {
		if _, err := r.ReadMessage(ctx); err != nil {
			return fmt.Errorf("after %d records: %w", i, err)
		}
	}
	return r.Close()
}
