// Command varve is the front door: the broker, a node for a laptop, a
// demonstration of the main job, and the client verbs for topics, records and
// tiers. Each verb has a file of its own; data goes to stdout, chatter to stderr.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes of the command.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
	// exitUnhealthy is of checks that work and have found something bad.
	exitUnhealthy = 3
)

// groupKafka is the part of the help with Kafka's scripts.
const groupKafka = "kafka"

// errUsage marks an error in the command line itself.
var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := runAs(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line and returns its exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	refuseUnknown(root)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var code errCode
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &code):
		return int(code)
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "varve: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
		return exitUsage
	case errors.Is(err, errUnhealthy):
		fmt.Fprintf(stderr, "varve: %v\n", err)
		return exitUnhealthy
	default:
		fmt.Fprintf(stderr, "varve: %v\n", err)
		return exitError
	}
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "varve",
		Short: "Kafka-compatible broker with tiered storage",
		Long: "Varve is a Kafka-compatible broker in one binary. Hot data lies on local disks,\nclosed segments in an object store; clients see one log.\n\n" +
			"Data goes to stdout, chatter to stderr. Exit codes: 0 done, 1 failed, 2 a mistake in the command line, 3 a check found\nsomething bad.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.AddCommand(
		demoCommand(), devCommand(), brokerCommand(),
		topicCommand(), produceCommand(), consumeCommand(), groupCommand(), txnCommand(), userCommand(), tokenCommand(), aclCommand(), quotaCommand(), clusterCommand(), tierCommand(), storeCommand(), logCommand(), benchCommand(),
		configCommand(), profileCommand(), doctorCommand(), debugCommand(), cheatCommand(), versionCommand(),
	)
	root.AddCommand(completionCommand(root))
	root.AddGroup(&cobra.Group{ID: groupKafka, Title: "Kafka's scripts, with their own flags:"})
	root.AddCommand(kafkaCommands()...)
	return root
}

// refuseUnknown makes a mistyped verb a mistake in the command line: without it a group of verbs prints its help, and a script
// goes on.
func refuseUnknown(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		refuseUnknown(sub)
	}
	if cmd.Runnable() || !cmd.HasSubCommands() {
		return
	}
	cmd.SuggestionsMinimumDistance = 2
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		if like := cmd.SuggestionsFor(args[0]); len(like) > 0 {
			return fmt.Errorf("%w: %s has no %q; did you mean %s?", errUsage, cmd.CommandPath(), args[0], strings.Join(like, " or "))
		}
		return fmt.Errorf("%w: %s has no %q", errUsage, cmd.CommandPath(), args[0])
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}
