package retry

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/varve-io/varve/objstore"
)

// Base is what the buckets of all providers have in common: the rule of keys, and GetRange and Open
// made of single requests. They embed it; its fields are set once, before the first request.
type Base struct {
	// Retrier is the bucket's.
	Retrier *Retrier
	// Prefix of all keys: "", or a directory with its final slash.
	Prefix string
	// Policy of reads. Its deadline is for the answer; the body has the caller's.
	Policy Policy
	// HeadOf is Head for an object at a version, "" for any.
	HeadOf func(ctx context.Context, op, key string, ifv objstore.Version) (objstore.Attrs, error)
	// Do makes tries of a request, by the policy, until one is answered; its error is an *objstore.Error.
	Do func(ctx context.Context, op, key string, p Policy, try func(context.Context) error) error
	// Get is one try to ask for a part of an object, as an Ask is for it.
	Get func(ctx context.Context, op, key string, off, end int64, v objstore.Version) (Answer, error)
}

// CheckKey says what is wrong with a key.
func (b *Base) CheckKey(op, key string) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	if len(b.Prefix)+len(key) > objstore.MaxKey {
		err := fmt.Errorf("with the prefix %q it is longer than %d bytes", strings.TrimSuffix(b.Prefix, "/"), objstore.MaxKey)
		return objstore.NewError(objstore.ErrInvalid, op, key, err)
	}
	return nil
}

// GetRange implements objstore.Bucket.
func (b *Base) GetRange(ctx context.Context, key string, off int64, p []byte, ifv objstore.Version) (objstore.Attrs, error) {
	if len(p) == 0 {
		a, err := b.HeadOf(ctx, "get", key, ifv)
		if err == nil {
			err = objstore.FullRange(key, off, 0, a.Size)
		}
		return a, err
	}
	if err := b.CheckKey("get", key); err != nil {
		return objstore.Attrs{}, err
	}
	return b.Retrier.Fill(ctx, key, off, p, ifv, b.Policy, b.ask("get", key))
}

// Open implements objstore.Bucket. The reader goes on where a connection broke, as long as the
// object is the same.
func (b *Base) Open(ctx context.Context, key string, off, n int64, ifv objstore.Version) (io.ReadCloser, objstore.Attrs, error) {
	if err := b.CheckKey("open", key); err != nil {
		return nil, objstore.Attrs{}, err
	}
	body, err := Open(ctx, "open", key, off, n, ifv, b.Policy, b.ask("open", key))
	if err != nil {
		return nil, objstore.Attrs{}, err
	}
	return body, body.Attrs, nil
}

// ask is one request for a part of an object, repeated until it is answered.
func (b *Base) ask(op, key string) Ask {
	policy := b.Policy
	policy.Deadline = 0
	return func(ctx context.Context, off, end int64, v objstore.Version) (Answer, error) {
		var answer Answer
		err := b.Do(ctx, op, key, policy, func(context.Context) (err error) {
			answer, err = b.Get(ctx, op, key, off, end, v)
			return err
		})
		return answer, err
	}
}
