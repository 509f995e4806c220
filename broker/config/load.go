package config

import (
	"errors"
	"fmt"
	"maps"
	"strings"
)

// Sources are the places that settings come from, each overriding those before it:
// built-in defaults, Properties, YAML, Env, Set, DynamicCluster, DynamicBroker.
type Sources struct {
	Properties     []byte   // a Kafka server.properties; what Varve does not know is ignored with a warning
	PropertiesName string   // for messages; "server.properties" if empty
	YAML           []byte   // a varve.yaml: a flat map of names, strict
	YAMLName       string   // for messages; "varve.yaml" if empty
	Env            []string // as os.Environ gives it; only names that start with VARVE_ are read
	Set            []string // name=value, as --set takes them; strict

	// What the cluster's metadata sets on top: the default for all brokers, and this broker's own.
	DynamicCluster, DynamicBroker map[string]string
}

// Warning is a setting that was read and has no effect.
type Warning struct {
	Origin string // file:line or the name of the environment variable
	Name   string // of the setting
	Reason string
}

// String is one line for a log or a terminal.
func (w Warning) String() string {
	return fmt.Sprintf("%s: %s is ignored: %s", w.Origin, w.Name, w.Reason)
}

// assignment is one name and value as a source gives them.
type assignment struct {
	origin      string
	name, value string
}

// Load resolves the settings of a node. It reports everything that is wrong, not only the
// first thing; each error names the file and line, the variable or the flag.
func Load(src Sources) (*Node, []Warning, error) {
	var (
		warnings []Warning
		errs     []error
		static   = map[string]string{}
	)
	put := func(list []assignment, err error) {
		if err != nil {
			errs = append(errs, err)
		}
		for _, a := range list {
			value, err := nodeValue(a.name, a.value)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", a.origin, err))
				continue
			}
			static[a.name] = value
		}
	}
	list, ignored, err := readProperties(src.Properties, nameOr(src.PropertiesName, "server.properties"))
	warnings = append(warnings, ignored...)
	put(list, err)
	put(readYAML(src.YAML, nameOr(src.YAMLName, "varve.yaml")))
	list, ignored, err = readEnv(src.Env)
	warnings = append(warnings, ignored...)
	put(list, err)
	put(readSet(src.Set))

	layers := layers{static: static}
	for _, dynamic := range []struct {
		origin string
		from   map[string]string
		to     *map[string]string
	}{
		{"cluster default", src.DynamicCluster, &layers.cluster},
		{"broker setting", src.DynamicBroker, &layers.broker},
	} {
		values, err := dynamicValues(dynamic.from)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", dynamic.origin, err))
		}
		*dynamic.to = values
	}
	if len(errs) > 0 {
		return nil, warnings, errors.Join(errs...)
	}
	n, err := newNode(layers)
	return n, warnings, err
}

// WithDynamic is the node with other dynamic settings; n itself stays as it is.
func (n *Node) WithDynamic(cluster, broker map[string]string) (*Node, error) {
	clusterValues, errCluster := dynamicValues(cluster)
	brokerValues, errBroker := dynamicValues(broker)
	if errCluster != nil {
		errCluster = fmt.Errorf("cluster default: %w", errCluster)
	}
	if errBroker != nil {
		errBroker = fmt.Errorf("broker setting: %w", errBroker)
	}
	if err := errors.Join(errCluster, errBroker); err != nil {
		return nil, err
	}
	return newNode(layers{static: n.layers.static, cluster: clusterValues, broker: brokerValues})
}

func nameOr(name, otherwise string) string {
	if name == "" {
		return otherwise
	}
	return name
}

// nodeValue is the canonical value of a broker-level setting.
func nodeValue(name, raw string) (string, error) {
	s, ok := nodeSetting(name)
	if !ok {
		return "", unknown(name, NodeScope)
	}
	return s.canonical(raw)
}

// dynamicValues are the canonical values of settings that may change while a broker runs.
func dynamicValues(from map[string]string) (map[string]string, error) {
	var errs []error
	values := maps.Clone(from)
	for _, name := range sortedNames(from) {
		value, err := nodeValue(name, from[name])
		if s, _ := nodeSetting(name); err == nil && s.Update == ReadOnly {
			err = refuse(name, "Cannot update %s dynamically: it is read at the start of the broker only", name)
		}
		values[name] = value
		errs = append(errs, err)
	}
	return values, merge(errs...)
}

// readSet reads --set flags.
func readSet(set []string) ([]assignment, error) {
	var (
		list []assignment
		errs []error
	)
	for _, pair := range set {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			errs = append(errs, refuse(name, "--set %s: expected name=value", pair))
			continue
		}
		name = strings.TrimSpace(name)
		if s, _ := nodeSetting(name); s.Sensitive {
			errs = append(errs, refuse(name, "--set %s: a secret on a command line is seen by every user of the machine; put it into the settings file or the environment", name))
			continue
		}
		list = append(list, assignment{"--set " + name, name, value})
	}
	return list, errors.Join(errs...)
}

const envPrefix = "VARVE_"

// EnvName is the environment variable of a setting: VARVE_ and the name in upper case with
// underscores for dots. The "varve." of our own names is not said twice.
func EnvName(setting string) string {
	short := strings.TrimPrefix(setting, "varve.")
	return envPrefix + strings.ToUpper(strings.ReplaceAll(short, ".", "_"))
}

// readEnv reads the environment. What starts with VARVE_ and is no setting is only warned
// of, because orchestrators put variables of their own there (VARVE_SERVICE_HOST).
func readEnv(env []string) ([]assignment, []Warning, error) {
	names := map[string]string{}
	for _, s := range table {
		if s.Scope&NodeScope != 0 {
			names[EnvName(s.Name)] = s.Name
			names[envPrefix+strings.ToUpper(strings.ReplaceAll(s.Name, ".", "_"))] = s.Name
		}
	}
	var (
		list     []assignment
		warnings []Warning
	)
	for _, pair := range env {
		variable, value, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(variable, envPrefix) || foreignVariable(variable) {
			continue
		}
		name, ok := names[variable]
		if !ok {
			name, ok = listenerEnv(variable)
		}
		if !ok {
			guess := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(variable, envPrefix), "_", "."))
			warnings = append(warnings, Warning{variable, guess, "there is no such setting" + didYouMean(guess, NodeScope)})
			continue
		}
		list = append(list, assignment{variable, name, value})
	}
	return list, warnings, nil
}

// foreignVariable knows the names that are no settings: those of the command line, fault
// injection, and what Kubernetes sets for a service named varve.
func foreignVariable(variable string) bool {
	switch variable {
	case "VARVE_PROFILE", "VARVE_PASSWORD", "VARVE_ADMIN_PASSWORD", "VARVE_FAULT", "VARVE_PORT":
		return true
	}
	return strings.HasPrefix(variable, "VARVE_PORT_") || strings.HasPrefix(variable, "VARVE_SERVICE_")
}
