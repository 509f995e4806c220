package tiered

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/tiered/manifest"
)

// ErrFenced marks an operation refused because another broker, or another start of
// this one, owns the partition's remote part now. It never goes away within an epoch.
var ErrFenced = errors.New("fenced: another owner has claimed the partition's manifest")

// ErrDiverged marks a local log whose history is not the one in the manifest.
var ErrDiverged = errors.New("local log and manifest have diverged")

// machine is the upload state machine of one partition in one leader epoch: a pure
// step function. start and step take what happened and say the one thing to do next;
// the shell does it and comes back with the answer. Nothing here does I/O, reads a
// clock or draws random numbers, so tests can run every interleaving of several
// machines on one bucket.
//
// Safety rests on three facts. A version is created once (create-only write). Versions
// are cleaned up ascending, each confirmed, and the newest keep versions stay. So if
// version n is alive with the token we know, n+1 was never cleaned: a create of n+1 that
// succeeded was the first one, and a missing n+1 means that n is the newest.
type machine struct {
	id    manifest.ID
	epoch int32
	inc   kafka.UUID
	nonce uint64 // drawn by the shell: tells this machine's tokens from another's
	keep  uint64 // newest versions that clean-up leaves, at least 2

	phase   phase
	job     job
	err     error // how the last job ended; nil = done
	claimed bool  // head was written by this epoch and incarnation
	fenced  bool
	known   bool // head is an answer from the bucket, even when it is nil (no version exists)
	head    *manifest.Manifest

	up       *manifest.Manifest // found above head, genuine if head still is
	next     *manifest.Manifest // being committed
	claiming bool               // next is a claim, the job comes after it
	unknown  bool               // the last create had an unknown outcome
	again    bool               // it was sent a second time since the job or resume began
	cause    error              // why the last create had no answer, for people
	mine     []kafka.UUID       // tokens of all attempts at next
	tokens   uint64             // drawn so far

	seg     manifest.Segment // being uploaded
	epochs  []manifest.EpochEntry
	lastTry uint16 // of the last base that was tried
	tryBase int64  // that base

	victims []uint64           // manifest versions left to clean, ascending
	suspect []manifest.Segment // orphans seen in the last pass
	orphans int                // removed by the last pass
	loose   int                // objects that nothing refers to, of any age, left by the last pass
	stale   int                // versions above keep that the last clean-up left: too young
}

// phase is where a job stands: what the answer that comes next will answer.
type phase uint8

const (
	atRest phase = iota
	findList
	findGet
	findProbe
	findGenuine
	copySelect
	copyName
	copyPut
	copySettle
	copyVerify
	commitCreate
	commitSettle
	commitCheck
	commitSecond
	commitStray
	deletePending
	cleanList
	cleanDelete
	cleanConfirm
	orphanList
	orphanDelete
)

// jobKind is what the shell asks a machine to do.
type jobKind uint8

const (
	jobLoad      jobKind = iota // find the newest version; needs no claim
	jobClaim                    // own the manifest in this epoch
	jobCopy                     // upload one segment
	jobExpire                   // raise the start, move segments below it to pending
	jobTruncate                 // cut what lies at or above an offset, after divergence
	jobDelete                   // delete pending objects past their grace
	jobClean                    // remove old manifest versions
	jobOrphans                  // remove objects that nothing refers to
	jobCopyState                // pause or resume uploads
)

// job is one thing to do. Each of them is safe to repeat.
type job struct {
	kind    jobKind
	offset  int64 // expire: new start; truncate: new end; load, claim: start of an empty partition
	nowMs   int64
	graceMs int64 // delete, clean, orphans: how old is old enough
	longMs  int64 // delete: grace of diverged objects
	state   manifest.CopyState
}

// op is what the shell is to do.
type op uint8

const (
	opNone           op = iota // nothing: the job has ended, machine.err says how
	opListManifests            // every version with its age; complete
	opGetManifest              // version
	opPutManifest              // manifest, create-only
	opHeadManifest             // version: its token
	opDeleteManifest           // version
	opSelect                   // ask the local log for the segment to upload
	opHeadSegment              // segment: is the name free
	opPutSegment               // segment
	opVerifySegment            // segment: size, checksum, footer
	opDeleteSegments           // segments
	opListSegments             // every object of the partition with its age; complete
)

// command is an op with its operands.
type command struct {
	op       op
	version  uint64
	tag      string // get: only this generation of the object, as it was listed
	manifest *manifest.Manifest
	segment  manifest.Segment
	segments []manifest.Segment
}

// answer is how a command ended.
type answer uint8

