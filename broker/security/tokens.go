package security

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// maxTokenCredentials bounds what is remembered of tokens that have logged in.
const maxTokenCredentials = 10_000

// Tokens is what a broker goes by with delegation tokens (KIP-48): it makes them, says who may do
// what with one, and lets them log in. A token's secret is the HMAC of its id by
// delegation.token.secret.key, as in Kafka, so that a new key makes all tokens void. It may be
// used from any goroutine.
type Tokens struct {
	from  config.DelegationTokens
	image func() *metadata.Image
	now   func() time.Time
	salt  []byte // of credentials, by token

	mu struct {
		sync.Mutex
		credentials map[tokenMechanism]metadata.ScramCredential

		// The tokens of a picture of the cluster, by their secrets, for Find.
		indexed any // its DelegationTokenSet
		ids     map[secretKey]string
		keys    map[string]secretKey // by id: the same the other way round
	}
}

// secretKey stands for a token's secret in memory: how long a look for one takes tells nothing of the others.
type secretKey [sha512.Size]byte

type tokenMechanism struct {
	id        string
	mechanism metadata.ScramMechanism
}

// NewTokens prepares them. image is the newest picture of the cluster.
func NewTokens(from config.DelegationTokens, image func() *metadata.Image, now func() time.Time) *Tokens {
	t := &Tokens{from: from, image: image, now: now}
	t.salt = t.HMAC("salt of credentials") // no id looks like this
	return t
}

// Enabled says whether there are delegation tokens at all: whether there is a key.
func (t *Tokens) Enabled() bool { return t.from.SecretKey != "" }

// HMAC is the secret of the token with an id, which its owner has.
func (t *Tokens) HMAC(id string) []byte {
	h := hmac.New(sha512.New, []byte(t.from.SecretKey))
	h.Write([]byte(id))
	return h.Sum(nil)
}

// Find is the token with a secret. It costs the same however many tokens there are, and an HMAC more for each
// that came since the last call.
func (t *Tokens) Find(secret []byte) (metadata.DelegationToken, bool) {
	img, key := t.image(), t.secretKey(secret)
	t.mu.Lock()
	t.indexLocked(img)
	id, ok := t.mu.ids[key]
	t.mu.Unlock()
	if !ok || !hmac.Equal(t.HMAC(id), secret) {
		return metadata.DelegationToken{}, false
	}
	return img.DelegationToken(id)
}

// secretKey is what a secret is looked for by.
func (t *Tokens) secretKey(secret []byte) (key secretKey) {
	h := hmac.New(sha512.New, t.salt)
	h.Write(secret)
	h.Sum(key[:0])
	return key
}

// indexLocked brings the index to the tokens of img.
func (t *Tokens) indexLocked(img *metadata.Image) {
	set := img.DelegationTokenSet()
	if set == t.mu.indexed {
		return
	}
	was := t.mu.keys
	t.mu.indexed, t.mu.ids, t.mu.keys = set, make(map[secretKey]string), make(map[string]secretKey)
	for token := range img.DelegationTokens() {
		key, known := was[token.ID]
		if !known {
			key = t.secretKey(t.HMAC(token.ID))
		}
		t.mu.ids[key], t.mu.keys[token.ID] = token.ID, key
	}
}

// NowMs is the time that tokens go by, in Unix milliseconds.
func (t *Tokens) NowMs() int64 { return t.now().UnixMilli() }

// New is a token that begins now. It lives for at most maxLifetimeMs, if that is more than 0, and
// for at most what the settings say.
func (t *Tokens) New(owner, requester kafka.Principal, renewers []kafka.Principal, maxLifetimeMs int64) metadata.DelegationToken {
	now, most := t.NowMs(), t.from.MaxLifetimeMs
	if maxLifetimeMs > 0 {
		most = min(most, maxLifetimeMs)
	}
	end := later(now, most)
	return metadata.DelegationToken{
		ID: kafka.NewUUID().String(), Owner: owner, Requester: requester, Renewers: renewers,
		IssuedMs: now, MaxMs: end, ExpiryMs: min(end, later(now, t.from.ExpiryMs)),
	}
}

// Renew is a token that ends later, if by may renew it: periodMs from now, if that is more than 0,
// and no later than the settings and the token's own end allow.
// Source: Kafka's DelegationTokenControlManager.
func (t *Tokens) Renew(token metadata.DelegationToken, by kafka.Principal, periodMs int64) (metadata.DelegationToken, error) {
	now, period := t.NowMs(), t.from.ExpiryMs
	switch {
	case token.Expired(now):
		return token, kafka.DelegationTokenExpired
	case !token.RenewableBy(by):
		return token, kafka.DelegationTokenOwnerMismatch
	case periodMs > 0:
		period = min(period, periodMs)
	}
	token.ExpiryMs = min(token.MaxMs, later(now, period))
	return token, nil
}

// Expire is a token that ends periodMs from now, or now and for good if that is negative.
func (t *Tokens) Expire(token metadata.DelegationToken, by kafka.Principal, periodMs int64) (_ metadata.DelegationToken, remove bool, err error) {
	now := t.NowMs()
	switch {
	case !token.RenewableBy(by):
		return token, false, kafka.DelegationTokenOwnerMismatch
	case periodMs < 0:
		token.ExpiryMs = now
		return token, true, nil
	case token.Expired(now):
		return token, false, kafka.DelegationTokenExpired
	}
	token.ExpiryMs = min(token.MaxMs, later(now, periodMs))
	return token, false, nil
}

func later(ms, by int64) int64 {
	if ms > math.MaxInt64-by {
		return math.MaxInt64
	}
	return ms + by
}

// credential is what a token logs in by: its id is the user, and its secret in base64 the password.
// It is worked out once per token, and not for ids that are made up.
func (t *Tokens) credential(id string, m metadata.ScramMechanism) (metadata.ScramCredential, metadata.DelegationToken, bool) {
	token, ok := t.image().DelegationToken(id)
	if !t.Enabled() || !ok || token.Expired(t.NowMs()) {
		return metadata.ScramCredential{}, token, false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	key := tokenMechanism{id, m}
	c, ok := t.mu.credentials[key]
	if ok {
		return c, token, true
	}
	h := hmac.New(sha512.New, t.salt)
	fmt.Fprintf(h, "%s %s", m, id)
	c, err := saltedCredential(id, m, base64.StdEncoding.EncodeToString(t.HMAC(id)), h.Sum(nil)[:saltBytes], MinIterations)
	if err != nil {
		return c, token, false
	}
	if t.mu.credentials == nil || len(t.mu.credentials) >= maxTokenCredentials {
		t.mu.credentials = make(map[tokenMechanism]metadata.ScramCredential)
	}
	t.mu.credentials[key] = c
	return c, token, true
}
