package controller

import (
	"context"
	"fmt"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
)

// Tokens changes delegation tokens.
type Tokens struct{ c *Controller }

// NewTokens changes those of a controller.
func NewTokens(c *Controller) Tokens { return Tokens{c} }

// Create keeps a new token.
func (t Tokens) Create(ctx context.Context, token metadata.DelegationToken) error {
	_, err := t.c.change(ctx, func(*metadata.Image) ([]metadata.Record, error) {
		return []metadata.Record{metadata.DelegationTokenRecord{DelegationToken: token}}, nil
	})
	return err
}

// Change changes the token with an id by what change makes of it, or removes it. A token that
// is not there is kafka.DelegationTokenNotFound; errors of change are given back.
func (t Tokens) Change(ctx context.Context, id string, change func(metadata.DelegationToken) (t metadata.DelegationToken, remove bool, err error)) error {
	_, err := t.c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		token, ok := img.DelegationToken(id)
		if !ok {
			return nil, fmt.Errorf("there is no such token: %w", kafka.DelegationTokenNotFound)
		}
		token, remove, err := change(token)
		if err != nil {
			return nil, err
		}
		return []metadata.Record{metadata.DelegationTokenRecord{DelegationToken: token, Remove: remove}}, nil
	})
	return err
}

// RemoveExpired forgets the tokens that have ended, all in one entry, and says how many.
func (t Tokens) RemoveExpired(ctx context.Context, nowMs int64) (int, error) {
	n := 0
	_, err := t.c.change(ctx, func(img *metadata.Image) ([]metadata.Record, error) {
		var records []metadata.Record
		for token := range img.DelegationTokens() {
			if token.Expired(nowMs) {
				records = append(records, metadata.DelegationTokenRecord{DelegationToken: metadata.DelegationToken{ID: token.ID}, Remove: true})
			}
		}
		n = len(records)
		return records, nil
	})
	return n, err
}
