package commitlog

import (
	"fmt"

	"github.com/varve-io/varve/broker/batch"
	"github.com/varve-io/varve/broker/fault"
)

// The leader epoch of a batch lies in front of what its CRC covers (so in Kafka's format), and
// a power cut that tears the sector which ends inside of it leaves a batch that is whole but for
// the epoch: lower than it was, because what was never written is zeros. Two rules find it:
//
//   - The first batch of an epoch is never written where a sector ends in its epoch; it begins a
//     segment instead (splitsEpoch). So what can be torn had the epoch of the batch in front.
//   - A scan takes an epoch that goes back, behind the recovery point after a power cut, for the
//     end of the log. In group mode the write-ahead file goes on from there.
//
// Elsewhere nothing can be torn: such an epoch, lower or higher, is a bit that went bad. The
// records are whole by their CRC, and which of two neighbours is wrong can't be told, so it is
// reported and the batch stays. The history below the recovery point comes from its file and not from
// the batches; an epoch that is too high there does not fence the leaders to come.

// sectorBytes is what a disk writes as a whole, at least.
const sectorBytes = 512

// splitsEpoch says whether a sector ends inside, or right behind, the leader epoch of the batch
// at a position of a file.
func splitsEpoch(pos int64) bool {
	const epochAt, epochBytes = 12, 4
	return (pos+epochAt)/sectorBytes != (pos+epochAt+epochBytes)/sectorBytes
}

// lostPower says that a power cut may have taken any of the writes above the recovery point.
func (ld checker) lostPower() bool {
	return ld.l.opts.PowerLost && (ld.known && !ld.state.Damaged || ld.l.opts.Younger)
}

// epochFollows compares the epoch of the batch at byte pos, which is the next one of segment s,
// with that of the batch before. It answers why the log ends there, or nil.
func (ld checker) epochFollows(s *segment, pos int64, h *batch.Header) error {
	before := ld.epoch
	if h.LeaderEpoch >= before || fault.Planted(fault.BugTornEpochTaken) {
		ld.epoch = h.LeaderEpoch
		return nil
	}
	why := fmt.Errorf("batch of leader epoch %d behind one of %d", h.LeaderEpoch, before)
	if !ld.online && ld.lostPower() && s.next >= ld.recoveryPoint() && ld.holes.end(s.next) == s.next {
		return why
	}
	ld.l.opts.Logger.Error("a leader epoch in a segment file is damaged; the records of both batches are whole, and stay",
		"partition", ld.l.opts.TP.String(), "file", s.path(logSuffix), "byte", pos, "offset", h.BaseOffset, "reason", why)
	ld.epoch = h.LeaderEpoch
	return nil
}
