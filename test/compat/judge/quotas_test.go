package judge

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// quotaEntry is the changes of one entity; parts are types and names in turn.
func quotaEntry(parts []string, ops ...kmsg.AlterClientQuotasRequestEntryOp) kmsg.AlterClientQuotasRequestEntry {
	e := kmsg.NewAlterClientQuotasRequestEntry()
	for i := 0; i < len(parts); i += 2 {
		e.Entity = append(e.Entity, kmsg.AlterClientQuotasRequestEntryEntity{Type: parts[i], Name: nullable(parts[i+1])})
	}
	e.Ops = ops
	return e
}

func quotaOp(key string, value float64) kmsg.AlterClientQuotasRequestEntryOp {
	return kmsg.AlterClientQuotasRequestEntryOp{Key: key, Value: value}
}

func quotaComponent(kind string, match int8, name string) kmsg.DescribeClientQuotasRequestComponent {
	return kmsg.DescribeClientQuotasRequestComponent{EntityType: kind, MatchType: kmsg.QuotasMatchType(match), Match: nullable(name)}
}

func describeQuotas(strict bool, components ...kmsg.DescribeClientQuotasRequestComponent) *kmsg.DescribeClientQuotasRequest {
	req := kmsg.NewPtrDescribeClientQuotasRequest()
	req.Components, req.Strict = components, strict
	return req
}

// quotasScript: AlterClientQuotas and DescribeClientQuotas, at every version. Its quotas are for
// users and addresses that nobody else here has.
func quotasScript(s *side) {
	c := s.conn()
	defer c.close()
	rate, mutations, connections := quotaOp("producer_byte_rate", 1e6), quotaOp("controller_mutation_rate", 0.5), quotaOp("connection_creation_rate", 5)
	for v := int16(0); v <= 1; v++ {
		alter := func(name string, entries ...kmsg.AlterClientQuotasRequestEntry) {
			req := kmsg.NewPtrAlterClientQuotasRequest()
			req.Entries = entries
			c.ask(name, v, req)
		}
		user := s.topic(fmt.Sprint("user", v))
		alter("a user", quotaEntry([]string{"user", user}, rate))
		alter("a user's client", quotaEntry([]string{"user", user, "client-id", "app"}, quotaOp("consumer_byte_rate", 5)))
		alter("a user's clients", quotaEntry([]string{"client-id", null, "user", user}, quotaOp("request_percentage", 12.5)))
		alter("an address", quotaEntry([]string{"ip", fmt.Sprintf("10.9.8.%d", v)}, connections))
		s.poll("the quotas are there", func() bool {
			resp, ok := c.try(v, describeQuotas(false, quotaComponent("user", 0, user))).(*kmsg.DescribeClientQuotasResponse)
			ip, alike := c.try(v, describeQuotas(false, quotaComponent("ip", 0, fmt.Sprintf("10.9.8.%d", v)))).(*kmsg.DescribeClientQuotasResponse)
			return ok && alike && len(resp.Entries) == 3 && len(ip.Entries) == 1
		})
		for _, d := range []struct {
			name       string
			strict     bool
			components []kmsg.DescribeClientQuotasRequestComponent
		}{
			{"the user alone", true, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 0, user)}},
			{"the user's client", true, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 0, user), quotaComponent("client-id", 0, "app")}},
			{"the user's default client", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 0, user), quotaComponent("client-id", 1, null)}},
			{"the address", true, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("ip", 0, fmt.Sprintf("10.9.8.%d", v))}},
			{"nobody", true, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 0, "nobody")}},
			{"an empty type", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("", 2, null)}},
			{"an unknown type", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("group", 2, null)}},
			{"a name that is null", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 0, null)}},
			{"the default with a name", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 1, "x")}},
			{"any with a name", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 2, "x")}},
			{"an unknown match", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 3, null)}},
			{"one type twice", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 2, null), quotaComponent("user", 2, null)}},
			{"user and address", false, []kmsg.DescribeClientQuotasRequestComponent{quotaComponent("user", 2, null), quotaComponent("ip", 2, null)}},
		} {
			c.ask("describe "+d.name, v, describeQuotas(d.strict, d.components...))
		}
		alter("nobody", quotaEntry(nil, rate))
		alter("an unknown type", quotaEntry([]string{"group", "g"}, rate))
		alter("an empty name", quotaEntry([]string{"user", ""}, rate))
		alter("a user and an address", quotaEntry([]string{"user", user, "ip", "10.9.8.7"}, connections))
		alter("no address", quotaEntry([]string{"ip", "..."}, connections))
		alter("a user's rate for an address", quotaEntry([]string{"ip", "10.9.8.7"}, rate))
		alter("an address's rate for a user", quotaEntry([]string{"user", user}, connections))
		alter("an unknown quota", quotaEntry([]string{"user", user}, quotaOp("no_such_rate", 1)))
		alter("zero", quotaEntry([]string{"user", user}, quotaOp("producer_byte_rate", 0)))
		alter("below zero", quotaEntry([]string{"user", user}, quotaOp("request_percentage", -1)))
		alter("half a byte", quotaEntry([]string{"user", user}, quotaOp("consumer_byte_rate", 0.5)))
		alter("half a partition", quotaEntry([]string{"user", user}, mutations))
		alter("more connections than there can be", quotaEntry([]string{"ip", "10.9.8.7"}, quotaOp("connection_creation_rate", 1<<31)))
		alter("one quota twice", quotaEntry([]string{"user", user}, rate, rate))
		alter("one good, one bad", quotaEntry([]string{"user", user}, quotaOp("producer_byte_rate", 7)), quotaEntry([]string{"user", ""}, rate))
		gone := kmsg.AlterClientQuotasRequestEntryOp{Key: "no_such_rate", Remove: true}
		alter("an unknown quota ends", quotaEntry([]string{"user", user}, gone))
		gone.Key = "producer_byte_rate"
		alter("a quota ends", quotaEntry([]string{"user", user}, gone))
		check := kmsg.NewPtrAlterClientQuotasRequest()
		check.ValidateOnly = true
		check.Entries = append(check.Entries, quotaEntry([]string{"user", user, "client-id", "app"}, quotaOp("consumer_byte_rate", 9)))
		c.ask("only checked", v, check)
		s.poll("what is left", func() bool {
			resp, ok := c.try(v, describeQuotas(true, quotaComponent("user", 0, user))).(*kmsg.DescribeClientQuotasResponse)
			return ok && len(resp.Entries) == 1 && len(resp.Entries[0].Values) == 1 &&
				resp.Entries[0].Values[0].Key == "controller_mutation_rate"
		})
		c.ask("describe what is left", v, describeQuotas(true, quotaComponent("user", 0, user)))
		c.ask("describe what was only checked", v, describeQuotas(true, quotaComponent("user", 0, user), quotaComponent("client-id", 0, "app")))
	}
	s.unsupported(c, 48, 2)
	s.unsupported(c, 49, 2)
}
