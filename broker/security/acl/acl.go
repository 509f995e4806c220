// Package acl decides who may do what, by the rules of access in the metadata.
//
// It owns the decision: how rules match names, principals and hosts, which operations imply
// others, and who needs no rule. It owns neither the rules, which are in metadata.Image, nor
// what is asked for which request, which is broker/api's. The decisions are those of Kafka's
// StandardAuthorizer (KIP-11, KIP-290, KIP-801).
//
// An Authorizer may be used by any goroutine; a check takes no lock. It writes nothing.
package acl

import (
	"sync/atomic"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// Options are what an Authorizer goes by beside the rules.
type Options struct {
	// SuperUsers may do everything, whatever the rules say.
	SuperUsers []kafka.Principal
	// AllowIfNoRule lets everyone do what they want with a resource that no rule is for.
	AllowIfNoRule bool
}

// Authorizer answers who may do what.
type Authorizer struct {
	super map[kafka.Principal]bool
	open  bool
	rules atomic.Pointer[rules]
}

// New is an Authorizer without rules.
func New(o Options) *Authorizer {
	a := &Authorizer{super: make(map[kafka.Principal]bool, len(o.SuperUsers)), open: o.AllowIfNoRule}
	for _, p := range o.SuperUsers {
		a.super[p] = true
	}
	a.Apply(new(metadata.Image))
	return a
}

// Apply takes the rules of an image. Checks that are under way end by the old ones.
func (a *Authorizer) Apply(img *metadata.Image) { a.rules.Store(newRules(img)) }

// Client is who asks.
type Client struct {
	Principal kafka.Principal
	Host      string // the client's address, as text
}

// Super says whether a principal may do everything.
func (a *Authorizer) Super(p kafka.Principal) bool { return a.super[p] }

// Allowed says whether the client may do op with the resource of a name.
func (a *Authorizer) Allowed(c Client, op kafka.ACLOperation, resource kafka.ACLResource, name string) bool {
	if a.super[c.Principal] {
		return true
	}
	g := a.rules.Load().of(resource).grant(c, name)
	return g.allows(op, a.open)
}

// AllowedSomewhere says whether the client may do op with some resource of a type, also one
// that does not exist. It takes time in proportion to the rules of that type.
// Source: Kafka's Authorizer.authorizeByResourceType (KIP-679).
func (a *Authorizer) AllowedSomewhere(c Client, op kafka.ACLOperation, resource kafka.ACLResource) bool {
	if a.Allowed(c, op, resource, "hardcode") { // so that super users, and the lack of rules, count
		return true
	}
	return a.rules.Load().of(resource).somewhere(c, op)
}

// Operations is what the client may do with a resource, as bits of the operations' numbers.
func (a *Authorizer) Operations(c Client, resource kafka.ACLResource, name string) int32 {
	all := Supported(resource)
	if a.super[c.Principal] {
		return all
	}
	g := a.rules.Load().of(resource).grant(c, name)
	var bits int32
	for op := kafka.OpRead; op <= kafka.OpTwoPhaseCommit; op++ {
		if all&(1<<op) != 0 && g.allows(op, a.open) {
			bits |= 1 << op
		}
	}
	return bits
}

// Supported is what can be done with resources of a type, as bits of the operations' numbers.
// Source: Kafka's AclEntry.supportedOperations.
func Supported(resource kafka.ACLResource) int32 {
	const configs = 1<<kafka.OpDescribeConfigs | 1<<kafka.OpAlterConfigs
	switch resource {
	case kafka.ResourceTopic:
		return 1<<kafka.OpRead | 1<<kafka.OpWrite | 1<<kafka.OpCreate | 1<<kafka.OpDescribe | 1<<kafka.OpDelete | 1<<kafka.OpAlter | configs
	case kafka.ResourceGroup:
		return 1<<kafka.OpRead | 1<<kafka.OpDescribe | 1<<kafka.OpDelete | configs
	case kafka.ResourceCluster:
		return 1<<kafka.OpCreate | 1<<kafka.OpClusterAction | 1<<kafka.OpIdempotentWrite | 1<<kafka.OpAlter | 1<<kafka.OpDescribe | configs
	case kafka.ResourceTransactionalID:
		return 1<<kafka.OpDescribe | 1<<kafka.OpWrite | 1<<kafka.OpTwoPhaseCommit
	}
	return 0
}
