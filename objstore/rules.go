package objstore

import (
	"fmt"
	"strings"
)

// Limits that every store and every emulator we know of honours.
const (
	// MaxKey is the longest key in bytes, a store's own prefix included.
	MaxKey = 1000
	// MaxSegment is the longest run between two slashes, in bytes.
	MaxSegment = 255
	// MaxMeta bounds the names and values of an object's metadata together, in bytes.
	MaxMeta = 1024
)

// CheckKey holds a key against the rules: ASCII [a-z0-9._=/-], no "..", no empty segment,
// none that ends in a dot, at most MaxSegment bytes each and MaxKey in all. This is the
// intersection of what the clouds, their emulators and file systems keep apart. No key may
// be a directory of another ("a" beside "a/b"): stores on a file system refuse the second.
func CheckKey(key string) error {
	if key == "" {
		return NewError(ErrInvalid, "check", key, fmt.Errorf("the key is empty"))
	}
	if err := checkChars(key); err != nil {
		return err
	}
	for seg := range strings.SplitSeq(key, "/") {
		switch {
		case seg == "":
			return badKey(key, "it has an empty segment (a slash at an end, or two in a row)")
		case strings.HasSuffix(seg, "."):
			return badKey(key, "a segment ends in a dot")
		case len(seg) > MaxSegment:
			return badKey(key, fmt.Sprintf("a segment is longer than %d bytes", MaxSegment))
		}
	}
	return nil
}

// CheckList holds the prefix and the start of a List against the rules. Both may be cut
// anywhere, within a segment or after its slash.
func CheckList(prefix, after string) error {
	for _, s := range []string{prefix, after} {
		if err := checkChars(s); err != nil {
			return err
		}
		if strings.HasPrefix(s, "/") || strings.Contains(s, "//") || strings.Contains(s, "./") {
			return badKey(s, "it has an empty segment, or one that ends in a dot")
		}
	}
	return nil
}

func checkChars(s string) error {
	if len(s) > MaxKey {
		return NewError(ErrInvalid, "check", s[:40]+"…", fmt.Errorf("longer than %d bytes", MaxKey))
	}
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '=' || c == '/' || c == '-' {
			continue
		}
		return badKey(s, fmt.Sprintf("byte %#02x at %d: keys are made of a-z 0-9 . _ = / -", c, i))
	}
	if strings.Contains(s, "..") {
		return badKey(s, `it contains ".."`)
	}
	return nil
}

func badKey(key, why string) error {
	return NewError(ErrInvalid, "check", key, fmt.Errorf("not a usable key: %s", why))
}

// CheckPut holds the arguments of a Put against the rules and the capabilities; providers
// call it before anything else.
func CheckPut(key string, src Source, o PutOpts, caps Capabilities) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	invalid := func(format string, args ...any) error {
		return NewError(ErrInvalid, "put", key, fmt.Errorf(format, args...))
	}
	switch {
	case src.R == nil || src.Off < 0 || src.Size < 0:
		return invalid("the source has no reader, or a negative offset or size")
	case o.IfAbsent && o.IfVersion != "":
		return invalid("IfAbsent and IfVersion are both set")
	case o.PartSize < 0 || o.Parallel < 0:
		return invalid("PartSize and Parallel can not be negative")
	case !caps.Supports(o.Class):
		return NewError(ErrUnsupported, "put", key, fmt.Errorf("storage class %q; there are %v", o.Class, caps.Classes))
	case len(o.Tags) > 0 && !caps.Tags:
		return NewError(ErrUnsupported, "put", key, fmt.Errorf("object tags"))
	}
	total := 0
	for name, value := range o.Meta {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return invalid("metadata name %q: only a-z and 0-9", name)
		}
		for i := range len(value) {
			if value[i] < 0x20 || value[i] > 0x7e {
				return invalid("the metadata value of %q is not printable ASCII", name)
			}
		}
		if strings.TrimSpace(value) != value {
			return invalid("the metadata value of %q starts or ends with a space", name)
		}
		total += len(name) + len(value)
	}
	if total > MaxMeta {
		return invalid("metadata of %d bytes, at most %d", total, MaxMeta)
	}
	return nil
}

// ClampRange is the arithmetic of Open: how many bytes a read of n at off yields from an
// object of size bytes, or ErrInvalidRange.
func ClampRange(op, key string, off, n, size int64) (int64, error) {
	whole := off == 0 && n < 0
	if off < 0 || n == 0 || (off >= size && !whole) {
		return 0, NewError(ErrInvalidRange, op, key, fmt.Errorf("%d bytes at %d of an object of %d", n, off, size))
	}
	if n < 0 || n > size-off {
		n = size - off
	}
	return n, nil
}

// FullRange is the arithmetic of GetRange: n bytes at off must lie within size bytes.
func FullRange(key string, off, n, size int64) error {
	if off < 0 || off > size || n > size-off {
		return NewError(ErrInvalidRange, "get", key, fmt.Errorf("%d bytes at %d of an object of %d", n, off, size))
	}
	return nil
}
