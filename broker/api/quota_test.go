package api

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varve-io/varve/broker/kafka"
)

// part is one part of an entity: its type and name, "" for the default.
type part struct{ kind, name string }

func quotaEntry(parts []part, ops ...kmsg.AlterClientQuotasRequestEntryOp) kmsg.AlterClientQuotasRequestEntry {
	e := kmsg.NewAlterClientQuotasRequestEntry()
	for _, p := range parts {
		ent := kmsg.NewAlterClientQuotasRequestEntryEntity()
		ent.Type = p.kind
		if p.name != "" {
			ent.Name = &p.name
		}
		e.Entity = append(e.Entity, ent)
	}
	e.Ops = ops
	return e
}

func bound(name string, value float64) kmsg.AlterClientQuotasRequestEntryOp {
	return kmsg.AlterClientQuotasRequestEntryOp{Key: name, Value: value}
}

// alterQuotas sends the changes and returns the code of each.
func (c *client) alterQuotas(version int16, validateOnly bool, entries ...kmsg.AlterClientQuotasRequestEntry) []kafka.Error {
	c.t.Helper()
	req := kmsg.NewPtrAlterClientQuotasRequest()
	req.Entries, req.ValidateOnly = entries, validateOnly
	var codes []kafka.Error
	for _, e := range ask[*kmsg.AlterClientQuotasResponse](c, version, req).Entries {
		if (e.ErrorMessage == nil) != (e.ErrorCode == 0) {
			c.t.Errorf("code %d with the message %v", e.ErrorCode, e.ErrorMessage)
		}
		codes = append(codes, kafka.Error(e.ErrorCode))
	}
	return codes
}

func component(kind string, match int8, name string) kmsg.DescribeClientQuotasRequestComponent {
	c := kmsg.NewDescribeClientQuotasRequestComponent()
	c.EntityType, c.MatchType = kind, kmsg.QuotasMatchType(match)
	if name != "" {
		c.Match = &name
	}
	return c
}

func (c *client) describeQuotas(version int16, strict bool, components ...kmsg.DescribeClientQuotasRequestComponent) *kmsg.DescribeClientQuotasResponse {
	c.t.Helper()
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Components, req.Strict = components, strict
	return ask[*kmsg.DescribeClientQuotasResponse](c, version, req)
}

// What is altered is described: by name, by default, any, strict or not, in every version.
func TestA9QuotasAreAlteredAndDescribed(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	for v := int16(0); v <= 1; v++ {
		for i, code := range c.alterQuotas(v, false,
			quotaEntry([]part{{"user", "ann"}}, bound("producer_byte_rate", 1000), bound("request_percentage", 12.5)),
			quotaEntry([]part{{"user", "ann"}, {"client-id", ""}}, bound("consumer_byte_rate", 2000)),
			quotaEntry([]part{{"user", ""}}, bound("controller_mutation_rate", 0.5), bound("varve_remote_fetch_byte_rate", 3000), bound("varve_upload_byte_rate", 4000)),
			quotaEntry([]part{{"ip", "10.0.0.1"}}, bound("connection_creation_rate", 5)),
		) {
			if code != kafka.NoError {
				t.Errorf("v%d change %d: %s", v, i, code.Name())
			}
		}
		for _, tt := range []struct {
			what       string
			strict     bool
			components []kmsg.DescribeClientQuotasRequestComponent
			want       int
		}{
			{"everything", false, nil, 4},
			{"ann", false, []kmsg.DescribeClientQuotasRequestComponent{component("user", 0, "ann")}, 2},
			{"ann alone", true, []kmsg.DescribeClientQuotasRequestComponent{component("user", 0, "ann")}, 1},
			{"the default user", false, []kmsg.DescribeClientQuotasRequestComponent{component("user", 1, "")}, 1},
			{"any user", false, []kmsg.DescribeClientQuotasRequestComponent{component("user", 2, "")}, 3},
			{"ann with any client-id", true, []kmsg.DescribeClientQuotasRequestComponent{component("user", 0, "ann"), component("client-id", 2, "")}, 1},
			{"any ip", true, []kmsg.DescribeClientQuotasRequestComponent{component("ip", 2, "")}, 1},
			{"bob", false, []kmsg.DescribeClientQuotasRequestComponent{component("user", 0, "bob")}, 0},
		} {
			if resp := c.describeQuotas(v, tt.strict, tt.components...); resp.ErrorCode != 0 || len(resp.Entries) != tt.want {
				t.Errorf("v%d %s: %+v, want %d entities", v, tt.what, resp, tt.want)
			}
		}
	}
	one := c.describeQuotas(1, true, component("user", 0, "ann")).Entries[0]
	if len(one.Values) != 2 || one.Values[0].Key != "producer_byte_rate" || one.Values[0].Value != 1000 {
		t.Errorf("ann has %+v", one.Values)
	}
	all := c.describeQuotas(1, true, component("user", 1, "")).Entries[0]
	if len(all.Values) != 3 || all.Values[1].Key != "varve_remote_fetch_byte_rate" || all.Values[2].Key != "varve_upload_byte_rate" || all.Values[2].Value != 4000 {
		t.Errorf("the default user has %+v", all.Values)
	}
	remove := quotaEntry([]part{{"user", "ann"}}, kmsg.AlterClientQuotasRequestEntryOp{Key: "producer_byte_rate", Remove: true})
	c.alterQuotas(1, true, remove)
	if one := c.describeQuotas(1, true, component("user", 0, "ann")).Entries[0]; len(one.Values) != 2 {
		t.Errorf("validate_only changed ann to %+v", one.Values)
	}
	c.alterQuotas(1, false, remove)
	if one := c.describeQuotas(1, true, component("user", 0, "ann")).Entries[0]; len(one.Values) != 1 {
		t.Errorf("after a removal ann has %+v", one.Values)
	}
}

