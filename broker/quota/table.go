package quota

import (
	"github.com/varve-io/varve/broker/metadata"
)

// limits are the quotas of one kind, by whom they are for.
type limits map[metadata.QuotaEntity]float64

// subject is who shares one count: a user, a client id, or a user's client id. The part that
// does not matter is empty.
type subject struct{ user, client string }

func named(name string) metadata.QuotaPart {
	return metadata.QuotaPart{Type: metadata.QuotaNamed, Name: name}
}

var (
	anyone = metadata.QuotaPart{Type: metadata.QuotaDefault}
	absent = metadata.QuotaPart{}
)

// resolve finds the quota of a client and who shares it; false for none. The most specific
// quota counts: user and client id, user and any client id, user, any user and client id, any
// user and any client id, any user, client id, any client id. A quota with a client id, even
// "any", is for each client id on its own, and one with a user for each user.
//
// Source: Kafka's ClientQuotaManager.DefaultQuotaCallback.
func (l limits) resolve(c Client) (subject, float64, bool) {
	user, client := named(c.User), named(c.ID)
	for _, level := range [...]struct {
		user, client metadata.QuotaPart
		shared       subject
	}{
		{user, client, subject{c.User, c.ID}},
		{user, anyone, subject{c.User, c.ID}},
		{user, absent, subject{c.User, ""}},
		{anyone, client, subject{c.User, c.ID}},
		{anyone, anyone, subject{c.User, c.ID}},
		{anyone, absent, subject{c.User, ""}},
		{absent, client, subject{"", c.ID}},
		{absent, anyone, subject{"", c.ID}},
	} {
		if limit, ok := l[metadata.QuotaEntity{User: level.user, ClientID: level.client}]; ok {
			return level.shared, limit, true
		}
	}
	return subject{}, 0, false
}

// ofIP is the quota of an address; false for none.
func (l limits) ofIP(ip string) (float64, bool) {
	if limit, ok := l[metadata.QuotaEntity{IP: named(ip)}]; ok {
		return limit, true
	}
	limit, ok := l[metadata.QuotaEntity{IP: anyone}]
	return limit, ok
}
