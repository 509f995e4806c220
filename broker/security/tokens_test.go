package security

import (
	"encoding/base64"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// Tokens are found by their secrets as they come and go, at a cost that does not grow with their number.
func TestFindToken(t *testing.T) {
	of, put := tokensOf(t, "key")
	var tokens []metadata.DelegationToken
	more := func(n int) {
		for range n {
			token := of.New(kafka.User("ann"), kafka.User("ann"), nil, -1)
			put(token)
			tokens = append(tokens, token)
		}
	}
	unknown := of.HMAC("no such token")
	cost := func() float64 {
		return testing.AllocsPerRun(100, func() {
			if _, ok := of.Find(unknown); ok {
				t.Error("found by a secret that no token has")
			}
		})
	}
	if cost() == 0 {
		t.Error("a look that allocates nothing is no measure")
	}
	more(1)
	few := cost()
	more(500)
	if many := cost(); many > few {
		t.Errorf("%v allocations to find nothing among 501 tokens, %v among 1", many, few)
	}
	for _, token := range tokens {
		if got, ok := of.Find(of.HMAC(token.ID)); !ok || got.ID != token.ID {
			t.Errorf("%s: found %+v, %v", token.ID, got, ok)
		}
	}
	renewed := tokens[7]
	renewed.ExpiryMs++
	put(renewed)
	if got, ok := of.Find(of.HMAC(renewed.ID)); !ok || got.ExpiryMs != renewed.ExpiryMs {
		t.Errorf("one that was renewed: %+v, %v", got, ok)
	}
	put(metadata.DelegationToken{ID: renewed.ID}) // takes it away
	if got, ok := of.Find(of.HMAC(renewed.ID)); ok {
		t.Errorf("one that is gone: %+v", got)
	}
}

// tokensOf is a broker with a key, and an image that a test fills; a token without an owner takes one away.
func tokensOf(t *testing.T, key string) (*Tokens, func(metadata.DelegationToken)) {
	t.Helper()
	img := &metadata.Image{}
	n := int64(0)
	from := config.DelegationTokens{SecretKey: key, MaxLifetimeMs: 10_000, ExpiryMs: 4000, CheckIntervalMs: 1000}
	return NewTokens(from, func() *metadata.Image { return img }, time.Now), func(token metadata.DelegationToken) {
		n++
		next, _, err := img.Apply(n, []metadata.Record{metadata.DelegationTokenRecord{DelegationToken: token, Remove: token.Owner.Name == ""}})
		if err != nil {
			t.Fatal(err)
		}
		img = next
	}
}

// A10: how long a token lives, who may renew and end it, and what an ended one answers.
func TestA10TokenTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of, _ := tokensOf(t, "key")
		ann, bob, eve := kafka.User("ann"), kafka.User("bob"), kafka.User("eve")
		now := of.NowMs()
		for asked, most := range map[int64]int64{-1: 10_000, 0: 10_000, 3000: 3000, 20_000: 10_000, math.MaxInt64: 10_000} {
			if got := of.New(ann, ann, nil, asked); got.IssuedMs != now || got.MaxMs != now+most || got.ExpiryMs != now+min(most, 4000) {
				t.Errorf("for %d: %+v", asked, got)
			}
		}
		token := of.New(ann, eve, []kafka.Principal{bob}, -1)
		time.Sleep(3 * time.Second)
		for _, by := range []kafka.Principal{ann, bob} {
			if got, err := of.Renew(token, by, -1); err != nil || got.ExpiryMs != now+7000 {
				t.Errorf("by %s: %+v, %v", by, got, err)
			}
		}
		if got, err := of.Renew(token, ann, 500); err != nil || got.ExpiryMs != now+3500 {
			t.Errorf("by half a second: %+v, %v", got, err)
		}
		if _, err := of.Renew(token, eve, -1); !errors.Is(err, kafka.DelegationTokenOwnerMismatch) {
			t.Errorf("by who asked for it: %v", err)
		}
		if _, _, err := of.Expire(token, eve, -1); !errors.Is(err, kafka.DelegationTokenOwnerMismatch) {
			t.Errorf("ended by who asked for it: %v", err)
		}
		if got, remove, err := of.Expire(token, bob, math.MaxInt64); err != nil || remove || got.ExpiryMs != token.MaxMs {
			t.Errorf("ended late: %+v, %v, %v", got, remove, err)
		}
		time.Sleep(1001 * time.Millisecond)
		if _, err := of.Renew(token, ann, -1); !errors.Is(err, kafka.DelegationTokenExpired) {
			t.Errorf("renewed too late: %v", err)
		}
		if _, _, err := of.Expire(token, ann, 0); !errors.Is(err, kafka.DelegationTokenExpired) {
			t.Errorf("ended too late: %v", err)
		}
		if _, remove, err := of.Expire(token, ann, -1); err != nil || !remove {
			t.Errorf("removed: %v, %v", remove, err)
		}
	})
}

