package fault

// Bug is a defect that a build with the tag varveplanted can have, one at a time, to show
// that a test catches it (make chaos-planted). A place that can go wrong asks Planted; in
// any other build that is the constant false, and the compiler drops the branch.
type Bug string

// The bugs. A string is the value of VARVE_PLANTED.
const (
	BugCRCNotChecked         Bug = "crc-not-checked"          // a recovery takes a batch that fails its CRC
	BugSegmentNotSynced      Bug = "segment-not-synced"       // a sync of a log leaves out its segments
	BugDirNotSynced          Bug = "directory-not-synced"     // and one its directory's entries
	BugCheckpointFirst       Bug = "checkpoint-before-sync"   // a checkpoint promises what no sync covers yet
	BugSyncTriedAgain        Bug = "failed-sync-tried-again"  // a log goes on after a sync that failed
	BugWALNotSynced          Bug = "wal-not-synced"           // acknowledged before the write-ahead file is synced
	BugWALRecycledEarly      Bug = "wal-recycled-early"       // records are given up that no sync of a log covers
	BugWALCRCNotChecked      Bug = "wal-crc-not-checked"      // a torn frame is replayed
	BugReplayAfterLeave      Bug = "replay-after-mode-change" // no end of replay when a log leaves the write-ahead file
	BugReplayNoStart         Bug = "replay-without-log-start" // a log start that was replayed is not heeded
	BugAckBeforeDurable      Bug = "ack-before-durable"       // what is appended passes for durable in group mode
	BugStartOvertaken        Bug = "start-overtaken"          // an append is acknowledged in front of a log start that was raised before it
	BugClosedUnderReader     Bug = "closed-under-reader"      // a segment's file is closed while a reader has it
	BugProducersDropped      Bug = "producers-lost-at-roll"   // a roll forgets the producers
	BugRetryNotKnown         Bug = "retry-not-recognised"     // only the last batch of a producer is remembered
	BugOpenTxnForgotten      Bug = "lso-forgotten"            // a start does not know what transactions are open
	BugAbortedIndexLost      Bug = "aborted-index-lost"       // a recovery does not rebuild the transaction index
	BugAbortedNotCarried     Bug = "aborted-index-not-kept"   // a compaction loses the entry of an abort whose data stays
	BugTombstoneEarly        Bug = "tombstone-lost-early"     // delete.retention.ms is not waited for
	BugProducerBatchLost     Bug = "producer-batch-compacted" // a producer's last batch is compacted away
	BugSwapWithoutRecord     Bug = "swap-not-atomic"          // a compacted segment takes its place without a record of it
	BugCutInsteadOfReport    Bug = "cut-instead-of-report"    // damage in the middle of a log is cut off
	BugReapedEarly           Bug = "start-not-durable"        // evicted files go before a checkpoint knows the new start
	BugTruncateNotSynced     Bug = "truncate-not-synced"      // stale bytes may come back behind new ones
	BugTruncateStillPromised Bug = "truncate-still-promised"  // a log is cut below what the checkpoint promises
	BugEpochsNotRebuilt      Bug = "wrong-epoch"              // a recovery does not look at the batches' epochs
	BugTornEpochTaken        Bug = "torn-epoch-taken"         // a recovery takes a batch whose epoch a power cut tore
	BugMoveNotSynced         Bug = "move-not-synced"          // a log moves before its copy is durable
)
