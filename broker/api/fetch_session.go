package api

import (
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
	"github.com/varve-io/varve/broker/wire"
)

// Fetch sessions (KIP-227) spare a client from naming its partitions in every fetch, and the
// broker from looking at those where nothing happens. A full fetch (epoch newSession) may
// get a session; what it names first is closed. The incremental ones that follow name only
// what changed, and count up the epoch. The broker is free to grant none: session id 0 in
// the answer says so.
const (
	// noSessionID stands for no session in requests and answers.
	noSessionID int32 = 0
	// newSession is the epoch of a full fetch that asks for a session.
	newSession int32 = 0
	// noSession is the epoch of a full fetch that asks for none, or closes the one it names.
	noSession int32 = -1
)

// session judges the session fields of a request. A full fetch is served whatever session
// it names, which it closes. An incremental one goes on with its session; nil without an
// error is one that took the last partition out of it. named is how many partitions the
// request names.
func (f *fetching) session(req *wire.FetchRequest, named int) (s *fetchSession, full bool, code kafka.Error) {
	cache := &f.api.sessions
	if req.SessionEpoch == newSession || req.SessionEpoch == noSession {
		if req.SessionID != noSessionID {
			cache.close(req.SessionID)
		}
		return nil, true, kafka.NoError
	}
	s, code = cache.next(req.SessionID, req.SessionEpoch, f.byID())
	if code != kafka.NoError {
		return nil, false, code
	}
	if s.set.Len()+named > f.api.fetchLimit() { // which the client hears of as of an eviction: it begins anew
		cache.close(req.SessionID)
		return nil, false, kafka.FetchSessionIDNotFound
	}
	left := s.set.Update(f.partitions(req), f.forgotten(req))
	cache.resize(s, left)
	if left == 0 {
		return nil, false, kafka.NoError
	}
	return s, false, kafka.NoError
}

// forgotten lists the partitions that a request drops from its session.
func (f *fetching) forgotten(req *wire.FetchRequest) []replica.FetchPartition {
	var out []replica.FetchPartition
	for i := range req.ForgottenTopicsData {
		t := &req.ForgottenTopicsData[i]
		for _, index := range t.Partitions {
			out = append(out, replica.FetchPartition{Topic: t.Topic, TopicID: t.TopicID, ByID: f.byID(), Index: index})
		}
	}
	return out
}

// grant opens a session with what a full fetch asked for and got, if there is a slot.
func (f *fetching) grant(partitions []replica.FetchPartition, results []replica.FetchResult) {
	slots := int(f.api.o.Node().MaxIncrementalFetchSessionCacheSlots)
	f.resp.SessionID = f.api.sessions.create(slots, len(partitions), f.byID(), func() *replica.Session {
		return f.api.o.Replicas.NewSession(partitions, results)
	})
}

// answerSession sends what there is to tell of a session; neither results nor an error mean
// that the client has gone.
func (f *fetching) answerSession(results []replica.SessionResult, err error) {
	if err != nil {
		f.resp.ErrorCode = int16(kafka.Code(err))
		f.send()
		return
	}
	if results == nil {
		f.r.NoReply()
		return
	}
	out := make([]wire.FetchResponsePartition, len(results))
	for i := range results {
		res := &results[i]
		t := f.topicOf(res)
		n := len(t.Partitions)
		if n == 0 {
			t.Partitions = out[i:i:len(out)]
		}
		t.Partitions = t.Partitions[:n+1]
		t.Partitions[n].PartitionIndex = res.Index
		f.fill(t, &t.Partitions[n], &res.FetchResult)
	}
	f.send()
}

// topicOf is the entry for the topic of the next result: the last one if it is the same.
func (f *fetching) topicOf(res *replica.SessionResult) *wire.FetchResponseTopic {
	n := len(f.resp.Responses)
	if n == 0 || f.resp.Responses[n-1].Topic != res.Topic || f.resp.Responses[n-1].TopicID != res.TopicID {
		f.resp.Responses = append(f.resp.Responses, wire.FetchResponseTopic{Topic: res.Topic, TopicID: res.TopicID})
		n++
	}
	return &f.resp.Responses[n-1]
}
