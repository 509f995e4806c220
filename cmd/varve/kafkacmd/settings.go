package kafkacmd

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// setting is one setting of a resource, as a broker tells it.
type setting struct {
	kmsg.DescribeConfigsResponseResourceConfig
}

// text is the value as Java prints it.
func (s setting) text() string { return orNull(s.Value) }

func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// line is the setting with where it comes from.
func (s setting) line() string {
	var from []string
	for _, syn := range s.ConfigSynonyms {
		source := syn.Source.String()
		if syn.Source == kmsg.ConfigSourceGroupConfig || syn.Source == kmsg.ConfigSourceClientMetricsConfig {
			source = "DYNAMIC_" + source
		}
		from = append(from, fmt.Sprintf("%s:%s=%s", source, syn.Name, orNull(syn.Value)))
	}
	return fmt.Sprintf("  %s=%s sensitive=%t synonyms={%s}", s.Name, s.text(), s.IsSensitive, strings.Join(from, ", "))
}

// describeConfigs asks for the settings of resources of one kind, in their order. Those of a broker are
// asked of that broker.
func describeConfigs(ctx context.Context, cl *kgo.Client, kind kmsg.ConfigResourceType, names []string, synonyms bool) ([][]setting, error) {
	req := kmsg.NewPtrDescribeConfigsRequest()
	req.IncludeSynonyms = synonyms
	for _, name := range names {
		req.Resources = append(req.Resources, kmsg.DescribeConfigsRequestResource{ResourceType: kind, ResourceName: name})
	}
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return nil, err
	}
	list := make([][]setting, len(names))
	for _, r := range resp.Resources {
		if r.ErrorCode != 0 {
			return nil, told(kerr.ErrorForCode(r.ErrorCode), r.ErrorMessage)
		}
		for i, name := range names {
			if name != r.ResourceName {
				continue
			}
			for _, c := range r.Configs {
				list[i] = append(list[i], setting{c})
			}
		}
	}
	return list, nil
}

// alterConfigs changes the settings of a resource; a nil value gives the default back.
func alterConfigs(ctx context.Context, cl *kgo.Client, kind kmsg.ConfigResourceType, name string, set []pair, unset []string) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res := kmsg.IncrementalAlterConfigsRequestResource{ResourceType: kind, ResourceName: name}
	for _, p := range set {
		res.Configs = append(res.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: p.name, Op: kmsg.IncrementalAlterConfigOpSet, Value: &p.value})
	}
	for _, n := range unset {
		res.Configs = append(res.Configs, kmsg.IncrementalAlterConfigsRequestResourceConfig{Name: n, Op: kmsg.IncrementalAlterConfigOpDelete})
	}
	req.Resources = append(req.Resources, res)
	resp, err := req.RequestWith(ctx, cl)
	if err != nil {
		return err
	}
	for _, r := range resp.Resources {
		if r.ErrorCode != 0 {
			return told(kerr.ErrorForCode(r.ErrorCode), r.ErrorMessage)
		}
	}
	return nil
}

// pair is a setting to make.
type pair struct{ name, value string }

// topicNamesOf lists every topic.
func topicNamesOf(ctx context.Context, cl *kgo.Client) ([]string, error) {
	list, err := kadm.NewClient(cl).ListTopicsWithInternal(ctx)
	if err != nil {
		return nil, err
	}
	return list.Names(), nil
}
