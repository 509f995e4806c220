package api

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/replica"
)

// sessionRequest is a fetch of a session; topics may be empty.
func sessionRequest(id, epoch int32, req *kmsg.FetchRequest) *kmsg.FetchRequest {
	if req == nil {
		req = fetchRequest("", kafka.UUID{}, 0)
		req.Topics = nil
	}
	req.SessionID, req.SessionEpoch, req.MaxWaitMillis = id, epoch, 1
	return req
}

// openSession fetches partition 0 of a topic and wants a session for it.
func (c *client) openSession(version int16, topic string, id kafka.UUID, offset int64) int32 {
	c.t.Helper()
	resp := ask[*kmsg.FetchResponse](c, version, sessionRequest(0, 0, fetchRequest(topic, id, offset)))
	if resp.ErrorCode != 0 || resp.SessionID <= 0 || len(resp.Topics) != 1 {
		c.t.Fatalf("v%d: error %d, session %d, %d topics", version, resp.ErrorCode, resp.SessionID, len(resp.Topics))
	}
	return resp.SessionID
}

// TestAFetchThatNamesTooMuch: a request that no client has use for ends its connection before
// much is made of it, and a session does not grow beyond the same bound.
func TestAFetchThatNamesTooMuch(t *testing.T) {
	k := newKit(t)
	id := k.topic("t")
	many := func(first, n int) *kmsg.FetchRequest {
		req := fetchRequest("t", id, 0)
		one := req.Topics[0].Partitions[0]
		req.Topics[0].Partitions = make([]kmsg.FetchRequestTopicPartition, n)
		for i := range req.Topics[0].Partitions {
			req.Topics[0].Partitions[i] = one
			req.Topics[0].Partitions[i].Partition = int32(first + i)
		}
		req.SetVersion(12)
		return req
	}
	c := k.dial(internalListener)
	c.send(many(0, fetchFewPartitions+1))
	c.wantClosed()
	c = k.dial(internalListener)
	forgets := fetchRequest("t", id, 0)
	forgets.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: "t", Partitions: make([]int32, fetchFewPartitions+1)}}
	forgets.SetVersion(12)
	c.send(forgets)
	c.wantClosed()
	c = k.dial(internalListener)
	resp := ask[*kmsg.FetchResponse](c, 12, sessionRequest(0, 0, many(0, fetchFewPartitions)))
	if resp.ErrorCode != 0 || resp.SessionID == 0 || len(resp.Topics[0].Partitions) != fetchFewPartitions {
		t.Fatalf("as many as allowed: error %d, session %d", resp.ErrorCode, resp.SessionID)
	}
	more := ask[*kmsg.FetchResponse](c, 12, sessionRequest(resp.SessionID, 1, many(fetchFewPartitions, 1)))
	if more.ErrorCode != int16(kafka.FetchSessionIDNotFound) {
		t.Errorf("one more in the session: error %d", more.ErrorCode)
	}
	k.wantAlive()
}

func TestF6ASessionAtEveryVersion(t *testing.T) {
	k := newKit(t)
	id := k.topic("t")
	c := k.dial(internalListener)
	c.produce("t", recordsOf("a"))
	for v := int16(4); v <= 18; v++ {
		resp := ask[*kmsg.FetchResponse](c, v, sessionRequest(0, 0, fetchRequest("t", id, 0)))
		if granted := resp.SessionID != 0; resp.ErrorCode != 0 || granted != (v >= 7) {
			t.Errorf("v%d: error %d, session %d", v, resp.ErrorCode, resp.SessionID)
		}
		if v < 7 {
			continue
		}
		// The client has not moved on: the same records come again, without being asked for.
		again := ask[*kmsg.FetchResponse](c, v, sessionRequest(resp.SessionID, 1, nil))
		if again.ErrorCode != 0 || again.SessionID != resp.SessionID || len(again.Topics) != 1 || again.Topics[0].Topic != resp.Topics[0].Topic || again.Topics[0].TopicID != resp.Topics[0].TopicID {
			t.Fatalf("v%d: %+v", v, again)
		}
		if got := values(t, again.Topics[0].Partitions[0].RecordBatches); len(got) != 1 || got[0] != "a" {
			t.Errorf("v%d: values %q", v, got)
		}
		none := ask[*kmsg.FetchResponse](c, v, sessionRequest(resp.SessionID, 2, fetchRequest("t", id, 1)))
		if none.ErrorCode != 0 || len(none.Topics) != 0 {
			t.Errorf("v%d, nothing new: %+v", v, none)
		}
	}
}

