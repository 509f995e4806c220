package metadata

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"strings"
)

// QuotaPart is one part of whom a quota is for.
type QuotaPart struct {
	// Type says whether the entity has the part at all, and how.
	Type QuotaPartType
	// Name is of a QuotaNamed part, never empty there.
	Name string
}

// QuotaPartType is how an entity has a part.
type QuotaPartType uint8

// The types.
const (
	QuotaAbsent  QuotaPartType = iota // the entity is not about it
	QuotaDefault                      // everyone who has no quota of their own
	QuotaNamed                        // one name
)

// QuotaEntity is whom a quota is for: users, client ids, both together, or an address (KIP-546).
type QuotaEntity struct{ User, ClientID, IP QuotaPart }

// String is the entity as user=ann client-id=<default>.
func (e QuotaEntity) String() string {
	var parts []string
	for _, p := range []struct {
		kind string
		QuotaPart
	}{{"user", e.User}, {"client-id", e.ClientID}, {"ip", e.IP}} {
		switch p.Type {
		case QuotaNamed:
			parts = append(parts, p.kind+"="+p.Name)
		case QuotaDefault:
			parts = append(parts, p.kind+"=<default>")
		}
	}
	return strings.Join(parts, " ")
}

// ClientQuotaRecord replaces all quotas of an entity. None, and the image forgets the entity.
type ClientQuotaRecord struct {
	Entity QuotaEntity
	// Quotas are the bounds by Kafka's names of them (producer_byte_rate and its like).
	Quotas map[string]float64
}

// Kind implements Record.
func (ClientQuotaRecord) Kind() Kind { return KindClientQuota }

// Quotas is the quotas of an entity, nil for none. The caller must not change it.
func (img *Image) Quotas(e QuotaEntity) map[string]float64 { return img.quotas[e] }

// QuotaEntities lists the entities that have quotas, in a fixed order.
func (img *Image) QuotaEntities() iter.Seq[QuotaEntity] {
	return slices.Values(slices.SortedFunc(maps.Keys(img.quotas), compareEntities))
}

func compareEntities(a, b QuotaEntity) int {
	part := func(a, b QuotaPart) int { return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name)) }
	return cmp.Or(part(a.User, b.User), part(a.ClientID, b.ClientID), part(a.IP, b.IP))
}

func (r ClientQuotaRecord) apply(c *change) error {
	quotas := maps.Clone(c.img.quotas)
	if quotas == nil {
		quotas = map[QuotaEntity]map[string]float64{}
	}
	delete(quotas, r.Entity)
	if len(r.Quotas) > 0 {
		quotas[r.Entity] = r.Quotas
	}
	c.img.quotas = quotas
	c.quotas = true
	return nil
}

func (w *writer) quotaPart(p QuotaPart) {
	w.int(int64(p.Type))
	w.string(p.Name)
}

func (r *reader) quotaPart() QuotaPart {
	p := QuotaPart{Type: QuotaPartType(r.int(0, int64(QuotaNamed))), Name: r.string()}
	if r.err == nil && (p.Type == QuotaNamed) != (p.Name != "") {
		r.fail()
	}
	return p
}

func encodeClientQuota(w *writer, r Record) {
	q := r.(ClientQuotaRecord)
	w.quotaPart(q.Entity.User)
	w.quotaPart(q.Entity.ClientID)
	w.quotaPart(q.Entity.IP)
	w.floats(q.Quotas)
}

func decodeClientQuota(r *reader) Record {
	return ClientQuotaRecord{Entity: QuotaEntity{User: r.quotaPart(), ClientID: r.quotaPart(), IP: r.quotaPart()}, Quotas: r.floats()}
}
