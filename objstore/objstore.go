// Package objstore is the door to object storage: one small interface over stores that
// differ in conditions, retries and errors, so that the rooms above see one behaviour.
//
// It owns the Bucket interface, the key rules, the error taxonomy (Kind, Error) and the
// rule that a conditional write settles its own lost reply (PutSettled). Providers live in
// their own rooms: s3, azure, gcs, file and mem; open turns a URL into a Bucket, and has an example.
// What a provider has beyond a Bucket it says by the small interfaces below, and wrappers (metered,
// prefix, ratelimit, classes) pass all of them through. check puts a store to the proof, fault breaks
// one on purpose, and conformance is what each of them must pass.
// It does not own object names, object contents or decisions about either, and it never
// trusts a transport: whoever reads bytes verifies his own checksums.
// A Bucket may be used from any number of goroutines and processes at once. Nothing below
// objstore imports the broker; the tree could be lifted out as a library of its own.
// The bytes the file provider writes are in docs/formats/object-file.md.
package objstore

import (
	"bytes"
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"slices"
	"time"
)

// Version names one generation of an object, for compare-and-swap: an ETag, a generation
// number, a token. It changes with every overwrite that changes the bytes; it is opaque, and
// it is not an identity (an S3 ETag comes back with equal bytes), so objects that are
// compared and swapped carry something unique inside.
type Version string

// Class is a storage class by the provider's own name; "" is the bucket's default.
type Class string

// TokenMeta is the metadata name that holds a write token: a value that is unique to one
// write, by which the writer recognises his own object when the reply was lost.
const TokenMeta = "varve"

// Castagnoli is the CRC32C table that every checksum in this package uses.
var Castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Source is what a Put writes. It can be read again from its start by construction, so that
// retries are safe and sizes are known.
type Source struct {
	// R holds the bytes [Off, Off+Size). It must not change during the Put, and may be
	// read at several places at once.
	R         io.ReaderAt
	Off, Size int64
	// CRC32C of the bytes, when HasCRC. A store that computes another one refuses the write
	// with ErrCorrupt; without it the provider reads the source once more to compute it.
	CRC32C uint32
	HasCRC bool
}

// Bytes is a Source over b, which must not change during the Put.
func Bytes(b []byte) Source {
	return Source{R: bytes.NewReader(b), Size: int64(len(b)), CRC32C: crc32.Checksum(b, Castagnoli), HasCRC: true}
}

// Reader reads the source from its start.
func (s Source) Reader() *io.SectionReader { return io.NewSectionReader(s.R, s.Off, s.Size) }

// Part is the run of n bytes at off within the source, without a checksum.
func (s Source) Part(off, n int64) Source { return Source{R: s.R, Off: s.Off + off, Size: n} }

// Checksum is the CRC32C the source came with, or else the one of its bytes, which it reads.
func (s Source) Checksum() (uint32, error) {
	if s.HasCRC {
		return s.CRC32C, nil
	}
	h := crc32.New(Castagnoli)
	n, err := io.Copy(h, s.Reader())
	if err == nil && n != s.Size {
		err = io.ErrUnexpectedEOF
	}
	return h.Sum32(), err
}

// PutOpts says how an object is written. The zero value overwrites.
type PutOpts struct {
	// IfAbsent creates the object or fails with ErrPrecondition when there is one.
	IfAbsent bool
	// IfVersion overwrites this version only; a missing object or another version fails with
	// ErrPrecondition. At most one of IfAbsent and IfVersion is set.
	IfVersion Version
	// Class needs Capabilities.Classes.
	Class Class
	// Meta is kept with the object: names are lower-case letters and digits, values printable
	// ASCII, 1 KiB in all. TokenMeta is the one name the house uses.
	Meta map[string]string
	// Tags need Capabilities.Tags.
	Tags map[string]string
	// PartSize, in bytes, is the largest object that goes up in one request, and the size of
	// the parts of a larger one. 0 leaves both to the provider; so does a provider whose
	// store takes objects whole.
	PartSize int64
	// Parallel is how many parts are on their way at once; 0 leaves it to the provider.
	Parallel int
}

// Conditional reports whether the put has a condition.
func (o PutOpts) Conditional() bool { return o.IfAbsent || o.IfVersion != "" }

