package s3

import (
	"context"
	"crypto/md5"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Encryption of objects at rest, beyond what the bucket does by itself.
type Encryption struct {
	// Mode is AES256 (the store's own keys), aws:kms, or "" for the bucket's default.
	Mode string
	// KMSKey is the id or the ARN of a key, for aws:kms; "" is the account's default key.
	KMSKey string
	// CustomerKey is 32 bytes in base64, by which the store encrypts and which it forgets: each
	// request carries them. It goes with no Mode. A secret: it never stands in a URL.
	CustomerKey string
}

// Operations by what their requests take.
var (
	writers = []string{"PutObject", "CreateMultipartUpload", "CopyObject"}
	// readers of an object, or of its parts, need the customer's key again.
	readers = []string{"GetObject", "HeadObject", "UploadPart"}
)

// headers are those that the configuration adds to requests, by operation.
type headers struct {
	write, key, copyKey http.Header
	all                 http.Header
}

func newHeaders(e Encryption, requesterPays bool) (headers, error) {
	h := headers{write: http.Header{}, key: http.Header{}, copyKey: http.Header{}, all: http.Header{}}
	if requesterPays {
		h.all.Set("x-amz-request-payer", "requester")
	}
	switch {
	case e.Mode != "" && e.Mode != "AES256" && e.Mode != "aws:kms":
		return h, fmt.Errorf("encryption is AES256 or aws:kms, not %q", e.Mode)
	case e.KMSKey != "" && e.Mode != "aws:kms":
		return h, errors.New("a KMS key goes with encryption=aws:kms")
	case e.CustomerKey != "" && e.Mode != "":
		return h, errors.New("a customer key is an encryption of its own: leave the other out")
	}
	if e.Mode != "" {
		h.write.Set("x-amz-server-side-encryption", e.Mode)
	}
	if e.KMSKey != "" {
		h.write.Set("x-amz-server-side-encryption-aws-kms-key-id", e.KMSKey)
	}
	if e.CustomerKey == "" {
		return h, nil
	}
	key, err := base64.StdEncoding.DecodeString(e.CustomerKey)
	if err != nil || len(key) != 32 {
		return h, errors.New("the customer key is not 32 bytes in base64: make one with 'openssl rand -base64 32'")
	}
	sum := md5.Sum(key) // S3's own check of the header
	for _, of := range []struct {
		h      http.Header
		prefix string
	}{{h.key, "x-amz-server-side-encryption-customer-"}, {h.copyKey, "x-amz-copy-source-server-side-encryption-customer-"}} {
		of.h.Set(of.prefix+"algorithm", "AES256")
		of.h.Set(of.prefix+"key", base64.StdEncoding.EncodeToString(key))
		of.h.Set(of.prefix+"key-md5", base64.StdEncoding.EncodeToString(sum[:]))
	}
	return h, nil
}

// of is what the requests of an operation take.
func (h headers) of(op string) []http.Header {
	add := []http.Header{h.all}
	if slices.Contains(writers, op) {
		add = append(add, h.write, h.key)
	}
	if slices.Contains(readers, op) {
		add = append(add, h.key)
	}
	if op == "CopyObject" {
		add = append(add, h.copyKey)
	}
	return add
}

// middleware adds them before the request is signed.
func (h headers) middleware(stack *middleware.Stack) error {
	return stack.Build.Add(middleware.BuildMiddlewareFunc("VarveHeaders",
		func(ctx context.Context, in middleware.BuildInput, next middleware.BuildHandler) (middleware.BuildOutput, middleware.Metadata, error) {
			if req, ok := in.Request.(*smithyhttp.Request); ok {
				for _, add := range h.of(middleware.GetOperationName(ctx)) {
					for name, values := range add {
						req.Header[name] = values
					}
				}
			}
			return next.HandleBuild(ctx, in)
		}), middleware.After)
}
