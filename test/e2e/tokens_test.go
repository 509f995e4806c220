package e2e

import (
	"encoding/base64"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/varve-io/varve/broker/brokertest"
)

// TestA10DelegationTokens: who may make, see, renew and end tokens, and log in by them.
func TestA10DelegationTokens(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "users"), []byte("ann:a\nbob:b\neve:e\nops:o\n"))
	node := brokertest.Node{Dir: dir, Set: []string{"listeners=SASL_PLAINTEXT://127.0.0.1:0"}, YAML: `
varve.users.file: ` + dir + `/users
connection.failed.authentication.delay.ms: 20
authorizer.class.name: org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users: User:ops
delegation.token.secret.key: the-key
delegation.token.expiry.check.interval.ms: 50
`}
	n := node.Start(t)
	without := node
	without.Dir, without.YAML = t.TempDir(), strings.Replace(node.YAML, "delegation.token.secret.key: the-key", "", 1)
	none, err := ask(t, without.Start(t).Addr("SASL_PLAINTEXT"), nil, scram.Auth{User: "ann", Pass: "a"}.AsSha512Mechanism())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := none.CreateDelegationToken(t.Context(), kadm.CreateDelegationToken{}); !errors.Is(err, kerr.DelegationTokenAuthDisabled) {
		t.Errorf("without a key: %v", err)
	}
	if _, err := none.DescribeDelegationTokens(t.Context()); !errors.Is(err, kerr.DelegationTokenAuthDisabled) {
		t.Errorf("described without a key: %v", err)
	}
	addr := n.Addr("SASL_PLAINTEXT")
	as := func(m sasl.Mechanism) *kadm.Client {
		t.Helper()
		c, err := ask(t, addr, nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	user := func(name string) *kadm.Client {
		return as(scram.Auth{User: name, Pass: name[:1]}.AsSha512Mechanism())
	}
	by := func(d kadm.DelegationToken) sasl.Mechanism {
		return scram.Auth{User: d.TokenID, Pass: base64.StdEncoding.EncodeToString(d.HMAC), IsToken: true}.AsSha256Mechanism()
	}
	principal := func(name string) *kadm.Principal { return &kadm.Principal{Type: "User", Name: name} }
	ann, bob, eve, ops := user("ann"), user("bob"), user("eve"), user("ops")
	ctx := t.Context()
	token, err := ann.CreateDelegationToken(ctx, kadm.CreateDelegationToken{Renewers: []kadm.Principal{*principal("bob")}, MaxLifetime: time.Hour})
	if err != nil || token.Owner != *principal("ann") || token.MaxTimestamp.Sub(token.IssueTimestamp) != time.Hour || len(token.HMAC) != 64 {
		t.Fatalf("%+v, %v", token, err)
	}
	if _, err := eve.CreateDelegationToken(ctx, kadm.CreateDelegationToken{Owner: principal("ann")}); !errors.Is(err, kerr.DelegationTokenAuthorizationFailed) {
		t.Errorf("eve makes one for ann: %v", err)
	}
	if made, err := ops.CreateDelegationToken(ctx, kadm.CreateDelegationToken{Owner: principal("bob")}); err != nil || made.Owner.Name != "bob" || made.TokenRequesterPrincipal.Name != "ops" {
		t.Errorf("ops makes one for bob: %+v, %v", made, err)
	}
	for name, c := range map[string]struct {
		by   *kadm.Client
		want int
	}{"ann": {ann, 1}, "bob": {bob, 2}, "eve": {eve, 0}, "ops": {ops, 2}} {
		if list, err := c.by.DescribeDelegationTokens(ctx); err != nil || len(list) != c.want {
			t.Errorf("%s sees %+v, %v", name, list, err)
		}
	}
	if list, err := ops.DescribeDelegationTokens(ctx, *principal("ann")); err != nil || len(list) != 1 || string(list[0].HMAC) != string(token.HMAC) {
		t.Errorf("ann's are %+v, %v", list, err)
	}
	if _, err := eve.RenewDelegationToken(ctx, token.HMAC, time.Minute); !errors.Is(err, kerr.DelegationTokenOwnerMismatch) {
		t.Errorf("eve renews: %v", err)
	}
	if _, err := bob.RenewDelegationToken(ctx, []byte("made up"), time.Minute); !errors.Is(err, kerr.DelegationTokenNotFound) {
		t.Errorf("a secret that is made up: %v", err)
	}
	if at, err := bob.RenewDelegationToken(ctx, token.HMAC, time.Minute); err != nil || time.Until(at) > time.Minute {
		t.Errorf("bob renews: %v, %v", at, err)
	}
	guest := as(by(token))
	if _, err := guest.CreateDelegationToken(ctx, kadm.CreateDelegationToken{}); !errors.Is(err, kerr.DelegationTokenRequestNotAllowed) {
		t.Errorf("a token makes a token: %v", err)
	}
	if _, err := guest.RenewDelegationToken(ctx, token.HMAC, time.Minute); !errors.Is(err, kerr.DelegationTokenRequestNotAllowed) {
		t.Errorf("a token renews itself: %v", err)
	}
	if _, err := bob.ExpireDelegationToken(ctx, token.HMAC, -time.Millisecond); err != nil {
		t.Errorf("bob ends it: %v", err)
	}
	if _, err := ask(t, addr, nil, by(token)); err == nil {
		t.Error("a token that was ended logs in")
	}
	short, err := ann.CreateDelegationToken(ctx, kadm.CreateDelegationToken{MaxLifetime: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; { // until it is swept
		if list, err := ann.DescribeDelegationTokens(ctx); err != nil || len(list) == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%+v stay, %v", list, err)
		}
	}
	if _, err := ann.RenewDelegationToken(ctx, short.HMAC, time.Minute); !errors.Is(err, kerr.DelegationTokenNotFound) && !errors.Is(err, kerr.DelegationTokenExpired) {
		t.Errorf("renewed after its end: %v", err)
	}
}
