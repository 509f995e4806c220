package check_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/check"
	"github.com/varve-io/varve/objstore/mem"
)

// Each failure has a next step of its own.
func TestAdvice(t *testing.T) {
	seen := map[string]string{}
	for _, tt := range []struct {
		name string
		err  objstore.Error
		says string
	}{
		{"no bucket", objstore.Error{Kind: objstore.ErrNoBucket}, "create the bucket"},
		{"a read-only token", objstore.Error{Kind: objstore.ErrAccessDenied, Code: "AccessDenied"}, "list and not write"},
		{"a clock off by an hour", objstore.Error{Kind: objstore.ErrAccessDenied, Code: "RequestTimeTooSkewed"}, "NTP"},
		{"an unknown key", objstore.Error{Kind: objstore.ErrAccessDenied, Code: "InvalidAccessKeyId"}, "another account"},
		{"a wrong secret", objstore.Error{Kind: objstore.ErrAccessDenied, Code: "SignatureDoesNotMatch"}, "secret key"},
		{"expired credentials", objstore.Error{Kind: objstore.ErrAccessDenied, Code: "ExpiredToken"}, "renew"},
		{"a wrong region", objstore.Error{Kind: objstore.ErrInvalid, Code: "PermanentRedirect"}, "region="},
		{"a bad endpoint", objstore.Error{Kind: objstore.ErrTransient}, "endpoint"},
		{"an untrusted certificate", objstore.Error{Kind: objstore.ErrInvalid}, "URL"},
	} {
		tt.err.Op, tt.err.Key = "put", "k"
		r := check.Run(t.Context(), liar{Bucket: mem.Open(t.Name() + tt.name), denied: &tt.err}, check.Options{Prefix: "check"})
		for _, l := range r.Lines {
			if l.Trial != "put, get, head" {
				continue
			}
			if r.Usable || !strings.Contains(l.Advice, tt.says) {
				t.Errorf("%s: usable %v, advice %q, want %q", tt.name, r.Usable, l.Advice, tt.says)
			}
			if other := seen[l.Advice]; other != "" {
				t.Errorf("%s and %s have one advice: %s", tt.name, other, l.Advice)
			}
			seen[l.Advice] = tt.name
		}
	}
	if len(seen) != 9 {
		t.Errorf("%d kinds of advice", len(seen))
	}
}

// odd is a sound store in a bucket that is set up oddly.
type odd struct {
	objstore.Bucket
	set   objstore.BucketSettings
	rules []objstore.LifecycleRule
	err   error
}

func (o odd) Settings(context.Context) (objstore.BucketSettings, error) { return o.set, o.err }

func (o odd) LifecycleRules(context.Context) ([]objstore.LifecycleRule, error) { return o.rules, o.err }

func TestOddBuckets(t *testing.T) {
	expire := objstore.LifecycleRule{ID: "tidy", Prefix: "a/", Days: 90, Expire: true, Enabled: true}
	asleep := expire
	asleep.Enabled = false
	for _, tt := range []struct {
		name, trial string
		with        odd
		want        check.Verdict
		says        string
	}{
		{"plain", "bucket settings", odd{}, check.OK, "no versioning"},
		{"versions", "bucket settings", odd{set: objstore.BucketSettings{Versioning: true}}, check.Missing, "noncurrent"},
		{"locked", "bucket settings", odd{set: objstore.BucketSettings{Locked: "a legal hold"}}, check.Missing, "without lock"},
		{"directories", "bucket settings", odd{set: objstore.BucketSettings{Hierarchical: true}}, check.Missing, "flat"},
		{"not allowed", "bucket settings", odd{err: errors.New("denied")}, check.Skipped, "denied"},
		{"no rules", "lifecycle rules", odd{}, check.OK, "second net"},
		{"a rule that deletes", "lifecycle rules", odd{rules: []objstore.LifecycleRule{expire}}, check.Missing, `"tidy"`},
		{"one that is switched off", "lifecycle rules", odd{rules: []objstore.LifecycleRule{asleep}}, check.OK, "second net"},
		{"uploads are aborted", "lifecycle rules", odd{rules: []objstore.LifecycleRule{{AbortUploads: true, Enabled: true}}}, check.OK, "are aborted"},
	} {
		tt.with.Bucket = mem.Open(t.Name() + tt.name)
		r := check.Run(t.Context(), tt.with, check.Options{Prefix: "check"})
		found := false
		for _, l := range r.Lines {
			if l.Trial == tt.trial {
				found = true
				if l.Verdict != tt.want || !strings.Contains(l.Detail+l.Advice, tt.says) {
					t.Errorf("%s: %+v, want %s and %q", tt.name, l, tt.want, tt.says)
				}
			}
		}
		if !r.Usable || !found {
			t.Errorf("%s: usable %v, the trial was made %v", tt.name, r.Usable, found)
		}
	}
}
