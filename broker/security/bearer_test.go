package security

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/security/oauth"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// bearers is a listener with OAUTHBEARER, and what signs tokens for it.
func bearers(t *testing.T, maxReauthMs int64) (*Logins, func(user string, life time.Duration) string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	keys, err := json.Marshal(map[string]any{"keys": []any{map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}}})
	if err != nil {
		t.Fatal(err)
	}
	fs := memfs.New()
	if err := vfs.WriteFileAtomic(fs, "/keys", keys); err != nil {
		t.Fatal(err)
	}
	from := &config.Security{Mechanisms: []string{"OAUTHBEARER", "PLAIN"}, MaxReauthMs: maxReauthMs,
		OAuth: config.OAuth{JWKSURL: "file:///keys", RefreshMs: 3600_000, ScopeClaim: "scope", SubClaim: "sub", ClockSkewSeconds: 30}}
	v, err := oauth.New(oauth.Options{From: from.OAuth, FS: fs, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Failed: func() {}})
	if err != nil {
		t.Fatal(err)
	}
	return NewLogins(from, Users{Bearer: v}, time.Now), func(user string, life time.Duration) string {
		now := time.Now()
		s, err := jwt.NewWithClaims(jwt.SigningMethodES256, jwt.MapClaims{"sub": user, "iat": now.Unix(), "exp": now.Add(life).Unix()}).SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// tell is one message of a new login.
func tell(t *testing.T, l *Login, message string) (reply string, done bool, err error) {
	t.Helper()
	if err := l.Handshake("OAUTHBEARER"); err != nil {
		t.Fatal(err)
	}
	b, done, err := l.Token([]byte(message))
	return string(b), done, err
}

// A5: a token that is refused is answered with why, in JSON, and the client's next message fails.
func TestA5BearerTokenThatIsRefused(t *testing.T) {
	of, _ := bearers(t, 0)
	_, others := bearers(t, 0)
	for _, token := range []string{others("ann", time.Minute), "x", strings.Repeat("A", 1<<20)} {
		for _, kick := range []string{"\x01", "", "n,,\x01auth=Bearer x\x01\x01"} {
			l := of.New()
			reply, done, err := tell(t, l, "n,,\x01auth=Bearer "+token+"\x01\x01")
			if reply != `{"status":"invalid_token"}` || done || err != nil || l.Refused() == nil || l.Complete() {
				t.Fatalf("%.20s: %q, %v, %v", token, reply, done, err)
			}
			if strings.Contains(l.Refused().Error(), token) && len(token) > 1 {
				t.Errorf("the reason holds the token: %v", l.Refused())
			}
			if _, done, err := l.Token([]byte(kick)); done || !errors.Is(err, ErrCredentials) || !errors.Is(err, ErrTold) {
				t.Errorf("after %q: %v, %v", kick, done, err)
			}
		}
	}
}

// A5: the form of the first message, as RFC 7628 has it.
func TestA5BearerMessages(t *testing.T) {
	of, sign := bearers(t, 0)
	token := sign("a,b=c", time.Minute)
	auth := "auth=Bearer " + token + "\x01"
	for message, good := range map[string]bool{
		"n,,\x01" + auth + "\x01":                             true,
		"n,a=a=2Cb=3Dc,\x01" + auth + "\x01":                  true,
		"n,,\x01host=x\x01" + auth + "port=9\x01\x01":         true,
		"n,,\x01auth=bEARER  " + token + "\x01\x01":           true,
		"n,,\x01h=a b\tc\x01" + auth + "\x01":                 true,
		"n,,\x01h1=x\x01" + auth + "\x01":                     false,
		"n,,\x01h=\x00\x01" + auth + "\x01":                   false,
		"n,a=ann,\x01" + auth + "\x01":                        false,
		"n,a=,\x01" + auth + "\x01":                           false,
		"y,,\x01" + auth + "\x01":                             false,
		"p=tls-exporter,,\x01" + auth + "\x01":                false,
		"n,\x01" + auth + "\x01":                              false,
		"n,,\x01" + auth:                                      false,
		"n,,\x01" + auth + auth + "\x01":                      false,
		"n,,\x01auth=Basic " + token + "\x01\x01":             false,
		"n,,\x01auth=Bearer\x01\x01":                          false,
		"n,,\x01auth=Bearer \x01\x01":                         false,
		"n,,\x01\x01":                                         false,
		"n,,\x01host=x\x01\x01":                               false,
		"n,,\x01=x\x01" + auth + "\x01":                       false,
		"\x01":                                                false,
		"":                                                    false,
		"\x00ann\x00secret":                                   false,
		"n,,\x01" + auth + "\x01" + strings.Repeat("x", 9000): false,
	} {
		l := of.New()
		_, done, err := tell(t, l, message)
		if done != good || (err == nil) != good || err != nil && !errors.Is(err, ErrCredentials) {
			t.Errorf("%q: %v, %v", message, done, err)
		}
		if good && l.User().Name != "a,b=c" {
			t.Errorf("%q: logged in as %s", message, l.User())
		}
	}
}

// A6: a login holds as long as its token, and not above connections.max.reauth.ms.
func TestA6BearerLoginsEndWithTheirToken(t *testing.T) {
	for _, c := range []struct {
		most int64
		want time.Duration
	}{{0, time.Minute}, {5000, 5 * time.Second}, {3600_000, time.Minute}} {
		synctest.Test(t, func(t *testing.T) {
			of, sign := bearers(t, c.most)
			l := of.New()
			if _, done, err := tell(t, l, "n,,\x01auth=Bearer "+sign("ann", time.Minute)+"\x01\x01"); !done || err != nil {
				t.Fatal(done, err)
			}
			if l.LifetimeMs() != c.want.Milliseconds() || l.Expired() || !l.Renewable() {
				t.Errorf("at most %d ms: it holds for %d", c.most, l.LifetimeMs())
			}
			time.Sleep(c.want)
			if !l.Expired() {
				t.Error("it does not end")
			}
			if _, done, err := tell(t, l, "n,,\x01auth=Bearer "+sign("ann", 2*time.Hour)+"\x01\x01"); !done || err != nil || l.Expired() {
				t.Errorf("renewed: %v, %v", done, err)
			}
			time.Sleep(time.Second)
			if _, _, err := tell(t, l, "n,,\x01auth=Bearer "+sign("eve", time.Hour)+"\x01\x01"); !errors.Is(err, ErrChanged) {
				t.Errorf("another user: %v", err)
			}
		})
	}
}
