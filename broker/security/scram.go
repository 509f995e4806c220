package security

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// The bounds of the iterations of a credential. Source: Kafka's ScramMechanism.
const (
	MinIterations = 4096
	MaxIterations = 16384
)

const saltBytes = 24

// hashOf is the hash function of a mechanism.
func hashOf(m metadata.ScramMechanism) func() hash.Hash {
	if m == metadata.ScramSHA512 {
		return sha512.New
	}
	return sha256.New
}

// NewScramCredential makes a credential of a password, with a salt of its own.
func NewScramCredential(user string, m metadata.ScramMechanism, password string, iterations int) (metadata.ScramCredential, error) {
	salt := make([]byte, saltBytes)
	_, _ = rand.Read(salt) // never fails: it aborts the process
	return saltedCredential(user, m, password, salt, iterations)
}

// saltedCredential makes a credential of a password and a salt.
func saltedCredential(user string, m metadata.ScramMechanism, password string, salt []byte, iterations int) (metadata.ScramCredential, error) {
	salted, err := pbkdf2.Key(hashOf(m), password, salt, iterations, hashOf(m)().Size())
	if err != nil {
		return metadata.ScramCredential{}, fmt.Errorf("credential of user %s: %w", user, err)
	}
	return ScramCredentialOf(user, m, salt, salted, iterations), nil
}

