package kafkacmd

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// takes says whether an option has a value.
type takes int

const (
	nothing takes = iota
	value
	maybe // a value may follow
)

// option is one option of a tool.
type option struct {
	name  string
	takes takes
	doc   string
}

// options are what a command line gives.
type options struct {
	values map[string][]string
	order  []string // the options as they came
}

func (o *options) has(name string) bool { _, ok := o.values[name]; return ok }

// all is each value of an option.
func (o *options) all(name string) []string { return o.values[name] }

// last is the value of an option that is given once; "" without.
func (o *options) last(name string) string {
	if v := o.values[name]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// number is the value of an option as a number.
func (o *options) number(name string) (int64, error) {
	n, err := strconv.ParseInt(o.last(name), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("Cannot parse argument '%s' of option %s", o.last(name), name) //nolint:staticcheck // Kafka's words
	}
	return n, nil
}

// parse reads a command line as Kafka's tools do: --name VALUE, --name=VALUE, one dash or two, the start
// of a name when no other begins so, and options that come several times.
func parse(known []option, args []string) (*options, error) {
	o := &options{values: map[string][]string{}}
	for i := 0; i < len(args); i++ {
		name, ok := strings.CutPrefix(args[i], "-")
		if !ok || name == "" {
			continue // the tools ignore other words
		}
		name, given, inline := strings.Cut(strings.TrimPrefix(name, "-"), "=")
		opt, ok := find(known, name)
		if !ok {
			return nil, fmt.Errorf("%s is not a recognized option", name)
		}
		o.order = append(o.order, opt.name)
		switch {
		case inline && opt.takes != nothing:
			o.values[opt.name] = append(o.values[opt.name], given)
		case opt.takes == value && i+1 == len(args):
			return nil, fmt.Errorf("Option %s requires an argument", opt.name) //nolint:staticcheck // Kafka's words
		case opt.takes == value, opt.takes == maybe && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-"):
			i++
			o.values[opt.name] = append(o.values[opt.name], args[i])
		default:
			o.values[opt.name] = append(o.values[opt.name], []string{}...)
			if o.values[opt.name] == nil {
				o.values[opt.name] = []string{}
			}
		}
	}
	return o, nil
}

// find looks an option up by its name or by the start of it.
func find(known []option, name string) (option, bool) {
	var found []option
	for _, k := range known {
		if k.name == name {
			return k, true
		}
		if name != "" && strings.HasPrefix(k.name, name) {
			found = append(found, k)
		}
	}
	if len(found) == 1 {
		return found[0], true
	}
	return option{}, false
}

// count is how many of the options are given.
func (o *options) count(names ...string) int {
	n := 0
	for _, name := range names {
		if o.has(name) {
			n++
		}
	}
	return n
}

// require fails for the first option that is not given.
func (o *options) require(names ...string) error {
	for _, name := range names {
		if !o.has(name) {
			return usagef("Missing required argument \"[%s]\"", name)
		}
	}
	return nil
}

// exclude fails for the first of the others that is given beside an option.
func (o *options) exclude(name string, others ...string) error {
	if !o.has(name) {
		return nil
	}
	for _, other := range others {
		if o.has(other) {
			return usagef("Option \"[%s]\" can't be used with option \"[%s]\"", name, other)
		}
	}
	return nil
}

// help lists the options.
func help(w io.Writer, known []option) {
	fmt.Fprintln(w, "Option                                   Description")
	fmt.Fprintln(w, "------                                   -----------")
	list := slices.Clone(known)
	slices.SortFunc(list, func(a, b option) int { return strings.Compare(a.name, b.name) })
	for _, k := range list {
		name := "--" + k.name
		switch k.takes {
		case value:
			name += " <value>"
		case maybe:
			name += " [value]"
		}
		fmt.Fprintf(w, "%-40s %s\n", name, k.doc)
	}
}
