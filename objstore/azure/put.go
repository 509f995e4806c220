package azure

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/crc32"
	"hash/crc64"
	"io"
	"maps"
	"strconv"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/retry"
)

// Sizes in bytes. Each block is a request that is paid for, so one request carries what a
// segment usually has; the service takes blocks of up to 4000 MiB, 50,000 of them.
const (
	wholeDefault = 64 << 20
	blockDefault = 32 << 20
	blockMax     = 4000 << 20
	blocksMax    = 50_000
	// parallelDefault blocks are on their way at once.
	parallelDefault = 4
	// restarts of an upload whose blocks another writer's commit has dropped.
	restarts = 3
)

// sumMeta is the metadata name that holds an object's CRC32C, in hex.
const sumMeta = "varvecrc32c"

// crc64Table is the service's CRC64: the polynomial 0x9A6C9329AC4BC9B5.
// Source: "x-ms-content-crc64" of the Put Blob reference.
var crc64Table = crc64.MakeTable(0x9A6C9329AC4BC9B5)

// blockSize is the size of the blocks of an object; one that is not larger goes up whole.
func blockSize(size, asked int64) int64 {
	block := asked
	switch {
	case asked > 0:
		block = min(asked, blockMax)
	case size <= wholeDefault:
		return wholeDefault
	default:
		block = blockDefault
	}
	for block < blockMax && (size+block-1)/block > blocksMax {
		block = min(2*block, blockMax)
	}
	return block
}

// Put implements objstore.Bucket.
func (b *Bucket) Put(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	if err := b.CheckKey("put", key); err != nil {
		return objstore.Attrs{}, err
	}
	if err := objstore.CheckPut(key, src, o, b.Capabilities()); err != nil {
		return objstore.Attrs{}, err
	}
	if err := ctx.Err(); err != nil {
		return objstore.Attrs{}, objstore.Wrap("put", key, err)
	}
	return objstore.PutSettled(ctx, key, src, o, b.Head, func(ctx context.Context, o objstore.PutOpts) (objstore.Attrs, error) {
		size := blockSize(src.Size, o.PartSize)
		if size >= src.Size {
			return b.putWhole(ctx, key, src, o)
		}
		for try := 1; ; try++ {
			a, err := b.putBlocks(ctx, key, src, o, size)
			if err == nil || !errors.Is(err, objstore.ErrConflict) || try == restarts {
				return a, err
			}
		}
	})
}

// sums reads a source once and returns its CRC32C and its CRC64. A source that has another
// CRC32C than it says is refused: after this the service sees to it that what arrives is what
// was read here.
func (b *Bucket) sums(ctx context.Context, key string, src objstore.Source) (uint32, blob.TransferValidationType, error) {
	if b.conf.NoChecksum {
		sum, err := src.Checksum()
		if err != nil {
			err = retry.SourceError(key, err)
		}
		return sum, nil, err
	}
	small, large := crc32.New(objstore.Castagnoli), crc64.New(crc64Table)
	n, err := io.Copy(io.MultiWriter(small, large), src.Reader())
	if err == nil && n != src.Size {
		err = io.ErrUnexpectedEOF
	}
	switch {
	case ctx.Err() != nil:
		return 0, nil, objstore.Wrap("put", key, ctx.Err())
	case err != nil:
		return 0, nil, retry.SourceError(key, err)
	case src.HasCRC && src.CRC32C != small.Sum32():
		return 0, nil, objstore.NewError(objstore.ErrCorrupt, "put", key, fmt.Errorf("the source has CRC32C %08x and says %08x", small.Sum32(), src.CRC32C))
	}
	return small.Sum32(), blob.TransferValidationTypeCRC64(large.Sum64()), nil
}

// putWhole uploads in one request.
func (b *Bucket) putWhole(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts) (objstore.Attrs, error) {
	sum, check, err := b.sums(ctx, key, src)
	if err != nil {
		return objstore.Attrs{}, err
	}
	var a objstore.Attrs
	err = b.do(ctx, "put", key, b.conf.Write, func(ctx context.Context) error {
		body := retry.NewBody(key, src)
		out, err := b.blob(key).Upload(ctx, body, &blockblob.UploadOptions{
			Metadata: metadata(o.Meta, sum), Tags: o.Tags, Tier: tier(o.Class),
			TransactionalValidation: check, AccessConditions: conditions(o), CPKScopeInfo: b.scope(),
		})
		if err != nil {
			return body.Blame(err)
		}
		a = b.putAttrs(key, src, o, out.ETag, sum)
		return nil
	})
	return a, err
}

