package metadata

import (
	"fmt"
	"iter"

	"github.com/varve-io/varve/broker/kafka"
)

// ACLRecord adds a rule of access, or, with Remove, takes it away.
type ACLRecord struct {
	kafka.ACL
	Remove bool
}

// Kind implements Record.
func (ACLRecord) Kind() Kind { return KindACL }

// ACLs lists all rules of access, in a fixed order.
func (img *Image) ACLs() iter.Seq[kafka.ACL] {
	return func(yield func(kafka.ACL) bool) {
		img.acls.all(func(_ string, a kafka.ACL) bool { return yield(a) })
	}
}

// ACLCount is how many rules of access there are.
func (img *Image) ACLCount() int { return img.acls.n }

// HasACL says whether there is such a rule.
func (img *Image) HasACL(a kafka.ACL) bool {
	_, ok := img.acls.get(aclKey(a))
	return ok
}

// aclKey is a rule's fields, each behind its length: equal for equal rules only.
func aclKey(a kafka.ACL) string {
	w := &writer{}
	w.acl(a)
	return string(w.b)
}

func (r ACLRecord) apply(c *change) error {
	if err := r.Valid(); err != nil {
		return err
	}
	has := c.img.HasACL(r.ACL)
	switch {
	case r.Remove && !has:
		return fmt.Errorf("there is no rule of %s for %s on %s %q to remove: %w", r.Operation, r.Principal, r.Resource, r.Name, kafka.ResourceNotFound)
	case r.Remove:
		c.img.acls = c.img.acls.without(aclKey(r.ACL))
	default:
		c.img.acls = c.img.acls.with(aclKey(r.ACL), r.ACL)
	}
	c.acls = true
	return nil
}

func (w *writer) acl(a kafka.ACL) {
	w.int(int64(a.Resource))
	w.int(int64(a.Pattern))
	w.string(a.Name)
	w.string(a.Principal)
	w.string(a.Host)
	w.int(int64(a.Operation))
	w.int(int64(a.Permission))
}

func (r *reader) acl() kafka.ACL {
	code := func() int8 { return int8(r.int(-128, 127)) }
	return kafka.ACL{
		Resource: kafka.ACLResource(code()), Pattern: kafka.ACLPattern(code()), Name: r.string(), Principal: r.string(), Host: r.string(),
		Operation: kafka.ACLOperation(code()), Permission: kafka.ACLPermission(code()),
	}
}

func encodeACL(w *writer, r Record) {
	a := r.(ACLRecord)
	w.acl(a.ACL)
	w.bool(a.Remove)
}

func decodeACL(r *reader) Record { return ACLRecord{ACL: r.acl(), Remove: r.bool()} }
