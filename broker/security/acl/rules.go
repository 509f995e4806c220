package acl

import (
	"slices"
	"strings"
	"sync"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// rules are those of one image. The table of a type of resource is built when it is first
// asked, so that a change of rules costs nothing but what is used until the next one.
type rules struct {
	tables [kafka.ResourceUser + 1]func() *table
}

func newRules(img *metadata.Image) *rules {
	r := &rules{}
	for i := range r.tables {
		r.tables[i] = sync.OnceValue(func() *table { return newTable(img, kafka.ACLResource(i)) })
	}
	return r
}

func (r *rules) of(resource kafka.ACLResource) *table { return r.tables[resource]() }

// who is a principal and a host as a rule names them; both may be *.
type who struct{ kind, name, host string }

// grant is what rules say of somebody, as bits of operations.
type grant struct {
	found       bool // there are rules for the resource, whoever they are for
	allow, deny uint32
}

// allows is the verdict: what is denied is denied, whatever else is allowed.
func (g grant) allows(op kafka.ACLOperation, open bool) bool {
	switch bit := uint32(1) << op; {
	case g.deny&bit != 0:
		return false
	case g.allow&bit != 0:
		return true
	}
	return open && !g.found
}

// node is the rules of one resource pattern.
type node map[who]grant

// add joins what the node says of a client to g. Every node has rules.
func (n node) add(g *grant, c Client) {
	g.found = true
	for _, w := range [...]who{
		{c.Principal.Type, c.Principal.Name, c.Host}, {c.Principal.Type, c.Principal.Name, kafka.Wildcard},
		{kafka.UserPrincipal, kafka.Wildcard, c.Host}, {kafka.UserPrincipal, kafka.Wildcard, kafka.Wildcard},
	} {
		said := n[w]
		g.allow |= said.allow
		g.deny |= said.deny
	}
}

// of is what the node says of a client.
func (n node) of(c Client) (g grant) {
	if n != nil {
		n.add(&g, c)
	}
	return g
}

// table is the rules for resources of one type.
type table struct {
	literal  map[string]node
	wildcard node // of the literal *; nil for none
	prefixes []prefix
}

// prefix is a prefixed pattern. Of those that a name begins with, each is a prefix of the next
// longer one: from the longest, parent leads through all of them.
type prefix struct {
	text   string
	parent int // the longest other prefix of text, -1 for none
	node   node
}

func newTable(img *metadata.Image, resource kafka.ACLResource) *table {
	t := &table{literal: map[string]node{}}
	prefixed := map[string]node{}
	for a := range img.ACLs() {
		if a.Resource != resource {
			continue
		}
		in := t.literal
		if a.Pattern == kafka.PatternPrefixed {
			in = prefixed
		}
		if in[a.Name] == nil {
			in[a.Name] = node{}
		}
		in[a.Name].put(a)
	}
	t.wildcard = t.literal[kafka.Wildcard]
	delete(t.literal, kafka.Wildcard)
	for text, n := range prefixed {
		t.prefixes = append(t.prefixes, prefix{text: text, parent: -1, node: n})
	}
	slices.SortFunc(t.prefixes, func(a, b prefix) int { return strings.Compare(a.text, b.text) })
	for i := range t.prefixes { // the prefixes of one stand before it, and lead to each other
		p := i - 1
		for p >= 0 && !strings.HasPrefix(t.prefixes[i].text, t.prefixes[p].text) {
			p = t.prefixes[p].parent
		}
		t.prefixes[i].parent = p
	}
	return t
}

// put adds a rule.
func (n node) put(a kafka.ACL) {
	kind, name, _ := strings.Cut(a.Principal, ":")
	w := who{kind, name, a.Host}
	g := n[w]
	if a.Permission == kafka.Deny {
		g.deny |= denied(a.Operation)
	} else {
		g.allow |= allowed(a.Operation)
	}
	n[w] = g
}

const everything = ^uint32(0)

// denied is what a rule that denies an operation denies: no other one is implied.
func denied(op kafka.ACLOperation) uint32 {
	if op == kafka.OpAll {
		return everything
	}
	return 1 << op
}

// allowed is what a rule that allows an operation allows.
func allowed(op kafka.ACLOperation) uint32 {
	switch op {
	case kafka.OpAll:
		return everything
	case kafka.OpRead, kafka.OpWrite, kafka.OpDelete, kafka.OpAlter:
		return 1<<op | 1<<kafka.OpDescribe
	case kafka.OpAlterConfigs:
		return 1<<op | 1<<kafka.OpDescribeConfigs
	}
	return 1 << op
}

// grant is what all rules that match a name say of a client.
func (t *table) grant(c Client, name string) (g grant) {
	if n := t.literal[name]; n != nil {
		n.add(&g, c)
	}
	if t.wildcard != nil {
		t.wildcard.add(&g, c)
	}
	for i := t.longest(name); i >= 0; i = t.prefixes[i].parent {
		t.prefixes[i].node.add(&g, c)
	}
	return g
}

// longest is the longest prefix that a name begins with, -1 for none: any such prefix is one of
// the last prefix that does not sort behind the name, or that itself.
func (t *table) longest(name string) int {
	i, exact := slices.BinarySearchFunc(t.prefixes, name, func(p prefix, name string) int { return strings.Compare(p.text, name) })
	if !exact {
		i--
	}
	for i >= 0 && !strings.HasPrefix(name, t.prefixes[i].text) {
		i = t.prefixes[i].parent
	}
	return i
}

// somewhere says whether a pattern allows the client op, and no shorter one denies it for all
// that the pattern matches.
func (t *table) somewhere(c Client, op kafka.ACLOperation) bool {
	bit := uint32(1) << op
	if g := t.wildcard.of(c); g.deny&bit != 0 || g.allow&bit != 0 {
		return g.deny&bit == 0
	}
	free := func(n node, longest int) bool {
		if g := n.of(c); g.allow&bit == 0 || g.deny&bit != 0 {
			return false
		}
		for i := longest; i >= 0; i = t.prefixes[i].parent {
			if t.prefixes[i].node.of(c).deny&bit != 0 {
				return false
			}
		}
		return true
	}
	for name, n := range t.literal {
		if free(n, t.longest(name)) {
			return true
		}
	}
	for i := range t.prefixes {
		if free(t.prefixes[i].node, i) {
			return true
		}
	}
	return false
}
