package judge

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/varve-io/varve/test/kit"
)

// tokenKey is the delegation.token.secret.key of both brokers.
const tokenKey = "the key that both brokers have"

// tokenUsers log in by PLAIN in tokensScript.
var tokenUsers = []string{"token-owner", "token-renewer", "token-other", "token-maker", "token-viewer", "token-reader"}

// opCreateTokens and opDescribeTokens are for resources of users, whose type is ofUser; ofToken is a token's.
const (
	opCreateTokens, opDescribeTokens int8 = 13, 14
	ofToken, ofUser                  int8 = 6, 7
)

// delegationShape takes the answers about delegation tokens apart. Their ids and clocks are each broker's own, but
// not what one has to do with the other.
func delegationShape(f *fields, resp kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.CreateDelegationTokenResponse:
		f.put("ErrorCode", errorName(r.ErrorCode))
		f.put("ThrottleMillis", fmt.Sprint(r.ThrottleMillis))
		f.put("Principal", r.PrincipalType+":"+r.PrincipalName)
		f.put("TokenRequester", r.TokenRequesterPrincipalType+":"+r.TokenRequesterPrincipalName)
		f.delegation("", r.TokenID, r.HMAC, r.IssueTimestamp, r.ExpiryTimestamp, r.MaxTimestamp)
	case *kmsg.RenewDelegationTokenResponse:
		f.put("ErrorCode", errorName(r.ErrorCode))
		f.put("ThrottleMillis", fmt.Sprint(r.ThrottleMillis))
		f.put("ExpiryTimestamp", f.end(r.ExpiryTimestamp))
	case *kmsg.ExpireDelegationTokenResponse:
		f.put("ErrorCode", errorName(r.ErrorCode))
		f.put("ThrottleMillis", fmt.Sprint(r.ThrottleMillis))
		f.put("ExpiryTimestamp", f.end(r.ExpiryTimestamp))
	case *kmsg.DescribeDelegationTokenResponse:
		f.put("ErrorCode", errorName(r.ErrorCode))
		f.put("ThrottleMillis", fmt.Sprint(r.ThrottleMillis))
		f.put("TokenDetails", fmt.Sprint(len(r.TokenDetails)))
		sorted := slices.Clone(r.TokenDetails)
		slices.SortStableFunc(sorted, func(a, b kmsg.DescribeDelegationTokenResponseTokenDetail) int {
			return int(a.IssueTimestamp - b.IssueTimestamp) // they are made one after the other
		})
		for i, d := range sorted {
			at := fmt.Sprintf("TokenDetails[%d].", i)
			f.put(at+"Principal", d.PrincipalType+":"+d.PrincipalName)
			f.put(at+"TokenRequester", d.TokenRequesterPrincipalType+":"+d.TokenRequesterPrincipalName)
			f.delegation(at, d.TokenID, d.HMAC, d.IssueTimestamp, d.ExpiryTimestamp, d.MaxTimestamp)
			var renewers []string
			for _, p := range d.Renewers {
				renewers = append(renewers, p.PrincipalType+":"+p.PrincipalName)
			}
			slices.Sort(renewers)
			f.put(at+"Renewers", strings.Join(renewers, ", "))
		}
	}
}

// delegation takes one token apart.
func (f *fields) delegation(at, id string, secret []byte, issued, expiry, end int64) {
	h := hmac.New(sha512.New, []byte(tokenKey))
	h.Write([]byte(id))
	raw, err := base64.RawURLEncoding.DecodeString(id)
	switch {
	case id == "" && len(secret) == 0:
		f.put(at+"TokenID", "none")
	case err != nil || len(raw) != 16:
		f.put(at+"TokenID", id)
	case !bytes.Equal(h.Sum(nil), secret):
		f.put(at+"TokenID", "not that of its secret")
	default:
		f.put(at+"TokenID", "that of its secret")
	}
	if issued < 0 {
		f.put(at+"Timestamps", fmt.Sprint(issued, expiry, end))
		return
	}
	f.put(at+"IssueTimestamp", f.end(issued))
	f.put(at+"MaxTimestamp", fmt.Sprint("issued+", end-issued))
	switch ms := expiry - issued; {
	case expiry == end:
		f.put(at+"ExpiryTimestamp", "the last")
	case ms == 24*time.Hour.Milliseconds(): // delegation.token.expiry.time.ms
		f.put(at+"ExpiryTimestamp", "issued and a day")
	default:
		f.put(at+"ExpiryTimestamp", f.end(expiry))
	}
}

