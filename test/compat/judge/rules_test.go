package judge

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// rule is a rule of access, in the numbers of the protocol.
type rule struct {
	user, host  string
	kind        int8 // of the resource: 2 topic, 3 group, 4 cluster, 5 transactional id
	pattern     int8 // 3 literal, 4 prefixed
	name        string
	op          int8
	permission  int8 // 2 deny, 3 allow
	raw         bool // user is the principal
	filterAny   bool // as a filter: any user
	anyResource bool // as a filter: any name
}

// ruleOf allows a user everywhere an operation on resources of a literal name.
func ruleOf(user string, op, kind int8, name string) rule {
	return rule{user: user, host: "*", kind: kind, pattern: 3, name: name, op: op, permission: 3}
}

func (r rule) principal() string {
	if r.raw {
		return r.user
	}
	return "User:" + r.user
}

func createRules(rules ...rule) *kmsg.CreateACLsRequest {
	req := kmsg.NewPtrCreateACLsRequest()
	for _, r := range rules {
		req.Creations = append(req.Creations, kmsg.CreateACLsRequestCreation{
			ResourceType: kmsg.ACLResourceType(r.kind), ResourceName: r.name, ResourcePatternType: kmsg.ACLResourcePatternType(r.pattern),
			Principal: r.principal(), Host: r.host, Operation: kmsg.ACLOperation(r.op), PermissionType: kmsg.ACLPermissionType(r.permission),
		})
	}
	return req
}

func (r rule) texts() (name, principal, host *string) {
	if !r.anyResource {
		name = &r.name
	}
	if !r.filterAny {
		p := r.principal()
		principal = &p
	}
	if r.host != "" {
		host = &r.host
	}
	return name, principal, host
}

func describeRules(r rule) *kmsg.DescribeACLsRequest {
	req := kmsg.NewPtrDescribeACLsRequest()
	req.ResourceName, req.Principal, req.Host = r.texts()
	req.ResourceType, req.ResourcePatternType = kmsg.ACLResourceType(r.kind), kmsg.ACLResourcePatternType(r.pattern)
	req.Operation, req.PermissionType = kmsg.ACLOperation(r.op), kmsg.ACLPermissionType(r.permission)
	return req
}

func deleteRules(filters ...rule) *kmsg.DeleteACLsRequest {
	req := kmsg.NewPtrDeleteACLsRequest()
	for _, r := range filters {
		f := kmsg.DeleteACLsRequestFilter{
			ResourceType: kmsg.ACLResourceType(r.kind), ResourcePatternType: kmsg.ACLResourcePatternType(r.pattern),
			Operation: kmsg.ACLOperation(r.op), PermissionType: kmsg.ACLPermissionType(r.permission),
		}
		f.ResourceName, f.Principal, f.Host = r.texts()
		req.Filters = append(req.Filters, f)
	}
	return req
}

// granted creates rules, and waits until all of a user's can be seen.
func (s *side) granted(c *conn, rules ...rule) {
	count := map[string]int{}
	for _, r := range rules {
		count[r.user]++
	}
	resp, ok := c.try(3, createRules(rules...)).(*kmsg.CreateACLsResponse)
	if !ok {
		s.must(errClosed)
	}
	for i, res := range resp.Results {
		if res.ErrorCode != 0 {
			s.must(fmt.Errorf("rule %+v: %s", rules[i], deref(res.ErrorMessage)))
		}
	}
	for user, n := range count {
		s.poll(fmt.Sprint("the rules of ", user), func() bool { return s.ruleCount(c, user) == n })
	}
}

// ruleCount is how many rules there are for a user.
func (s *side) ruleCount(c *conn, user string) (n int) {
	all := rule{user: user, kind: 1, pattern: 1, op: 1, permission: 1, anyResource: true}
	if resp, ok := c.try(3, describeRules(all)).(*kmsg.DescribeACLsResponse); ok {
		for _, r := range resp.Resources {
			n += len(r.ACLs)
		}
	}
	return n
}

