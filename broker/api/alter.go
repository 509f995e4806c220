package api

import (
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/controller"
	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/metadata"
	"github.com/varve-io/varve/broker/server"
)

// alteration is the change of one resource's settings, and what became of it.
type alteration struct {
	kind    int8
	name    string
	edits   []edit
	replace bool // all settings, not only those that are named
	err     error
}

type edit struct {
	name  string
	op    controller.ConfigOp
	value *string
}

// alter makes the changes that are sound, and notes what is wrong with the others.
// Source: Kafka's ConfigAdminManager, which looks at a request before the controller does.
func (a admin) alter(r *server.Request, list []alteration, validateOnly bool) {
	type resource struct {
		kind int8
		name string
	}
	named := make(map[resource]int, len(list))
	for i := range list {
		named[resource{list[i].kind, list[i].name}]++
	}
	var changes []controller.ConfigChange
	var place []int // of changes, in the list
	for i := range list {
		alt := &list[i]
		if alt.err = a.by(r).configs(kafka.OpAlterConfigs, alt.kind, alt.name); alt.err != nil {
			continue
		}
		if named[resource{alt.kind, alt.name}] > 1 {
			alt.err = fmt.Errorf("%q is named more than once: %w", alt.name, kafka.InvalidRequest)
			continue
		}
		change, err := a.changeOf(alt)
		if alt.err = err; err != nil {
			continue
		}
		if metadata.ResourceType(alt.kind) == metadata.BrokerLoggerResource {
			alt.err = a.alterLogger(alt, validateOnly)
			continue
		}
		changes, place = append(changes, change), append(place, i)
	}
	if len(changes) > 0 {
		for i, err := range a.o.Cluster.AlterConfigs(r.Ctx, changes, validateOnly) {
			list[place[i]].err = err
		}
	}
	for _, alt := range list {
		if !validateOnly {
			a.by(r).did(alt.err, "settings of "+metadata.ResourceType(alt.kind).String(), alt.name, "settings", listed(alt.edits), "replaced", alt.replace)
		}
	}
}

// changeOf checks the shape of an alteration.
func (a admin) changeOf(alt *alteration) (controller.ConfigChange, error) {
	change := controller.ConfigChange{
		Resource: metadata.ConfigResource{Type: metadata.ResourceType(alt.kind), Name: alt.name}, Replace: alt.replace,
	}
	seen := make(map[string]bool, len(alt.edits))
	for _, e := range alt.edits {
		switch {
		case seen[e.name]:
			return change, fmt.Errorf("setting %s is named more than once: %w", e.name, kafka.InvalidRequest)
		case e.value == nil && e.op != controller.DeleteConfig:
			return change, fmt.Errorf("setting %s has a null value: %w", e.name, kafka.InvalidRequest)
		}
		seen[e.name] = true
		out := controller.ConfigEdit{Name: e.name, Op: e.op}
		if e.value != nil {
			out.Value = *e.value
		}
		change.Edits = append(change.Edits, out)
	}
	switch change.Resource.Type {
	case metadata.TopicResource, metadata.ClientMetricsResource, metadata.GroupResource:
	case metadata.BrokerResource, metadata.BrokerLoggerResource:
		if change.Resource.Type == metadata.BrokerLoggerResource && alt.replace {
			return change, fmt.Errorf("AlterConfigs changes no log levels: %w", kafka.InvalidRequest)
		}
		if alt.name == "" && change.Resource.Type == metadata.BrokerResource {
			break
		}
		id, err := a.thisBroker(alt.name)
		if err != nil {
			return change, err
		}
		change.Resource.Name = id // 1, 01 and +1 are one broker
	default:
		return change, fmt.Errorf("resource type %d has no settings here: %w", alt.kind, kafka.InvalidRequest)
	}
	return change, nil
}

// thisBroker checks that a resource's name is the id of this broker, and is its usual spelling.
func (a admin) thisBroker(name string) (string, error) {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return "", fmt.Errorf("broker %q: a broker id is a number: %w", name, kafka.InvalidRequest)
	}
	if int32(id) != a.o.NodeID {
		return "", fmt.Errorf("broker %q: this is broker %d, ask the other one: %w", name, a.o.NodeID, kafka.InvalidRequest)
	}
	return strconv.FormatInt(id, 10), nil
}

// rootLogger is the one logger that there is.
const rootLogger = "root"

// logLevels are Kafka's names of levels of a log, with what they are here.
var logLevels = []struct {
	name  string
	level slog.Level
}{
	{"TRACE", slog.LevelDebug - 4}, {"DEBUG", slog.LevelDebug}, {"INFO", slog.LevelInfo}, {"WARN", slog.LevelWarn},
	{"ERROR", slog.LevelError}, {"FATAL", slog.LevelError + 4},
}

// alterLogger sets the level of the broker's log, until the process ends.
func (a admin) alterLogger(alt *alteration, validateOnly bool) error {
	for _, e := range alt.edits {
		switch {
		case e.op == controller.AppendConfig || e.op == controller.SubtractConfig:
			return fmt.Errorf("a log level is no list: %w", kafka.InvalidRequest)
		case e.op != controller.SetConfig && e.op != controller.DeleteConfig:
			return fmt.Errorf("operation %d on %s: want 0 to set: %w", e.op, e.name, kafka.InvalidRequest)
		case e.name != rootLogger:
			return fmt.Errorf("there is no logger %q: the only one is %s: %w", e.name, rootLogger, kafka.InvalidConfig)
		case e.op == controller.DeleteConfig:
			return fmt.Errorf("the level of the logger %s cannot be removed: %w", rootLogger, kafka.InvalidRequest)
		}
		level, err := logLevel(*e.value)
		if err != nil {
			return err
		}
		if !validateOnly {
			a.o.LogLevel.Set(level)
			a.o.Logger.Warn("the level of the log was changed", "level", *e.value)
		}
	}
	return nil
}

func logLevel(name string) (slog.Level, error) {
	var names []string
	for _, l := range logLevels {
		if l.name == name {
			return l.level, nil
		}
		names = append(names, l.name)
	}
	return 0, fmt.Errorf("%q is no level of a log: want one of %s: %w", name, strings.Join(names, ", "), kafka.InvalidConfig)
}

// loggers is the broker's loggers with their levels, as settings.
func (a admin) loggers() []config.Entry {
	now := a.o.LogLevel.Level()
	i := slices.IndexFunc(logLevels, func(l struct {
		name  string
		level slog.Level
	}) bool {
		return l.level >= now
	})
	if i < 0 {
		i = len(logLevels) - 1
	}
	return []config.Entry{{Name: rootLogger, Value: &logLevels[i].name, Source: config.DynamicLogger}}
}
