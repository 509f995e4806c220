// Package lifecycle decides what of a partition is kept, where, and for how long.
//
// It owns the rules: a Policy (what the topic asks for) and a State (what is there)
// give Actions (what may be done now). Plan is a pure function: no clock, no I/O, no
// memory of earlier calls, so that every rule can be played from a text file. Engine
// walks over partitions and carries plans out through the small interface Partition.
//
// It does not own bytes: the commit log and the tier act, the replicas adapt them. A
// deleted topic is no matter of policy: its log goes with the record of its deletion, and
// its objects with the purge that the record asks for. A
// plan is safe to carry out in part: a crash between two actions leaves a state from
// which the next plan goes on. Plan may be called from any goroutine; one Engine runs
// one tick at a time.
package lifecycle

import "iter"

// Unlimited is the value of a retention setting that never deletes (Kafka: -1).
const Unlimited int64 = -1

// SameAsRetention is the value of a local retention setting that follows the setting
// for the whole log (Kafka: -2).
const SameAsRetention int64 = -2

// Policy is what a topic asks for. Times are in milliseconds, sizes in bytes.
type Policy struct {
	// Delete says that cleanup.policy contains delete; without it neither time nor
	// size removes anything.
	Delete bool
	// RetentionMs and RetentionBytes bound the whole log, local and remote together.
	RetentionMs    int64
	RetentionBytes int64
	// LocalRetentionMs and LocalRetentionBytes bound the local part of a tiered log.
	LocalRetentionMs    int64
	LocalRetentionBytes int64
	// Tiered says that closed segments go to the object store.
	Tiered bool
	// CopyDisabled says that a tiered log gets no new remote segments: what is not in
	// the store by now is bound by the rules of the whole log alone
	// (remote.log.copy.disable, KIP-950).
	CopyDisabled bool
}

// Segment is a run of offsets [Base, Next) that is kept or removed as one.
type Segment struct {
	Base      int64
	Next      int64
	SizeBytes int64
	// MaxTimestampMs is the largest record timestamp, negative when none is known. A
	// segment of unknown time goes when a later one goes.
	MaxTimestampMs int64
	// Active marks the segment that takes appends, the last local one.
	Active bool
}

// State is what a partition holds.
type State struct {
	// Start is the log start: no reader gets an offset below it.
	Start int64
	// HighWatermark bounds deletion: nothing at or above it is ever removed.
	HighWatermark int64
	// Local lists the segments on disk, ascending and without a gap.
	Local []Segment
	// Remote is the part in the object store; its zero value is "not known".
	Remote Remote
}

// Remote is what the newest manifest of a partition says.
type Remote struct {
	// Known says that the manifest was read.
	Known bool
	// Claimed says that this leader epoch owns the manifest. Before it does, nothing
	// may be removed: another leader may hold more, or less, than is known here.
	Claimed bool
	// Next is the offset behind the last remote segment.
	Next int64
	// SizeBytes is the size of all committed remote segments. An upload that is not
	// committed does not count: it may never be.
	SizeBytes int64
	// Segments walks over the committed segments, ascending; nil means none.
	Segments iter.Seq[Segment]
}

// Reason says which rule moved the log start or the local start.
type Reason string

// The rules. They are the words of metrics and log lines.
const (
	ReasonTime       Reason = "retention.ms"
	ReasonSize       Reason = "retention.bytes"
	ReasonLocalTime  Reason = "local.retention.ms"
	ReasonLocalSize  Reason = "local.retention.bytes"
	ReasonStart      Reason = "log-start"
	ReasonNeedsClaim Reason = "tier-claim"
)

// Actions is what may be done now; the zero value is "nothing". They are carried out
// in the order of the fields.
type Actions struct {
	// Claim asks for the manifest claim of this epoch; nothing else is planned with
	// it but a roll, and the plan is made again after it.
	Claim bool
	// RollActive asks to close the active segment, so that a later plan can remove it.
	RollActive bool
	// NewStart is the offset to which the log start moves, 0 for no move. It is an
	// edge of a segment, never above the high watermark.
	NewStart int64
	// EvictLocalBelow asks to drop the closed local segments that lie wholly below
	// it, 0 for none. On a tiered log it never passes the end of the manifest, but
	// for what lies below the log start.
	EvictLocalBelow int64
	// Reasons names the rules behind the actions, in the order in which they applied.
	Reasons []Reason
}

// Empty says whether there is nothing to do.
func (a Actions) Empty() bool {
	return !a.Claim && !a.RollActive && a.NewStart == 0 && a.EvictLocalBelow == 0
}
