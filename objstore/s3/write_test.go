package s3_test

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/s3"
)

func TestRequestOfAPut(t *testing.T) {
	f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { ok(w, r) })
	o := objstore.PutOpts{IfAbsent: true, Class: "STANDARD_IA", Tags: map[string]string{"a": "b c"}, Meta: map[string]string{"varve": "token"}}
	a, err := put(t, f.open(t, nil), o)
	if err != nil || a.Version != `"e1"` || a.Size != 10 {
		t.Fatalf("%+v, %v", a, err)
	}
	r := f.requests()[0]
	if r.URL.Path != "/bucket/pre/k" || r.ContentLength != 10 {
		t.Errorf("%s with %d bytes", r.URL.Path, r.ContentLength)
	}
	for name, want := range map[string]string{
		"If-None-Match": "*", "X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD", "X-Amz-Checksum-Crc32c": "KAwGng==",
		"X-Amz-Meta-Varve": "token", "X-Amz-Storage-Class": "STANDARD_IA", "X-Amz-Tagging": "a=b+c",
		"X-Amz-Trailer": "", "X-Amz-Checksum-Crc32": "", "X-Amz-Checksum-Crc64nvme": "", "Content-Encoding": "",
	} {
		if got := r.Header.Get(name); got != want {
			t.Errorf("header %s is %q, want %q", name, got, want)
		}
	}
	if _, err := put(t, f.open(t, func(c *s3.Config) { c.NoChecksum = true }), objstore.PutOpts{IfVersion: `"e1"`}); err != nil {
		t.Fatal(err)
	}
	r = f.requests()[1]
	if r.Header.Get("If-Match") != `"e1"` || r.Header.Get("X-Amz-Checksum-Crc32c") != "" || r.Header.Get("X-Amz-Sdk-Checksum-Algorithm") != "" {
		t.Errorf("headers without a checksum: %v", r.Header)
	}
}

