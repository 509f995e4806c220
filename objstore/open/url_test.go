//go:build !nos3 && !noazure && !nogcs

package open_test

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/open"
)

func TestOpen(t *testing.T) {
	for _, u := range []string{"file://" + filepath.Join(t.TempDir(), "new/store"), "mem://" + strings.ToLower(t.Name())} {
		b, err := open.Open(t.Context(), u)
		if err != nil {
			t.Errorf("%s: %v", u, err)
			continue
		}
		if _, err := b.Put(t.Context(), "k", objstore.Bytes([]byte("x")), objstore.PutOpts{}); err != nil {
			t.Errorf("%s: %v", u, err)
		}
		again, err := open.Open(t.Context(), u)
		if err == nil {
			_, err = again.Head(t.Context(), "k")
		}
		if err != nil {
			t.Errorf("%s, opened again: %v", u, err)
		}
	}
}

// A bad URL is refused with what to write instead, and without what it may hold.
func TestBadURLs(t *testing.T) {
	t.Setenv("AZURE_STORAGE_KEY", "")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "")
	for _, tt := range []struct{ url, says string }{
		{"", "file:///dir"},
		{"/var/lib/store", "file:///dir"},
		{"ftp://host/x", "known are file:// mem:// s3:// azblob:// gs://"},
		{"gcs://bucket", "gs://bucket"},
		{"gs://B", "bucket"},
		{"gs://bucket/Upper", "prefix"},
		{"gs://bucket?endpoint=localhost:4443", "http://host:port"},
		{"gs://bucket?endpoint=http://user:hunter2@host", "GOOGLE_APPLICATION_CREDENTIALS"},
		{"file://dir/sub", "three slashes"},
		{"file:dir", "three slashes"},
		{"file:///", "no directory"},
		{"file:///dir?sync=no", "takes none"},
		{"mem://", "mem://name"},
		{"mem://a/b", "mem://name"},
		{"s3:///prefix?region=x", "bucket"},
		{"s3://bucket?regoin=x", `"regoin"`},
		{"s3://bucket?path-style=true", "do you mean pathStyle?"},
		{"s3://bucket?region=a&region=b", "given 2 times"},
		{"s3://bucket?region=a&pathStyle=perhaps", "true or false"},
		{"s3://bucket?region=a&checksum=md5", "crc32c or none"},
		{"s3://bucket?region=a&encryption=des", "AES256 or aws:kms"},
		{"s3://bucket?region=a&customerKeyEnv=VARVE_NO_SUCH_VARIABLE", "not set"},
		{"s3://bucket?region=a&requesterPays=yes", "true or false"},
		{"s3://bucket?region=a&customerKey=hunter2", "unknown parameter"},
		{"s3://bucket/Upper?region=a", "prefix"},
		{"s3://bucket?endpoint=localhost:9000", "http://host:port"},
		{"s3://KEY:hunter2@bucket?region=a", "credentials"},
		{"s3://KEY:hunter2@bucket?region=%zz\x7f", "not shown"},
		{"s3://bucket?endpoint=http://KEY:hunter2@host", "AWS_ACCESS_KEY_ID"},
		{"s3://bucket#x", "'#'"},
		{"s3://bucket?region=a&ca=/no/such/file", "no such file"},
		{"s3://bucket?region=a&ca=url_test.go", "no certificate in PEM form"},
		{"s3://bucket?endpoint=http://127.0.0.1:1&ca=url_test.go", "over TLS"},
		{"gs://bucket?endpoint=https://127.0.0.1:1&ca=url_test.go", "no certificate in PEM form"},
		{"azblob://account/con?ca=url_test.go", "no certificate in PEM form"},
		{"azure://account/c", "azblob://account/container"},
		{"azblob://Account_/c", "storage account"},
		{"azblob://account", "container"},
		{"azblob://account/C", "container"},
		{"azblob://account/con/Upper", "prefix"},
		{"azblob://account/con?endpoint=127.0.0.1:1", "http://host:port"},
		{"azblob://account/con?endpoint=http://127.0.0.1:1/?sig=hunter2", "credentials"},
		{"azblob://account/con?endpoint=http://127.0.0.1:1", "AZURE_STORAGE_KEY"},
		{"azblob://account/con?checksum=md5", "crc64 or none"},
		{"s3://bucket?region=a&classes=warm", "name:CLASS"},
		{"s3://bucket?region=a&classes=warm:STANDARD-IA", "STANDARD_IA"},
		{"gs://bucket?endpoint=http://127.0.0.1:1&classes=warm:Cool", "NEARLINE"},
	} {
		b, err := open.Open(t.Context(), tt.url)
		if b != nil || !errors.Is(err, objstore.ErrInvalid) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%q: %v, want an invalid URL and %q", tt.url, err, tt.says)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: the message holds the password", tt.url)
		}
	}
}

// Names for classes are known to the store that is opened, and to nobody else.
func TestClassesOfAURL(t *testing.T) {
	b, err := open.Open(t.Context(), "s3://bucket?region=a&classes=warm:STANDARD_IA,frozen:DEEP_ARCHIVE")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	caps := b.Capabilities()
	if !caps.Supports("warm") || caps.Supports("frozen") || caps.CheckClass("set class", "k", "frozen") != nil || caps.Supports("hot") {
		t.Errorf("the classes are %v, %v, %v", caps.Classes, caps.Offline, caps.ClassNames)
	}
}
