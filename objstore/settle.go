package objstore

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
)

// PutSettled runs put and finds out what became of it when the answer does not say: stores
// answer a repeated create-only write whose first reply was lost with "it exists already",
// which is true and is our own success. put writes the object with the options it is given,
// head describes it; put may repeat itself inside and returns
//
//   - ErrPrecondition when the store refused it and no earlier try can have landed, or the
//     condition is IfAbsent;
//   - ErrAmbiguous when any try may have landed.
//
// PutSettled adds a write token to the metadata if the caller has none. On either error, and
// on ErrConflict, it looks at the object: the token is there = the write succeeded. An
// IfAbsent write that finds another token has failed with ErrPrecondition: the object is
// somebody else's. An IfVersion write that may have landed and finds another token stays
// ErrAmbiguous, since it may have been overwritten since.
//
// A write that is found is held against its source, as its reply would have been: a store that
// tells another size or checksum has kept other bytes, which is ErrCorrupt, with the Attrs of what
// is there.
//
// Providers call it for every put; it costs nothing until a reply is lost.
func PutSettled(ctx context.Context, key string, src Source, o PutOpts,
	head func(context.Context, string) (Attrs, error),
	put func(context.Context, PutOpts) (Attrs, error),
) (Attrs, error) {
	o = withToken(o)
	a, err := put(ctx, o)
	kind := KindOf(err)
	if err == nil || (kind != ErrPrecondition && kind != ErrAmbiguous && kind != ErrConflict) {
		return a, err
	}
	found, herr := head(ctx, key)
	switch {
	case herr == nil && found.Meta[TokenMeta] == o.Meta[TokenMeta]:
		return found, sameBytes(src, found)
	case herr == nil && kind == ErrAmbiguous && o.IfAbsent:
		return Attrs{}, recast(err, ErrPrecondition)
	case herr != nil && !errors.Is(herr, ErrNotFound) && kind == ErrPrecondition && o.IfAbsent:
		// The object that is there may be ours: only a look at it could tell.
		return Attrs{}, recast(err, ErrAmbiguous)
	}
	return Attrs{}, err
}

// sameBytes holds an object against the source it was written from, as far as the store tells.
func sameBytes(src Source, a Attrs) error {
	if a.Size != src.Size || a.HasCRC && src.HasCRC && a.CRC32C != src.CRC32C {
		return NewError(ErrCorrupt, "put", a.Key, fmt.Errorf("the store has kept %d bytes with CRC32C %08x, it was sent %d with %08x", a.Size, a.CRC32C, src.Size, src.CRC32C))
	}
	return nil
}

// NewToken is a write token: 128 random bits in hex.
func NewToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

func withToken(o PutOpts) PutOpts {
	if o.Meta[TokenMeta] != "" {
		return o
	}
	o.Meta = maps.Clone(o.Meta)
	if o.Meta == nil {
		o.Meta = make(map[string]string, 1)
	}
	o.Meta[TokenMeta] = NewToken()
	return o
}

func recast(err error, kind Kind) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	c := *e
	c.Kind = kind
	return &c
}