// Attrs describes an object.
type Attrs struct {
	Key string
	// Size in bytes.
	Size int64
	// Version to compare with. In a List it is "" for an object whose attributes the store
	// could not read (a damaged file): Head or a read of it says what is wrong.
	Version  Version
	Modified time.Time
	Class    Class
	// Offline means that the object has to be restored before it can be read.
	Offline bool
	// Meta is known to Put, Head, Open and GetRange, not to List.
	Meta map[string]string
	// CRC32C of the whole object as the store reports it, when HasCRC: Put and Head only.
	CRC32C uint32
	HasCRC bool
}

// Page is one answer of List.
type Page struct {
	// Objects in ascending byte order of their keys, without Meta and CRC32C.
	Objects []Attrs
	// Next is the after of the next page; "" says that this one is the last. A page may be
	// shorter than asked for, even empty, and have a Next.
	Next string
}

// Capabilities says what a store can do beyond the least that Varve runs on, so that a
// policy which needs more is refused at start-up and not at 3 a.m.
type Capabilities struct {
	// IfAbsent and IfVersion: the condition holds against all other writers, in one request
	// and in parts.
	IfAbsent, IfVersion bool
	// DeleteIf: the Bucket is a ConditionalDeleter whose condition holds.
	DeleteIf bool
	// Checksum: the store checks CRC32C on write and reports it in Head.
	Checksum bool
	// Tags and Classes that PutOpts may name; nil Classes means only the default.
	Tags    bool
	Classes []Class
	// Offline are the classes whose objects have to be restored before they are read. PutOpts
	// takes none of them; a ClassSetter does.
	Offline []Class
	// ClassNames are names of one's own for some of both, which stand for them wherever a class is
	// given. What is told of an object keeps the provider's.
	ClassNames map[Class]Class
	// Shared: other processes see the same objects. Durable: they outlive this process.
	Shared, Durable bool
}

// Bucket is a store of immutable-by-convention objects below one prefix. Every error is an
// *Error (Delete: *BatchError) and matches one of the Err… kinds by errors.Is. A nil error
// from a write means that the object is durable, if the store is. When the context ends
// during a write, the write may have happened or not, never in part.
type Bucket interface {
	// Put writes an object whole. A condition reports the truth about this very write even
	// if a reply was lost on the way (PutSettled); what could not be found out is ErrAmbiguous.
	Put(ctx context.Context, key string, src Source, o PutOpts) (Attrs, error)
	// GetRange fills p with the bytes at off, or fails: ErrInvalidRange when the object is
	// shorter. A ifv other than "" fails with ErrPrecondition on another version. An empty p
	// checks that the object is there, in that version, and not shorter than off.
	GetRange(ctx context.Context, key string, off int64, p []byte, ifv Version) (Attrs, error)
	// Open reads n bytes from off, clamped at the end of the object; n < 0 reads to the end.
	// An off at or beyond the end is ErrInvalidRange, except for off 0 with n < 0. The reader
	// ends with io.EOF after exactly that many bytes, or with an *Error; it must be closed.
	Open(ctx context.Context, key string, off, n int64, ifv Version) (io.ReadCloser, Attrs, error)
	// Head describes an object or fails with ErrNotFound.
	Head(ctx context.Context, key string) (Attrs, error)
	// List returns objects whose keys start with prefix (a plain string prefix, "" is all)
	// and are greater than after (exclusive, need not exist, "" is the start). limit bounds
	// the page; 0, or more than the provider's own limit, means the provider's.
	List(ctx context.Context, prefix, after string, limit int) (Page, error)
	// Delete removes objects; a missing one is success. If any key fails the error is a
	// *BatchError that names each; the others are gone.
	Delete(ctx context.Context, keys ...string) error
	// Capabilities is what this store can do; it does not change.
	Capabilities() Capabilities
	// Close lets go of connections. Operations under way may fail.
	Close() error
}

// ConditionalDeleter is a Bucket that can delete one version of an object only.
type ConditionalDeleter interface {
	// DeleteIf deletes key if it is at version v; ErrPrecondition on another version,
	// ErrNotFound when it is missing.
	DeleteIf(ctx context.Context, key string, v Version) error
}