// Each row is what the store answers to the tries of a put, and what the caller gets.
func TestPutFailures(t *testing.T) {
	create, swap := objstore.PutOpts{IfAbsent: true}, objstore.PutOpts{IfVersion: `"e0"`}
	for _, tt := range []struct {
		name    string
		o       objstore.PutOpts
		answers []string // status and code, "ok", "lost"
		there   string   // what a HEAD finds: "ours", "theirs", "nothing"
		want    objstore.Kind
		methods string
	}{
		{"slow down, twice", create, []string{"503 SlowDown", "503 SlowDown", "ok"}, "", 0, "PUT PUT PUT "},
		{"slow down, for ever", create, []string{"503 SlowDown"}, "", objstore.ErrThrottled, "PUT PUT PUT PUT "},
		{"too many requests", create, []string{"429 TooManyRequests", "ok"}, "", 0, "PUT PUT "},
		{"another writer at work", create, []string{"409 ConditionalRequestConflict", "ok"}, "", 0, "PUT PUT "},
		{"another writer at work, for ever", create, []string{"409 ConditionalRequestConflict"}, "nothing", objstore.ErrConflict, "PUT PUT PUT PUT HEAD "},
		{"it exists", create, []string{"412 PreconditionFailed"}, "theirs", objstore.ErrPrecondition, "PUT HEAD "},
		{"reply lost, ours", create, []string{"lost", "412 PreconditionFailed"}, "ours", 0, "PUT PUT HEAD "},
		{"reply lost, theirs", create, []string{"lost", "412 PreconditionFailed"}, "theirs", objstore.ErrPrecondition, "PUT PUT HEAD "},
		{"all replies lost, ours", create, []string{"lost"}, "ours", 0, "PUT PUT PUT PUT HEAD "},
		{"all replies lost, nothing there", create, []string{"lost"}, "nothing", objstore.ErrAmbiguous, "PUT PUT PUT PUT HEAD "},
		{"500 may have landed", create, []string{"500 InternalError", "412 PreconditionFailed"}, "ours", 0, "PUT PUT HEAD "},
		{"swap of a missing object", swap, []string{"404 NoSuchKey"}, "nothing", objstore.ErrPrecondition, "PUT HEAD "},
		{"swap, stale", swap, []string{"412 PreconditionFailed"}, "theirs", objstore.ErrPrecondition, "PUT HEAD "},
		{"swap, reply lost, ours", swap, []string{"lost", "412 PreconditionFailed"}, "ours", 0, "PUT PUT HEAD "},
		{"swap, reply lost, perhaps overwritten", swap, []string{"lost", "412 PreconditionFailed"}, "theirs", objstore.ErrAmbiguous, "PUT PUT HEAD "},
		{"no bucket", create, []string{"404 NoSuchBucket"}, "", objstore.ErrNoBucket, "PUT "},
		{"access denied", create, []string{"403 AccessDenied"}, "", objstore.ErrAccessDenied, "PUT "},
		{"expired credentials are fetched anew", create, []string{"400 ExpiredToken", "ok"}, "", 0, "PUT PUT "},
		{"credentials stay expired", create, []string{"400 ExpiredToken"}, "", objstore.ErrAccessDenied, "PUT PUT "},
		{"bytes changed on the way", create, []string{"400 BadDigest"}, "", objstore.ErrCorrupt, "PUT "},
		{"class refused", create, []string{"400 InvalidStorageClass"}, "", objstore.ErrUnsupported, "PUT "},
		{"another region", create, []string{"301 PermanentRedirect"}, "", objstore.ErrInvalid, "PUT "},
		{"our body was slow", create, []string{"400 RequestTimeout", "ok"}, "", 0, "PUT PUT "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var token atomic.Value
			token.Store("")
			f := newFake(t, false, func(n int, w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead {
					switch tt.there {
					case "ours":
						w.Header().Set("X-Amz-Meta-Varve", token.Load().(string))
						w.Header().Set("Content-Length", "10")
					case "theirs":
						w.Header().Set("X-Amz-Meta-Varve", "somebody")
					default:
						w.WriteHeader(404)
						return
					}
					w.Header().Set("ETag", `"e2"`)
					return
				}
				token.Store(r.Header.Get("X-Amz-Meta-Varve"))
				var status int
				var code string
				switch answer := tt.answers[min(n, len(tt.answers)-1)]; answer {
				case "ok":
					ok(w, r)
				case "lost":
					hangUp(w, r)
				default:
					fmt.Sscan(answer, &status, &code)
					fail(w, status, code)
				}
			})
			a, err := put(t, f.open(t, nil), tt.o)
			switch {
			case tt.want == 0 && (err != nil || a.Version == ""):
				t.Errorf("%+v, %v", a, err)
			case tt.want != 0:
				wantKind(t, "put", err, tt.want)
				if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), "Signature") {
					t.Errorf("the message holds a secret: %v", err)
				}
			}
			if got := f.methods(); got != tt.methods {
				t.Errorf("requests %s, want %s", got, tt.methods)
			}
		})
	}
}

func TestErrorIsCompleteAndHonoursRetryAfter(t *testing.T) {
	f := newFake(t, false, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			w.Header().Set("Retry-After", "1")
			fail(w, 503, "SlowDown")
			return
		}
		fail(w, 403, "AccessDenied")
	})
	start := time.Now()
	_, err := f.open(t, nil).List(t.Context(), "p", "", 0)
	if wait := time.Since(start); wait < time.Second {
		t.Errorf("the store asked for a second, we came back after %v", wait)
	}
	var e *objstore.Error
	if !errors.As(err, &e) || e.Op != "list" || e.Key != "p" || e.HTTP != 403 || e.Code != "AccessDenied" || e.RequestID != "REQ1" || e.Attempts != 2 {
		t.Errorf("%+v", e)
	}
}

