package security

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/security/oauth"
)

// Why a login fails.
var (
	// ErrCredentials is all that a client learns: not whether there is such a user.
	ErrCredentials = errors.New("invalid credentials")
	// ErrMechanism means that the listener does not have the mechanism.
	ErrMechanism = errors.New("the mechanism is not enabled on this listener")
	// ErrOrder means that a token came before a mechanism was chosen.
	ErrOrder = errors.New("a token without a handshake before it")
	// ErrTold is the end of a login whose client has been told already that it failed (RFC 7628, 3.2.3).
	ErrTold = errors.New("the client has been told")
	// ErrChanged means that another login of a connection is not by the same user and mechanism.
	ErrChanged = errors.New("another login must be by the same user and mechanism")
)

// reauthInterval is the least time between two logins of a connection (KafkaChannel).
const reauthInterval = time.Second

// Users is whom logins know.
type Users struct {
	// Credential finds a user of SCRAM.
	Credential func(user string, m metadata.ScramMechanism) (metadata.ScramCredential, bool)
	Tokens     *Tokens         // delegation tokens; nil where there are none
	Bearer     *oauth.Verifier // of OAUTHBEARER; nil on a listener without it
}

// Logins is what logins of one listener go by. It keeps no state of theirs.
type Logins struct {
	from   *config.Security
	users  Users
	now    func() time.Time
	secret []byte        // of the salts of users that are not there
	nonce  func() string // ours of an exchange
}

// NewLogins prepares the logins of a listener.
func NewLogins(from *config.Security, users Users, now func() time.Time) *Logins {
	l := &Logins{from: from, users: users, now: now, secret: make([]byte, 32), nonce: rand.Text}
	_, _ = rand.Read(l.secret) // never fails: it aborts the process
	return l
}

// Mechanisms lists what clients may log in by.
func (l *Logins) Mechanisms() []string { return l.from.Mechanisms }

// FailDelay is how long the answer to a failed login is held back.
func (l *Logins) FailDelay() time.Duration {
	return time.Duration(l.from.FailDelayMs) * time.Millisecond
}

// exchange is one mechanism at work. Its errors are ErrCredentials, which may wrap what the log is told.
type exchange interface {
	step(token []byte) (reply []byte, done bool, err error)
	who() identity
}

// identity is who an exchange has proved to be there.
type identity struct {
	user    string
	expires time.Time // of what it was proved by; zero: never
	byToken bool      // by a delegation token
}

// Login is the state of the logins of one connection, the first and those that renew it (KIP-368).
type Login struct {
	of        *Logins
	mechanism string   // chosen by the handshake
	at        exchange // under way; nil outside
	changed   bool     // the handshake chose another mechanism than before

	user, by string    // of the login that holds
	byToken  bool      // it was by a delegation token
	expires  time.Time // zero: never
	lifetime int64     // until then, as the client is told
	renewed  time.Time // when the last renewal began
}

// New is a connection's state before its login.
func (l *Logins) New() *Login { return &Login{of: l} }

// Complete says whether a login holds and no other is under way.
func (l *Login) Complete() bool { return l.user != "" && l.at == nil && !l.changed }

// Busy says whether tokens are expected, and nothing else.
func (l *Login) Busy() bool { return l.at != nil || l.changed }

// Expired says whether the login that holds has ended.
func (l *Login) Expired() bool { return !l.expires.IsZero() && !l.of.now().Before(l.expires) }

// Renewable says whether the connection may log in again: only where logins end, and not more
// than once a second.
func (l *Login) Renewable() bool {
	return !l.expires.IsZero() && l.of.now().Sub(l.renewed) >= reauthInterval
}

// User is who has logged in.
func (l *Login) User() kafka.Principal { return kafka.User(l.user) }

// ByToken says whether the login that holds was by a delegation token.
func (l *Login) ByToken() bool { return l.byToken }

// Mechanism is what the handshake chose, or the last one did.
func (l *Login) Mechanism() string { return l.mechanism }

// Handshake chooses the mechanism. ErrMechanism ends the connection.
func (l *Login) Handshake(mechanism string) error {
	if !slices.Contains(l.of.from.Mechanisms, mechanism) {
		return fmt.Errorf("%q: %w", mechanism, ErrMechanism)
	}
	if l.user != "" {
		l.renewed = l.of.now()
	}
	l.mechanism = mechanism
	if l.user != "" && mechanism != l.by {
		l.changed = true // told in the answer to the first token, as in Kafka
		return nil
	}
	switch mechanism {
	case metadata.ScramSHA256.String():
		l.at = l.of.newScram(metadata.ScramSHA256)
	case metadata.ScramSHA512.String():
		l.at = l.of.newScram(metadata.ScramSHA512)
	case bearerMechanism:
		l.at = &bearerExchange{by: l.of.users.Bearer}
	default:
		l.at = &plainExchange{users: l.of.from.PlainUsers}
	}
	return nil
}

// Refused says why the answer that was just made tells a client that its login failed, nil if it
// does not. The client is expected to send one token more, which ends the connection.
func (l *Login) Refused() error {
	if x, ok := l.at.(*bearerExchange); ok {
		return x.refused
	}
	return nil
}

// Token takes a client's next token. With done the login is complete. An error ends the
// connection; it tells the client no more than it may know.
func (l *Login) Token(token []byte) (reply []byte, done bool, err error) {
	switch {
	case l.changed:
		return nil, false, ErrChanged
	case l.at == nil:
		return nil, false, ErrOrder
	}
	reply, done, err = l.at.step(token)
	if err != nil || !done {
		return reply, false, err
	}
	who := l.at.who()
	if l.user != "" && l.user != who.user {
		return nil, false, ErrChanged
	}
	l.user, l.by, l.byToken, l.at = who.user, l.mechanism, who.byToken, nil
	l.expires, l.lifetime = l.end(who.expires)
	return reply, true, nil
}

// end is when a login ends that begins now: with what it was proved by, and after
// connections.max.reauth.ms. Source: Kafka's SaslServerAuthenticator.
func (l *Login) end(expires time.Time) (at time.Time, lifetimeMs int64) {
	now, most := l.of.now(), l.of.from.MaxReauthMs
	if expires.IsZero() && most == 0 {
		return time.Time{}, 0
	}
	ms := most
	if !expires.IsZero() {
		ms = max(expires.Sub(now).Milliseconds(), 0)
		if most > 0 {
			ms = min(ms, most)
		}
	}
	return now.Add(time.Duration(ms) * time.Millisecond), ms
}

// LifetimeMs is how long the login holds from its beginning, as the client is told; 0: for ever.
func (l *Login) LifetimeMs() int64 { return l.lifetime }

// plainExchange is a login by PLAIN (RFC 4616).
type plainExchange struct {
	users map[string]string
	name  string
}

// step takes the one token: an id to act as, the user and the password, each behind a zero byte.
func (x *plainExchange) step(token []byte) (reply []byte, done bool, err error) {
	parts := bytes.Split(token, []byte{0})
	if len(parts) != 3 || len(parts[1]) == 0 || len(parts[0]) > 0 && !bytes.Equal(parts[0], parts[1]) {
		return nil, false, ErrCredentials
	}
	x.name = string(parts[1])
	password, known := x.users[x.name]
	want, got := sha256.Sum256([]byte(password)), sha256.Sum256(parts[2]) // of one length, whatever was sent
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 || !known || len(parts[2]) == 0 {
		return nil, false, ErrCredentials
	}
	return []byte{}, true, nil
}

func (x *plainExchange) who() identity { return identity{user: x.name} }
