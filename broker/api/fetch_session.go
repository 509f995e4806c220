package api

import "github.com/varve-io/varve/broker/kafka"

// Fetch sessions (KIP-227) spare a client from naming its partitions in every fetch. The
// broker is free to grant none: an answer with session id 0 says so, and the client then
// names them all, as this broker has it do.
const (
	// newSession is the epoch of a full fetch that asks for a session.
	newSession int32 = 0
	// noSession is the epoch of a full fetch that asks for none, or closes the one it names.
	noSession int32 = -1
)

// fetchSession judges the session fields of a request. A full fetch is served whatever
// session it names or closes. An incremental one is of a session, which this broker has not
// granted (an earlier process of it, or another broker, may have): the client starts over.
func fetchSession(id, epoch int32) kafka.Error {
	switch {
	case epoch == newSession, epoch == noSession:
		return kafka.NoError
	case epoch < noSession:
		return kafka.InvalidFetchSessionEpoch
	default:
		return kafka.FetchSessionIDNotFound
	}
}
