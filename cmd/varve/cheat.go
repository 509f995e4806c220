package main

import (
	_ "embed"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// cheatSheet is what people look up most: a heading begins with #.
//
//go:embed cheat.txt
var cheatSheet string

func cheatCommand() *cobra.Command {
	return &cobra.Command{
		Use: "cheat [WORD]", Short: "Print the command lines that are looked up most", Args: cobra.MaximumNArgs(1),
		Example: "  varve cheat\n  varve cheat group",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				fmt.Fprint(cmd.OutOrStdout(), cheatSheet)
				return nil
			}
			found := false
			for part := range strings.SplitSeq(cheatSheet, "\n\n") {
				if strings.Contains(strings.ToLower(part), strings.ToLower(args[0])) {
					fmt.Fprintln(cmd.OutOrStdout(), strings.TrimSpace(part)+"\n")
					found = true
				}
			}
			if !found {
				return fmt.Errorf("the cheat sheet says nothing about %q; see all of it with 'varve cheat'", args[0])
			}
			return nil
		},
	}
}