// end is a moment as the distance from about the script's beginning, in steps of ten minutes.
func (f *fields) end(ms int64) string {
	if ms <= 0 {
		return fmt.Sprint(ms)
	}
	const step = 10 * time.Minute
	d := time.Duration(ms-f.s.base)*time.Millisecond - time.Hour // base is an hour ago
	return fmt.Sprint("start+", d.Truncate(step))
}

// delegated asks about tokens, and records the answer.
func (c *conn) delegated(name string, v int16, req kmsg.Request) kmsg.Response {
	resp := c.try(v, req)
	name = fmt.Sprintf("v%d %s", v, name)
	if resp == nil {
		c.s.note(name, "closed")
		return nil
	}
	c.s.taken(name, resp, delegationShape)
	return resp
}

func createToken(maxLifetimeMs int64, renewers ...string) *kmsg.CreateDelegationTokenRequest {
	req := kmsg.NewPtrCreateDelegationTokenRequest()
	req.MaxLifetimeMillis = maxLifetimeMs
	for _, name := range renewers {
		kind, name, _ := strings.Cut(name, ":")
		req.Renewers = append(req.Renewers, kmsg.CreateDelegationTokenRequestRenewer{PrincipalType: kind, PrincipalName: name})
	}
	return req
}

func createTokenFor(kind, name *string) *kmsg.CreateDelegationTokenRequest {
	req := createToken(-1)
	req.OwnerPrincipalType, req.OwnerPrincipalName = kind, name
	return req
}

func renewToken(secret []byte, ms int64) *kmsg.RenewDelegationTokenRequest {
	req := kmsg.NewPtrRenewDelegationTokenRequest()
	req.HMAC, req.RenewTimeMillis = secret, ms
	return req
}

func expireToken(secret []byte, ms int64) *kmsg.ExpireDelegationTokenRequest {
	req := kmsg.NewPtrExpireDelegationTokenRequest()
	req.HMAC, req.ExpiryPeriodMillis = secret, ms
	return req
}

// describeTokens asks for those of users; of everybody without one, and of nobody with "".
func describeTokens(users ...string) *kmsg.DescribeDelegationTokenRequest {
	req := kmsg.NewPtrDescribeDelegationTokenRequest()
	if len(users) > 0 {
		req.Owners = []kmsg.DescribeDelegationTokenRequestOwner{}
	}
	for _, name := range users {
		if name != "" {
			req.Owners = append(req.Owners, kmsg.DescribeDelegationTokenRequestOwner{PrincipalType: "User", PrincipalName: name})
		}
	}
	return req
}

// tokenOf is the token of an answer, once the broker knows it.
func (s *side) tokenOf(resp kmsg.Response) (id string, secret []byte) {
	made, ok := resp.(*kmsg.CreateDelegationTokenResponse)
	if !ok || made.ErrorCode != 0 {
		s.must(fmt.Errorf("no token was made: %+v", resp))
	}
	s.pollToken(made.PrincipalName, made.TokenID, func(d *kmsg.DescribeDelegationTokenResponseTokenDetail) bool { return d != nil })
	return made.TokenID, made.HMAC
}

