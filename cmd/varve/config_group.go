package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// asker sends a request to where it has to go: any broker, or one of them.
type asker interface {
	Request(context.Context, kmsg.Request) (kmsg.Response, error)
}

// describeOther asks for the settings of a group, or of a broker's logger.
func describeOther(ctx context.Context, to asker, kind kmsg.ConfigResourceType, name string) (kadm.ResourceConfig, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name}}
	out := kadm.ResourceConfig{Name: name}
	answer, err := to.Request(ctx, req)
	resp, _ := answer.(*kmsg.DescribeConfigsResponse)
	switch {
	case err != nil:
		return out, err
	case len(resp.Resources) == 0:
		return out, kerr.UnknownServerError
	}
	for _, c := range resp.Resources[0].Configs {
		out.Configs = append(out.Configs, kadm.Config{Key: c.Name, Value: c.Value, Sensitive: c.IsSensitive, Source: c.Source})
	}
	return out, kerr.ErrorForCode(resp.Resources[0].ErrorCode)
}

// alterOther changes the settings of a group, or of a broker's logger, or has that checked.
func alterOther(ctx context.Context, to asker, kind kmsg.ConfigResourceType, name string, configs []kadm.AlterConfig, dryRun bool) (message string, err error) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = dryRun
	res := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
	for _, c := range configs {
		res.Configs = append(res.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: c.Name, Op: kmsg.IncrementalAlterConfigOp(c.Op), Value: c.Value})
	}
	req.Resources = append(req.Resources, res)
	answer, err := to.Request(ctx, req)
	resp, _ := answer.(*kmsg.IncrementalAlterConfigsResponse)
	switch {
	case err != nil:
		return "", err
	case len(resp.Resources) == 0:
		return "", kerr.UnknownServerError
	}
	if text := resp.Resources[0].ErrorMessage; text != nil {
		message = *text
	}
	return message, kerr.ErrorForCode(resp.Resources[0].ErrorCode)
}
