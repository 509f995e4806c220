package txn

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/varve-io/varve/broker/coordinator"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/wire"
)

// The versions of key and value that are written. Values of all versions up to that are read.
const (
	keyVersion   = 0
	valueVersion = 1
)

// message is a key or value behind its version.
func message(m wire.Message, version int16) []byte {
	return m.Append(binary.BigEndian.AppendUint16(make([]byte, 0, 64), uint16(version)), version)
}

// read takes a message from b, which begins with its version.
func read(m wire.Message, newest int16, b []byte) error {
	if len(b) < 2 {
		return fmt.Errorf("%d bytes hold no version: %w", len(b), kafka.ErrCorrupt)
	}
	version := int16(binary.BigEndian.Uint16(b))
	if version < 0 || version > newest {
		return fmt.Errorf("version %d of a record of %s is not known here, where versions end at %d: it was written by a newer broker", version, StateTopic, newest)
	}
	r := wire.NewReader(b[2:])
	if err := m.Read(&r, version); err != nil {
		return fmt.Errorf("%w: %w", kafka.ErrCorrupt, err)
	}
	return nil
}

// record says what a transactional id is; nil deletes it.
func record(id string, m *entry) coordinator.Record {
	rec := coordinator.Record{Key: message(&wire.TransactionLogKey{TransactionalID: id}, keyVersion)}
	if m == nil {
		return rec
	}
	v := wire.TransactionLogValue{
		ProducerID: m.producerID, PreviousProducerID: m.previousID, NextProducerID: m.nextID, ProducerEpoch: m.epoch,
		TransactionTimeoutMs: m.timeoutMs, TransactionStatus: int8(m.state), TransactionStartTimestampMs: m.startMs,
		TransactionLastUpdateTimestampMs: m.updatedMs, ClientTransactionVersion: int16(m.version), NextProducerEpoch: -1,
	}
	if m.state != Empty {
		v.TransactionPartitions = []wire.TransactionLogValuePartitions{}
	}
	for _, tp := range m.partitions {
		n := len(v.TransactionPartitions)
		if n == 0 || v.TransactionPartitions[n-1].Topic != tp.Topic {
			v.TransactionPartitions = append(v.TransactionPartitions, wire.TransactionLogValuePartitions{Topic: tp.Topic})
			n++
		}
		last := &v.TransactionPartitions[n-1]
		last.PartitionIDs = append(last.PartitionIDs, tp.Partition)
	}
	rec.Value = message(&v, valueVersion)
	return rec
}

// Replay implements coordinator.Machine. Keys of other kinds, which newer versions may write,
// are passed over.
func (s *Shard) Replay(r coordinator.Record) error {
	if len(r.Key) >= 2 && binary.BigEndian.Uint16(r.Key) != keyVersion {
		return nil
	}
	var k wire.TransactionLogKey
	if err := read(&k, keyVersion, r.Key); err != nil {
		return err
	}
	if r.Value == nil {
		s.txns.Delete(k.TransactionalID)
		return nil
	}
	var v wire.TransactionLogValue
	if err := read(&v, valueVersion, r.Value); err != nil {
		return err
	}
	m := entry{
		producerID: v.ProducerID, previousID: v.PreviousProducerID, nextID: v.NextProducerID, epoch: v.ProducerEpoch, lastEpoch: -1,
		timeoutMs: v.TransactionTimeoutMs, state: State(v.TransactionStatus), startMs: v.TransactionStartTimestampMs,
		updatedMs: v.TransactionLastUpdateTimestampMs, version: int8(v.ClientTransactionVersion),
	}
	if m.state < Empty || m.state > CompleteAbort {
		return fmt.Errorf("transactional id %q is in state %d, which is never stored: %w", k.TransactionalID, v.TransactionStatus, kafka.ErrCorrupt)
	}
	for _, t := range v.TransactionPartitions {
		for _, p := range t.PartitionIDs {
			m.partitions = append(m.partitions, kafka.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	slices.SortFunc(m.partitions, compareTP) // Kafka writes them in no order
	s.txns.Set(k.TransactionalID, m)
	return nil
}
