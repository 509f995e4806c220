package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
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

func userNames(ctx context.Context, cf *clientFlags) ([]string, error) {
	adm, end, err := cf.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	users, err := adm.DescribeUserSCRAMs(ctx)
	return slices.Collect(maps.Keys(users)), err
}

func txnNames(ctx context.Context, cf *clientFlags) ([]string, error) {
	adm, end, err := cf.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	list, err := adm.ListTransactions(ctx, nil, nil)
	return list.TransactionalIDs(), err
}

func brokerNames(ctx context.Context, cf *clientFlags) ([]string, error) {
	adm, end, err := cf.admin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	brokers, err := adm.ListBrokers(ctx)
	var names []string
	for _, b := range brokers {
		names = append(names, strconv.Itoa(int(b.NodeID)))
	}
	return names, err
}

// kinds lists resources as KIND/NAME. What a user may not list is left out.
func kinds(of map[string]lister, alone ...string) lister {
	return func(ctx context.Context, cf *clientFlags) ([]string, error) {
		out := slices.Clone(alone)
		for kind, list := range of {
			names, err := list(ctx, cf)
			if err != nil {
				continue
			}
			for _, name := range names {
				out = append(out, kind+"/"+name)
			}
		}
		return out, nil
	}
}

// listerOf is what the arguments of a verb are names of; nil for something else. n is how many it has already.
func listerOf(verb string, n int) lister {
	group, _, _ := strings.Cut(verb, " ")
	switch {
	case n > 0 && verb != "config diff":
	case verb == "topic create", verb == "topic adopt":
	case group == "topic", verb == "consume", verb == "produce", verb == "tier status":
		return topicNames
	case group == "group":
		return groupNames
	case group == "user":
		return userNames
	case verb == "txn describe", verb == "txn abort":
		return txnNames
	case group == "config":
		return kinds(map[string]lister{"topic": topicNames, "group": groupNames, "broker": brokerNames, "logger": brokerNames}, "cluster")
	case group == "acl":
		return kinds(map[string]lister{"topic": topicNames, "group": groupNames}, "cluster")
	case group == "quota":
		return kinds(map[string]lister{"user": userNames}, "user/*", "client/*", "ip/*")
	}
	return nil
}

// complete completes the arguments of a verb with names that it asks the cluster for. One that does not answer at once
// completes nothing.
func (f *clientFlags) complete(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	list := listerOf(strings.TrimPrefix(cmd.CommandPath(), "varve "), len(args))
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

// completionCommand is cobra's, in the words of this program, for the shells that its page explains.
func completionCommand(root *cobra.Command) *cobra.Command {
	return &cobra.Command{
		Use: "completion bash|zsh|fish", Short: "Print completion for a shell, which asks the cluster for names",
		Long: "Print completion for a shell. It knows verbs, flags and their values, and asks the cluster of --brokers or of the profile in\n" +
			"use for names of topics, groups, users, transactional ids and brokers; one that does not answer within 1.5 s completes\n" +
			"nothing. For good:\n\n" +
			"  bash  echo 'source <(varve completion bash)' >> ~/.bashrc\n" +
			"  zsh   varve completion zsh > \"${fpath[1]}/_varve\"    # with 'autoload -U compinit; compinit' in ~/.zshrc\n" +
			"  fish  varve completion fish > ~/.config/fish/completions/varve.fish",
		Example: "  source <(varve completion bash)",
		Args:    exactArgs(1, "bash, zsh or fish"), ValidArgs: []string{"bash", "fish", "zsh"},
		RunE: func(cmd *cobra.Command, args []string) error {
			w := cmd.OutOrStdout()
			switch args[0] {
			case "bash":
				return root.GenBashCompletionV2(w, true)
			case "zsh":
				return root.GenZshCompletion(w)
			case "fish":
				return root.GenFishCompletion(w, true)
			}
			return fmt.Errorf("%w: %s takes bash, zsh or fish, not %q", errUsage, cmd.CommandPath(), args[0])
		},
	}
}
