// Package kafkacmd is Kafka's most used scripts without a JVM: kafka-topics, kafka-configs,
// kafka-consumer-groups, kafka-console-producer, kafka-console-consumer and kafka-acls, with the flags,
// the output and the exit codes of the originals, so that runbooks keep working.
//
// It owns the tools' command lines and what they print; it speaks the public protocol alone, to any
// Kafka broker. It does not own Varve's own verbs. Nothing is kept between calls; a call runs on the
// goroutine of its caller. What differs is listed in docs/differences.md; the golden test compares the
// rest with what Apache Kafka's own tools have printed.
package kafkacmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
)

// kafkaVersion is the version of Kafka whose tools these are.
const kafkaVersion = "4.3.1"

// tool is one script.
type tool struct {
	name, about string
	options     []option
	check       func(o *options) error
	run         func(c *call) error
	// failed prints an error of run and gives the exit code.
	failed func(c *call, err error) int
}

// call is one run of a tool.
type call struct {
	ctx      context.Context
	args     []string
	o        *options
	in       io.Reader
	out, err io.Writer
}

// errUsage is a mistake in the command line: its text and the options are printed.
type errUsage struct{ text string }

// Error implements error.
func (e errUsage) Error() string { return e.text }

func usagef(format string, args ...any) error { return errUsage{fmt.Sprintf(format, args...)} }

// errArgument is a value that cannot be: some tools print it without the options.
type errArgument struct{ text string }

// Error implements error.
func (e errArgument) Error() string { return e.text }

func argumentf(format string, args ...any) error { return errArgument{fmt.Sprintf(format, args...)} }

// tools lists the scripts.
func tools() []tool {
	return []tool{topicsTool(), configsTool(), groupsTool(), producerTool(), consumerTool(), aclsTool()}
}

// Names lists the tools.
func Names() []string {
	var names []string
	for _, t := range tools() {
		names = append(names, t.name)
	}
	return names
}

// About is one line about a tool; "" for a name that is none.
func About(name string) string {
	for _, t := range tools() {
		if t.name == name {
			return t.about
		}
	}
	return ""
}

// Tool is the name of the tool that a program is called by: kafka-topics for a link
// /usr/local/bin/kafka-topics.sh. ok is false for any other name.
func Tool(argv0 string) (name string, ok bool) {
	name = strings.TrimSuffix(filepath.Base(argv0), ".sh")
	return name, slices.Contains(Names(), name)
}

// Run runs a tool of Names and returns its exit code. It ends early with ctx.
func Run(ctx context.Context, name string, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	i := slices.IndexFunc(tools(), func(t tool) bool { return t.name == name })
	if i < 0 {
		fmt.Fprintf(stderr, "%s is none of %s\n", name, strings.Join(Names(), ", "))
		return 1
	}
	t := tools()[i]
	t.options = append(t.options, option{"help", nothing, "Print this."}, option{"version", nothing, "Print the version of Kafka whose tool this is."})
	c := &call{ctx: ctx, args: args, in: stdin, out: stdout, err: stderr}
	o, err := parse(t.options, args)
	switch {
	case err != nil:
		fmt.Fprintln(stderr, err)
		return 1
	case len(args) == 0 || o.has("help"):
		fmt.Fprintln(stderr, t.about)
		help(stderr, t.options)
		return 1
	case o.has("version"):
		fmt.Fprintln(stdout, kafkaVersion)
		return 0
	}
	c.o = o
	if err = t.check(o); err == nil {
		err = t.run(c)
	} else if !errors.As(err, new(errUsage)) {
		fmt.Fprintln(stderr, err)
		return 1
	}
	var usage errUsage
	switch {
	case err == nil:
		return 0
	case errors.As(err, &usage):
		fmt.Fprintln(stderr, usage.text)
		help(stderr, t.options)
		return 1
	default:
		return t.failed(c, err)
	}
}

// told is an error of the broker in the words of Kafka's clients: its message, else what its code means.
func told(err error, message *string) error {
	if err == nil {
		return nil
	}
	if message != nil && *message != "" {
		return errTold{*message, err}
	}
	return plainly(err)
}

// plainly is an error of the broker without the name of its code.
func plainly(err error) error {
	var code *kerr.Error
	if !errors.As(err, new(errTold)) && errors.As(err, &code) {
		return errTold{code.Description, err}
	}
	return err
}

// errTold is an error with a text of its own.
type errTold struct {
	text string
	err  error
}

// Error implements error.
func (e errTold) Error() string { return e.text }

// Unwrap is the error that is told.
func (e errTold) Unwrap() error { return e.err }
