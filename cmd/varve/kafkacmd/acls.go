package kafkacmd

import (
	"bufio"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// clusterName is the name of the one resource that is the cluster.
const clusterName = "kafka-cluster"

func aclsTool() tool {
	return tool{
		name: "kafka-acls", about: "List, add and remove rules of who may do what, with the flags of Kafka's kafka-acls.sh.",
		options: []option{
			{"bootstrap-server", value, "Brokers, HOST:PORT,…; required."}, {"bootstrap-controller", value, "Not served: the brokers are the controllers."},
			{"command-config", maybe, "File with settings of the client: TLS, login."},
			{"list", nothing, "List rules."}, {"add", nothing, "Add rules."}, {"remove", nothing, "Remove rules."},
			{"topic", value, "Rules of a topic."}, {"cluster", nothing, "Rules of the cluster."}, {"group", value, "Rules of a group."},
			{"transactional-id", value, "Rules of a transactional id."}, {"delegation-token", value, "Rules of a token."}, {"user-principal", value, "Rules of a user."},
			{"resource-pattern-type", value, "literal or prefixed; any or match too for --list and --remove."},
			{"operation", value, "The operation, repeatable; All without."}, {"allow-principal", value, "Who may, TYPE:NAME."}, {"deny-principal", value, "Who may not, TYPE:NAME."},
			{"allow-host", value, "From where."}, {"deny-host", value, "From where not."}, {"principal", maybe, "List the rules of TYPE:NAME."},
			{"producer", nothing, "What a producer needs."}, {"consumer", nothing, "What a consumer needs."}, {"idempotent", nothing, "What an idempotent producer needs."},
			{"force", nothing, "Ask nothing."},
		},
		check: checkACLs, run: func(c *call) error { return runACLs(aclCall{c}) },
		failed: func(c *call, err error) int {
			fmt.Fprintf(c.out, "Error while executing ACL command: %v\n", plainly(err))
			return 1
		},
	}
}

// aclCall is one run of kafka-acls.
type aclCall struct{ *call }

func checkACLs(o *options) error {
	if o.count("bootstrap-server", "bootstrap-controller") == 2 {
		return usagef("Only one of --bootstrap-server or --bootstrap-controller must be specified")
	}
	if o.count("bootstrap-server", "bootstrap-controller") == 0 {
		return usagef("One of --bootstrap-server or --bootstrap-controller must be specified")
	}
	if o.has("bootstrap-controller") {
		return usagef("--bootstrap-controller is not served: the brokers are the controllers, name them with --bootstrap-server")
	}
	if o.count("list", "add", "remove") != 1 {
		return usagef("Command must include exactly one action: --list, --add, --remove. ")
	}
	for name, others := range map[string][]string{
		"list":     {"producer", "consumer", "allow-host", "allow-principal", "deny-host", "deny-principal"},
		"producer": {"operation", "deny-principal", "deny-host"}, "consumer": {"operation", "deny-principal", "deny-host"},
	} {
		if err := o.exclude(name, others...); err != nil {
			return err
		}
	}
	switch {
	case o.has("principal") && !o.has("list"):
		return usagef("The --principal option is only available if --list is set")
	case o.has("producer") && !o.has("topic"):
		return usagef("With --producer you must specify a --topic")
	case o.has("idempotent") && !o.has("producer"):
		return usagef("The --idempotent option is only available if --producer is set")
	case o.has("consumer") && (o.count("topic", "group") < 2 || !o.has("producer") && o.count("cluster", "transactional-id") > 0):
		return usagef("With --consumer you must specify a --topic and a --group and no --cluster or --transactional-id option should be specified.")
	}
	return nil
}

// rule is who may do what; resource is what it is about.
type rule struct {
	principal, host string
	operation       kmsg.ACLOperation
	permission      kmsg.ACLPermissionType
}

// String is a rule as Kafka's tool prints it.
func (r rule) String() string {
	return fmt.Sprintf("(principal=%s, host=%s, operation=%s, permissionType=%s)", r.principal, r.host, r.operation, r.permission)
}

type resource struct {
	kind    kmsg.ACLResourceType
	name    string
	pattern kmsg.ACLResourcePatternType
}

// String is a resource as Kafka's tool prints it.
func (r resource) String() string {
	return fmt.Sprintf("ResourcePattern(resourceType=%s, name=%s, patternType=%s)", r.kind, r.name, r.pattern)
}

// supported are the operations of a kind of resource.
func supported(kind kmsg.ACLResourceType) []kmsg.ACLOperation {
	all := map[kmsg.ACLResourceType][]kmsg.ACLOperation{
		kmsg.ACLResourceTypeTopic: {kmsg.ACLOperationRead, kmsg.ACLOperationWrite, kmsg.ACLOperationCreate, kmsg.ACLOperationDescribe, kmsg.ACLOperationDelete,
			kmsg.ACLOperationAlter, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs},
		kmsg.ACLResourceTypeGroup: {kmsg.ACLOperationRead, kmsg.ACLOperationDescribe, kmsg.ACLOperationDelete, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs},
		kmsg.ACLResourceTypeCluster: {kmsg.ACLOperationCreate, kmsg.ACLOperationClusterAction, kmsg.ACLOperationDescribeConfigs, kmsg.ACLOperationAlterConfigs,
			kmsg.ACLOperationIdempotentWrite, kmsg.ACLOperationAlter, kmsg.ACLOperationDescribe},
		kmsg.ACLResourceTypeTransactionalId: {kmsg.ACLOperationDescribe, kmsg.ACLOperationWrite},
		kmsg.ACLResourceTypeDelegationToken: {kmsg.ACLOperationDescribe},
		kmsg.ACLResourceTypeUser:            {kmsg.ACLOperationCreateTokens, kmsg.ACLOperationDescribeTokens},
	}
	return append(all[kind], kmsg.ACLOperationAll)
}

// resources are those that the command line names.
func (c aclCall) resources(pattern kmsg.ACLResourcePatternType) []resource {
	var list []resource
	for _, k := range []struct {
		option string
		kind   kmsg.ACLResourceType
	}{
		{"topic", kmsg.ACLResourceTypeTopic}, {"cluster", kmsg.ACLResourceTypeCluster}, {"group", kmsg.ACLResourceTypeGroup},
		{"transactional-id", kmsg.ACLResourceTypeTransactionalId}, {"delegation-token", kmsg.ACLResourceTypeDelegationToken}, {"user-principal", kmsg.ACLResourceTypeUser},
	} {
		if k.option == "cluster" {
			if pattern == kmsg.ACLResourcePatternTypeLiteral && c.o.count("cluster", "idempotent") > 0 {
				list = append(list, resource{k.kind, clusterName, pattern})
			}
			continue
		}
		for _, name := range c.o.all(k.option) {
			list = append(list, resource{k.kind, strings.TrimSpace(name), pattern})
		}
	}
	return list
}

// patternType reads --resource-pattern-type.
func (c aclCall) patternType() (kmsg.ACLResourcePatternType, error) {
	s := strings.ToLower(c.o.last("resource-pattern-type"))
	p, err := kmsg.ParseACLResourcePatternType(cmp.Or(s, "literal"))
	if err != nil || p == kmsg.ACLResourcePatternTypeUnknown {
		return 0, usagef("Cannot parse argument '%s' of option resource-pattern-type", c.o.last("resource-pattern-type"))
	}
	return p, nil
}

// rules are what the command line says about operations.
func (c aclCall) rules(operations ...kmsg.ACLOperation) ([]rule, error) {
	var list []rule
	for _, part := range []struct {
		who, where string
		permission kmsg.ACLPermissionType
	}{{"allow-principal", "allow-host", kmsg.ACLPermissionTypeAllow}, {"deny-principal", "deny-host", kmsg.ACLPermissionTypeDeny}} {
		hosts := c.o.all(part.where)
		if len(hosts) == 0 {
			hosts = []string{"*"}
		}
		for _, who := range c.o.all(part.who) {
			who = strings.TrimSpace(who)
			if kind, name, ok := strings.Cut(who, ":"); !ok || kind == "" || name == "" {
				return nil, argumentf("expected a string in format principalType:principalName but got %s", who)
			}
			for _, op := range operations {
				for _, host := range hosts {
					list = append(list, rule{who, strings.TrimSpace(host), op, part.permission})
				}
			}
		}
	}
	return list, nil
}

// change is the rules of a resource to add or remove.
type change struct {
	resource
	rules []rule
}

// changes are what --add and --remove are about.
func (c aclCall) changes() ([]change, error) {
	pattern, err := c.patternType()
	if err != nil {
		return nil, err
	}
	resources := c.resources(pattern)
	if len(resources) == 0 {
		return nil, usagef("You must provide at least one resource: --topic <topic> or --cluster or --group <group> or --delegation-token <Delegation Token ID>")
	}
	needs := func(r resource) []kmsg.ACLOperation {
		var ops []kmsg.ACLOperation
		if c.o.has("producer") {
			switch r.kind {
			case kmsg.ACLResourceTypeTopic:
				ops = append(ops, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe, kmsg.ACLOperationCreate)
			case kmsg.ACLResourceTypeTransactionalId:
				ops = append(ops, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe)
			case kmsg.ACLResourceTypeCluster:
				ops = append(ops, kmsg.ACLOperationIdempotentWrite)
			}
		}
		if c.o.has("consumer") {
			switch r.kind {
			case kmsg.ACLResourceTypeTopic:
				ops = append(ops, kmsg.ACLOperationRead, kmsg.ACLOperationDescribe)
			case kmsg.ACLResourceTypeGroup:
				ops = append(ops, kmsg.ACLOperationRead)
			}
		}
		slices.Sort(ops)
		return slices.Compact(ops)
	}
	var list []change
	for _, r := range resources {
		ops := needs(r)
		if c.o.count("producer", "consumer") == 0 {
			ops = c.operations()
		}
		if len(ops) == 0 {
			continue
		}
		rules, err := c.rules(ops...)
		if err != nil {
			return nil, err
		}
		known := supported(r.kind)
		if len(rules) > 0 && slices.ContainsFunc(ops, func(op kmsg.ACLOperation) bool { return !slices.Contains(known, op) }) {
			names := make([]string, len(known))
			for i, op := range known {
				names[i] = op.String()
			}
			return nil, usagef("ResourceType %s only supports operations [%s]", r.kind, strings.Join(names, ", "))
		}
		list = append(list, change{r, rules})
	}
	return list, nil
}

// operations are those of --operation.
func (c aclCall) operations() []kmsg.ACLOperation {
	if !c.o.has("operation") {
		return []kmsg.ACLOperation{kmsg.ACLOperationAll}
	}
	var ops []kmsg.ACLOperation
	for _, word := range c.o.all("operation") {
		op, err := kmsg.ParseACLOperation(strings.TrimSpace(word))
		if err != nil {
			op = kmsg.ACLOperationUnknown // no resource supports it
		}
		ops = append(ops, op)
	}
	return ops
}

func runACLs(c aclCall) error {
	var list []change
	var err error
	if !c.o.has("list") {
		if list, err = c.changes(); err != nil {
			return err
		}
	}
	if pattern, err := c.patternType(); err != nil {
		return err
	} else if c.o.has("add") && pattern != kmsg.ACLResourcePatternTypeLiteral && pattern != kmsg.ACLResourcePatternTypePrefixed {
		return usagef("A '--resource-pattern-type' value of '%s' is not valid when adding acls.", pattern)
	}
	if c.o.has("add") && slices.ContainsFunc(list, func(ch change) bool { return len(ch.rules) == 0 }) {
		return usagef("You must specify one of: --allow-principal, --deny-principal when trying to add ACLs.")
	}
	cl, err := c.connect([]string{"command-config"}, nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	switch {
	case c.o.has("list"):
		return c.listACLs(cl)
	case c.o.has("add"):
		return c.addACLs(cl, list)
	default:
		return c.removeACLs(cl, list)
	}
}

func (c aclCall) addACLs(cl *kgo.Client, list []change) error {
	for _, ch := range list {
		fmt.Fprintf(c.out, "Adding ACLs for resource `%s`: \n %s\n\n", ch.resource, bulleted(ch.rules))
		req := kmsg.NewPtrCreateACLsRequest()
		for _, r := range ch.rules {
			req.Creations = append(req.Creations, kmsg.CreateACLsRequestCreation{
				ResourceType: ch.kind, ResourceName: ch.name, ResourcePatternType: ch.pattern,
				Principal: r.principal, Host: r.host, Operation: r.operation, PermissionType: r.permission,
			})
		}
		resp, err := req.RequestWith(c.ctx, cl)
		if err != nil {
			return err
		}
		for _, r := range resp.Results {
			if r.ErrorCode != 0 {
				return told(kerr.ErrorForCode(r.ErrorCode), r.ErrorMessage)
			}
		}
	}
	return nil
}

// bulleted is a rule a line.
func bulleted(rules []rule) string {
	lines := make([]string, len(rules))
	for i, r := range rules {
		lines[i] = "\t" + r.String()
	}
	return strings.Join(lines, "\n")
}

func (c aclCall) removeACLs(cl *kgo.Client, list []change) error {
	answers := bufio.NewScanner(c.in)
	for _, ch := range list {
		question := fmt.Sprintf("Are you sure you want to delete all ACLs for resource filter `%s`? (y/n)", ch.resource)
		if len(ch.rules) > 0 {
			question = fmt.Sprintf("Are you sure you want to remove ACLs: \n %s \n from resource filter `%s`? (y/n)", bulleted(ch.rules), ch.resource)
		}
		if !c.o.has("force") {
			fmt.Fprintln(c.out, question)
			if !answers.Scan() || !strings.EqualFold(strings.TrimSpace(answers.Text()), "y") {
				continue
			}
		}
		req := kmsg.NewPtrDeleteACLsRequest()
		filter := kmsg.DeleteACLsRequestFilter{ResourceType: ch.kind, ResourceName: &ch.name, ResourcePatternType: ch.pattern,
			Operation: kmsg.ACLOperationAny, PermissionType: kmsg.ACLPermissionTypeAny}
		if len(ch.rules) == 0 {
			req.Filters = append(req.Filters, filter)
		}
		for _, r := range ch.rules {
			filter.Principal, filter.Host, filter.Operation, filter.PermissionType = &r.principal, &r.host, r.operation, r.permission
			req.Filters = append(req.Filters, filter)
		}
		resp, err := req.RequestWith(c.ctx, cl)
		if err != nil {
			return err
		}
		for _, r := range resp.Results {
			if r.ErrorCode != 0 {
				return told(kerr.ErrorForCode(r.ErrorCode), r.ErrorMessage)
			}
		}
	}
	return nil
}

func (c aclCall) listACLs(cl *kgo.Client) error {
	pattern, err := c.patternType()
	if err != nil {
		return err
	}
	found := map[resource][]rule{}
	var order []resource
	filters := c.resources(pattern)
	if len(filters) == 0 {
		filters = []resource{{kmsg.ACLResourceTypeAny, "", kmsg.ACLResourcePatternTypeAny}}
	}
	for _, f := range filters {
		req := kmsg.NewPtrDescribeACLsRequest()
		req.ResourceType, req.ResourcePatternType, req.Operation, req.PermissionType = f.kind, f.pattern, kmsg.ACLOperationAny, kmsg.ACLPermissionTypeAny
		if f.name != "" {
			req.ResourceName = &f.name
		}
		resp, err := req.RequestWith(c.ctx, cl)
		if err == nil {
			err = told(kerr.ErrorForCode(resp.ErrorCode), resp.ErrorMessage)
		}
		if err != nil {
			return err
		}
		for _, r := range resp.Resources {
			res := resource{r.ResourceType, r.ResourceName, r.ResourcePatternType}
			if _, ok := found[res]; !ok {
				order = append(order, res)
			}
			for _, a := range r.ACLs {
				if one := (rule{a.Principal, a.Host, a.Operation, a.PermissionType}); !slices.Contains(found[res], one) {
					found[res] = append(found[res], one)
				}
			}
		}
	}
	if !c.o.has("principal") {
		c.printACLs(order, found, "")
	}
	for _, who := range c.o.all("principal") {
		fmt.Fprintf(c.out, "ACLs for principal `%s`\n", who)
		c.printACLs(order, found, who)
	}
	return nil
}

// printACLs prints the rules of one principal, or of all.
func (c aclCall) printACLs(order []resource, found map[resource][]rule, who string) {
	for _, res := range order {
		rules := slices.DeleteFunc(slices.Clone(found[res]), func(r rule) bool { return who != "" && r.principal != who })
		if len(rules) > 0 {
			fmt.Fprintf(c.out, "Current ACLs for resource `%s`:\n%s\n\n", res, bulleted(rules))
		}
	}
}
