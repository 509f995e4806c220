package metadata

import (
	"bytes"
	"fmt"
	"iter"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// ScramMechanism is a way to log in; the numbers are those of Kafka's ScramMechanism.
type ScramMechanism int8

// The mechanisms.
const (
	ScramSHA256 ScramMechanism = 1
	ScramSHA512 ScramMechanism = 2
)

// String is the registered name of the mechanism.
func (m ScramMechanism) String() string {
	switch m {
	case ScramSHA256:
		return "SCRAM-SHA-256"
	case ScramSHA512:
		return "SCRAM-SHA-512"
	}
	return fmt.Sprintf("UNKNOWN(%d)", int8(m))
}

// ScramCredential is what a broker knows of a user's password: not enough to log in with.
type ScramCredential struct {
	User                       string
	Mechanism                  ScramMechanism
	Salt, StoredKey, ServerKey []byte
	Iterations                 int32
}

// ScramRecord sets the credential of a user for a mechanism.
type ScramRecord struct{ ScramCredential }

// RemoveScramRecord takes a user's credential for a mechanism away.
type RemoveScramRecord struct {
	User      string
	Mechanism ScramMechanism
}

// Kind implements Record.
func (ScramRecord) Kind() Kind { return KindScram }

// Kind implements Record.
func (RemoveScramRecord) Kind() Kind { return KindRemoveScram }

// scramKey orders credentials by user, then mechanism. No user has a zero byte in its name.
func scramKey(user string, m ScramMechanism) string { return user + "\x00" + string(rune('0'+m)) }

// Scram finds the credential of a user for a mechanism.
func (img *Image) Scram(user string, m ScramMechanism) (ScramCredential, bool) {
	return img.scram.get(scramKey(user, m))
}

// ScramCredentials lists all credentials, by user, then mechanism.
func (img *Image) ScramCredentials() iter.Seq[ScramCredential] {
	return func(yield func(ScramCredential) bool) {
		img.scram.all(func(_ string, c ScramCredential) bool { return yield(c) })
	}
}

func (r ScramRecord) apply(c *change) error {
	if r.User == "" || strings.ContainsRune(r.User, 0) || r.Mechanism != ScramSHA256 && r.Mechanism != ScramSHA512 {
		return fmt.Errorf("a credential of user %q for mechanism %d: %w", r.User, r.Mechanism, kafka.UnacceptableCredential)
	}
	c.img.scram = c.img.scram.with(scramKey(r.User, r.Mechanism), r.ScramCredential)
	return nil
}

func (r RemoveScramRecord) apply(c *change) error {
	if _, ok := c.img.Scram(r.User, r.Mechanism); !ok {
		return fmt.Errorf("user %q has no credential for %s: %w", r.User, r.Mechanism, kafka.ResourceNotFound)
	}
	c.img.scram = c.img.scram.without(scramKey(r.User, r.Mechanism))
	return nil
}

func encodeScram(w *writer, r Record) {
	s := r.(ScramRecord)
	w.string(s.User)
	w.int(int64(s.Mechanism))
	w.bytes(s.Salt)
	w.bytes(s.StoredKey)
	w.bytes(s.ServerKey)
	w.int(int64(s.Iterations))
}

func decodeScram(r *reader) Record {
	return ScramRecord{ScramCredential{
		User: r.string(), Mechanism: r.mechanism(), Salt: bytes.Clone(r.bytes()), StoredKey: bytes.Clone(r.bytes()), ServerKey: bytes.Clone(r.bytes()), Iterations: r.int32(),
	}}
}

func encodeRemoveScram(w *writer, r Record) {
	s := r.(RemoveScramRecord)
	w.string(s.User)
	w.int(int64(s.Mechanism))
}

func decodeRemoveScram(r *reader) Record {
	return RemoveScramRecord{User: r.string(), Mechanism: r.mechanism()}
}

func (r *reader) mechanism() ScramMechanism { return ScramMechanism(r.int(-128, 127)) }