// uploads is a fake that speaks multipart: parts are kept by number, complete answers by script.
type uploads struct {
	sync.Mutex
	started, aborted int
	parts            map[string]int
	complete         func(n int, w http.ResponseWriter, r *http.Request)
	part             func(w http.ResponseWriter, r *http.Request) bool // true: answered
	completes        int
	token            string
	done             bool
}

func (u *uploads) serve(_ int, w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.Lock()
	defer u.Unlock()
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodHead && u.done:
		w.Header().Set("X-Amz-Meta-Varve", u.token)
		w.Header().Set("Content-Length", strconv.Itoa(12*mib+1))
		w.Header().Set("ETag", `"whole"`)
	case r.Method == http.MethodHead:
		w.WriteHeader(404)
	case r.Method == http.MethodPost && q.Has("uploads"):
		u.started++
		u.token = r.Header.Get("X-Amz-Meta-Varve")
		answerXML(w, struct {
			XMLName  xml.Name `xml:"InitiateMultipartUploadResult"`
			UploadId string
		}{UploadId: fmt.Sprint("up", u.started)})
	case r.Method == http.MethodPut:
		if u.part != nil && u.part(w, r) {
			return
		}
		u.parts[q.Get("partNumber")] = len(body)
		w.Header().Set("ETag", `"p`+q.Get("partNumber")+`"`)
	case r.Method == http.MethodDelete:
		u.aborted++
		w.WriteHeader(204)
	case r.Method == http.MethodPost:
		u.completes++
		u.complete(u.completes, w, r)
	}
}

func completed(w http.ResponseWriter) {
	answerXML(w, struct {
		XMLName xml.Name `xml:"CompleteMultipartUploadResult"`
		ETag    string
	}{ETag: `"whole"`})
}

const mib = 1 << 20

func TestParts(t *testing.T) {
	for _, tt := range []struct {
		name               string
		complete           func(u *uploads, n int, w http.ResponseWriter, r *http.Request)
		want               objstore.Kind
		started, completes int
		aborted            int
	}{
		{"all is well", func(_ *uploads, n int, w http.ResponseWriter, r *http.Request) { completed(w) }, 0, 1, 1, 0},
		{"status 200 and an error in the body", func(_ *uploads, n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				fail(w, 200, "InternalError")
				return
			}
			completed(w)
		}, 0, 1, 2, 0},
		{"reply lost, then no such upload", func(u *uploads, n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				u.done = true
				panic(http.ErrAbortHandler)
			}
			fail(w, 404, "NoSuchUpload")
		}, 0, 1, 4, 1},
		{"another writer at work: begun anew", func(_ *uploads, n int, w http.ResponseWriter, r *http.Request) {
			if n == 1 {
				fail(w, 409, "ConditionalRequestConflict")
				return
			}
			completed(w)
		}, 0, 2, 2, 1},
		{"it exists", func(_ *uploads, n int, w http.ResponseWriter, r *http.Request) { fail(w, 412, "PreconditionFailed") }, objstore.ErrPrecondition, 1, 1, 1},
		{"refused", func(_ *uploads, n int, w http.ResponseWriter, r *http.Request) { fail(w, 403, "AccessDenied") }, objstore.ErrAccessDenied, 1, 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &uploads{parts: make(map[string]int)}
			u.complete = func(n int, w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("If-None-Match") != "*" {
					t.Error("the completion carries no condition")
				}
				tt.complete(u, n, w, r)
			}
			f := newFake(t, false, u.serve)
			_, err := f.open(t, nil).Put(t.Context(), "k", objstore.Bytes(make([]byte, 12*mib+1)), objstore.PutOpts{IfAbsent: true, PartSize: 5 * mib, Parallel: 2})
			if tt.want == 0 && err != nil {
				t.Error(err)
			} else if tt.want != 0 {
				wantKind(t, "put", err, tt.want)
			}
			if u.parts["1"] != 5*mib || u.parts["2"] != 5*mib || u.parts["3"] != 2*mib+1 || len(u.parts) != 3 {
				t.Errorf("parts %v", u.parts)
			}
			if u.started != tt.started || u.completes != tt.completes || u.aborted != tt.aborted {
				t.Errorf("%d uploads, %d completions, %d aborted; want %d, %d, %d", u.started, u.completes, u.aborted, tt.started, tt.completes, tt.aborted)
			}
		})
	}
}