// rulesScript: DescribeAcls, CreateAcls and DeleteAcls at every version, as a super user.
func rulesScript(s *side) {
	c := s.admin()
	defer c.close()
	for v := int16(1); v <= 3; v++ {
		ann, bob := s.topic(fmt.Sprint("ann", v)), s.topic(fmt.Sprint("bob", v))
		t, o := s.topic(fmt.Sprint("t", v)), s.topic(fmt.Sprint("orders", v))
		s.sound(c, v, ann, bob, t, o)
		s.unsound(c, v, ann, t)
		s.filters(c, v, ann, bob, t, o)
	}
	for key := int16(29); key <= 31; key++ {
		s.unsupported(c, key, 0)
		s.unsupported(c, key, 4)
	}
}

// sound creates rules that can be.
func (s *side) sound(c *conn, v int16, ann, bob, t, o string) {
	prefixed, deny, far := ruleOf(ann, 4, 2, o), ruleOf(bob, 2, 2, t), ruleOf(bob, 3, 3, o)
	prefixed.pattern, deny.permission, far.host = 4, 2, "10.0.0.1"
	everything := ruleOf(ann, 8, 2, "*")
	prefix := ruleOf(ann, 8, 2, "*")
	prefix.pattern = 4
	c.ask("create", v, createRules(ruleOf(ann, 3, 2, t), prefixed, deny, far, everything, ruleOf(bob, 7, 4, "kafka-cluster")))
	s.poll("ann's rules", func() bool { return s.ruleCount(c, ann) == 3 && s.ruleCount(c, bob) == 3 })
	c.ask("create again", v, createRules(ruleOf(ann, 3, 2, t), prefixed))
	c.ask("create one twice", v, createRules(ruleOf(ann, 4, 2, t), ruleOf(ann, 4, 2, t)))
	s.poll("one more", func() bool { return s.ruleCount(c, ann) == 4 })
	c.ask("create none", v, createRules())
	token, user := ruleOf(ann, 8, 6, "token"), ruleOf(ann, 13, 7, "User:"+bob)
	c.ask("create of tokens and users", v, createRules(token, user, ruleOf(ann, 15, 5, t), ruleOf(ann, 12, 4, "kafka-cluster")))
	s.poll("four more", func() bool { return s.ruleCount(c, ann) == 8 })
	c.ask("create that no resource has", v, createRules(ruleOf(ann, 12, 2, t), ruleOf(ann, 4, 3, t)))
	s.poll("two more", func() bool { return s.ruleCount(c, ann) == 10 })
	if v == 3 {
		c.ask("create a prefix of *", v, createRules(prefix))
		s.poll("a prefix", func() bool { return s.ruleCount(c, ann) == 11 })
	}
}