const (
	ok      answer = iota
	absent         // there is no such object
	taken          // create-only: the object is there already
	differs        // the object is there, and is not what was asked for
	failed         // no answer; a write may or may not have happened
)

// listed is an entry of a listing.
type listed struct {
	version    uint64           // of a manifest
	tag        string           // the store's name of this generation
	segment    manifest.Segment // of a segment object: base, epoch and try
	modifiedMs int64
}

// event is the answer to the last command.
type event struct {
	answer   answer
	err      error // why it failed, for people
	listed   []listed
	manifest *manifest.Manifest
	token    kafka.UUID
	segment  manifest.Segment      // selected, or put (with footer size and CRC)
	epochs   []manifest.EpochEntry // put: of the log up to the segment's end
	segments []manifest.Segment    // deleted
}

// stuck says that the last job ended in the middle of a write whose outcome has to be
// known before anything else is done.
func (m *machine) stuck() bool { return m.phase != atRest }

// resume takes up a stuck job where it stands: the commit in hand is brought to its end.
// What was to follow it is not done, the caller has been told of a failure.
func (m *machine) resume() command {
	m.err, m.again = nil, false
	if m.claiming {
		m.job.kind = jobClaim
	}
	switch m.phase {
	case commitCreate, commitSettle:
		m.phase = commitSettle
		return command{op: opGetManifest, version: m.next.Version}
	case commitCheck:
		return m.check()
	case commitSecond:
		return command{op: opGetManifest, version: 2}
	case commitStray:
		return command{op: opDeleteManifest, version: m.next.Version}
	}
	panic(fmt.Sprintf("BUG: resume in phase %d", m.phase))
}

// start begins a job; the machine is at rest.
func (m *machine) start(j job) command {
	if m.phase != atRest {
		panic(fmt.Sprintf("BUG: job %d started in phase %d", j.kind, m.phase))
	}
	m.job, m.err = j, nil
	switch {
	case j.kind == jobLoad:
		return m.find()
	case m.fenced:
		return m.rest(ErrFenced)
	case m.claimed:
		return m.body()
	}
	return m.find()
}

// step takes the answer to the last command.
func (m *machine) step(ev event) command {
	switch m.phase {
	case findList, findGet, findProbe, findGenuine:
		return m.stepFind(ev)
	case copySelect, copyName, copyPut, copySettle, copyVerify:
		return m.stepCopy(ev)
	case commitCreate, commitSettle, commitCheck, commitSecond, commitStray:
		return m.stepCommit(ev)
	case deletePending:
		return m.stepDelete(ev)
	case cleanList, cleanDelete, cleanConfirm:
		return m.stepClean(ev)
	case orphanList, orphanDelete:
		return m.stepOrphans(ev)
	}
	panic("BUG: an answer to no command")
}

// rest ends the job.
func (m *machine) rest(err error) command {
	m.phase, m.err = atRest, err
	m.up, m.next, m.mine, m.victims = nil, nil, nil, nil
	m.claiming, m.unknown, m.again, m.cause = false, false, false, nil
	return command{}
}

// wait ends the job for now, in the middle: resume takes it up.
func (m *machine) wait(err error) command {
	m.err = err
	return command{}
}

// fence ends the job, and every later one that writes.
func (m *machine) fence(why string) command {
	m.fenced, m.claimed = true, false
	return m.rest(fmt.Errorf("%w: %s", ErrFenced, why))
}

// body does the job, with the claim in hand.
func (m *machine) body() command {
	switch m.job.kind {
	case jobCopy:
		if m.head.Copy != manifest.CopyActive {
			return m.rest(errNothing)
		}
		m.phase = copySelect
		return command{op: opSelect}
	case jobExpire:
		return m.expire()
	case jobTruncate:
		return m.truncate()
	case jobDelete:
		return m.deleteDue()
	case jobClean:
		m.phase = cleanList
		return command{op: opListManifests}
	case jobOrphans:
		m.phase = orphanList
		return command{op: opListSegments}
	case jobCopyState:
		if m.head.Copy == m.job.state {
			return m.rest(nil)
		}
		next := m.head.Clone()
		next.Copy = m.job.state
		return m.commit(next)
	}
	return m.rest(nil)
}

// token draws a write token. No two attempts share one, not even at the same version:
// a late duplicate of an earlier attempt must not pass for a later one.
func (m *machine) token() (u kafka.UUID) {
	m.tokens++
	binary.BigEndian.PutUint64(u[:8], m.nonce)
	binary.BigEndian.PutUint64(u[8:], m.tokens)
	return u
}