// pollToken waits until a token, nil for one that is gone, is as is says.
func (s *side) pollToken(owner, id string, is func(*kmsg.DescribeDelegationTokenResponseTokenDetail) bool) {
	c := s.admin()
	defer c.close()
	s.poll("token of "+owner, func() bool {
		resp, ok := c.try(3, describeTokens(owner)).(*kmsg.DescribeDelegationTokenResponse)
		if !ok {
			return false
		}
		i := slices.IndexFunc(resp.TokenDetails, func(d kmsg.DescribeDelegationTokenResponseTokenDetail) bool { return d.TokenID == id })
		if i < 0 {
			return is(nil)
		}
		return is(&resp.TokenDetails[i])
	})
}

// tokensScript: delegation tokens at every version, by those who may and by those who may not.
func tokensScript(s *side) {
	admin := s.admin()
	defer admin.close()
	s.granted(admin, ruleOf("token-maker", opCreateTokens, ofUser, "User:token-owner"), ruleOf("token-viewer", opDescribeTokens, ofUser, "User:token-owner"))
	by := map[string]*conn{"anonymous": s.conn()}
	for _, user := range tokenUsers {
		by[strings.TrimPrefix(user, "token-")] = s.as(user)
	}
	for _, c := range by {
		defer c.close()
	}
	s.makesTokens(by)
	id, secret := s.tokenOf(by["owner"].delegated("owner: create", 3, createToken(-1, "User:token-renewer")))
	s.granted(admin, ruleOf("token-reader", opDescribe, ofToken, id))
	s.seesTokens(by)
	s.byToken(id, secret)
	s.renewsTokens(by, id, secret)
	for key := int16(38); key <= 41; key++ {
		s.unsupported(by["owner"], key, 0)
		s.unsupported(by["owner"], key, 4)
	}
}

// makesTokens: CreateDelegationToken.
func (s *side) makesTokens(by map[string]*conn) {
	owner := by["owner"]
	for v := int16(1); v <= 3; v++ {
		s.tokenOf(owner.delegated("owner: create", v, createToken(-1)))
		s.tokenOf(owner.delegated("owner: create with renewers", v, createToken(-1, "User:token-renewer", "User:b", "User:token-renewer")))
		owner.delegated("owner: create, renewer of another type", v, createToken(-1, "User:a", "Group:b"))
		owner.delegated("owner: create, renewer without a type", v, createToken(-1, ":a"))
		by["anonymous"].delegated("anonymous: create", v, createToken(-1))
	}
	for _, ms := range []int64{0, -5, time.Hour.Milliseconds(), 48 * time.Hour.Milliseconds(), 8 * 24 * time.Hour.Milliseconds(), math.MaxInt64, math.MinInt64} {
		s.tokenOf(owner.delegated(fmt.Sprint("owner: create for ms: ", ms), 3, createToken(ms)))
	}
	user, group, whose, none := "User", "Group", "token-owner", ""
	for _, who := range []string{"owner", "other", "maker", "viewer", "anonymous"} {
		c := by[who]
		if resp := c.delegated(who+": create for the owner", 3, createTokenFor(&user, &whose)); who == "maker" {
			s.tokenOf(resp)
		}
		c.delegated(who+": create for a group", 3, createTokenFor(&group, &whose))
		for what, pair := range map[string][2]*string{"without a name": {&user, nil}, "without a type": {nil, &whose}, "with an empty name": {&user, &none}, "with an empty type": {&none, &whose}} {
			if who != "other" {
				continue // who gets none: Kafka has an internal error for one of these
			}
			c.delegated(who+": create for one "+what, 3, createTokenFor(pair[0], pair[1]))
		}
	}
	for _, who := range []string{"token-owner", "token-other"} { // a token more is as good as any: those last made are there
		s.tokenOf(by[strings.TrimPrefix(who, "token-")].delegated(who+": create the last", 3, createToken(-1)))
	}
}

