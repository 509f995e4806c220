package kafkacmd

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Kinds of entities, as --entity-type names them.
const (
	ofTopics  = "topics"
	ofClients = "clients"
	ofUsers   = "users"
	ofBrokers = "brokers"
	ofIPs     = "ips"
	ofMetrics = "client-metrics"
	ofGroups  = "groups"
	ofLoggers = "broker-loggers"
)

// entityFlag is the short form of a kind: --topic NAME for --entity-type topics --entity-name NAME.
type entityFlag struct{ flag, kind string }

func entityFlags() []entityFlag {
	return []entityFlag{
		{"topic", ofTopics}, {"client", ofClients}, {"user", ofUsers}, {"broker", ofBrokers}, {"broker-logger", ofLoggers},
		{"ip", ofIPs}, {"client-metrics", ofMetrics}, {"group", ofGroups},
	}
}

func defaultFlags() []entityFlag {
	return []entityFlag{{"client-defaults", ofClients}, {"user-defaults", ofUsers}, {"broker-defaults", ofBrokers}, {"ip-defaults", ofIPs}}
}

func configsTool() tool {
	opts := []option{
		{"bootstrap-server", value, "Brokers, HOST:PORT,…; required."}, {"bootstrap-controller", value, "Not served: the brokers are the controllers."},
		{"command-config", value, "File with settings of the client: TLS, login."},
		{"alter", nothing, "Change settings."}, {"describe", nothing, "Show settings."}, {"all", nothing, "Show those of files and defaults too."},
		{"entity-type", value, "topics, clients, users, brokers, ips, client-metrics, groups or broker-loggers."},
		{"entity-name", value, "Name of the topic, client, user, broker, address or group."}, {"entity-default", nothing, "The default of all clients, users, brokers or addresses."},
		{"add-config", value, "Settings to make, k1=v1,k2=[v1,v2]."}, {"add-config-file", value, "File with settings to make."},
		{"delete-config", value, "Settings to give their defaults back, k1,k2."}, {"force", nothing, "Ask nothing."},
	}
	for _, f := range entityFlags() {
		opts = append(opts, option{f.flag, value, "Short for --entity-type " + f.kind + " --entity-name."})
	}
	for _, f := range defaultFlags() {
		opts = append(opts, option{f.flag, nothing, "Short for --entity-type " + f.kind + " --entity-default."})
	}
	return tool{
		name: "kafka-configs", about: "Show and change settings of topics, brokers, groups, users, clients and addresses, with the flags of Kafka's kafka-configs.sh.",
		options: opts, check: checkConfigs, run: runConfigs, failed: failedConfigs,
	}
}

func failedConfigs(c *call, err error) int {
	if errors.As(err, new(errArgument)) {
		fmt.Fprintln(c.err, err)
		return 1
	}
	fmt.Fprintf(c.err, "Error while executing config command with args '%s'\n%v\n", strings.Join(c.args, " "), plainly(err))
	return 1
}

// entities are the kinds and names that a command line chooses; the name "" is the default.
func entities(o *options) (kinds, names []string) {
	kinds = slices.Clone(o.all("entity-type"))
	given := o.all("entity-name")
	for _, name := range o.order {
		switch name {
		case "entity-name":
			names, given = append(names, given[0]), given[1:]
		case "entity-default":
			names = append(names, "")
		}
	}
	for _, f := range entityFlags() {
		if o.has(f.flag) {
			kinds, names = append(kinds, f.kind), append(names, o.last(f.flag))
		}
	}
	for _, f := range defaultFlags() {
		if o.has(f.flag) {
			kinds, names = append(kinds, f.kind), append(names, "")
		}
	}
	return kinds, names
}