// What makes no sense is refused, with a message.
func TestA9QuotasThatAreRefused(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	ok := bound("producer_byte_rate", 1)
	for _, e := range []kmsg.AlterClientQuotasRequestEntry{
		quotaEntry(nil, ok),
		quotaEntry([]part{{"group", "g"}}, ok),
		quotaEntry([]part{{"ip", "10.0.0.1"}, {"user", "ann"}}, bound("connection_creation_rate", 1)),
		quotaEntry([]part{{"ip", "not an address"}}, bound("connection_creation_rate", 1)),
		quotaEntry([]part{{"ip", "10.0.0.1"}}, ok),
		quotaEntry([]part{{"user", "ann"}}, bound("connection_creation_rate", 1)),
		quotaEntry([]part{{"user", "ann"}}, bound("no_such_rate", 1)),
		quotaEntry([]part{{"user", "ann"}}, bound("producer_byte_rate", 0)),
		quotaEntry([]part{{"user", "ann"}}, bound("producer_byte_rate", -1)),
		quotaEntry([]part{{"user", "ann"}}, bound("producer_byte_rate", 1.5)),
		quotaEntry([]part{{"ip", ""}}, bound("connection_creation_rate", 1<<31)),
		quotaEntry([]part{{"user", "ann"}}, bound("varve_upload_byte_rate", 0.5)),
		quotaEntry([]part{{"ip", ""}}, bound("varve_remote_fetch_byte_rate", 1)),
		quotaEntry([]part{{"user", "ann"}}, ok, ok),
	} {
		if codes := c.alterQuotas(1, false, e); len(codes) != 1 || codes[0] != kafka.InvalidRequest {
			t.Errorf("%+v: %v", e, codes)
		}
	}
	twice := quotaEntry([]part{{"user", "ann"}}, ok)
	if codes := c.alterQuotas(1, false, twice, twice); codes[0] != kafka.InvalidRequest || codes[1] != kafka.InvalidRequest {
		t.Errorf("named twice: %v", codes)
	}
	if resp := c.describeQuotas(1, false); len(resp.Entries) != 0 {
		t.Errorf("what was refused is there: %+v", resp.Entries)
	}
	for _, tt := range []struct {
		want       kafka.Error
		components []kmsg.DescribeClientQuotasRequestComponent
	}{
		{kafka.InvalidRequest, []kmsg.DescribeClientQuotasRequestComponent{component("", 2, "")}},
		{kafka.UnsupportedVersion, []kmsg.DescribeClientQuotasRequestComponent{component("group", 2, "")}},
		{kafka.InvalidRequest, []kmsg.DescribeClientQuotasRequestComponent{component("user", 0, "")}},
		{kafka.InvalidRequest, []kmsg.DescribeClientQuotasRequestComponent{component("user", 1, "ann")}},
		{kafka.InvalidRequest, []kmsg.DescribeClientQuotasRequestComponent{component("user", 3, "")}},
		{kafka.InvalidRequest, []kmsg.DescribeClientQuotasRequestComponent{component("user", 2, ""), component("user", 2, "")}},
		{kafka.InvalidRequest, []kmsg.DescribeClientQuotasRequestComponent{component("user", 2, ""), component("ip", 2, "")}},
	} {
		if resp := c.describeQuotas(1, false, tt.components...); kafka.Error(resp.ErrorCode) != tt.want || resp.ErrorMessage == nil || resp.Entries != nil {
			t.Errorf("%+v: %+v, want %s", tt.components, resp, tt.want.Name())
		}
	}
}

// A producer over its quota has its batch stored, is told, and is held up; another client is not.
func TestA9ProduceAboveTheQuota(t *testing.T) {
	k := newKit(t)
	k.create("t")
	admin := k.dial(internalListener)
	admin.alterQuotas(1, false, quotaEntry([]part{{"client-id", "test"}}, bound("producer_byte_rate", 1)))
	c := k.dial(internalListener)
	resp := ask[*kmsg.ProduceResponse](c, 9, produceRequest("t", kafka.UUID{}, -1, recordsOf("a", "b")))
	if p := resp.Topics[0].Partitions[0]; p.ErrorCode != 0 || p.BaseOffset != 0 || resp.ThrottleMillis < 1000 {
		t.Errorf("answer %+v, want it stored, with a pause", resp)
	}
	k.wantAlive() // on another connection
	began := time.Now()
	admin.alterQuotas(1, false, quotaEntry([]part{{"client-id", "test"}}, kmsg.AlterClientQuotasRequestEntryOp{Key: "producer_byte_rate", Remove: true}))
	c.send(kmsg.NewPtrApiVersionsRequest())
	_ = c.nc.SetReadDeadline(began.Add(500 * time.Millisecond))
	if n, err := c.nc.Read(make([]byte, 1)); n != 0 || !isTimeout(err) {
		t.Errorf("a connection that is held up was answered: %d bytes, %v", n, err)
	}
}

