package security

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// logins is a listener with PLAIN and SCRAM, whose users are alice of SCRAM and bob of PLAIN.
func logins(t *testing.T, maxReauthMs int64) *Logins {
	t.Helper()
	users := map[metadata.ScramMechanism]metadata.ScramCredential{}
	for _, m := range []metadata.ScramMechanism{metadata.ScramSHA256, metadata.ScramSHA512} {
		c, err := NewScramCredential("alice", m, "alice-secret", MinIterations)
		if err != nil {
			t.Fatal(err)
		}
		users[m] = c
	}
	from := &config.Security{
		Mechanisms: []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"}, PlainUsers: map[string]string{"bob": "bob-secret", "nobody": ""},
		MaxReauthMs: maxReauthMs,
	}
	return NewLogins(from, Users{Credential: func(user string, m metadata.ScramMechanism) (metadata.ScramCredential, bool) {
		c, ok := users[m]
		return c, ok && user == c.User
	}}, time.Now)
}

// talk runs a client of SCRAM against a login, each message changed by meddle on its way.
func talk(t *testing.T, l *Login, mechanism, user, password string, meddle func(step int, token string) string) (done bool, err error) {
	t.Helper()
	if err := l.Handshake(mechanism); err != nil {
		t.Fatal(err)
	}
	auth := scram.Auth{User: user, Pass: password}
	client := map[string]sasl.Mechanism{"SCRAM-SHA-256": auth.AsSha256Mechanism(), "SCRAM-SHA-512": auth.AsSha512Mechanism()}[mechanism]
	session, token, err := client.Authenticate(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for step := 0; ; step++ {
		if meddle != nil {
			token = []byte(meddle(step, string(token)))
		}
		out, done, err := l.Token(token)
		if err != nil {
			return false, err
		}
		believed, next, err := session.Challenge(out)
		if err != nil || believed != done {
			t.Fatalf("the client does not believe the server: %v", err)
		}
		if done {
			return true, nil
		}
		token = next
	}
}

// A5: the exchange of RFC 7677, 3, byte for byte, and the same one with SHA-512, for which no RFC has
// an example (its proof and signature are those of Python's hashlib).
func TestA5ScramVectors(t *testing.T) {
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	const nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	for m, want := range map[metadata.ScramMechanism][2]string{
		metadata.ScramSHA256: {"dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="},
		metadata.ScramSHA512: {
			"gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
			"ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
		},
	} {
		of := NewLogins(&config.Security{Mechanisms: []string{m.String()}}, Users{Credential: func(user string, m metadata.ScramMechanism) (metadata.ScramCredential, bool) {
			c, err := saltedCredential(user, m, "pencil", salt, 4096)
			return c, err == nil && user == "user"
		}}, time.Now)
		of.nonce = func() string { return nonce[20:] }
		l := of.New()
		if err := l.Handshake(m.String()); err != nil {
			t.Fatal(err)
		}
		for _, step := range [][2]string{
			{"n,,n=user,r=" + nonce[:20], "r=" + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"},
			{"c=biws,r=" + nonce + ",p=" + want[0], "v=" + want[1]},
		} {
			got, _, err := l.Token([]byte(step[0]))
			if err != nil || string(got) != step[1] {
				t.Fatalf("%s: %s: %s, %v; want %s", m, step[0], got, err, step[1])
			}
		}
		if l.User() != kafka.User("user") || !l.Complete() {
			t.Errorf("%s: logged in as %s", m, l.User())
		}
	}
}

// A5: whoever is in the middle and names a weaker mechanism than the client chose gets nowhere: what
// was proved for one is no proof for another, and one that is not enabled is refused.
func TestA5DowngradedMechanism(t *testing.T) {
	of := logins(t, 0)
	l := of.New()
	if err := l.Handshake("SCRAM-SHA-256"); err != nil {
		t.Fatal(err)
	}
	auth := scram.Auth{User: "alice", Pass: "alice-secret"}
	session, token, err := auth.AsSha512Mechanism().Authenticate(t.Context(), "")
	for done := false; err == nil && !done; {
		var reply []byte
		if reply, done, err = l.Token(token); err == nil {
			_, token, err = session.Challenge(reply)
		}
	}
	if !errors.Is(err, ErrCredentials) || l.Complete() {
		t.Errorf("a proof by SHA-512 for SHA-256: %v", err)
	}
	l = of.New()
	if err := l.Handshake("PLAIN"); err != nil {
		t.Fatal(err)
	}
	if _, done, err := l.Token([]byte("n,,n=alice,r=x")); done || !errors.Is(err, ErrCredentials) {
		t.Errorf("a message of SCRAM for PLAIN: %v", err)
	}
	if err := NewLogins(&config.Security{Mechanisms: []string{"SCRAM-SHA-512"}}, Users{}, time.Now).New().Handshake("SCRAM-SHA-256"); !errors.Is(err, ErrMechanism) {
		t.Errorf("a mechanism that is not enabled: %v", err)
	}
}

// A5: an unknown user, a wrong password and a meddled exchange fail in the same way.
func TestA5LoginsThatFailLookAlike(t *testing.T) {
	of := logins(t, 0)
	cut := func(at int) func(int, string) string {
		return func(step int, token string) string {
			if step == at {
				return token[:len(token)/2]
			}
			return token
		}
	}
	change := func(at int, from, to string) func(int, string) string {
		return func(step int, token string) string {
			if step == at {
				return strings.Replace(token, from, to, 1)
			}
			return token
		}
	}
	var replayed string
	keep := func(step int, token string) string { replayed = token; return token }
	if done, err := talk(t, of.New(), "SCRAM-SHA-256", "alice", "alice-secret", keep); !done || err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct {
		mechanism, user, password string
		meddle                    func(int, string) string
	}{
		"wrong password":      {"SCRAM-SHA-512", "alice", "other", nil},
		"unknown user":        {"SCRAM-SHA-512", "mallory", "alice-secret", nil},
		"user of PLAIN":       {"SCRAM-SHA-256", "bob", "bob-secret", nil},
		"no user":             {"SCRAM-SHA-256", "alice", "alice-secret", change(0, "n=alice", "n=")},
		"truncated proof":     {"SCRAM-SHA-256", "alice", "alice-secret", cut(1)},
		"another nonce":       {"SCRAM-SHA-256", "alice", "alice-secret", change(1, ",p=", "x,p=")},
		"another binding":     {"SCRAM-SHA-256", "alice", "alice-secret", change(1, "c=biws", "c=eSws")},
		"acts as another":     {"SCRAM-SHA-256", "alice", "alice-secret", change(0, "n,,", "n,a=root,")},
		"channel binding":     {"SCRAM-SHA-256", "alice", "alice-secret", change(0, "n,,", "p=tls-unique,,")},
		"a delegation token":  {"SCRAM-SHA-256", "alice", "alice-secret", func(step int, token string) string { return token + []string{",tokenauth=true", ""}[step] }},
		"a bad escape":        {"SCRAM-SHA-256", "alice", "alice-secret", change(0, "n=alice", "n=alice=2X")},
		"nothing":             {"SCRAM-SHA-256", "alice", "alice-secret", func(int, string) string { return "" }},
		"a replayed proof":    {"SCRAM-SHA-256", "alice", "alice-secret", func(step int, token string) string { return []string{token, replayed}[min(step, 1)] }},
		"a proof of no bytes": {"SCRAM-SHA-256", "alice", "alice-secret", func(step int, token string) string { return token[:len(token)-step*44] }},
	} {
		if done, err := talk(t, of.New(), try.mechanism, try.user, try.password, try.meddle); done || err != ErrCredentials {
			t.Errorf("%s: %v, %v; want just %v", name, done, err, ErrCredentials)
		}
	}
	for _, token := range []string{"\x00bob\x00other", "\x00mallory\x00bob-secret", "\x00nobody\x00", "root\x00bob\x00bob-secret", "bob\x00bob-secret", "", "\x00\x00", "\x00bob\x00bob-secret\x00"} {
		l := of.New()
		if err := l.Handshake("PLAIN"); err != nil {
			t.Fatal(err)
		}
		if _, done, err := l.Token([]byte(token)); done || err != ErrCredentials {
			t.Errorf("PLAIN %q: %v, %v", token, done, err)
		}
	}
	if err := of.New().Handshake("GSSAPI"); !errors.Is(err, ErrMechanism) {
		t.Errorf("GSSAPI: %v", err)
	}
	if _, _, err := of.New().Token([]byte("x")); !errors.Is(err, ErrOrder) {
		t.Errorf("a token without a handshake: %v", err)
	}
}

// A client may name its own user as the one to act as, and then bind to that or, as some do, to nothing.
func TestActsAsItself(t *testing.T) {
	of := logins(t, 0)
	for _, binding := range []string{"c=biws", "c=" + base64.StdEncoding.EncodeToString([]byte("n,a=alice,"))} {
		l := of.New()
		if err := l.Handshake("SCRAM-SHA-256"); err != nil {
			t.Fatal(err)
		}
		first, _, err := l.Token([]byte("n,a=alice,n=alice,r=abc"))
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Split(string(first), ",")
		salt, _ := base64.StdEncoding.DecodeString(f[1][2:])
		iterations, _ := strconv.Atoi(f[2][2:])
		salted, _ := pbkdf2.Key(sha256.New, "alice-secret", salt, iterations, 32)
		mac := func(key []byte, text string) []byte {
			h := hmac.New(sha256.New, key)
			h.Write([]byte(text))
			return h.Sum(nil)
		}
		said := binding + "," + f[0]
		key := mac(salted, "Client Key")
		stored := sha256.Sum256(key)
		subtle.XORBytes(key, key, mac(stored[:], "n=alice,r=abc,"+string(first)+","+said))
		if _, done, err := l.Token([]byte(said + ",p=" + base64.StdEncoding.EncodeToString(key))); !done || err != nil {
			t.Errorf("%s: %v, %v", binding, done, err)
		}
	}
}

// The salt of a user that is not there stays the same, as that of one who is does.
func TestDecoysStayTheSame(t *testing.T) {
	of := logins(t, 0)
	one, two, other := of.decoy("mallory", metadata.ScramSHA256), of.decoy("mallory", metadata.ScramSHA256), of.decoy("eve", metadata.ScramSHA256)
	if string(one.Salt) != string(two.Salt) || string(one.Salt) == string(other.Salt) || len(one.Salt) != saltBytes {
		t.Errorf("salts %x, %x, %x", one.Salt, two.Salt, other.Salt)
	}
}

// A6: a login holds for connections.max.reauth.ms, and is renewed by the same user and mechanism only.
func TestA6LoginsAreRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := logins(t, 5000).New()
		if done, err := talk(t, l, "SCRAM-SHA-512", "alice", "alice-secret", nil); !done || err != nil {
			t.Fatal(err)
		}
		if l.Expired() || !l.Renewable() || l.LifetimeMs() != 5000 {
			t.Errorf("expired %v, renewable %v, for %d ms", l.Expired(), l.Renewable(), l.LifetimeMs())
		}
		time.Sleep(5 * time.Second)
		if !l.Expired() {
			t.Error("it does not end")
		}
		if done, err := talk(t, l, "SCRAM-SHA-512", "alice", "alice-secret", nil); !done || err != nil || l.Expired() {
			t.Errorf("renewed: %v, %v", done, err)
		}
		if l.Renewable() {
			t.Error("renewable at once")
		}
		time.Sleep(time.Second)
		if !l.Renewable() {
			t.Error("not renewable after a second")
		}
		if err := l.Handshake("PLAIN"); err != nil {
			t.Fatal(err)
		}
		if _, _, err := l.Token([]byte("\x00alice\x00alice-secret")); !errors.Is(err, ErrChanged) {
			t.Errorf("another mechanism: %v", err)
		}
	})
}