func TestF6SessionErrors(t *testing.T) {
	k := newKit(t)
	id := k.topic("t")
	c := k.dial(internalListener)
	names, ids := c.openSession(12, "t", kafka.UUID{}, 0), c.openSession(13, "t", id, 0)
	for _, s := range []struct {
		version   int16
		id, epoch int32
		want      kafka.Error
	}{
		{12, 0, 1, kafka.FetchSessionIDNotFound},
		{12, names ^ ids ^ 1, 5, kafka.FetchSessionIDNotFound},
		{12, names, -2, kafka.InvalidFetchSessionEpoch},
		{12, names, 2, kafka.InvalidFetchSessionEpoch},
		{13, names, 1, kafka.FetchSessionTopicIDError},
		{12, ids, 1, kafka.FetchSessionTopicIDError},
		{12, names, 1, kafka.NoError}, // the errors have changed nothing
		{12, names, 1, kafka.InvalidFetchSessionEpoch},
		{12, names, 2, kafka.NoError},
		{12, names, -1, kafka.NoError}, // closes it
		{12, names, 3, kafka.FetchSessionIDNotFound},
		{13, ids, 0, kafka.NoError}, // closes it too, and opens another
		{13, ids, 1, kafka.FetchSessionIDNotFound},
	} {
		resp := ask[*kmsg.FetchResponse](c, s.version, sessionRequest(s.id, s.epoch, nil))
		if resp.ErrorCode != int16(s.want) || s.want != kafka.NoError && (resp.SessionID != 0 || len(resp.Topics) != 0) {
			t.Errorf("v%d, session %d epoch %d: error %d, session %d, %d topics; want error %d", s.version, s.id, s.epoch, resp.ErrorCode, resp.SessionID, len(resp.Topics), s.want)
		}
	}
	if n, _, _ := k.api.FetchSessions(); n != 1 {
		t.Errorf("%d sessions are left, want 1", n)
	}
}

func TestF6ForgottenTopicsOfARequest(t *testing.T) {
	k := newKit(t)
	id, other := k.topic("t"), k.topic("other")
	c := k.dial(internalListener)
	for v := int16(12); v <= 13; v++ {
		s := c.openSession(v, "t", id, 0)
		add := sessionRequest(s, 1, fetchRequest("other", other, 0))
		if resp := ask[*kmsg.FetchResponse](c, v, add); resp.ErrorCode != 0 || len(resp.Topics) != 1 {
			t.Fatalf("v%d, a partition more: %+v", v, resp)
		}
		if _, n, _ := k.api.FetchSessions(); n != 2 {
			t.Errorf("v%d: %d partitions in sessions, want 2", v, n)
		}
		forget := func(epoch int32, topic string, id kafka.UUID) *kmsg.FetchResponse {
			req := sessionRequest(s, epoch, nil)
			req.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: topic, TopicID: id, Partitions: []int32{0, 3}}}
			return ask[*kmsg.FetchResponse](c, v, req)
		}
		if resp := forget(2, "t", id); resp.ErrorCode != 0 || resp.SessionID != s {
			t.Errorf("v%d, a partition less: %+v", v, resp)
		}
		if resp := forget(3, "other", other); resp.ErrorCode != 0 || resp.SessionID != 0 || len(resp.Topics) != 0 {
			t.Errorf("v%d, without the last partition: %+v", v, resp)
		}
		if n, parts, _ := k.api.FetchSessions(); n != 0 || parts != 0 {
			t.Errorf("v%d: %d sessions with %d partitions are left", v, n, parts)
		}
	}
}