// putBlocks stages blocks, some at once, and commits them; the condition is checked then. The
// names of blocks hold the write's own token: two writers of one object share a name space,
// and must not replace each other's blocks. What a failed upload has staged is in no object,
// and the service drops it after a week.
func (b *Bucket) putBlocks(ctx context.Context, key string, src objstore.Source, o objstore.PutOpts, size int64) (objstore.Attrs, error) {
	token := objstore.NewToken()
	ids := make([]string, (src.Size+size-1)/size)
	crcs := make([]uint32, len(ids))
	for i := range ids {
		ids[i] = base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%s-%05d", token, i))
	}
	parallel := o.Parallel
	if parallel <= 0 {
		parallel = parallelDefault
	}
	err := retry.Each(ctx, len(ids), parallel, func(ctx context.Context, i int) error {
		off := int64(i) * size
		part := src.Part(off, min(size, src.Size-off))
		sum, check, err := b.sums(ctx, key, part)
		if err != nil {
			return err
		}
		crcs[i] = sum
		return b.do(ctx, "put part", key, b.conf.Write, func(ctx context.Context) error {
			body := retry.NewBody(key, part)
			_, err := b.blob(key).StageBlock(ctx, ids[i], body, &blockblob.StageBlockOptions{TransactionalValidation: check, CPKScopeInfo: b.scope()})
			if err != nil {
				return body.Blame(err)
			}
			return nil
		})
	})
	if err != nil {
		return objstore.Attrs{}, objstore.Wrap("put", key, err)
	}
	sum := crcs[0]
	for i, c := range crcs[1:] {
		off := int64(i+1) * size
		sum = objstore.CombineCRC32C(sum, c, min(size, src.Size-off))
	}
	if src.HasCRC && src.CRC32C != sum {
		return objstore.Attrs{}, objstore.NewError(objstore.ErrCorrupt, "put", key, fmt.Errorf("the source has CRC32C %08x and says %08x", sum, src.CRC32C))
	}
	var a objstore.Attrs
	err = b.do(ctx, "put", key, b.conf.Write, func(ctx context.Context) error {
		out, err := b.blob(key).CommitBlockList(ctx, ids, &blockblob.CommitBlockListOptions{
			Metadata: metadata(o.Meta, sum), Tags: o.Tags, Tier: tier(o.Class), AccessConditions: conditions(o), CPKScopeInfo: b.scope(),
		})
		if err == nil {
			a = b.putAttrs(key, src, o, out.ETag, sum)
		}
		return err
	})
	return a, err
}

func (b *Bucket) putAttrs(key string, src objstore.Source, o objstore.PutOpts, etag *azcore.ETag, sum uint32) objstore.Attrs {
	return objstore.Attrs{Key: key, Size: src.Size, Version: version(etag), Class: o.Class, Meta: maps.Clone(o.Meta), CRC32C: sum, HasCRC: !b.conf.NoChecksum}
}

func metadata(meta map[string]string, sum uint32) map[string]*string {
	out := map[string]*string{sumMeta: to.Ptr(fmt.Sprintf("%08x", sum))}
	for name, value := range meta {
		out[name] = to.Ptr(value)
	}
	return out
}

// plain undoes metadata; names come back in another case.
func plain(meta map[string]*string) (out map[string]string, sum uint32, ok bool) {
	out = make(map[string]string, len(meta))
	for name, value := range meta {
		if value != nil {
			out[strings.ToLower(name)] = *value
		}
	}
	v, err := strconv.ParseUint(out[sumMeta], 16, 32)
	delete(out, sumMeta)
	return out, uint32(v), err == nil
}

// scope is what new bytes are encrypted by; nil is the container's own.
func (b *Bucket) scope() *blob.CPKScopeInfo {
	if b.conf.EncryptionScope == "" {
		return nil
	}
	return &blob.CPKScopeInfo{EncryptionScope: to.Ptr(b.conf.EncryptionScope)}
}

func tier(class objstore.Class) *blob.AccessTier {
	if class == "" {
		return nil
	}
	return to.Ptr(blob.AccessTier(class))
}

// version is an ETag without its quotes, which the service's lists leave out.
func version(etag *azcore.ETag) objstore.Version {
	if etag == nil {
		return ""
	}
	return objstore.Version(strings.Trim(string(*etag), `"`))
}

func etag(v objstore.Version) *azcore.ETag { return to.Ptr(azcore.ETag(`"` + string(v) + `"`)) }

func conditions(o objstore.PutOpts) *blob.AccessConditions {
	switch {
	case o.IfAbsent:
		return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfNoneMatch: to.Ptr(azcore.ETagAny)}}
	case o.IfVersion != "":
		return ifMatch(o.IfVersion)
	}
	return nil
}

func ifMatch(v objstore.Version) *blob.AccessConditions {
	if v == "" {
		return nil
	}
	return &blob.AccessConditions{ModifiedAccessConditions: &blob.ModifiedAccessConditions{IfMatch: etag(v)}}
}