// seesTokens: DescribeDelegationToken.
func (s *side) seesTokens(by map[string]*conn) {
	for v := int16(1); v <= 3; v++ {
		for _, who := range []string{"owner", "renewer", "other", "maker", "viewer", "reader", "anonymous"} {
			for what, req := range map[string]*kmsg.DescribeDelegationTokenRequest{"all": describeTokens(), "none": describeTokens(""), "the owner's": describeTokens("token-owner"),
				"two users'": describeTokens("token-owner", "token-other"), "twice": describeTokens("token-owner", "token-owner"), "nobody's": describeTokens("token-nobody")} {
				by[who].delegated(fmt.Sprintf("%s: describe %s", who, what), v, req)
			}
		}
	}
	group := describeTokens("token-owner")
	group.Owners[0].PrincipalType = "Group"
	by["owner"].delegated("owner: describe a group's", 3, group)
}

// byToken logs in by a token, and asks as who has done so.
func (s *side) byToken(id string, secret []byte) {
	password := base64.StdEncoding.EncodeToString(secret)
	good := scram.Auth{User: id, Pass: password, IsToken: true}
	unmarked, wrong, unknown := good, good, good
	unmarked.IsToken, wrong.Pass, unknown.User = false, "wrong", "AAAAAAAAAAAAAAAAAAAAAA"
	for name, auth := range map[string]scram.Auth{"good": good, "not marked": unmarked, "wrong": wrong, "unknown": unknown} {
		s.logsIn("token, 256, "+name, 2, auth.AsSha256Mechanism())
		s.logsIn("token, 512, "+name, 2, auth.AsSha512Mechanism())
	}
	c := s.outside()
	defer c.close()
	c.by = good.AsSha512Mechanism()
	for v := int16(1); v <= 2; v++ {
		c.delegated("token: create", v, createToken(-1))
		c.delegated("token: renew", v, renewToken(secret, -1))
		c.delegated("token: expire", v, expireToken(secret, -1))
		c.delegated("token: describe", v, describeTokens())
	}
}

// renewsTokens: RenewDelegationToken and ExpireDelegationToken.
func (s *side) renewsTokens(by map[string]*conn, id string, secret []byte) {
	hour := time.Hour.Milliseconds()
	expires := func(ms int64) { // it is to be seen
		s.pollToken("token-owner", id, func(d *kmsg.DescribeDelegationTokenResponseTokenDetail) bool {
			return d != nil && d.ExpiryTimestamp == ms
		})
	}
	for v := int16(1); v <= 2; v++ {
		for _, who := range []string{"owner", "renewer", "other", "maker", "viewer", "anonymous"} {
			c := by[who]
			for _, ms := range []int64{hour, -1, 0, math.MaxInt64, math.MinInt64} {
				resp := c.delegated(fmt.Sprintf("%s: renew for ms: %d", who, ms), v, renewToken(secret, ms))
				if r, ok := resp.(*kmsg.RenewDelegationTokenResponse); ok && r.ErrorCode == 0 {
					expires(r.ExpiryTimestamp)
				}
			}
			for _, ms := range []int64{hour, 100 * 24 * hour, math.MaxInt64} {
				resp := c.delegated(fmt.Sprintf("%s: expire in ms: %d", who, ms), v, expireToken(secret, ms))
				if r, ok := resp.(*kmsg.ExpireDelegationTokenResponse); ok && r.ErrorCode == 0 {
					expires(r.ExpiryTimestamp)
				}
			}
			if who == "anonymous" {
				c.delegated(who+": expire now", v, expireToken(secret, -1))
			}
		}
		for what, bad := range map[string][]byte{"empty": {}, "of no token": bytes.Repeat([]byte{7}, 64), "cut": secret[:32]} {
			by["owner"].delegated("owner: renew, secret "+what, v, renewToken(bad, -1))
			by["owner"].delegated("owner: expire, secret "+what, v, expireToken(bad, -1))
		}
		by["owner"].delegated("owner: describe after renewals", v, describeTokens("token-owner"))
	}
	gone := func(id string) {
		s.pollToken("token-owner", id, func(d *kmsg.DescribeDelegationTokenResponseTokenDetail) bool { return d == nil })
	}
	for _, who := range []string{"owner", "renewer"} {
		id, secret := s.tokenOf(by["owner"].delegated(who+": create one to end", 3, createToken(-1, "User:token-renewer")))
		by["other"].delegated("other: expire now that of "+who, 2, expireToken(secret, -1))
		by[who].delegated(who+": expire now", 2, expireToken(secret, -1))
		gone(id)
		by[who].delegated(who+": expire again", 2, expireToken(secret, -1))
		by[who].delegated(who+": renew after the end", 2, renewToken(secret, -1))
	}
	id, secret = s.tokenOf(by["owner"].delegated("owner: create one that ends", 3, createToken(-1, "User:token-renewer")))
	ends, ok := by["owner"].delegated("owner: end in no time", 2, expireToken(secret, 0)).(*kmsg.ExpireDelegationTokenResponse)
	if !ok {
		s.must(errClosed)
	}
	expires(ends.ExpiryTimestamp)
	s.poll("the end of a token", func() bool { return time.Now().UnixMilli() > ends.ExpiryTimestamp+1 })
	by["owner"].delegated("owner: renew an ended one", 2, renewToken(secret, -1))
	by["other"].delegated("other: renew an ended one", 2, renewToken(secret, -1))
	by["owner"].delegated("owner: end an ended one later", 2, expireToken(secret, hour))
	by["owner"].delegated("owner: end an ended one now", 2, expireToken(secret, -1))
	gone(id)
}

