package oauth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/varve-io/varve/broker/vfs"
)

const (
	maxJWKSBytes = 1 << 20
	maxKeys      = 1000
	minRSABits   = 2048 // RFC 7518, 3.3
	maxRSABits   = 8192 // above, a signature costs too much to check
	maxKeyID     = 1000 // bytes of an id that is looked for

	fileInterval = 10 * time.Second // how often a file is read again
	kickInterval = 10 * time.Second // the least time between two fetches for keys that are not known
	fetchTimeout = 10 * time.Second
)

// errKey is that no key fits a token.
var errKey = errors.New("no key fits")

// keyError is errKey with what is wrong.
type keyError struct{ why string }

func (e *keyError) Error() string        { return e.why }
func (e *keyError) Is(target error) bool { return target == errKey }

// key is one of a JWKS.
type key struct {
	id, alg string // "" where it names none
	public  crypto.PublicKey
}

// fits says whether a key may check signatures of an algorithm (RFC 8725, 3.1: a key has one).
func (k key) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch p := k.public.(type) {
	case *rsa.PublicKey:
		return alg[0] == 'R' || alg[0] == 'P'
	case *ecdsa.PublicKey:
		return alg == map[int]string{256: "ES256", 384: "ES384", 521: "ES512"}[p.Curve.Params().BitSize]
	}
	return false
}

// keys are those of a listener, and when they are fetched.
type keys struct {
	o      Options
	client *http.Client
	kick   chan struct{} // a key was not found

	mu struct {
		sync.Mutex
		list   []key
		kicked time.Time
	}
}

func newKeys(o Options) *keys {
	return &keys{o: o, kick: make(chan struct{}, 1), client: &http.Client{
		Timeout: fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("it redirects, and only listed URLs are allowed")
		},
	}}
}

// find is the key of an id, or the only one that fits where a token names none. Not to know it
// has the keys fetched soon, though a flood of tokens with ids that are made up does so no more often.
func (k *keys) find(id, alg string) (crypto.PublicKey, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var found []key
	for _, one := range k.mu.list {
		if (id == "" || one.id == id) && one.fits(alg) {
			found = append(found, one)
		}
	}
	switch {
	case len(found) == 1, len(found) > 1 && id != "":
		return found[0].public, nil
	case len(found) > 1:
		return nil, &keyError{"it names no key (kid), and more than one fits"}
	}
	if len(id) > maxKeyID {
		return nil, &keyError{"the id of its key (kid) is too long"}
	}
	if now := k.o.Now(); now.Sub(k.mu.kicked) >= kickInterval || now.Before(k.mu.kicked) {
		k.mu.kicked = now
		select {
		case k.kick <- struct{}{}:
		default:
		}
	}
	return nil, &keyError{fmt.Sprintf("its key (kid %q, %s) is not in the JWKS", id, alg)}
}

// run fetches keys: at the start, every so often, and when a token asks for one that is not known.
func (k *keys) run(ctx context.Context) {
	ms := func(n int64) time.Duration { return time.Duration(n) * time.Millisecond }
	interval := ms(k.o.From.RefreshMs)
	file := strings.HasPrefix(k.o.From.JWKSURL, "file:")
	if file {
		interval = min(interval, fileInterval)
	}
	backoff, wait := ms(k.o.From.RetryBackoffMs), time.Duration(0)
	if file { // New has read it
		wait = interval
	}
	for {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-k.kick:
			timer.Stop()
		case <-timer.C:
		}
		if err := k.refresh(ctx); err == nil {
			wait, backoff = interval, ms(k.o.From.RetryBackoffMs)
		} else if ctx.Err() == nil {
			k.o.Failed()
			k.o.Logger.Error("the keys that tokens are checked by could not be read; those that are known stay in use", "url", shown(k.o.From.JWKSURL), "error", err)
			wait = min(backoff, ms(k.o.From.RetryBackoffMaxMs))
			backoff = min(2*backoff, ms(k.o.From.RetryBackoffMaxMs))
		}
	}
}