// One part that fails ends the upload, its other parts and what the store keeps of it.
func TestPartFails(t *testing.T) {
	u := &uploads{parts: make(map[string]int)}
	tries := 0
	u.part = func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Query().Get("partNumber") {
		case "1":
			if tries++; tries < 3 {
				fail(w, 503, "SlowDown")
				return true
			}
		case "2":
			fail(w, 403, "AccessDenied")
			return true
		}
		return false
	}
	f := newFake(t, false, u.serve)
	_, err := f.open(t, nil).Put(t.Context(), "k", objstore.Bytes(make([]byte, 20*mib)), objstore.PutOpts{PartSize: 5 * mib, Parallel: 1})
	wantKind(t, "put", err, objstore.ErrAccessDenied)
	if tries != 3 || u.completes != 0 || u.aborted != 1 || u.parts["3"] != 0 {
		t.Errorf("part 1 was tried %d times, %d completions, %d aborted, parts %v", tries, u.completes, u.aborted, u.parts)
	}
}

var errDisk = errors.New("the disk is gone")

type badDisk struct{}

func (badDisk) ReadAt([]byte, int64) (int, error) { return 0, errDisk }

// An error of the source is not taken for one of the network, and not repeated.
func TestSourceFails(t *testing.T) {
	f := newFake(t, false, func(_ int, w http.ResponseWriter, r *http.Request) { ok(w, r) })
	src := objstore.Source{R: badDisk{}, Size: 10, HasCRC: true}
	for _, has := range []bool{true, false} {
		src.HasCRC = has
		if _, err := f.open(t, nil).Put(t.Context(), "k", src, objstore.PutOpts{}); !errors.Is(err, errDisk) || !errors.Is(err, objstore.ErrUnknown) {
			t.Errorf("%v", err)
		}
	}
	short := objstore.Source{R: strings.NewReader("0123"), Size: 10, HasCRC: true}
	_, err := f.open(t, nil).Put(t.Context(), "k", short, objstore.PutOpts{})
	if !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, objstore.ErrAmbiguous) {
		t.Errorf("a source that is too short: %v", err)
	}
}

func TestDeleteResults(t *testing.T) {
	type deleted struct {
		Object []struct{ Key string }
	}
	type keyError struct{ Key, Code, Message string }
	var (
		mu    sync.Mutex
		asked [][]string
	)
	f := newFake(t, false, func(n int, w http.ResponseWriter, r *http.Request) {
		var d deleted
		xml.NewDecoder(r.Body).Decode(&d)
		var keys []string
		for _, o := range d.Object {
			keys = append(keys, o.Key)
		}
		mu.Lock()
		asked = append(asked, keys)
		mu.Unlock()
		errs := []keyError{{"pre/b", "SlowDown", "slow"}, {"pre/c", "AccessDenied", "locked"}, {"pre/d", "NoSuchKey", ""}}
		if n == 1 {
			errs = nil
		}
		answerXML(w, struct {
			XMLName xml.Name `xml:"DeleteResult"`
			Error   []keyError
		}{Error: errs})
	})
	err := f.open(t, nil).Delete(t.Context(), "a", "b", "c", "d")
	var batch *objstore.BatchError
	if !errors.As(err, &batch) || len(batch.Failed) != 1 || batch.Key("c") == nil || batch.Key("c").Kind != objstore.ErrAccessDenied {
		t.Errorf("%v", err)
	}
	if len(asked) != 2 || !slices.Equal(asked[0], []string{"pre/a", "pre/b", "pre/c", "pre/d"}) || !slices.Equal(asked[1], []string{"pre/b"}) {
		t.Errorf("asked %v", asked)
	}
}
