package s3

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
)

// endpoints remembers where the SDK's rules send the requests of a bucket. They are evaluated anew for
// each one, which costs more than its signature, and the answer depends on the kind of request alone: all
// else is the configuration's, and the key is no part of it.
type endpoints struct {
	rules s3.EndpointResolverV2
	known sync.Map // of kind: smithyendpoints.Endpoint, which nobody changes
}

// kind is what differs between the requests of one client. An absent flag is not one that is false.
type kind struct {
	bucket                                       string
	noAccessPoints, control, noSession, asLambda flag
}

type flag struct{ set, value bool }

func flagOf(b *bool) flag { return flag{b != nil, aws.ToBool(b)} }

// ResolveEndpoint implements s3.EndpointResolverV2.
func (e *endpoints) ResolveEndpoint(ctx context.Context, p s3.EndpointParameters) (smithyendpoints.Endpoint, error) {
	k := kind{
		aws.ToString(p.Bucket), flagOf(p.DisableAccessPoints), flagOf(p.UseS3ExpressControlEndpoint),
		flagOf(p.DisableS3ExpressSessionAuth), flagOf(p.UseObjectLambdaEndpoint),
	}
	if known, ok := e.known.Load(k); ok {
		return known.(smithyendpoints.Endpoint), nil
	}
	found, err := e.rules.ResolveEndpoint(ctx, p)
	if err == nil {
		e.known.Store(k, found)
	}
	return found, err
}