// bearer is a login by OAUTHBEARER with a first message, and the second one after a refusal.
type bearer struct{ first string }

func (b bearer) Name() string { return "OAUTHBEARER" }

func (b bearer) Authenticate(context.Context, string) (sasl.Session, []byte, error) {
	return b, []byte(b.first), nil
}

func (b bearer) Challenge(answer []byte) (bool, []byte, error) {
	return len(answer) == 0, []byte{1}, nil
}

// bearersScript: logins by OAUTHBEARER, with tokens of an issuer whose keys both brokers have.
func bearersScript(s *side, by *kit.Issuer) {
	const header = `{"alg":"RS256","kid":"k"}`
	now := time.Now().Unix()
	claims := func(more string, from, to int64) string {
		return fmt.Sprintf(`{"iat":%d,"exp":%d%s}`, now+from, now+to, more)
	}
	const who, scope, us = `,"sub":"ann"`, `,"scope":"kafka"`, `,"aud":"varve"`
	sign := func(c string) string { return by.Sign(header, c, false) }
	good := sign(claims(who+scope+us, 0, 600))
	head, rest, _ := strings.Cut(good, ".")
	said, signature, _ := strings.Cut(rest, ".")
	tokens := map[string]string{
		"good":                      good,
		"forged":                    by.Token("ann", kit.TokenForged),
		"expired":                   by.Token("ann", kit.TokenExpired),
		"for somebody else":         by.Token("ann", kit.TokenMisdirected),
		"for several":               sign(claims(who+scope+`,"aud":["x","varve"]`, 0, 600)),
		"for several others":        sign(claims(who+scope+`,"aud":["x","y"]`, 0, 600)),
		"for nobody":                sign(claims(who+scope, 0, 600)),
		"without a user":            sign(claims(scope+us, 0, 600)),
		"with an empty user":        sign(claims(`,"sub":""`+scope+us, 0, 600)),
		"with a blank user":         sign(claims(`,"sub":" "`+scope+us, 0, 600)),
		"with a number for a user":  sign(claims(`,"sub":7`+scope+us, 0, 600)),
		"without a scope":           sign(claims(who+us, 0, 600)),
		"with a list of scopes":     sign(claims(who+`,"scope":["a","b"]`+us, 0, 600)),
		"with a number for a scope": sign(claims(who+`,"scope":7`+us, 0, 600)),
		"without an end":            sign(fmt.Sprintf(`{"iat":%d%s%s%s}`, now, who, scope, us)),
		"without a beginning":       sign(fmt.Sprintf(`{"exp":%d%s%s%s}`, now+600, who, scope, us)),
		"from the future":           sign(claims(who+scope+us, 300, 600)),
		"not yet":                   sign(claims(fmt.Sprintf(`,"nbf":%d`, now+300)+who+scope+us, 0, 600)),
		"that ends before it began": sign(claims(who+scope+us, 0, -400)),
		"by another issuer":         sign(claims(`,"iss":"somebody"`+who+scope+us, 0, 600)),
		"that ends in text":         sign(fmt.Sprintf(`{"iat":%d,"exp":"x"%s%s%s}`, now, who, scope, us)),
		"unsigned":                  base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + said + ".",
		"cut":                       head + "." + said,
		"with another's claims":     head + "." + base64.RawURLEncoding.EncodeToString([]byte(claims(`,"sub":"bob"`+scope+us, 0, 600))) + "." + signature,
		"by an unknown key":         by.Sign(`{"alg":"RS256","kid":"other"}`, claims(who+scope+us, 0, 600), false),
		"that names no key":         by.Sign(`{"alg":"RS256"}`, claims(who+scope+us, 0, 600), false),
		"by HMAC":                   by.Sign(`{"alg":"HS256","kid":"k"}`, claims(who+scope+us, 0, 600), false),
		"by another algorithm":      by.Sign(`{"alg":"RS512","kid":"k"}`, claims(who+scope+us, 0, 600), false),
		"of no claims":              sign(`{}`),
		"of junk":                   "junk",
		"of dots":                   "..",
	}
	message := func(token string) string { return "n,,\x01auth=Bearer " + token + "\x01\x01" }
	s.logsIn("token that ended in the skew", 2, bearer{message(sign(claims(who+scope+us, -600, -2)))})
	for name, token := range tokens {
		s.logsIn("token "+name, 2, bearer{message(token)})
	}
	for name, first := range map[string]string{
		"good, as itself":                 "n,a=ann,\x01auth=Bearer " + good + "\x01\x01",
		"good, as another":                "n,a=bob,\x01auth=Bearer " + good + "\x01\x01",
		"good, as nobody":                 "n,a=,\x01auth=Bearer " + good + "\x01\x01",
		"good, with an extension":         "n,,\x01auth=Bearer " + good + "\x01traceId=123\x01\x01",
		"good, with a bad extension":      "n,,\x01auth=Bearer " + good + "\x01trace=\x00\x01\x01",
		"good, with a number in its name": "n,,\x01auth=Bearer " + good + "\x01trace1=123\x01\x01",
		"good, an extension first":        "n,,\x01traceId=123\x01auth=Bearer " + good + "\x01\x01",
		"good, extension called auth":     "n,,\x01auth=Bearer " + good + "\x01auth=x\x01\x01",
		"good, in small letters":          "n,,\x01auth=bearer " + good + "\x01\x01",
		"good, another scheme":            "n,,\x01auth=Basic " + good + "\x01\x01",
		"good, no scheme":                 "n,,\x01auth=" + good + "\x01\x01",
		"good, no end":                    "n,,\x01auth=Bearer " + good + "\x01",
		"good, channel binding":           "p=tls-unique,,\x01auth=Bearer " + good + "\x01\x01",
		"good, flag y":                    "y,,\x01auth=Bearer " + good + "\x01\x01",
		"good, no head":                   "auth=Bearer " + good + "\x01\x01",
		"no auth":                         "n,,\x01\x01",
		"no token":                        "n,,\x01auth=Bearer \x01\x01",
		"nothing":                         "",
		"one byte":                        "\x01",
	} {
		s.logsIn("message "+name, 2, bearer{first})
	}
	for v := int16(0); v <= 2; v++ {
		s.logsIn("good", v, bearer{message(good)})
		s.logsIn("forged", v, bearer{message(tokens["forged"])})
	}
}
