package oauth

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/vfs"
	"github.com/varve-io/varve/broker/vfs/memfs"
)

// issuer signs tokens by keys that it makes itself.
type issuer struct {
	t    *testing.T
	rsa  *rsa.PrivateKey
	ec   map[string]*ecdsa.PrivateKey
	list []map[string]string
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{t: t, ec: map[string]*ecdsa.PrivateKey{}}
	var err error
	if i.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	i.list = append(i.list, map[string]string{"kty": "RSA", "kid": "r", "use": "sig", "n": b64(i.rsa.N.Bytes()), "e": "AQAB"})
	for name, curve := range map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, err := k.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		size := (len(point) - 1) / 2
		i.ec[name] = k
		i.list = append(i.list, map[string]string{"kty": "EC", "kid": name, "crv": curve.Params().Name, "x": b64(point[1 : 1+size]), "y": b64(point[1+size:])})
	}
	return i
}

func (i *issuer) jwks() []byte {
	b, err := json.Marshal(map[string]any{"keys": i.list})
	if err != nil {
		i.t.Fatal(err)
	}
	return b
}

// claims are good ones, with others in their place.
func claims(other ...any) jwt.MapClaims {
	now := time.Now().Unix()
	c := jwt.MapClaims{"sub": "ann", "iat": now, "exp": now + 60, "iss": "me", "aud": "varve"}
	for i := 0; i < len(other); i += 2 {
		if c[other[i].(string)] = other[i+1]; other[i+1] == nil {
			delete(c, other[i].(string))
		}
	}
	return c
}

func (i *issuer) sign(alg string, c jwt.MapClaims, header ...any) string {
	i.t.Helper()
	t := jwt.NewWithClaims(jwt.GetSigningMethod(alg), c)
	var by any = i.rsa
	t.Header["kid"] = "r"
	if k := i.ec[alg]; k != nil {
		by, t.Header["kid"] = k, alg
	}
	for n := 0; n < len(header); n += 2 {
		if t.Header[header[n].(string)] = header[n+1]; header[n+1] == nil {
			delete(t.Header, header[n].(string))
		}
	}
	switch {
	case alg == "none":
		by = jwt.UnsafeAllowNoneSignatureType
	case alg[:2] == "HS": // the public key as a secret: what a broker that asks the token for its algorithm would accept
		by = i.rsa.N.Bytes()
	}
	s, err := t.SignedString(by)
	if err != nil {
		i.t.Fatal(err)
	}
	return s
}

// options are those of a listener with keys in a file.
func options(t *testing.T, keys []byte) Options {
	t.Helper()
	fs := memfs.New()
	if err := vfs.WriteFileAtomic(fs, "/keys.json", keys); err != nil {
		t.Fatal(err)
	}
	return Options{FS: fs, Now: time.Now, Logger: slog.New(slog.DiscardHandler), Failed: func() {}, From: config.OAuth{
		JWKSURL: "file:///keys.json", RefreshMs: 3600_000, RetryBackoffMs: 100, RetryBackoffMaxMs: 10_000, ClockSkewSeconds: 30,
		Audience: []string{"other", "varve"}, Issuer: "me", ScopeClaim: "scope", SubClaim: "sub",
	}}
}

