package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/varve-io/varve/cmd/varve/kafkacmd"
)

// errCode is an exit code of a command that has said everything itself.
type errCode int

// Error implements error.
func (errCode) Error() string { return "the command has failed" }

// kafkaCommands are Kafka's scripts as verbs: their flags are read by themselves.
func kafkaCommands() []*cobra.Command {
	var list []*cobra.Command
	for _, name := range kafkacmd.Names() {
		list = append(list, &cobra.Command{
			Use: name + " [FLAG...]", Short: kafkacmd.About(name), DisableFlagParsing: true, GroupID: groupKafka,
			Long: kafkacmd.About(name) + "\nA link of that name to this program does the same: ln -s varve " + name + ".sh",
			RunE: func(cmd *cobra.Command, args []string) error {
				if code := kafkacmd.Run(cmd.Context(), name, args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()); code != exitOK {
					return errCode(code)
				}
				return nil
			},
		})
	}
	return list
}

// runAs executes the command line of a program of any name: as Kafka's script of that name, or as varve.
func runAs(ctx context.Context, argv []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if name, ok := kafkacmd.Tool(argv[0]); ok {
		return kafkacmd.Run(ctx, name, argv[1:], stdin, stdout, stderr)
	}
	return run(ctx, argv[1:], stdin, stdout, stderr)
}