func checkConfigs(o *options) error {
	if o.count("alter", "describe") != 1 {
		return usagef("Command must include exactly one action: --describe, --alter")
	}
	if o.count("bootstrap-server", "bootstrap-controller") != 1 {
		return argumentf("Either --bootstrap-server or --bootstrap-controller must be specified.")
	}
	if o.has("bootstrap-controller") {
		return argumentf("--bootstrap-controller is not served: the brokers are the controllers, name them with --bootstrap-server")
	}
	if err := o.exclude("describe", "add-config", "delete-config"); err != nil {
		return err
	}
	kinds, names := entities(o)
	all := []string{ofTopics, ofClients, ofUsers, ofBrokers, ofIPs, ofMetrics, ofGroups, ofLoggers}
	seen := map[string]bool{}
	for _, k := range kinds {
		switch {
		case seen[k]:
			return argumentf("Duplicate entity type(s) specified: %s", k)
		case !slices.Contains(all, k):
			return argumentf("Invalid entity type %s, the entity type must be one of %s with a --bootstrap-server or --bootstrap-controller argument", k, strings.Join(all, ", "))
		}
		seen[k] = true
	}
	named, defaulted := slices.ContainsFunc(names, func(n string) bool { return n != "" }), slices.Contains(names, "")
	both := len(kinds) == 2 && seen[ofUsers] && seen[ofClients]
	switch {
	case len(kinds) == 0:
		return argumentf("At least one entity type must be specified")
	case len(kinds) > 1 && !both:
		return argumentf("Only 'users' and 'clients' entity types may be specified together")
	case o.count("entity-name", "entity-type", "entity-default") > 0 && len(kinds) > len(o.all("entity-type")):
		return argumentf("--entity-{type,name,default} should not be used in conjunction with specific entity flags")
	}
	if named && (seen[ofBrokers] || seen[ofLoggers]) {
		if _, err := strconv.Atoi(names[0]); err != nil {
			return argumentf("The entity name for %s must be a valid integer broker id, but it is: %s", kinds[0], names[0])
		}
	}
	hasDefault := seen[ofUsers] || seen[ofClients] || seen[ofBrokers] || seen[ofIPs]
	joined := strings.Join(kinds, ",")
	switch {
	case o.has("describe") && o.has("entity-default") && !hasDefault:
		return argumentf("--entity-default must not be specified with --describe of %s", joined)
	case o.has("describe") && seen[ofLoggers] && !named:
		return argumentf("An entity name must be specified with --describe of %s", joined)
	case o.has("describe"):
		return nil
	case hasDefault && !named && !defaulted:
		return argumentf("An entity-name or default entity must be specified with --alter of users, clients, brokers or ips")
	case !hasDefault && !named:
		return argumentf("An entity name must be specified with --alter of %s", joined)
	case o.has("add-config") && o.has("add-config-file"):
		return argumentf("Only one of --add-config or --add-config-file must be specified")
	case o.count("add-config", "add-config-file", "delete-config") == 0:
		return argumentf("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter")
	case len(kinds) != len(names):
		return argumentf("An entity name must be specified for every entity type")
	}
	return nil
}

func runConfigs(c *call) error {
	cl, err := c.connect([]string{"command-config"}, nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	kinds, names := entities(c.o)
	quota := kinds[0] == ofUsers || kinds[0] == ofClients || kinds[0] == ofIPs
	switch {
	case c.o.has("describe") && quota:
		return c.describeQuotas(cl, kinds, names)
	case c.o.has("describe"):
		return c.describeResources(cl, kinds[0], names)
	}
	set, err := c.configsToAdd()
	if err != nil {
		return err
	}
	var unset []string
	for _, list := range c.o.all("delete-config") {
		for _, name := range strings.Split(list, ",") {
			unset = append(unset, strings.TrimSpace(name))
		}
	}
	if quota {
		err = c.alterQuotas(cl, kinds, names, set, unset)
	} else {
		err = c.alterResource(cl, kinds[0], names[0], set, unset)
	}
	if err != nil {
		return err
	}
	if names[0] != "" {
		fmt.Fprintf(c.out, "Completed updating config for %s %s.\n", strings.TrimSuffix(kinds[0], "s"), names[0])
	} else {
		fmt.Fprintf(c.out, "Completed updating default config for %s in the cluster.\n", kinds[0])
	}
	return nil
}

// configsToAdd reads --add-config and --add-config-file, by name.
func (c *call) configsToAdd() ([]pair, error) {
	p := properties{}
	if c.o.has("add-config-file") {
		if err := p.load(c.o.last("add-config-file")); err != nil {
			return nil, err
		}
	}
	if c.o.has("add-config") {
		for _, word := range splitOutside(c.o.last("add-config")) {
			name, v, ok := strings.Cut(word, "=")
			if name = strings.TrimSpace(name); !ok || !strings.HasPrefix(strings.TrimSpace(v), "[") && strings.Contains(v, "=") {
				return nil, argumentf("requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.")
			}
			p[name] = strings.TrimSpace(strings.NewReplacer("[", "", "]", "").Replace(v))
		}
	}
	var set []pair
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if !regexp.MustCompile(`^[a-zA-Z0-9._-]*$`).MatchString(name) {
			return nil, argumentf("Invalid character found for config key: %s", name)
		}
		set = append(set, pair{name, p[name]})
	}
	return set, nil
}

