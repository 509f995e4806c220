package replica

import (
	"errors"

	"github.com/varve-io/varve/broker/commitlog"
	"github.com/varve-io/varve/broker/kafka"
)

// damaged has the segment checked in which a read met bytes that are no batch, unless they
// are known to be damaged (kafka.CorruptMessage). What is damaged is set aside; readers of
// the rest go on.
func (m *Manager) damaged(p *Partition, log *commitlog.Log, offset int64, err error) {
	if kafka.Code(err) == kafka.CorruptMessage || !p.checking.CompareAndSwap(false, true) {
		return
	}
	m.logger.Error("a read met damaged bytes; the segment is being checked", "partition", p.tp.String(), "offset", offset, "error", err)
	ok := m.disk.submit(func() {
		defer p.checking.Store(false)
		if err := (commitlog.Mender{Log: log}).Check(offset); err != nil && !errors.Is(err, commitlog.ErrClosed) {
			m.logger.Error("a segment could not be checked", "partition", p.tp.String(), "offset", offset, "error", err)
		}
		p.wakeAll()
	})
	if !ok {
		p.checking.Store(false)
	}
}

// holes counts the damaged ranges that nobody has accepted, over all partitions. Those that
// the object store holds are read from there.
func (m *Manager) holes() int {
	n := 0
	for _, p := range m.all() {
		if log := p.Log(); log != nil {
			for _, h := range (commitlog.Mender{Log: log}).Holes() {
				if !h.Accepted && h.To > log.LocalStart() {
					n++
				}
			}
		}
	}
	return n
}
