package controller

import (
	"context"
	"fmt"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// ScramChange sets the credential of a user for a mechanism, or removes it.
type ScramChange struct {
	User      string
	Mechanism metadata.ScramMechanism
	Set       *metadata.ScramCredential // nil removes it
	Refused   error                     // why it can't be, as the caller found already
}

// AlterScram makes the changes that are sound, all in one entry. The errors are in the order of
// changes: nil, or a wrapped kafka.Error. All changes of a user that is named twice are refused, with
// what is wrong with the first of them, if that is so.
// Source: Kafka's ScramControlManager (KIP-554).
func (c *Controller) AlterScram(ctx context.Context, changes []ScramChange) []error {
	errs := make([]error, len(changes))
	_, err := c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		sound, wrong := make(map[string]metadata.Record, len(changes)), make(map[string]error)
		for _, ch := range changes {
			if wrong[ch.User] != nil {
				continue
			}
			r, err := scramRecord(img, ch)
			if sound[ch.User] != nil {
				err = fmt.Errorf("A user credential cannot be altered twice in the same request: %w", kafka.DuplicateResource)
			}
			if sound[ch.User] = r; err != nil {
				wrong[ch.User] = err
			}
		}
		var records []metadata.Record
		for i, ch := range changes {
			if errs[i] = wrong[ch.User]; errs[i] == nil {
				records = append(records, sound[ch.User])
			}
		}
		return records, nil
	})
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return errs
}

// scramRecord judges one change.
func scramRecord(img *metadata.Image, ch ScramChange) (metadata.Record, error) {
	switch {
	case ch.Refused != nil:
		return nil, ch.Refused
	case ch.User == "" || strings.ContainsRune(ch.User, 0):
		return nil, fmt.Errorf("Username must not be empty, nor have a zero byte: %w", kafka.UnacceptableCredential)
	case ch.Mechanism != metadata.ScramSHA256 && ch.Mechanism != metadata.ScramSHA512:
		return nil, fmt.Errorf("Unknown SCRAM mechanism: %w", kafka.UnsupportedSaslMechanism)
	case ch.Set != nil:
		return metadata.ScramRecord{ScramCredential: *ch.Set}, nil
	}
	if _, ok := img.Scram(ch.User, ch.Mechanism); !ok {
		return nil, fmt.Errorf("Attempt to delete a user credential that does not exist: %w", kafka.ResourceNotFound)
	}
	return metadata.RemoveScramRecord{User: ch.User, Mechanism: ch.Mechanism}, nil
}

// SetScram sets credentials, all in one entry: the users that a cluster begins with.
func (c *Controller) SetScram(ctx context.Context, credentials []metadata.ScramCredential) error {
	_, err := c.change(ctx, func(*metadata.Image) ([]metadata.Record, error) {
		records := make([]metadata.Record, len(credentials))
		for i, cr := range credentials {
			records[i] = metadata.ScramRecord{ScramCredential: cr}
		}
		return records, nil
	})
	return err
}