// A10: a token logs in as its owner, by SCRAM with the token's secret, until it ends; with another
// key no more.
func TestA10TokensLogIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		of, put := tokensOf(t, "key")
		token := of.New(kafka.User("ann"), kafka.User("ops"), nil, -1)
		put(token)
		if got, ok := of.Find(of.HMAC(token.ID)); !ok || got.ID != token.ID {
			t.Errorf("found %+v, %v", got, ok)
		}
		if _, ok := of.Find(nil); ok {
			t.Error("found by no secret")
		}
		try := func(of *Tokens, id, secret string, asToken bool) (*Login, error) {
			logins := NewLogins(&config.Security{Mechanisms: []string{"SCRAM-SHA-256", "SCRAM-SHA-512"}}, Users{Tokens: of,
				Credential: func(string, metadata.ScramMechanism) (metadata.ScramCredential, bool) {
					return metadata.ScramCredential{}, false
				}}, time.Now)
			l := logins.New()
			auth := scram.Auth{User: id, Pass: secret, IsToken: asToken}
			if err := l.Handshake("SCRAM-SHA-512"); err != nil {
				t.Fatal(err)
			}
			session, out, err := auth.AsSha512Mechanism().Authenticate(t.Context(), "")
			for done := false; err == nil && !done; {
				var reply []byte
				if reply, done, err = l.Token(out); err == nil {
					_, out, err = session.Challenge(reply)
				}
			}
			return l, err
		}
		secret := base64.StdEncoding.EncodeToString(of.HMAC(token.ID))
		for range 2 { // the second time from what is remembered
			l, err := try(of, token.ID, secret, true)
			if err != nil || !l.ByToken() || l.User() != kafka.User("ann") || l.LifetimeMs() != 4000 {
				t.Fatalf("%v: %s for %d ms, by token %v", err, l.User(), l.LifetimeMs(), l.ByToken())
			}
		}
		rotated, put2 := tokensOf(t, "another key")
		put2(token)
		none, put3 := tokensOf(t, "")
		put3(token)
		for what, c := range map[string]struct {
			of         *Tokens
			id, secret string
			asToken    bool
		}{
			"another secret": {of, token.ID, secret + "x", true}, "no such token": {of, "x", secret, true}, "as a user": {of, token.ID, secret, false},
			"another key": {rotated, token.ID, secret, true}, "no key": {none, token.ID, secret, true},
		} {
			if l, err := try(c.of, c.id, c.secret, c.asToken); !errors.Is(err, ErrCredentials) || l.Complete() {
				t.Errorf("%s: %v", what, err)
			}
		}
		time.Sleep(4001 * time.Millisecond)
		if _, err := try(of, token.ID, secret, true); !errors.Is(err, ErrCredentials) {
			t.Errorf("an ended token: %v", err)
		}
	})
}