// refresh reads the keys once. What is no JWKS changes nothing.
func (k *keys) refresh(ctx context.Context) error {
	b, err := k.read(ctx)
	if err != nil {
		return err
	}
	list, err := parseJWKS(b)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.list = list
	return nil
}

func (k *keys) read(ctx context.Context) ([]byte, error) {
	u, err := url.Parse(k.o.From.JWKSURL)
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	if u.Scheme == "file" {
		info, err := k.o.FS.Stat(u.Path)
		if err != nil {
			return nil, err
		}
		if info.Size() > maxJWKSBytes {
			return nil, fmt.Errorf("%s has %d bytes, too many for keys", u.Path, info.Size())
		}
		return vfs.ReadFile(k.o.FS, u.Path)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, errors.New("the URL is malformed")
	}
	resp, err := k.client.Do(req)
	if err != nil {
		if of := (*url.Error)(nil); errors.As(err, &of) {
			err = of.Err // without the URL, whose query may be a secret
		}
		return nil, fmt.Errorf("fetch: %w", err)
	}
	defer func() { _ = resp.Body.Close() }() // it was read, or is given up
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch: the answer is %s", strconv.Itoa(resp.StatusCode))
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxJWKSBytes+1))
	if err == nil && len(b) > maxJWKSBytes {
		err = fmt.Errorf("more than %d bytes, too many for keys", maxJWKSBytes)
	}
	return b, err
}

// shown is a URL without its query.
func shown(v string) string {
	v, _, _ = strings.Cut(v, "?")
	return v
}

// jwk is a member of a JWKS (RFC 7517, 7518). What is private in it is not read.
type jwk struct {
	Type  string `json:"kty"`
	ID    string `json:"kid"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
	N     string `json:"n"`
	E     string `json:"e"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
}

// parseJWKS reads the keys that can check signatures. Others, and those that are malformed or too
// weak, are passed over (RFC 7517, 5); that none is left is an error.
func parseJWKS(b []byte) ([]key, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, errors.New("it is no JWKS: expected a JSON object with keys")
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("%d keys are more than %d", len(set.Keys), maxKeys)
	}
	var list []key
	problem := errors.New("no key of the JWKS is RSA or EC and for signatures")
	for i, j := range set.Keys {
		if j.Use != "" && j.Use != "sig" {
			continue
		}
		one := key{id: j.ID, alg: j.Alg}
		var err error
		switch j.Type {
		case "RSA":
			one.public, err = rsaKey(j)
		case "EC":
			one.public, err = ecKey(j)
		default:
			continue
		}
		if err != nil {
			problem = fmt.Errorf("no key of the JWKS is good; key %d: %w", i+1, err)
			continue
		}
		list = append(list, one)
	}
	if len(list) == 0 {
		return nil, problem
	}
	return list, nil
}

func rsaKey(j jwk) (crypto.PublicKey, error) {
	n, errN := base64.RawURLEncoding.DecodeString(j.N)
	e, errE := base64.RawURLEncoding.DecodeString(j.E)
	if errN != nil || errE != nil || len(e) == 0 || len(e) > 4 {
		return nil, errors.New("n or e is malformed")
	}
	p := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	if bits := p.N.BitLen(); bits < minRSABits || bits > maxRSABits {
		return nil, fmt.Errorf("%d bits of RSA, expected %d to %d", bits, minRSABits, maxRSABits)
	}
	if p.E < 3 || p.E%2 == 0 {
		return nil, errors.New("e is no exponent")
	}
	return p, nil
}

func ecKey(j jwk) (crypto.PublicKey, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[j.Curve]
	if curve == nil {
		return nil, errors.New("crv is none of P-256, P-384 and P-521")
	}
	x, errX := base64.RawURLEncoding.DecodeString(j.X)
	y, errY := base64.RawURLEncoding.DecodeString(j.Y)
	if size := (curve.Params().BitSize + 7) / 8; errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, errors.New("x or y is malformed")
	}
	p, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, errors.New("x and y are no point of the curve")
	}
	return p, nil
}
