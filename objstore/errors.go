package objstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is what a failure means to the caller, whatever the store calls it. Kinds are errors
// themselves: errors.Is(err, ErrNotFound).
type Kind uint8

// The kinds of failure. What each store answers for them is in the store's own room.
const (
	// ErrUnknown is a failure that fits no other kind; it is not retried.
	ErrUnknown Kind = iota
	// ErrNotFound: there is no such object.
	ErrNotFound
	// ErrNoBucket: the bucket (or the directory) itself is missing. Stop and raise an alarm.
	ErrNoBucket
	// ErrPrecondition: a condition did not hold, and the object in the store is not this write.
	ErrPrecondition
	// ErrConflict: the store saw two overlapping writers and chose neither. Read again, retry.
	ErrConflict
	// ErrThrottled: slow down, then retry.
	ErrThrottled
	// ErrTransient: a failure that a later try may not meet. Nothing was written.
	ErrTransient
	// ErrAmbiguous: a write whose outcome is unknown and could not be settled.
	ErrAmbiguous
	// ErrAccessDenied: credentials are missing, expired or not enough.
	ErrAccessDenied
	// ErrOffline: the object is in a class that must be restored before it is read.
	ErrOffline
	// ErrInvalidRange: a read beyond the end of the object.
	ErrInvalidRange
	// ErrCorrupt: bytes did not match their checksum, or are no object at all.
	ErrCorrupt
	// ErrTooLarge: more than the store, or the caller, takes.
	ErrTooLarge
	// ErrUnsupported: the store can not do what was asked.
	ErrUnsupported
	// ErrInvalid: a key, option or argument against the rules of this package.
	ErrInvalid
	// ErrCanceled: the caller's context ended.
	ErrCanceled
)

var kindNames = [...]string{
	"unknown error", "not found", "no such bucket", "precondition failed", "conflict", "throttled", "transient error",
	"outcome unknown", "access denied", "object is offline", "range beyond the object", "corrupt", "too large",
	"not supported", "invalid argument", "canceled",
}

// Error is the kind's name.
func (k Kind) Error() string { return kindNames[k] }

// Retriable reports whether the same call may succeed later without anything being changed.
func (k Kind) Retriable() bool {
	return k == ErrThrottled || k == ErrTransient || k == ErrConflict || k == ErrAmbiguous
}

// Error is a failed operation. Its text never holds a credential: it names the operation,
// the key, the store's own code and the request id.
type Error struct {
	Kind Kind
	// Op is the method in lower case: put, get, open, head, list, delete.
	Op string
	// Key, or the prefix of a list.
	Key string
	// Code and HTTP status are the store's own; empty when there was no answer.
	Code      string
	HTTP      int
	RequestID string
	// RetryAfter is how long the store asks us to stay away; 0 if it does not.
	RetryAfter time.Duration
	// Attempts that were made; 0 when not counted.
	Attempts int
	// Err is the cause; may be nil.
	Err error
}

// NewError is an *Error of a kind; cause may be nil.
func NewError(kind Kind, op, key string, cause error) *Error {
	return &Error{Kind: kind, Op: op, Key: key, Err: cause}
}

// Wrap makes err an *Error of the operation. An *Error keeps what it says, an ended context
// becomes ErrCanceled, all else ErrUnknown. Wrap(nil) is nil.
func Wrap(op, key string, err error) error {
	var e *Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		return err
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return NewError(ErrCanceled, op, key, err)
	}
	return NewError(ErrUnknown, op, key, err)
}

// Error says what failed, on what, and what the store answered.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "objstore: %s %q: %s", e.Op, e.Key, e.Kind)
	var notes []string
	if e.HTTP != 0 {
		notes = append(notes, fmt.Sprintf("HTTP %d", e.HTTP))
	}
	if e.Code != "" {
		notes = append(notes, e.Code)
	}
	if e.RequestID != "" {
		notes = append(notes, "request "+e.RequestID)
	}
	if e.Attempts > 1 {
		notes = append(notes, fmt.Sprintf("%d attempts", e.Attempts))
	}
	if len(notes) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(notes, ", "))
	}
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is matches the kind.
func (e *Error) Is(target error) bool { return target == error(e.Kind) }

// KindOf is the kind of err: ErrUnknown when it is no *Error.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ErrUnknown
}

// BatchError is a Delete that left some keys: Failed has one entry for each of them.
type BatchError struct {
	Failed []*Error
}

// Error names the first failure and counts the others.
func (e *BatchError) Error() string {
	if len(e.Failed) == 1 {
		return e.Failed[0].Error()
	}
	return fmt.Sprintf("%v (and %d more keys)", e.Failed[0], len(e.Failed)-1)
}

// Unwrap gives errors.Is and errors.As each failure.
func (e *BatchError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f
	}
	return errs
}

// Key is the failure of one key, nil if that key is gone.
func (e *BatchError) Key(key string) *Error {
	for _, f := range e.Failed {
		if f.Key == key {
			return f
		}
	}
	return nil
}

// Batch collects the failures of a Delete.
type Batch struct {
	failed []*Error
}

// Add notes what became of a key; nil is success.
func (b *Batch) Add(key string, err error) {
	if err == nil {
		return
	}
	var e *Error
	if !errors.As(Wrap("delete", key, err), &e) {
		panic("BUG: objstore.Wrap returned no *Error")
	}
	if e.Key != key {
		c := *e
		c.Key = key
		e = &c
	}
	b.failed = append(b.failed, e)
}

// Err is nil when nothing failed, else a *BatchError.
func (b *Batch) Err() error {
	if len(b.failed) == 0 {
		return nil
	}
	return &BatchError{Failed: b.failed}
}
