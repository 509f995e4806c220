package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/varve-io/varve/objstore"
)

// pageLimit is the most objects a List answers with, as on S3.
const pageLimit = 1000

// List implements objstore.Bucket. It reads the trailer of every object it names.
func (b *Bucket) List(ctx context.Context, prefix, after string, limit int) (objstore.Page, error) {
	if err := objstore.CheckList(prefix, after); err != nil {
		return objstore.Page{}, err
	}
	if limit <= 0 || limit > pageLimit {
		limit = pageLimit
	}
	w := walk{b: b, ctx: ctx, prefix: prefix, after: after, limit: limit}
	err := w.dir(prefix[:strings.LastIndexByte(prefix, '/')+1])
	if err == nil && !b.present() {
		err = b.fail("list", prefix, fs.ErrNotExist)
	}
	if err != nil && !errors.Is(err, errFull) {
		return objstore.Page{}, objstore.Wrap("list", prefix, err)
	}
	return w.page, nil
}

// errFull ends a walk whose page is full and has a successor.
var errFull = errors.New("page full")

// walk visits the directories that can hold keys with the prefix, after the start, in the
// byte order of whole keys: a directory sorts with its slash ("a-b" before "a/b").
type walk struct {
	b             *Bucket
	ctx           context.Context
	prefix, after string
	limit         int
	page          objstore.Page
}

// dir visits the directory of keys that start with at: "" or something with a final slash.
func (w *walk) dir(at string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	entries, err := os.ReadDir(w.b.path(at))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil // removed since, or never there
	}
	if err != nil {
		return w.b.fail("list", at, err)
	}
	keys := make([]string, 0, len(entries))
	for _, e := range entries {
		if !isKeyName(e.Name()) {
			continue
		}
		key := at + e.Name()
		if e.IsDir() {
			key += "/"
		}
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		if err := w.visit(key); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) visit(key string) error {
	if strings.HasSuffix(key, "/") {
		within := strings.HasPrefix(key, w.prefix) || strings.HasPrefix(w.prefix, key)
		over := key <= w.after && !strings.HasPrefix(w.after, key)
		if !within || over {
			return nil
		}
		return w.dir(key)
	}
	if !strings.HasPrefix(key, w.prefix) || key <= w.after {
		return nil
	}
	if len(w.page.Objects) == w.limit {
		w.page.Next = w.page.Objects[w.limit-1].Key
		return errFull
	}
	a := objstore.Attrs{Key: key}
	f, t, err := w.b.open("list", key, "")
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return nil // deleted since
	case errors.Is(err, objstore.ErrCorrupt):
		// It is there, and hiding it could be taken for its absence.
	case err != nil:
		return err
	default:
		f.Close()
		a = t.attrs(key)
		a.Meta, a.CRC32C, a.HasCRC = nil, 0, false
	}
	w.page.Objects = append(w.page.Objects, a)
	return nil
}

// Delete implements objstore.Bucket. Directories that it leaves empty go too.
func (b *Bucket) Delete(ctx context.Context, keys ...string) error {
	var batch objstore.Batch
	dirs := make(map[string][]string) // directory → its keys that were removed
	for _, key := range keys {
		err := objstore.CheckKey(key)
		if err == nil {
			err = b.remove(ctx, key, "")
		}
		if err == nil || errors.Is(err, objstore.ErrNotFound) {
			// A missing one too: another process may have removed it and not synced yet.
			dirs[path.Dir(key)] = append(dirs[path.Dir(key)], key)
			continue
		}
		batch.Add(key, err)
	}
	for dir, removed := range dirs {
		if err := b.settleDir(dir); err != nil {
			for _, key := range removed {
				batch.Add(key, b.fail("delete", key, err))
			}
		}
	}
	return batch.Err()
}

// DeleteIf implements objstore.ConditionalDeleter.
func (b *Bucket) DeleteIf(ctx context.Context, key string, v objstore.Version) error {
	if err := objstore.CheckKey(key); err != nil {
		return err
	}
	if err := b.remove(ctx, key, v); err != nil {
		return err
	}
	if err := b.settleDir(path.Dir(key)); err != nil {
		return b.fail("delete", key, err)
	}
	return nil
}

// remove unlinks the object of a key, if it is at version ifv or that is "".
func (b *Bucket) remove(ctx context.Context, key string, ifv objstore.Version) error {
	unlock, err := b.locks.lock(ctx, key)
	if err != nil {
		return b.fail("delete", key, err)
	}
	defer unlock()
	if ifv != "" {
		f, _, err := b.open("delete", key, ifv)
		if err != nil {
			return err
		}
		f.Close()
	}
	name := b.path(key)
	if isDir(name) {
		return objstore.NewError(objstore.ErrNotFound, "delete", key, errIsDir)
	}
	if err := os.Remove(name); err != nil {
		return b.fail("delete", key, err)
	}
	return nil
}

// settleDir makes removals from a directory of keys durable, and removes it and what is above
// it as far as they are empty. A Put that needs them makes them again.
func (b *Bucket) settleDir(dir string) error {
	for {
		err := syncDir(b.path(dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return err
		}
		if dir == "." {
			return nil
		}
		if err == nil && syscall.Rmdir(b.path(dir)) != nil {
			return nil // not empty: the common case
		}
		dir = path.Dir(dir)
	}
}
