//go:build varveplanted

package fault

import (
	"os"
	"slices"
	"sync"
)

// Bugs lists all that can be planted.
func Bugs() []Bug {
	return []Bug{
		BugCRCNotChecked, BugSegmentNotSynced, BugDirNotSynced, BugCheckpointFirst, BugSyncTriedAgain, BugWALNotSynced,
		BugWALRecycledEarly, BugWALCRCNotChecked, BugReplayAfterLeave, BugReplayNoStart, BugStartOvertaken, BugAckBeforeDurable, BugClosedUnderReader,
		BugProducersDropped, BugRetryNotKnown, BugOpenTxnForgotten, BugAbortedIndexLost, BugAbortedNotCarried, BugTombstoneEarly,
		BugProducerBatchLost, BugSwapWithoutRecord, BugCutInsteadOfReport, BugReapedEarly, BugTruncateNotSynced,
		BugTruncateStillPromised, BugEpochsNotRebuilt, BugTornEpochTaken, BugMoveNotSynced,
	}
}

// planted is the bug of the process: a place that asks has no argument to carry it in.
var planted = sync.OnceValue(func() Bug {
	b := Bug(os.Getenv("VARVE_PLANTED"))
	if b != "" && !slices.Contains(Bugs(), b) {
		panic("VARVE_PLANTED: there is no bug " + string(b)) // else its absence would pass for a test that catches nothing
	}
	return b
})

// Planted says whether the process has a bug.
func Planted(b Bug) bool { return b == planted() }
