package security

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"slices"

	"github.com/xdg-go/scram"

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

// scramExchange is a login by SCRAM.
type scramExchange struct{ conversation *scram.ServerConversation }

// newScram begins a login. Users that are not there get a salt that is always the same, and learn
// with the proof, as all others do, that it is wrong.
func (l *Logins) newScram(m metadata.ScramMechanism) (exchange, error) {
	server, err := scram.HashGeneratorFcn(hashOf(m)).NewServer(func(user string) (scram.StoredCredentials, error) {
		c, ok := l.credential(user, m)
		if !ok {
			c = l.decoy(user, m)
		}
		return scram.StoredCredentials{
			KeyFactors: scram.KeyFactors{Salt: string(c.Salt), Iters: int(c.Iterations)}, StoredKey: c.StoredKey, ServerKey: c.ServerKey,
		}, nil
	})
	if err != nil {
		return nil, fmt.Errorf("begin a login by %s: %w", m, err)
	}
	if l.nonce != nil {
		server = server.WithNonceGenerator(l.nonce)
	}
	return scramExchange{server.NewConversation()}, nil
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

func (x scramExchange) step(token []byte) (reply []byte, done bool, err error) {
	out, err := x.conversation.Step(string(token))
	if err != nil {
		return nil, false, ErrCredentials // what exactly was wrong is nobody's business
	}
	if !x.conversation.Done() {
		return []byte(out), false, nil
	}
	if id := x.conversation.AuthzID(); !x.conversation.Valid() || id != "" && id != x.conversation.Username() {
		return nil, false, ErrCredentials
	}
	return []byte(out), true, nil
}

func (x scramExchange) user() string { return x.conversation.Username() }
