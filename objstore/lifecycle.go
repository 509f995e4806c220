package objstore

import (
	"context"
	"errors"
	"fmt"
)

// LifecycleRule is something that the store itself does to objects of a certain age, as far as
// it concerns whoever keeps objects there.
type LifecycleRule struct {
	ID string
	// Prefix within the bucket, without regard to the prefix of a Bucket; "" is all of it.
	Prefix string
	// Days of age. What happens then: objects expire, or move to Class, or, with AbortUploads,
	// unfinished uploads are removed.
	Days         int
	Expire       bool
	Class        Class
	AbortUploads bool
	// Enabled rules only are carried out. Narrow rules choose by more than the prefix, by tags
	// or size or versions, which is not shown.
	Enabled, Narrow bool
}

// LifecycleReader is a Bucket whose rules can be read, so that one which would delete what is
// still needed is found before it does.
type LifecycleReader interface {
	// LifecycleRules are the bucket's rules; a bucket without any has none, and no error.
	LifecycleRules(ctx context.Context) ([]LifecycleRule, error)
}

// LifecycleWriter is a Bucket whose rules can be changed by those who may.
type LifecycleWriter interface {
	// ApplyLifecycle adds rules to the bucket's. A rule of the same ID, or, where the store's rules
	// have no names, of the same prefix that does the same, is replaced; all others stay as they
	// are. Two who change the rules of one bucket at once: on S3 the later one wins, elsewhere one
	// of them gets ErrPrecondition. Rules are held against CheckLifecycle.
	ApplyLifecycle(ctx context.Context, rules []LifecycleRule) error
}

// LifecycleRenderer is a Bucket whose rules can be written down for the provider's own tools: those
// who run a broker are often not those who may change a bucket.
type LifecycleRenderer interface {
	// RenderLifecycle is a document in JSON with these rules and no others, and the command that
	// takes it, with FILE for the name of the document.
	RenderLifecycle(rules []LifecycleRule) (document []byte, command string, err error)
}

// CheckLifecycle holds rules that are to be written against what Varve bears: none deletes objects.
// Its error is ErrInvalid, or ErrUnsupported for a class that the store doesn't have.
func (c Capabilities) CheckLifecycle(rules []LifecycleRule) error {
	const op = "lifecycle"
	ids := make(map[string]bool)
	for _, r := range rules {
		var err error
		switch {
		case r.ID == "" || ids[r.ID]:
			err = fmt.Errorf("rules need names that differ, and one is called %q", r.ID)
		case r.Expire:
			err = fmt.Errorf("rule %q deletes objects: what a topic keeps is for its retention to say", r.ID)
		case r.AbortUploads == (r.Class != ""):
			err = fmt.Errorf("rule %q does not do one thing", r.ID)
		case r.Days < 1:
			err = fmt.Errorf("rule %q acts after %d days, and 1 is the least", r.ID, r.Days)
		case !r.Enabled || r.Narrow:
			err = fmt.Errorf("rule %q is switched off, or chooses by more than a prefix", r.ID)
		case r.Class != "":
			if err := c.CheckClass(op, r.Prefix, r.Class); err != nil {
				return err
			}
		}
		if err != nil {
			return NewError(ErrInvalid, op, r.Prefix, err)
		}
		ids[r.ID] = true
	}
	return nil
}

// Optional is the Bucket as one of the optional interfaces, or ErrUnsupported. Wrappers have all of
// these interfaces, and answer so when what they wrap has not; so a caller asks for one by this
// function or by an assertion, and takes ErrUnsupported for "there is no such thing".
func Optional[T any](b Bucket, op, key string) (T, error) {
	t, ok := b.(T)
	if !ok {
		return t, NewError(ErrUnsupported, op, key, errors.New("the store has no such thing"))
	}
	return t, nil
}
