package metadata

import (
	"fmt"
	"iter"

	"github.com/varve-io/varve/broker/kafka"
)

// DelegationToken lets whoever has it log in as its owner, for a while (KIP-48). The secret of it
// is made of its id and the broker's key, and is not here.
type DelegationToken struct {
	ID               string
	Owner, Requester kafka.Principal
	Renewers         []kafka.Principal
	// Unix milliseconds: when it was issued, when it ends unless it is renewed, and when it ends for good.
	IssuedMs, ExpiryMs, MaxMs int64
}

// Concerns says whether somebody owns a token, asked for it, or may renew it.
func (t DelegationToken) Concerns(p kafka.Principal) bool {
	return t.Requester == p || t.RenewableBy(p)
}

// RenewableBy says whether somebody may renew a token, and end it.
func (t DelegationToken) RenewableBy(p kafka.Principal) bool {
	if t.Owner == p {
		return true
	}
	for _, r := range t.Renewers {
		if r == p {
			return true
		}
	}
	return false
}

// Expired says whether a token has ended.
func (t DelegationToken) Expired(nowMs int64) bool { return t.ExpiryMs < nowMs || t.MaxMs < nowMs }

// DelegationTokenRecord sets a token, or, with Remove, takes away the one with this id.
type DelegationTokenRecord struct {
	DelegationToken
	Remove bool
}

// Kind implements Record.
func (DelegationTokenRecord) Kind() Kind { return KindDelegationToken }

// DelegationToken finds a token.
func (img *Image) DelegationToken(id string) (DelegationToken, bool) { return img.tokens.get(id) }

// DelegationTokens lists all tokens, by id.
func (img *Image) DelegationTokens() iter.Seq[DelegationToken] {
	return func(yield func(DelegationToken) bool) {
		img.tokens.all(func(_ string, t DelegationToken) bool { return yield(t) })
	}
}

// DelegationTokenSet is a value that is another one, by ==, as soon as any token has changed.
func (img *Image) DelegationTokenSet() any { return img.tokens }

func (r DelegationTokenRecord) apply(c *change) error {
	_, known := c.img.tokens.get(r.ID)
	switch {
	case r.ID == "":
		return fmt.Errorf("a delegation token without an id: %w", kafka.InvalidRequest)
	case r.Remove && !known:
		return fmt.Errorf("there is no delegation token %s to remove: %w", r.ID, kafka.DelegationTokenNotFound)
	case r.Remove:
		c.img.tokens = c.img.tokens.without(r.ID)
	case r.Owner.Name == "" || r.Owner.Type != kafka.UserPrincipal:
		return fmt.Errorf("delegation token %s has the owner %q: %w", r.ID, r.Owner, kafka.InvalidPrincipalType)
	default:
		c.img.tokens = c.img.tokens.with(r.ID, r.DelegationToken)
	}
	return nil
}

func (w *writer) principal(p kafka.Principal) {
	w.string(p.Type)
	w.string(p.Name)
}

func (r *reader) principal() kafka.Principal {
	return kafka.Principal{Type: r.string(), Name: r.string()}
}

func encodeDelegationToken(w *writer, rec Record) {
	t := rec.(DelegationTokenRecord)
	w.string(t.ID)
	w.principal(t.Owner)
	w.principal(t.Requester)
	list(w, t.Renewers, w.principal)
	w.int(t.IssuedMs)
	w.int(t.ExpiryMs)
	w.int(t.MaxMs)
	w.bool(t.Remove)
}

func decodeDelegationToken(r *reader) Record {
	return DelegationTokenRecord{DelegationToken: DelegationToken{
		ID: r.string(), Owner: r.principal(), Requester: r.principal(), Renewers: many(r, 2, r.principal),
		IssuedMs: r.int64(), ExpiryMs: r.int64(), MaxMs: r.int64(),
	}, Remove: r.bool()}
}