// A consumer over its quota gets an empty answer with a pause; below it, as much as ten seconds allow.
func TestA9FetchAboveTheQuota(t *testing.T) {
	k := newKit(t)
	k.create("t")
	c := k.dial(internalListener)
	ask[*kmsg.ProduceResponse](c, 9, produceRequest("t", kafka.UUID{}, -1, recordsOf("a", "b")))
	c.alterQuotas(1, false, quotaEntry([]part{{"user", "ANONYMOUS"}}, bound("consumer_byte_rate", 1)))
	first := ask[*kmsg.FetchResponse](c, 12, fetchRequest("t", kafka.UUID{}, 0))
	if len(first.Topics) != 1 || len(first.Topics[0].Partitions[0].RecordBatches) == 0 || first.ThrottleMillis != 0 {
		t.Fatalf("the first fetch: %+v", first)
	}
	second := ask[*kmsg.FetchResponse](c, 12, fetchRequest("t", kafka.UUID{}, 0))
	if len(second.Topics) != 0 || second.ThrottleMillis < 1000 || second.ErrorCode != 0 || second.SessionID != 0 {
		t.Errorf("the second fetch: %+v", second)
	}
}

// Partitions that are created and deleted take tokens; new versions are refused when there are
// none, old ones are told to pause.
func TestA9MutationsAboveTheQuota(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	c.alterQuotas(1, false, quotaEntry([]part{{"user", ""}}, bound("controller_mutation_rate", 0.1)))
	create := func(c *client, version int16, topics ...kmsg.CreateTopicsRequestTopic) *kmsg.CreateTopicsResponse {
		req := kmsg.NewPtrCreateTopicsRequest()
		req.Topics = topics
		return ask[*kmsg.CreateTopicsResponse](c, version, req)
	}
	resp := create(c, 7, newTopic("a", 3, 1), newTopic("b", 3, 1), newTopic("bad/name", 50, 1))
	if got := []kafka.Error{kafka.Error(resp.Topics[0].ErrorCode), kafka.Error(resp.Topics[1].ErrorCode), kafka.Error(resp.Topics[2].ErrorCode)}; got[0] != 0 || got[1] != kafka.ThrottlingQuotaExceeded || got[2] != kafka.InvalidTopic {
		t.Errorf("codes %v: want the first topic created, and the others refused for the quota and for the name", got)
	}
	if resp.ThrottleMillis < 1000 {
		t.Errorf("a pause of %d ms", resp.ThrottleMillis)
	}
	// Each on a connection of its own: the others are muted.
	if resp := create(k.dial(internalListener), 5, newTopic("c", 1, 1)); resp.Topics[0].ErrorCode != 0 || resp.ThrottleMillis < 1000 {
		t.Errorf("an old version: %+v, want it created and told to pause", resp)
	}
	grow := kmsg.NewPtrCreatePartitionsRequest()
	more := kmsg.NewCreatePartitionsRequestTopic()
	more.Topic, more.Count = "a", 5
	grow.Topics = append(grow.Topics, more)
	if resp := ask[*kmsg.CreatePartitionsResponse](k.dial(internalListener), 3, grow); kafka.Error(resp.Topics[0].ErrorCode) != kafka.ThrottlingQuotaExceeded || resp.ThrottleMillis < 1000 {
		t.Errorf("CreatePartitions: %+v", resp)
	}
	del := kmsg.NewPtrDeleteTopicsRequest()
	del.TopicNames = []string{"a"}
	if resp := ask[*kmsg.DeleteTopicsResponse](k.dial(internalListener), 5, del); kafka.Error(resp.Topics[0].ErrorCode) != kafka.ThrottlingQuotaExceeded {
		t.Errorf("DeleteTopics: %+v", resp)
	}
	if t := k.cluster.Image().Topic("a"); t == nil || len(t.Partitions) != 3 {
		k.t.Errorf("the topic is %+v", t)
	}
}

// The time of a request counts for the next one, whatever it asks for.
func TestA9RequestTimeAboveTheQuota(t *testing.T) {
	k := newKit(t)
	c := k.dial(internalListener)
	c.alterQuotas(1, false, quotaEntry([]part{{"client-id", ""}}, bound("request_percentage", 1e-9)))
	ask[*kmsg.MetadataResponse](c, 12, kmsg.NewPtrMetadataRequest())
	if resp := ask[*kmsg.MetadataResponse](c, 12, kmsg.NewPtrMetadataRequest()); resp.ThrottleMillis != 1000 {
		t.Errorf("a pause of %d ms, want the longest, a window", resp.ThrottleMillis)
	}
}

func isTimeout(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