// unsound tries to create rules that cannot be, each beside one that can.
func (s *side) unsound(c *conn, v int16, ann, t string) {
	changes := map[string]func(*rule){
		"resource 0":         func(r *rule) { r.kind = 0 },
		"any resource":       func(r *rule) { r.kind = 1 },
		"resource 8":         func(r *rule) { r.kind = 8 },
		"resource -1":        func(r *rule) { r.kind = -1 },
		"pattern 0":          func(r *rule) { r.pattern = 0 },
		"any pattern":        func(r *rule) { r.pattern = 1 },
		"pattern match":      func(r *rule) { r.pattern = 2 },
		"pattern 5":          func(r *rule) { r.pattern = 5 },
		"operation 0":        func(r *rule) { r.op = 0 },
		"any operation":      func(r *rule) { r.op = 1 },
		"operation 16":       func(r *rule) { r.op = 16 },
		"permission 0":       func(r *rule) { r.permission = 0 },
		"any permission":     func(r *rule) { r.permission = 1 },
		"permission 4":       func(r *rule) { r.permission = 4 },
		"no name":            func(r *rule) { r.name = "" },
		"cluster t":          func(r *rule) { r.kind = 4 },
		"a topic's bad name": func(r *rule) { r.name = "a b/c" },
		"no principal":       func(r *rule) { r.raw, r.user = true, "" },
		"no colon":           func(r *rule) { r.raw, r.user = true, "ann" },
		"no type":            func(r *rule) { r.raw, r.user = true, ":ann" },
		"a type alone":       func(r *rule) { r.raw, r.user = true, "User:" },
		"a colon in a name":  func(r *rule) { r.raw, r.user = true, "User:"+ann+":b" },
		"another type":       func(r *rule) { r.raw, r.user = true, "Group:"+ann },
		"user without type":  func(r *rule) { r.kind, r.name = 7, ann },
		"no host":            func(r *rule) { r.host = "" },
		"a host's name":      func(r *rule) { r.host = "example.org" },
	}
	for _, what := range slices.Sorted(maps.Keys(changes)) {
		bad := ruleOf(ann, 3, 2, t)
		changes[what](&bad)
		resp, ok := c.ask("create: "+what, v, createRules(bad, ruleOf(ann, 3, 2, t))).(*kmsg.CreateACLsResponse)
		if strings.HasPrefix(what, "any ") || what == "pattern match" {
			continue // filters asks with them
		}
		if ok && resp.Results[0].ErrorCode == 0 {
			s.poll("the rule is there: "+what, func() bool { return s.finds(c, bad) })
		}
		c.ask("describe: "+what, v, describeRules(bad))
		c.ask("delete: "+what, v, deleteRules(bad))
		if ok && resp.Results[0].ErrorCode == 0 {
			s.poll("the rule is gone: "+what, func() bool { return !s.finds(c, bad) })
		}
	}
	s.poll("the rule beside them", func() bool { return s.finds(c, ruleOf(ann, 3, 2, t)) })
}

// finds says whether the broker has a rule.
func (s *side) finds(c *conn, r rule) bool {
	resp, ok := c.try(3, describeRules(r)).(*kmsg.DescribeACLsResponse)
	return ok && len(resp.Resources) > 0
}

// filters finds rules, and deletes some.
func (s *side) filters(c *conn, v int16, ann, bob, t, o string) {
	all := func(user string) rule {
		return rule{user: user, kind: 1, pattern: 1, op: 1, permission: 1, anyResource: true}
	}
	named := func(pattern int8, name string) rule {
		r := all(ann)
		r.kind, r.pattern, r.name, r.anyResource = 2, pattern, name, false
		return r
	}
	ops := func(op, permission int8) rule {
		r := all(bob)
		r.op, r.permission = op, permission
		return r
	}
	host := all(bob)
	host.host = "10.0.0.1"
	anybody := named(3, t)
	anybody.filterAny = true
	found := map[string]rule{
		"all of ann": all(ann), "all of bob": all(bob), "nobody's": all(s.topic("nobody")),
		"literal t": named(3, t), "prefixed t": named(4, t), "match t": named(2, t), "any t": named(1, t),
		"literal orders": named(3, o), "prefixed orders": named(4, o), "match orders.eu": named(2, o+".eu"), "any orders": named(1, o),
		"literal *": named(3, "*"), "match *": named(2, "*"), "denials": ops(1, 2), "all": ops(2, 1), "reads": ops(3, 3), "a host": host, "of anybody": anybody,
	}
	for what, filter := range found { // which changes nothing
		c.ask("find "+what, v, describeRules(filter))
	}
	c.ask("delete none", v, deleteRules())
	c.ask("delete of nobody", v, deleteRules(all(s.topic("nobody"))))
	c.ask("delete by a match", v, deleteRules(named(2, o+".eu")))
	c.ask("delete one twice", v, deleteRules(named(3, t), named(3, t)))
	s.poll("fewer", func() bool { return s.ruleCount(c, ann) < 8 })
	c.ask("what ann has left", v, describeRules(all(ann)))
	c.ask("delete all of bob, and of nobody", v, deleteRules(all(bob), all(s.topic("nobody"))))
	s.poll("none of bob", func() bool { return s.ruleCount(c, bob) == 0 })
	c.ask("what bob has left", v, describeRules(all(bob)))
	c.try(v, deleteRules(all(ann)))
	s.poll("none of ann", func() bool { return s.ruleCount(c, ann) == 0 })
}
