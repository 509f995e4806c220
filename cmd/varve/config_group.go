package main

import (
	"context"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// describeGroupConfigs asks for the settings of a group.
func describeGroupConfigs(ctx context.Context, cl *kgo.Client, group string) (kadm.ResourceConfig, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.Resources = []kmsg.DescribeConfigsRequestResource{{ResourceType: kmsg.ConfigResourceTypeGroupConfig, ResourceName: group}}
	resp, err := req.RequestWith(ctx, cl)
	out := kadm.ResourceConfig{Name: group}
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

// alterGroupConfigs changes the settings of a group, or has that checked.
func alterGroupConfigs(ctx context.Context, cl *kgo.Client, group string, configs []kadm.AlterConfig, dryRun bool) (message string, err error) {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	req.ValidateOnly = dryRun
	res := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kmsg.ConfigResourceTypeGroupConfig, ResourceName: group}
	for _, c := range configs {
		res.Configs = append(res.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: c.Name, Op: kmsg.IncrementalAlterConfigOp(c.Op), Value: c.Value})
	}
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(ctx, cl)
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