// splitOutside splits at the commas outside of square brackets.
func splitOutside(s string) []string {
	var words []string
	depth, from := 0, 0
	for i, r := range s {
		switch {
		case r == '[':
			depth++
		case r == ']':
			depth--
		case r == ',' && depth == 0:
			words = append(words, s[from:i])
			from = i + 1
		}
	}
	return append(words, s[from:])
}

// resourceKinds are the kinds that DescribeConfigs knows, with the source of what was set for them alone.
func resourceKind(kind, name string) (kmsg.ConfigResourceType, kmsg.ConfigSource) {
	switch {
	case kind == ofTopics:
		return kmsg.ConfigResourceTypeTopic, kmsg.ConfigSourceDynamicTopicConfig
	case kind == ofBrokers && name == "":
		return kmsg.ConfigResourceTypeBroker, kmsg.ConfigSourceDynamicDefaultBrokerConfig
	case kind == ofBrokers:
		return kmsg.ConfigResourceTypeBroker, kmsg.ConfigSourceDynamicBrokerConfig
	case kind == ofLoggers:
		return kmsg.ConfigResourceTypeBrokerLogger, 0
	case kind == ofMetrics:
		return kmsg.ConfigResourceTypeClientMetrics, kmsg.ConfigSourceClientMetricsConfig
	default:
		return kmsg.ConfigResourceTypeGroupConfig, kmsg.ConfigSourceGroupConfig
	}
}

// resourceConfigs lists the settings of a resource by name: its own, or all.
func (c *call) resourceConfigs(cl *kgo.Client, kind, name string, all bool) ([]setting, error) {
	typ, own := resourceKind(kind, name)
	list, err := describeConfigs(c.ctx, cl, typ, []string{name}, true)
	if err != nil {
		return nil, err
	}
	settings := slices.DeleteFunc(list[0], func(s setting) bool { return !all && own != 0 && s.Source != own })
	slices.SortFunc(settings, func(a, b setting) int { return strings.Compare(a.Name, b.Name) })
	return settings, nil
}

func (c *call) describeResources(cl *kgo.Client, kind string, names []string) error {
	every, err := c.everyResource(cl, kind)
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = every
	} else if names = names[:1]; (kind == ofTopics || kind == ofGroups) && !slices.Contains(every, names[0]) {
		settings, err := c.resourceConfigs(cl, kind, names[0], false)
		if kind == ofTopics || err == nil && len(settings) == 0 {
			fmt.Fprintf(c.out, "The %s '%s' doesn't exist and doesn't have dynamic config.\n", strings.TrimSuffix(kind, "s"), names[0])
			return nil
		}
	}
	for _, name := range names {
		settings, err := c.resourceConfigs(cl, kind, name, c.o.has("all"))
		if err != nil {
			return err
		}
		switch {
		case name == "":
			fmt.Fprintf(c.out, "Default configs for %s in the cluster are:\n", kind)
		case c.o.has("all"):
			fmt.Fprintf(c.out, "All configs for %s %s are:\n", strings.TrimSuffix(kind, "s"), name)
		default:
			fmt.Fprintf(c.out, "Dynamic configs for %s %s are:\n", strings.TrimSuffix(kind, "s"), name)
		}
		for _, s := range settings {
			fmt.Fprintln(c.out, s.line())
		}
	}
	return nil
}

// everyResource lists the resources of a kind.
func (c *call) everyResource(cl *kgo.Client, kind string) ([]string, error) {
	switch kind {
	case ofTopics:
		return topicNamesOf(c.ctx, cl)
	case ofGroups:
		groups, err := listGroups(c.ctx, cl, nil, nil)
		var names []string
		for _, g := range groups {
			names = append(names, g.Group)
		}
		return names, err
	case ofBrokers, ofLoggers:
		resp, err := kmsg.NewPtrDescribeClusterRequest().RequestWith(c.ctx, cl)
		if err != nil {
			return nil, err
		}
		var names []string
		for _, b := range resp.Brokers {
			names = append(names, strconv.Itoa(int(b.NodeID)))
		}
		return append(names, ""), nil
	}
	return nil, nil
}

func (c *call) alterResource(cl *kgo.Client, kind, name string, set []pair, unset []string) error {
	typ, _ := resourceKind(kind, name)
	return alterConfigs(c.ctx, cl, typ, name, set, unset)
}