// ScramCredentialOf makes a credential of a password that was salted already. Source: RFC 5802, 3.
func ScramCredentialOf(user string, m metadata.ScramMechanism, salt, salted []byte, iterations int) metadata.ScramCredential {
	mac := func(text string) []byte {
		h := hmac.New(hashOf(m), salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := hashOf(m)()
	stored.Write(mac("Client Key"))
	return metadata.ScramCredential{
		User: user, Mechanism: m, Salt: slices.Clone(salt), StoredKey: stored.Sum(nil), ServerKey: mac("Server Key"), Iterations: int32(iterations),
	}
}

// CheckScram says why a credential can't be: kafka.UnacceptableCredential, with Kafka's words,
// or kafka.UnsupportedSaslMechanism.
func CheckScram(user string, m metadata.ScramMechanism, iterations int32) error {
	switch {
	case user == "":
		return fmt.Errorf("Username must not be empty: %w", kafka.UnacceptableCredential)
	case m != metadata.ScramSHA256 && m != metadata.ScramSHA512:
		return fmt.Errorf("Unknown SCRAM mechanism: %w", kafka.UnsupportedSaslMechanism)
	case iterations < MinIterations:
		return fmt.Errorf("Too few iterations, at least %d are needed: %w", MinIterations, kafka.UnacceptableCredential)
	case iterations > MaxIterations:
		return fmt.Errorf("Too many iterations, at most %d are taken: %w", MaxIterations, kafka.UnacceptableCredential)
	}
	return nil
}

// scramExchange is the server's side of one login by SCRAM (RFC 5802, 7677).
type scramExchange struct {
	of         *Logins
	mechanism  metadata.ScramMechanism
	credential metadata.ScramCredential
	name       string
	is         identity // if the proof is right
	known      bool
	binding    [2]string // of the client's final message: the base64 of its first one's head, and what passes for it
	nonce      string    // the client's and ours behind it
	transcript string    // of what the proof is made over, as far as it is said; "" before the first message
}

// newScram begins a login. Users that are not there get a salt that is always the same, and learn
// with the proof, as all others do, that it is wrong.
func (l *Logins) newScram(m metadata.ScramMechanism) exchange {
	return &scramExchange{of: l, mechanism: m}
}

func (x *scramExchange) who() identity { return x.is }

func (x *scramExchange) step(token []byte) (reply []byte, done bool, err error) {
	if x.transcript == "" {
		reply, err = x.first(string(token))
		return reply, false, err
	}
	reply, err = x.final(string(token))
	return reply, err == nil, err
}

// first answers a client's first message: FLAG,[a=ID],n=USER,r=NONCE with extensions behind it, of
// which tokenauth=true says that the user is a delegation token (KIP-48). Channel binding is not
// there, and to act as somebody else is not allowed.
func (x *scramExchange) first(token string) ([]byte, error) {
	head := strings.SplitN(token, ",", 3)
	if len(head) < 3 || head[0] != "n" && head[0] != "y" {
		return nil, ErrCredentials
	}
	fields := strings.Split(head[2], ",")
	if len(fields) < 2 || !strings.HasPrefix(fields[0], "n=") || !strings.HasPrefix(fields[1], "r=") || len(fields[1]) == len("r=") ||
		head[1] != "" && head[1] != "a="+fields[0][2:] {
		return nil, ErrCredentials
	}
	name := fields[0][2:]
	if name == "" || strings.Contains(strings.NewReplacer("=2C", "", "=3D", "").Replace(name), "=") { // an escape that is none
		return nil, ErrCredentials
	}
	x.name = strings.NewReplacer("=2C", ",", "=3D", "=").Replace(name)
	byToken := slices.Contains(fields[2:], "tokenauth=true")
	if byToken && (x.of.users.Tokens == nil || !x.of.users.Tokens.Enabled()) { // there is none, and that is no secret
		return nil, ErrCredentials
	}
	if x.find(byToken); !x.known {
		x.credential = x.of.decoy(x.name, x.mechanism)
	}
	x.binding[0] = "c=" + base64.StdEncoding.EncodeToString([]byte(head[0]+","+head[1]+","))
	if x.binding[1] = x.binding[0]; head[0] == "n" {
		x.binding[1] = noBinding
	}
	x.nonce = fields[1][2:] + x.of.nonce()
	answer := fmt.Sprintf("r=%s,s=%s,i=%d", x.nonce, base64.StdEncoding.EncodeToString(x.credential.Salt), x.credential.Iterations)
	x.transcript = head[2] + "," + answer
	return []byte(answer), nil
}

// find looks for the credential of a user, or of a delegation token, whose owner it then is.
func (x *scramExchange) find(token bool) {
	if !token {
		x.is = identity{user: x.name}
		x.credential, x.known = x.of.users.Credential(x.name, x.mechanism)
		return
	}
	var t metadata.DelegationToken
	x.credential, t, x.known = x.of.users.Tokens.credential(x.name, x.mechanism)
	x.is = identity{user: t.Owner.Name, expires: time.UnixMilli(t.ExpiryMs), byToken: true}
}

// noBinding is the binding of a first message that begins with "n,,". Some clients send it as well
// where that has named the user to act as, who is the user anyway; Kafka does not look at it.
const noBinding = "c=biws"

// final checks a client's proof: c=BINDING,r=NONCE with extensions behind it, then p=PROOF. The nonce
// has to end in ours: librdkafka before 2.6.1 puts its own before it a second time, which Kafka 3.9
// takes and Kafka 4 does not. The proof is made over what was sent, and ours is new each time, so
// nothing of another exchange fits.
func (x *scramExchange) final(token string) ([]byte, error) {
	at := strings.LastIndex(token, ",p=")
	if at < 0 {
		return nil, ErrCredentials
	}
	said := token[:at]
	fields := strings.Split(said, ",")
	proof, err := base64.StdEncoding.DecodeString(token[at+len(",p="):])
	if err != nil || len(fields) < 2 || !slices.Contains(x.binding[:], fields[0]) || !strings.HasPrefix(fields[1], "r=") || !strings.HasSuffix(fields[1], x.nonce) {
		return nil, ErrCredentials
	}
	sign := func(key []byte) []byte {
		h := hmac.New(hashOf(x.mechanism), key)
		h.Write([]byte(x.transcript + "," + said))
		return h.Sum(nil)
	}
	signature := sign(x.credential.StoredKey)
	if len(proof) != len(signature) {
		return nil, ErrCredentials
	}
	clientKey := make([]byte, len(proof))
	subtle.XORBytes(clientKey, proof, signature)
	stored := hashOf(x.mechanism)()
	stored.Write(clientKey)
	if subtle.ConstantTimeCompare(stored.Sum(nil), x.credential.StoredKey) != 1 || !x.known {
		return nil, ErrCredentials
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(sign(x.credential.ServerKey))), nil
}

// decoy is the credential of a user that is not there. It fits no password.
func (l *Logins) decoy(user string, m metadata.ScramMechanism) metadata.ScramCredential {
	h := hmac.New(sha512.New, l.secret)
	fmt.Fprintf(h, "%s %s", m, user)
	sum := h.Sum(nil)
	size := hashOf(m)().Size()
	key := make([]byte, 2*size)
	_, _ = rand.Read(key)
	return metadata.ScramCredential{Salt: sum[:saltBytes], StoredKey: key[:size], ServerKey: key[size:], Iterations: MinIterations}
}
