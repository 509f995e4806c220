package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// completeTimeout bounds how long a completion waits for the cluster: nobody waits longer for a tab.
const completeTimeout = 1500 * time.Millisecond

// fixed completes a flag with words that are always the same.
func fixed(cmd *cobra.Command, flag string, words ...string) {
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag was made one line above
	}
}

// lister asks a cluster for names.
type lister func(ctx context.Context, cf *clientFlags) ([]string, error)

// asked completes a flag with names that the cluster has.
func asked(cmd *cobra.Command, cf *clientFlags, flag string, list lister) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
		return cf.ask(cmd, list, begun)
	})
	if err != nil {
		panic(err) // the flag was made one line above
	}
}

func topicNames(ctx context.Context, cf *clientFlags) ([]string, error) {
	adm, end, err := cf.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	topics, err := adm.ListTopics(ctx)
	return topics.Names(), err
}

func groupNames(ctx context.Context, cf *clientFlags) ([]string, error) {
	adm, end, err := cf.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	groups, err := adm.ListGroups(ctx)
	return groups.Groups(), err
}

// complete completes the arguments of a verb: names of topics or of groups, asked of the cluster. One that does not
// answer at once completes nothing.
func (f *clientFlags) complete(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	path := cmd.CommandPath() + " "
	var list lister
	switch {
	case len(args) > 0, strings.HasPrefix(path, "varve topic create"), strings.HasPrefix(path, "varve topic adopt"), strings.HasPrefix(path, "varve profile"):
	case strings.HasPrefix(path, "varve group "):
		list = groupNames
	case strings.HasPrefix(path, "varve topic "), path == "varve consume ", path == "varve produce ", path == "varve tier status ":
		list = topicNames
	}
	if list == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return f.ask(cmd, list, begun)
}

// ask completes with the names that a lister finds.
func (f *clientFlags) ask(cmd *cobra.Command, list lister, begun string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completeTimeout)
	defer cancel()
	names, err := list(ctx, f)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	slices.Sort(names)
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, begun) }), cobra.ShellCompDirectiveNoFileComp
}