// Sweeper is a Bucket that can hold unfinished writes of crashed writers, which cost room
// and money and are in no List.
type Sweeper interface {
	// SweepUploads removes unfinished writes below prefix that are older than age, and
	// returns how many it removed.
	SweepUploads(ctx context.Context, prefix string, age time.Duration) (int, error)
}

// ClassSetter is a Bucket that can move an object to another class.
type ClassSetter interface {
	// SetClass moves an object to one of Capabilities.Classes or Offline. Its bytes and its
	// metadata stay, its Version may change.
	SetClass(ctx context.Context, key string, class Class) error
}

// Restorer is a Bucket whose offline objects can be made readable again.
type Restorer interface {
	// Restore asks for an offline object to be readable for some days, and returns at once: the
	// store takes minutes to hours, and Head says Offline until then. To ask again while it is on
	// its way is success. A store without temporary copies moves the object to an online class.
	Restore(ctx context.Context, key string, days int) error
}

// Tagger is a Bucket that keeps tags, by which the rules of a lifecycle choose objects.
type Tagger interface {
	Tags(ctx context.Context, key string) (map[string]string, error)
	// SetTags replaces all of them.
	SetTags(ctx context.Context, key string, tags map[string]string) error
}

// Timer is a Bucket that keeps with an object a time of its users' own, by which the rules of a
// lifecycle choose: what Google's store has in place of tags.
type Timer interface {
	// CustomTime is that of an object, the zero time if it has none.
	CustomTime(ctx context.Context, key string) (time.Time, error)
	// SetCustomTime sets it. A store may refuse one that is earlier than what it has, with ErrInvalid.
	SetCustomTime(ctx context.Context, key string, at time.Time) error
}

// BucketSettings are what a bucket does behind the backs of its users.
type BucketSettings struct {
	// Versioning keeps what is overwritten and deleted, and its price.
	Versioning bool
	// Locked says in words what keeps objects from being deleted: object lock, a retention
	// policy, a legal hold; "" is nothing.
	Locked string
	// Hierarchical name spaces have directories, which other rules hold for.
	Hierarchical bool
}

// Inspector is a Bucket whose settings can be read.
type Inspector interface {
	Settings(ctx context.Context) (BucketSettings, error)
}

// All lists every object below prefix that comes after the key after, page by page. It
// ends after the first error.
func All(ctx context.Context, b Bucket, prefix, after string) iter.Seq2[Attrs, error] {
	return func(yield func(Attrs, error) bool) {
		for {
			page, err := b.List(ctx, prefix, after, 0)
			if err != nil {
				yield(Attrs{}, err)
				return
			}
			for _, a := range page.Objects {
				if !yield(a, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			after = page.Next
		}
	}
}

// Get reads a whole object into memory and fails with ErrTooLarge, before it reads, if the
// object has more than max bytes. For small objects: manifests, markers.
func Get(ctx context.Context, b Bucket, key string, max int64) ([]byte, Attrs, error) {
	r, a, err := b.Open(ctx, key, 0, -1, "")
	if err != nil {
		return nil, Attrs{}, err
	}
	defer r.Close()
	if a.Size > max {
		return nil, a, NewError(ErrTooLarge, "get", key, nil)
	}
	p := make([]byte, a.Size)
	if _, err := io.ReadFull(r, p); err != nil {
		return nil, a, Wrap("get", key, err)
	}
	return p, a, nil
}

// CheckClass holds the class of a SetClass against what the store has, online or offline.
func (c Capabilities) CheckClass(op, key string, class Class) error {
	if own := c.own(class); slices.Contains(c.Classes, own) || slices.Contains(c.Offline, own) {
		return nil
	}
	return NewError(ErrUnsupported, op, key, fmt.Errorf("storage class %q; there are %v, and offline %v", class, c.Classes, c.Offline))
}

// Supports reports whether the class may be named in a Put.
func (c Capabilities) Supports(class Class) bool {
	return class == "" || slices.Contains(c.Classes, c.own(class))
}

// own is the provider's name of a class.
func (c Capabilities) own(class Class) Class {
	if own, ok := c.ClassNames[class]; ok {
		return own
	}
	return class
}