func TestF6APipelinedFetchOfASessionEndsTheOneBefore(t *testing.T) {
	k := newKit(t)
	k.topic("t")
	c, other := k.dial(internalListener), k.dial(internalListener)
	s := c.openSession(12, "t", kafka.UUID{}, 0)
	first, second := sessionRequest(s, 1, nil), sessionRequest(s, 2, nil)
	first.MaxWaitMillis, second.MaxWaitMillis = 15_000, 15_000
	first.SetVersion(12)
	second.SetVersion(12)
	c.send(first)
	c.send(second)
	c.corr--
	if resp := c.receive(first).(*kmsg.FetchResponse); resp.ErrorCode != int16(kafka.InvalidFetchSessionEpoch) || len(resp.Topics) != 0 {
		t.Errorf("the first: %+v", resp)
	}
	other.produce("t", recordsOf("a"))
	c.corr++
	if resp := c.receive(second).(*kmsg.FetchResponse); resp.ErrorCode != 0 || len(resp.Topics) != 1 {
		t.Errorf("the second: %+v", resp)
	}
}

func TestF6NoSlotNoSession(t *testing.T) {
	k := newKit(t, "max.incremental.fetch.session.cache.slots=1")
	k.topic("t")
	c := k.dial(internalListener)
	s := c.openSession(12, "t", kafka.UUID{}, 0)
	resp := ask[*kmsg.FetchResponse](c, 12, sessionRequest(0, 0, fetchRequest("t", kafka.UUID{}, 0)))
	if resp.ErrorCode != 0 || resp.SessionID != 0 || len(resp.Topics) != 1 {
		t.Errorf("without a slot: %+v", resp)
	}
	if resp := ask[*kmsg.FetchResponse](c, 12, sessionRequest(s, 1, nil)); resp.ErrorCode != 0 {
		t.Errorf("the session that has it: %+v", resp)
	}
}

func TestF6WhoLosesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c sessionCache
		create := func(size int) int32 {
			return c.create(3, size, false, func() *replica.Session { return new(replica.Session) })
		}
		want := func(what string, ids ...int32) {
			t.Helper()
			parts := 0
			for _, id := range ids {
				if s := c.mu.byID[id]; s == nil {
					t.Errorf("%s: session %d is gone", what, id)
				} else {
					parts += s.size
				}
			}
			if len(c.mu.byID) != len(ids) || c.mu.used.Len() != len(ids) || c.mu.partitions != parts {
				t.Errorf("%s: %d sessions, %d in the list, %d partitions; want %d and %d", what, len(c.mu.byID), c.mu.used.Len(), c.mu.partitions, len(ids), parts)
			}
		}
		epochs := map[int32]int32{}
		use := func(ids ...int32) {
			t.Helper()
			for _, id := range ids {
				epochs[id]++
				if _, code := c.next(id, epochs[id], false); code != kafka.NoError {
					t.Errorf("session %d epoch %d: %v", id, epochs[id], code)
				}
			}
		}
		small, middle, large := create(1), create(5), create(9)
		if id := create(100); id != noSessionID {
			t.Errorf("session %d, where all are young", id)
		}
		want("all are young", small, middle, large)
		time.Sleep(time.Minute)
		use(small, middle, large)
		time.Sleep(time.Minute + time.Second)
		use(small, middle, large)
		if id := create(1); id != noSessionID {
			t.Errorf("session %d took the place of one of its size", id)
		}
		fifth := create(2)
		want("the smallest old one goes for a larger one", fifth, middle, large)
		time.Sleep(time.Minute)
		use(fifth, large)
		time.Sleep(time.Minute + time.Second)
		sixth := create(1)
		want("the one that was not used goes for any", fifth, sixth, large)
		if _, code := c.next(middle, 3, false); code != kafka.FetchSessionIDNotFound {
			t.Errorf("a session that lost its slot: %v", code)
		}
		if _, _, n := (&API{}).FetchSessions(); n != 0 {
			t.Errorf("%d evictions of a new broker", n)
		}
		if c.mu.evictions != 2 {
			t.Errorf("%d evictions, want 2", c.mu.evictions)
		}
		for _, id := range []int32{fifth, sixth, large, large} {
			c.close(id)
		}
		want("all are closed")
		if len(c.mu.old) != 0 {
			t.Errorf("%d are left in the heap", len(c.mu.old))
		}
	})
}

func TestF6EpochsWrapAround(t *testing.T) {
	for epoch, want := range map[int32]int32{1: 2, 1<<31 - 2: 1<<31 - 1, 1<<31 - 1: 1} {
		if got := nextEpoch(epoch); got != want {
			t.Errorf("epoch %d is followed by %d, want %d", epoch, got, want)
		}
	}
}
