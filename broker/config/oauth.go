package config

import (
	"net/url"
	"slices"
	"strings"
)

// OAuth is what a listener judges the tokens of OAUTHBEARER by.
type OAuth struct {
	JWKSURL                           string // of the keys of those who issue tokens: file, https or http
	RefreshMs                         int64
	RetryBackoffMs, RetryBackoffMaxMs int64
	ClockSkewSeconds                  int64
	Audience                          []string // one of which a token is for
	Issuer                            string   // "" for any
	ScopeClaim, SubClaim              string
	allowed                           []string
}

// DelegationTokens is what delegation tokens go by (KIP-48).
type DelegationTokens struct {
	SecretKey       string // "": there are none
	MaxLifetimeMs   int64  // of a token, however often it is renewed
	ExpiryMs        int64  // from when it was made, or renewed last
	CheckIntervalMs int64  // how often those that have ended are removed
}

// allowedURLs is a system property in Kafka, where it has this name as well.
const allowedURLs = "org.apache.kafka.sasl.oauthbearer.allowed.urls"

// withoutQueries hides the queries of the URLs that keys come from, which may hold a secret.
func withoutQueries(name, value string) string {
	if name != allowedURLs && !strings.HasSuffix(name, "sasl.oauthbearer.jwks.endpoint.url") {
		return value
	}
	items := strings.Split(value, ",")
	for i, item := range items {
		if url, _, found := strings.Cut(item, "?"); found {
			items[i] = url + "?[hidden]"
		}
	}
	return strings.Join(items, ",")
}

// newOAuth resolves the settings of a listener.
func newOAuth(get func(string) string) OAuth {
	const prefix = "sasl.oauthbearer."
	number := func(name string) int64 { return integer(get(prefix + name)) }
	return OAuth{
		JWKSURL: get(prefix + "jwks.endpoint.url"), RefreshMs: number("jwks.endpoint.refresh.ms"),
		RetryBackoffMs: number("jwks.endpoint.retry.backoff.ms"), RetryBackoffMaxMs: number("jwks.endpoint.retry.backoff.max.ms"),
		ClockSkewSeconds: number("clock.skew.seconds"), Audience: splitList(get(prefix + "expected.audience")), Issuer: get(prefix + "expected.issuer"),
		ScopeClaim: get(prefix + "scope.claim.name"), SubClaim: get(prefix + "sub.claim.name"), allowed: splitList(get(allowedURLs)),
	}
}

// check says what a listener with the mechanism lacks. The URL is named without what may be a
// secret in it.
func (o OAuth) check(l Listener) error {
	const name = "sasl.oauthbearer.jwks.endpoint.url"
	switch {
	case o.JWKSURL == "":
		return refuse(name, "Listener %s has the mechanism OAUTHBEARER and no keys to check tokens by: set %s to where the issuer has its JWKS", l.Name, name)
	case !slices.Contains(o.allowed, o.JWKSURL):
		return refuse(name, "The URL of %s is not allowed: add it, to the letter, to %s", name, allowedURLs)
	}
	return nil
}

var (
	jwksURL = Validator{"https://HOST/PATH, http://HOST/PATH or file:///PATH", func(v string) string {
		if v == "" {
			return ""
		}
		u, err := url.Parse(v)
		switch {
		case err != nil:
			return "Expected a URL such as https://issuer.example/keys or file:///etc/varve/keys.json"
		case u.User != nil:
			return "Keys are public: their URL needs no user and no password"
		case u.Scheme == "file" && u.Host == "" && u.Path != "" && u.RawQuery == "":
			return ""
		case (u.Scheme == "https" || u.Scheme == "http") && u.Host != "":
			return ""
		}
		return "Expected a URL such as https://issuer.example/keys or file:///etc/varve/keys.json"
	}}

	claimName = Validator{"the name of a claim", func(v string) string {
		if strings.TrimSpace(v) == "" {
			return "Expected the name of a claim"
		}
		return ""
	}}
)