// Row 49: tokens that are good, and each way in which one is not; what is wrong is said without the token.
func TestTokens(t *testing.T) {
	is := newIssuer(t)
	v, err := New(options(t, is.jwks()))
	if err != nil {
		t.Fatal(err)
	}
	for _, alg := range algorithms {
		got, err := v.Verify(is.sign(alg, claims()))
		if err != nil || got.User != "ann" || time.Until(got.Expires) > time.Minute || time.Until(got.Expires) < 50*time.Second {
			t.Errorf("%s: %+v, %v", alg, got, err)
		}
	}
	now := time.Now().Unix()
	good := is.sign("RS256", claims())
	parts := strings.Split(good, ".")
	other := newIssuer(t)
	for name, c := range map[string]struct{ token, why string }{
		"within the skew":           {is.sign("RS256", claims("exp", now-20)), ""},
		"scopes":                    {is.sign("RS256", claims("scope", []string{"a", "b"})), ""},
		"one scope":                 {is.sign("RS256", claims("scope", "a b")), ""},
		"audiences":                 {is.sign("RS256", claims("aud", []string{"x", "varve"})), ""},
		"expired":                   {is.sign("RS256", claims("exp", now-31)), "expired"},
		"no end":                    {is.sign("RS256", claims("exp", nil)), "required claim"},
		"an end in words":           {is.sign("RS256", claims("exp", "tomorrow")), "invalid claims"},
		"no beginning":              {is.sign("RS256", claims("iat", nil)), "iat"},
		"not yet":                   {is.sign("RS256", claims("nbf", now+60)), "not valid yet"},
		"another issuer":            {is.sign("RS256", claims("iss", "you")), "issuer"},
		"no issuer":                 {is.sign("RS256", claims("iss", nil)), "required claim"},
		"another audience":          {is.sign("RS256", claims("aud", "varv")), "audience"},
		"no audience":               {is.sign("RS256", claims("aud", nil)), "audience"},
		"no user":                   {is.sign("RS256", claims("sub", nil)), "user"},
		"an empty user":             {is.sign("RS256", claims("sub", " ")), "user"},
		"a user that is a number":   {is.sign("RS256", claims("sub", 7)), "user"},
		"an empty scope":            {is.sign("RS256", claims("scope", "")), "scopes"},
		"a scope twice":             {is.sign("RS256", claims("scope", []string{"a", "a"})), "scopes"},
		"not signed":                {is.sign("none", claims()), "signature"},
		"by the public key":         {is.sign("HS256", claims()), "signature"},
		"by another key":            {other.sign("RS256", claims()), "signature"},
		"by a key of another name":  {is.sign("RS256", claims(), "kid", "q"), `"q"`},
		"by a key of another kind":  {is.sign("RS256", claims(), "kid", "ES256"), "JWKS"},
		"by no key, more than one":  {is.sign("RS256", claims(), "kid", nil), ""}, // one is RSA
		"a name too long":           {is.sign("RS256", claims(), "kid", strings.Repeat("k", maxKeyID+1)), "too long"},
		"extensions":                {is.sign("RS256", claims(), "crit", []string{"x"}), "crit"},
		"a changed signature":       {good[:len(good)-6] + "AAAAAA", "signature"},
		"no signature":              {parts[0] + "." + parts[1] + ".", "signature"},
		"half":                      {good[:len(good)/2], "malformed"},
		"nothing":                   {"", "malformed"},
		"no base64":                 {"~." + parts[1] + "." + parts[2], "malformed"},
		"no JSON":                   {b64([]byte("x")) + "." + parts[1] + "." + parts[2], "malformed"},
		"too many bytes":            {parts[0] + "." + strings.Repeat("A", 1<<20) + "." + parts[2], "bytes"},
		"deeper than anybody needs": {parts[0] + "." + b64([]byte(strings.Repeat("[", 20_000))) + "." + parts[2], "malformed"},
	} {
		_, err := v.Verify(c.token)
		if (err == nil) != (c.why == "") || err != nil && (!strings.Contains(err.Error(), c.why) || !errors.Is(err, errToken)) {
			t.Errorf("%s: %v; want %q", name, err, c.why)
		}
		if err != nil && (strings.Contains(err.Error(), "ann") || len(parts) > 2 && strings.Contains(err.Error(), parts[1][:20])) {
			t.Errorf("%s: the error tells of the token: %v", name, err)
		}
	}
}

// A forged megabyte costs nothing: it is refused unread.
func TestALongTokenCostsNothing(t *testing.T) {
	v, err := New(options(t, newIssuer(t).jwks()))
	if err != nil {
		t.Fatal(err)
	}
	token := strings.Repeat("A.", 1<<19)
	if n := testing.AllocsPerRun(10, func() { _, err = v.Verify(token) }); n > 10 || err == nil {
		t.Errorf("%v allocations, %v", n, err)
	}
}

