package s3

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/varve-io/varve/objstore"
)

// LifecycleRules implements objstore.LifecycleReader.
func (b *Bucket) LifecycleRules(ctx context.Context) ([]objstore.LifecycleRule, error) {
	raw, err := b.rules(ctx)
	var rules []objstore.LifecycleRule
	for _, r := range raw {
		rules = append(rules, lifecycle(r)...)
	}
	return rules, err
}

// rules are the bucket's, as S3 has them.
func (b *Bucket) rules(ctx context.Context) ([]types.LifecycleRule, error) {
	var rules []types.LifecycleRule
	err := b.do(ctx, "lifecycle", "", b.conf.Read, func(ctx context.Context) error {
		out, err := b.client.GetBucketLifecycleConfiguration(ctx, &s3.GetBucketLifecycleConfigurationInput{Bucket: &b.conf.Bucket})
		var api smithy.APIError
		switch {
		case errors.As(err, &api) && api.ErrorCode() == "NoSuchLifecycleConfiguration":
			rules = nil
			return nil
		case err != nil:
			return err
		}
		rules = out.Rules
		return nil
	})
	return rules, err
}

// ApplyLifecycle implements objstore.LifecycleWriter. S3 takes all rules of a bucket at once and
// has no condition for it: another's change between our read and our write is lost.
func (b *Bucket) ApplyLifecycle(ctx context.Context, rules []objstore.LifecycleRule) error {
	if err := b.Capabilities().CheckLifecycle(rules); err != nil {
		return err
	}
	all, err := b.rules(ctx)
	if err != nil {
		return err
	}
	for _, r := range rules {
		all = slices.DeleteFunc(all, func(old types.LifecycleRule) bool { return aws.ToString(old.ID) == r.ID })
		all = append(all, rule(r))
	}
	return b.do(ctx, "lifecycle", "", b.conf.Write, func(ctx context.Context) error {
		_, err := b.client.PutBucketLifecycleConfiguration(ctx, &s3.PutBucketLifecycleConfigurationInput{
			Bucket: &b.conf.Bucket, LifecycleConfiguration: &types.BucketLifecycleConfiguration{Rules: all},
		})
		return err
	})
}

// rule is one of ours as S3 has it.
func rule(r objstore.LifecycleRule) types.LifecycleRule {
	out := types.LifecycleRule{ID: aws.String(r.ID), Status: types.ExpirationStatusEnabled, Filter: &types.LifecycleRuleFilter{Prefix: aws.String(r.Prefix)}}
	if r.AbortUploads {
		out.AbortIncompleteMultipartUpload = &types.AbortIncompleteMultipartUpload{DaysAfterInitiation: aws.Int32(int32(r.Days))}
	} else {
		out.Transitions = []types.Transition{{Days: aws.Int32(int32(r.Days)), StorageClass: types.TransitionStorageClass(r.Class)}}
	}
	return out
}

// The document that Amazon's command line takes: the members of the API under their own names.
type (
	ruleDoc struct {
		ID     string    `json:"ID"`
		Status string    `json:"Status"`
		Filter filterDoc `json:"Filter"`
		Abort  *abortDoc `json:"AbortIncompleteMultipartUpload,omitempty"`
		Moves  []moveDoc `json:"Transitions,omitempty"`
	}
	filterDoc struct {
		Prefix string `json:"Prefix"`
	}
	abortDoc struct {
		Days int `json:"DaysAfterInitiation"`
	}
	moveDoc struct {
		Days  int            `json:"Days"`
		Class objstore.Class `json:"StorageClass"`
	}
)

// RenderLifecycle implements objstore.LifecycleRenderer.
func (b *Bucket) RenderLifecycle(rules []objstore.LifecycleRule) ([]byte, string, error) {
	if err := b.Capabilities().CheckLifecycle(rules); err != nil {
		return nil, "", err
	}
	doc := struct{ Rules []ruleDoc }{Rules: []ruleDoc{}}
	for _, r := range rules {
		d := ruleDoc{ID: r.ID, Status: string(types.ExpirationStatusEnabled), Filter: filterDoc{r.Prefix}}
		if r.AbortUploads {
			d.Abort = &abortDoc{r.Days}
		} else {
			d.Moves = []moveDoc{{r.Days, r.Class}}
		}
		doc.Rules = append(doc.Rules, d)
	}
	raw, err := json.MarshalIndent(doc, "", "  ")
	return raw, "aws s3api put-bucket-lifecycle-configuration --bucket " + b.conf.Bucket + " --lifecycle-configuration file://FILE", err
}

// lifecycle is one of S3's rules, which may say several things.
func lifecycle(r types.LifecycleRule) []objstore.LifecycleRule {
	base := objstore.LifecycleRule{ID: aws.ToString(r.ID), Prefix: aws.ToString(r.Prefix), Enabled: r.Status == types.ExpirationStatusEnabled}
	if f := r.Filter; f != nil {
		if f.Prefix != nil {
			base.Prefix = *f.Prefix
		}
		base.Narrow = f.Tag != nil || f.ObjectSizeGreaterThan != nil || f.ObjectSizeLessThan != nil
		if f.And != nil {
			base.Prefix, base.Narrow = aws.ToString(f.And.Prefix), true
		}
	}
	var out []objstore.LifecycleRule
	if r.Expiration != nil && !aws.ToBool(r.Expiration.ExpiredObjectDeleteMarker) {
		rule := base
		rule.Expire, rule.Days = true, int(aws.ToInt32(r.Expiration.Days))
		out = append(out, rule)
	}
	for _, tr := range r.Transitions {
		rule := base
		rule.Class, rule.Days = objstore.Class(tr.StorageClass), int(aws.ToInt32(tr.Days))
		out = append(out, rule)
	}
	if r.AbortIncompleteMultipartUpload != nil {
		rule := base
		rule.AbortUploads, rule.Days = true, int(aws.ToInt32(r.AbortIncompleteMultipartUpload.DaysAfterInitiation))
		out = append(out, rule)
	}
	return out
}
