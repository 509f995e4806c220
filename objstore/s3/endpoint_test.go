package s3

import (
	"context"
	"reflect"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
)

// counted are the SDK's rules, and how often they were asked.
type counted struct {
	s3.EndpointResolverV2
	n int
}

func (c *counted) ResolveEndpoint(ctx context.Context, p s3.EndpointParameters) (smithyendpoints.Endpoint, error) {
	c.n++
	return c.EndpointResolverV2.ResolveEndpoint(ctx, p)
}

// What is remembered is what the rules say, for each kind of request, whatever the key.
func TestEndpoints(t *testing.T) {
	rules := &counted{EndpointResolverV2: s3.NewDefaultEndpointResolverV2()}
	e := &endpoints{rules: rules}
	kinds := 0
	for _, bucket := range []string{"bucket", "logs--use1-az4--x-s3"} {
		for _, control := range []*bool{nil, aws.Bool(false), aws.Bool(true)} {
			for _, noSession := range []*bool{nil, aws.Bool(true)} {
				kinds++
				for _, key := range []*string{nil, aws.String("a"), aws.String("b/c d")} {
					p := s3.EndpointParameters{
						Bucket: aws.String(bucket), Region: aws.String("us-east-1"), UseFIPS: aws.Bool(false), UseDualStack: aws.Bool(false), ForcePathStyle: aws.Bool(false),
						Accelerate: aws.Bool(false), UseGlobalEndpoint: aws.Bool(false), DisableMultiRegionAccessPoints: aws.Bool(false),
						Key: key, UseS3ExpressControlEndpoint: control, DisableS3ExpressSessionAuth: noSession,
					}
					want, err := rules.EndpointResolverV2.ResolveEndpoint(t.Context(), p)
					if err != nil {
						t.Fatal(err)
					}
					got, err := e.ResolveEndpoint(t.Context(), p)
					if err != nil || !reflect.DeepEqual(got, want) {
						t.Errorf("%s, %v: %+v, %v, the rules say %+v", bucket, key, got, err, want)
					}
				}
			}
		}
	}
	if rules.n != kinds {
		t.Errorf("the rules were asked %d times for %d kinds of requests", rules.n, kinds)
	}
	// What they refuse is asked again: a setting may have changed by then.
	for range 2 {
		if _, err := e.ResolveEndpoint(t.Context(), s3.EndpointParameters{Bucket: aws.String("unknown")}); err == nil {
			t.Error("without a region there is an endpoint")
		}
	}
}