func TestNoAudienceMeansNone(t *testing.T) {
	is := newIssuer(t)
	o := options(t, is.jwks())
	o.From.Audience, o.From.Issuer, o.From.SubClaim = nil, "", "who"
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Verify(is.sign("RS256", claims("who", "x"))); err == nil {
		t.Error("a token for somebody else is good for a broker that expects none")
	}
	if got, err := v.Verify(is.sign("PS512", claims("aud", nil, "iss", nil, "who", "eve"))); err != nil || got.User != "eve" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestKeys(t *testing.T) {
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small := map[string]string{"kty": "RSA", "n": b64(weak.N.Bytes()), "e": "AQAB"}
	is := newIssuer(t)
	for name, c := range map[string]struct {
		keys []map[string]string
		raw  string
		n    int
		why  string
	}{
		"all":                 {keys: is.list, n: 4},
		"others passed over":  {keys: []map[string]string{small, {"kty": "oct"}, {"kty": "EC", "crv": "secp256k1"}, is.list[0]}, n: 1},
		"weak":                {keys: []map[string]string{small}, why: "1024 bits"},
		"for encryption":      {keys: []map[string]string{{"kty": "RSA", "use": "enc", "n": is.list[0]["n"], "e": "AQAB"}}, why: "for signatures"},
		"no exponent":         {keys: []map[string]string{{"kty": "RSA", "n": is.list[0]["n"], "e": "Ag"}}, why: "exponent"},
		"off the curve":       {keys: []map[string]string{{"kty": "EC", "crv": "P-256", "x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}}, why: "point"},
		"short":               {keys: []map[string]string{{"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}}, why: "malformed"},
		"none":                {raw: `{"keys":[]}`, why: "no key"},
		"a page of something": {raw: "<html>", why: "no JWKS"},
		"too many":            {raw: `{"keys":[` + strings.Repeat(`{},`, maxKeys) + `{}]}`, why: "more than"},
	} {
		b := []byte(c.raw)
		if c.raw == "" {
			b = (&issuer{t: t, list: c.keys}).jwks()
		}
		list, err := parseJWKS(b)
		if len(list) != c.n || (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %d keys, %v; want %q", name, len(list), err, c.why)
		}
	}
	if _, err := New(options(t, []byte("{}"))); err == nil {
		t.Error("a file without keys is good")
	}
}

// answers is a transport that serves what it is told to.
type answers func(*http.Request) (*http.Response, error)

func (f answers) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Keys of a URL come at the start and when one is not known, the latter every ten seconds at most;
// what fails is tried again, ever slower, and what was there stays.
func TestKeysAreFetched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		is := newIssuer(t)
		var fetched, failed atomic.Int32
		var body atomic.Pointer[[]byte]
		var status atomic.Int32
		var log bytes.Buffer
		o := options(t, is.jwks())
		o.From.JWKSURL = "https://issuer.example/keys?secret=canary"
		o.Failed = func() { failed.Add(1) }
		o.Logger = slog.New(slog.NewTextHandler(&log, nil))
		v, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		v.keys.client.Transport = answers(func(r *http.Request) (*http.Response, error) {
			fetched.Add(1)
			if status.Load() == 0 {
				return nil, fmt.Errorf("nobody is there")
			}
			h := http.Header{"Location": {"https://elsewhere.example/"}}
			return &http.Response{StatusCode: int(status.Load()), Header: h, Body: io.NopCloser(bytes.NewReader(*body.Load())), Request: r}, nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { v.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		good := is.sign("RS256", claims("exp", time.Now().Add(100*time.Hour).Unix()))
		time.Sleep(350 * time.Millisecond) // at 0, 100 and 300 ms
		if fetched.Load() != 3 || failed.Load() != 3 {
			t.Errorf("%d fetches, %d failed", fetched.Load(), failed.Load())
		}
		keys := is.jwks()
		body.Store(&keys)
		status.Store(302)
		time.Sleep(time.Minute)
		if _, err := v.Verify(good); err == nil {
			t.Error("a redirect was followed")
		}
		status.Store(200)
		time.Sleep(time.Minute)
		if _, err := v.Verify(good); err != nil {
			t.Error(err)
		}
		before := fetched.Load()
		for n := range 200 { // in 100 s, with a key that is made up each time
			_, _ = v.Verify(is.sign("ES256", claims(), "kid", fmt.Sprint(n)))
			time.Sleep(500 * time.Millisecond)
		}
		if n := fetched.Load() - before; n < 9 || n > 11 {
			t.Errorf("%d fetches for keys that are made up, in 100 s", n)
		}
		status.Store(500)
		time.Sleep(2 * time.Hour)
		long := bytes.Repeat([]byte(" "), maxJWKSBytes+1)
		body.Store(&long)
		status.Store(200)
		time.Sleep(2 * time.Hour)
		if _, err := v.Verify(good); err != nil {
			t.Errorf("the keys are gone: %v", err)
		}
		synctest.Wait() // what writes the log is at rest
		if failed.Load() < 10 || strings.Contains(log.String(), "canary") || !strings.Contains(log.String(), "issuer.example") {
			t.Errorf("%d failed; log %.500s", failed.Load(), log.String())
		}
	})
}

// A key has one algorithm, if it names it.
func TestAKeysAlgorithm(t *testing.T) {
	p := &rsa.PublicKey{N: new(big.Int), E: 3}
	for _, c := range []struct {
		own, alg string
		fits     bool
	}{{"", "RS256", true}, {"", "PS512", true}, {"", "ES256", false}, {"RS256", "RS256", true}, {"RS256", "PS256", false}} {
		if k := (key{alg: c.own, public: crypto.PublicKey(p)}); k.fits(c.alg) != c.fits {
			t.Errorf("a key of %q for %s", c.own, c.alg)
		}
	}
}
