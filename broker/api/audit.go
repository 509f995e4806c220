package api

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/controller"
)

// did notes in the log what the client has changed, a line for each thing, for whoever asks later
// who it was. What was refused is not noted here: denials are (authorize.go), and the rest changed
// nothing. Handlers call it with the outcome of every change that is more than a check.
//
// kind and name are what was changed ("topic", its name); more is pairs as slog takes them, and
// never has a secret.
func (b by) did(err error, kind, name string, more ...any) {
	if err != nil {
		return
	}
	b.api.o.Logger.Info("changed by a client", append([]any{
		"request", b.api.Name(b.r.Header.Key), "principal", b.r.Conn.Principal(), "host", b.r.Conn.Host(), "listener", b.r.Conn.Listener(),
		"kind", kind, "name", name,
	}, more...)...)
}

// String is the change as the log shows it, without the value of a secret.
func (e edit) String() string {
	sign := map[controller.ConfigOp]string{controller.SetConfig: "=", controller.AppendConfig: "+=", controller.SubtractConfig: "-="}[e.op]
	if e.op == controller.DeleteConfig || e.value == nil {
		return "-" + e.name
	}
	return e.name + sign + config.Shown(e.name, *e.value)
}

// settings is those of a topic as the log shows them, sorted.
func settings(of map[string]string) string {
	texts := make([]string, 0, len(of))
	for _, name := range slices.Sorted(maps.Keys(of)) {
		texts = append(texts, name+"="+config.Shown(name, of[name]))
	}
	return strings.Join(texts, " ")
}

// listed is the texts of a list, as one.
func listed[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = list[i].String()
	}
	return strings.Join(texts, " ")
}
