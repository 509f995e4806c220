package file_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/file"
)

// Every single flipped bit of the trailer, and every cut, is noticed; the object stays listed
// and stays where it is.
func TestDamagedTrailer(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	if _, err := b.Put(t.Context(), "a/x", objstore.Bytes([]byte("body")), objstore.PutOpts{Meta: map[string]string{"varve": "t"}}); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "a", "x")
	good, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, bad []byte) {
		t.Helper()
		if err := os.WriteFile(name, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Head(t.Context(), "a/x"); !errors.Is(err, objstore.ErrCorrupt) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for i := 4 * 8; i < 8*len(good); i++ {
		bad := bytes.Clone(good)
		bad[i/8] ^= 1 << (i % 8)
		check("a flipped bit", bad)
	}
	for n := range good {
		check("a cut", good[:n])
	}
	check("more bytes in front", append([]byte{0}, good...))

	page, err := b.List(t.Context(), "", "", 0)
	if err != nil || len(page.Objects) != 1 || page.Objects[0].Version != "" {
		t.Errorf("a damaged object in a list: %+v, %v", page, err)
	}
	_, err = b.Put(t.Context(), "a/x", objstore.Bytes(nil), objstore.PutOpts{IfAbsent: true})
	if !errors.Is(err, objstore.ErrPrecondition) && !errors.Is(err, objstore.ErrAmbiguous) {
		t.Errorf("create over a damaged object: %v", err)
	}
}

// The file that the first release wrote opens for ever.
func TestGolden(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	raw, err := os.ReadFile("testdata/object-1.bin")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "golden"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	body, a, err := objstore.Get(t.Context(), b, "golden", 1000)
	if err != nil || string(body) != "an object of format 1\n" {
		t.Fatalf("%q, %v", body, err)
	}
	if a.Version != "000102030405060708090a0b0c0d0e0f" || a.Modified.UnixMilli() != 1_790_000_000_123 || a.CRC32C != 0x07c775a8 ||
		len(a.Meta) != 2 || a.Meta["varve"] != "5f" || a.Meta["a"] != "" {
		t.Errorf("%+v", a)
	}
}

// A store whose disk is not mounted is missing, not empty: nothing may be concluded from it.
func TestStoreGone(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	b := open(t, dir)
	if _, err := b.Put(t.Context(), "a/x", objstore.Bytes(nil), objstore.PutOpts{}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil { // the bare mount point
		t.Fatal(err)
	}
	_, herr := b.Head(t.Context(), "a/x")
	_, lerr := b.List(t.Context(), "", "", 0)
	_, perr := b.Put(t.Context(), "a/y", objstore.Bytes(nil), objstore.PutOpts{})
	for what, err := range map[string]error{"head": herr, "list": lerr, "put": perr, "delete": b.Delete(t.Context(), "a/x")} {
		if !errors.Is(err, objstore.ErrNoBucket) {
			t.Errorf("%s: %v, want no bucket", what, err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("something was written to the mount point: %v, %v", entries, err)
	}
}

// One key can not be a directory of another; the refusal says so and harms neither.
func TestKeyIsDirectory(t *testing.T) {
	b := open(t, t.TempDir())
	put := func(key string, o objstore.PutOpts) error {
		_, err := b.Put(t.Context(), key, objstore.Bytes([]byte(key)), o)
		return err
	}
	if err := errors.Join(put("a/b", objstore.PutOpts{}), put("c", objstore.PutOpts{})); err != nil {
		t.Fatal(err)
	}
	for _, o := range []objstore.PutOpts{{}, {IfAbsent: true}} {
		for _, key := range []string{"a", "c/d"} {
			if err := put(key, o); !errors.Is(err, objstore.ErrUnsupported) {
				t.Errorf("put %s: %v", key, err)
			}
		}
	}
	if err := b.Delete(t.Context(), "a", "c/d"); err != nil {
		t.Error(err)
	}
	for _, key := range []string{"a/b", "c"} {
		if _, err := b.Head(t.Context(), key); err != nil {
			t.Error(err)
		}
	}
}

func TestEmptyDirectoriesGo(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir)
	for _, key := range []string{"a/b/c/x", "a/b/y"} {
		if _, err := b.Put(t.Context(), key, objstore.Bytes(nil), objstore.PutOpts{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Delete(t.Context(), "a/b/c/x"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a/b/c")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a/b/c is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a/b/y")); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesAFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := file.Open(name); err == nil {
		t.Errorf("opened a regular file as a store: %v", b)
	}
}