// oauthSettings are the settings of the mechanism OAUTHBEARER. For one listener alone they may also
// be written as Kafka does, with the mechanism: listener.name.NAME.oauthbearer.sasl.oauthbearer.….
var oauthSettings = []Setting{
	{
		Name: "sasl.oauthbearer.jwks.endpoint.url", Type: String, Valid: jwksURL, Scope: NodeScope, PerListener: true, Importance: Medium,
		Since: "Kafka 3.1 (KIP-768)",
		Doc:   "Where the keys are by which tokens of OAUTHBEARER are checked, as a JWKS (RFC 7517): `https://…`, `http://…` or `file:///…`. `" + allowedURLs + "` has to list it.",
	}, {
		Name: allowedURLs, Type: List, Scope: NodeScope, Importance: Medium, Since: sinceVarve + "; a system property in Kafka 4.0",
		Doc: "The URLs that `sasl.oauthbearer.jwks.endpoint.url` may have, each to the letter. Not set: none.",
	}, {
		Name: "sasl.oauthbearer.jwks.endpoint.refresh.ms", Type: Long, Unit: Milliseconds, Default: "3600000", Valid: atLeast(1000), Scope: NodeScope,
		PerListener: true, Importance: Low, Since: "Kafka 3.1 (KIP-768)",
		Doc: "How often the keys are fetched again. A file is looked at every ten seconds, if that is less. A token whose key is not known has them fetched at once, every ten seconds at most.",
	}, {
		Name: "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", Type: Long, Unit: Milliseconds, Default: "100", Valid: atLeast(1), Scope: NodeScope,
		PerListener: true, Importance: Low, Since: "Kafka 3.1 (KIP-768)",
		Doc: "How long to wait after keys could not be fetched. It doubles each time.",
	}, {
		Name: "sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", Type: Long, Unit: Milliseconds, Default: "10000", Valid: atLeast(1), Scope: NodeScope,
		PerListener: true, Importance: Low, Since: "Kafka 3.1 (KIP-768)",
		Doc: "The longest of these waits. Keys that were fetched before stay in use.",
	}, {
		Name: "sasl.oauthbearer.clock.skew.seconds", Type: Int, Default: "30", Valid: between(0, 3600), Scope: NodeScope, PerListener: true,
		Importance: Low, Since: "Kafka 3.1 (KIP-768)",
		Doc: "By how much, in seconds, the issuer's clock may differ from the broker's.",
	}, {
		Name: "sasl.oauthbearer.expected.audience", Type: List, Scope: NodeScope, PerListener: true, Importance: High, Since: "Kafka 3.1 (KIP-768)",
		Doc: "The audiences one of which a token must be for (claim `aud`). Not set: tokens must not name any.",
	}, {
		Name: "sasl.oauthbearer.expected.issuer", Type: String, Scope: NodeScope, PerListener: true, Importance: High, Since: "Kafka 3.1 (KIP-768)",
		Doc: "Who must have issued a token (claim `iss`). Not set: anybody whose key is in the JWKS.",
	}, {
		Name: "sasl.oauthbearer.scope.claim.name", Type: String, Default: "scope", Valid: claimName, Scope: NodeScope, PerListener: true,
		Importance: Low, Since: "Kafka 3.1 (KIP-768)",
		Doc: "The claim with a token's scopes. A token without is good; one whose scopes are empty or named twice is not.",
	}, {
		Name: "sasl.oauthbearer.sub.claim.name", Type: String, Default: "sub", Valid: claimName, Scope: NodeScope, PerListener: true, Importance: Low,
		Since: "Kafka 3.1 (KIP-768)",
		Doc:   "The claim that names the user.",
	},
}

// delegationTokenSettings are the settings of delegation tokens.
var delegationTokenSettings = []Setting{
	{
		Name: "delegation.token.secret.key", Type: Password, Scope: NodeScope, Sensitive: true, Importance: Medium, Since: "Kafka 1.1 (KIP-48)",
		Doc: "What the secrets of delegation tokens are made by. Not set: there are none. A new one makes all tokens void.",
	}, {
		Name: "delegation.token.max.lifetime.ms", Type: Long, Unit: Milliseconds, Default: "604800000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 1.1 (KIP-48)",
		Doc: "How long a delegation token lives at most, however often it is renewed.",
	}, {
		Name: "delegation.token.expiry.time.ms", Type: Long, Unit: Milliseconds, Default: "86400000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Medium, Since: "Kafka 1.1 (KIP-48)",
		Doc: "How long a delegation token holds before it has to be renewed.",
	}, {
		Name: "delegation.token.expiry.check.interval.ms", Type: Long, Unit: Milliseconds, Default: "3600000", Valid: atLeast(1), Scope: NodeScope,
		Importance: Low, Since: "Kafka 1.1 (KIP-48)",
		Doc: "How often delegation tokens that have ended are removed. They let nobody in from the moment on at which they end.",
	},
}
