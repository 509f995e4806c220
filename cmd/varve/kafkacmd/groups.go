package kafkacmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// scenarios are the ways to say where a group is to stand.
func scenarios() []string {
	return []string{"to-offset", "shift-by", "to-datetime", "by-duration", "to-earliest", "to-latest", "to-current", "from-file"}
}

func groupsTool() tool {
	return tool{
		name: "kafka-consumer-groups", about: "List, describe and delete consumer groups, and reset their offsets, with the flags of Kafka's kafka-consumer-groups.sh.",
		options: []option{
			{"bootstrap-server", value, "Brokers, HOST:PORT,…; required."}, {"command-config", value, "File with settings of the client: TLS, login."},
			{"list", nothing, "List groups."}, {"describe", nothing, "Show groups: offsets and lag, --members or --state."},
			{"delete", nothing, "Delete groups that have no members."}, {"reset-offsets", nothing, "Set where groups go on."},
			{"delete-offsets", nothing, "Forget the offsets of topics."}, {"group", value, "The group, repeatable."}, {"all-groups", nothing, "All groups."},
			{"topic", value, "TOPIC or TOPIC:PARTITION,…, repeatable."}, {"all-topics", nothing, "All topics of the group."},
			{"members", nothing, "Describe the members."}, {"offsets", nothing, "Describe the offsets."}, {"verbose", nothing, "Describe more."},
			{"state", maybe, "Describe the state, or list groups with it, or in one of STATE,…."}, {"type", maybe, "List groups with their type, or of TYPE,…."},
			{"timeout", value, "Milliseconds to wait."}, {"dry-run", nothing, "Show the offsets alone."}, {"execute", nothing, "Reset the offsets."},
			{"export", nothing, "Print offsets as CSV."}, {"to-offset", value, "Reset to this offset."}, {"shift-by", value, "Reset by so many records."},
			{"to-datetime", value, "Reset to a time, YYYY-MM-DDTHH:mm:SS.sss."}, {"by-duration", value, "Reset to so long ago, PnDTnHnMnS."},
			{"to-earliest", nothing, "Reset to the start."}, {"to-latest", nothing, "Reset to the end."}, {"to-current", nothing, "Reset to where it stands."},
			{"from-file", value, "Reset to the offsets of a CSV file."},
		},
		check: checkGroups, run: runGroups,
		failed: func(c *call, err error) int {
			err = plainly(err)
			var none errNoGroup
			if errors.As(err, &none) {
				fmt.Fprintf(c.out, "\nError: Executing consumer group command failed due to org.apache.kafka.common.errors.GroupIdNotFoundException: %v\n", err)
			} else {
				fmt.Fprintf(c.out, "\nError: Executing consumer group command failed due to %v\n", err)
			}
			fmt.Fprintln(c.err, err)
			return 0 // as the original
		},
	}
}

// errNoGroup says that there is no such group.
type errNoGroup struct{ text string }

// Error implements error.
func (e errNoGroup) Error() string { return e.text }

func checkGroups(o *options) error {
	actions := []string{"list", "describe", "delete", "reset-offsets", "delete-offsets"}
	if o.count(actions...) != 1 {
		return usagef("Command must include exactly one action: --list, --describe, --delete, --reset-offsets, --delete-offsets, --validate-regex")
	}
	if err := o.require("bootstrap-server"); err != nil {
		return err
	}
	for _, action := range []string{"describe", "delete", "reset-offsets"} {
		if o.has(action) && o.count("group", "all-groups") == 0 {
			return usagef("Option [%s] takes one of these options: [group], [all-groups]", action)
		}
	}
	switch {
	case o.has("describe") && o.count("members", "offsets", "state") > 1:
		return usagef("Option [describe] takes at most one of these options: [members], [offsets], [state]")
	case o.has("describe") && o.last("state") != "":
		return usagef("Option [describe] does not take a value for [state]")
	case o.has("delete") && o.has("topic"):
		return usagef("The consumer does not support topic-specific offset deletion from a consumer group.")
	case o.has("delete-offsets") && o.count("group", "topic") < 2:
		return usagef("Option [delete-offsets] takes the following options: [topic], [group]")
	case o.has("reset-offsets") && o.count("dry-run", "execute") > 1:
		return usagef("Option [reset-offsets] only accepts one of [execute] and [dry-run]")
	}
	for _, s := range scenarios() {
		if err := o.exclude(s, slices.DeleteFunc(scenarios(), func(other string) bool { return other == s })...); err != nil && o.has("reset-offsets") {
			return err
		}
	}
	if err := o.exclude("group", "all-groups", "list"); err != nil {
		return err
	}
	return o.exclude("topic", "list", "describe")
}

func runGroups(c *call) error {
	if c.o.has("reset-offsets") && c.o.count("dry-run", "execute") == 0 {
		fmt.Fprintln(c.err, "WARN: No action will be performed as the --execute option is missing. In version 5.0, this command will require either --dry-run or --execute to be specified. "+
			"You should add the --dry-run option explicitly if you are scripting this command and want to keep the current default behavior without prompting.")
	}
	cl, err := c.connect([]string{"command-config"}, nil)
	if err != nil {
		return err
	}
	defer cl.Close()
	switch {
	case c.o.has("list"):
		return c.listGroups(cl)
	case c.o.has("delete-offsets"):
		return c.deleteOffsets(cl)
	}
	groups := c.o.all("group")
	if c.o.has("all-groups") {
		list, err := listGroups(c.ctx, cl, nil, nil)
		if err != nil {
			return err
		}
		groups = nil
		for _, g := range list {
			groups = append(groups, g.Group)
		}
	}
	switch {
	case c.o.has("describe"):
		return c.describeGroups(cl, groups)
	case c.o.has("delete"):
		return c.deleteGroups(cl, groups)
	default:
		return c.resetOffsets(cl, groups)
	}
}

// listGroups lists the groups of consumers by name, of all brokers.
func listGroups(ctx context.Context, cl *kgo.Client, states, types []string) ([]kmsg.ListGroupsResponseGroup, error) {
	var list []kmsg.ListGroupsResponseGroup
	req := kmsg.NewPtrListGroupsRequest()
	req.StatesFilter, req.TypesFilter = states, types
	for _, shard := range cl.RequestSharded(ctx, req) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		resp := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return nil, err
		}
		for _, g := range resp.Groups {
			if (g.ProtocolType == "consumer" || g.ProtocolType == "") && !strings.EqualFold(g.GroupType, "share") {
				list = append(list, g)
			}
		}
	}
	slices.SortFunc(list, func(a, b kmsg.ListGroupsResponseGroup) int { return strings.Compare(a.Group, b.Group) })
	return list, nil
}

// words reads a list of states or types: each must be known, whatever its case.
func words(s, what string, known []string) ([]string, error) {
	if s == "" {
		return nil, nil
	}
	var list []string
	for _, w := range strings.Split(s, ",") {
		i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, strings.TrimSpace(w)) })
		if i < 0 {
			return nil, usagef("Invalid %s list '%s'. Valid %ss are: %s", what, s, what, strings.Join(known, ", "))
		}
		list = append(list, known[i])
	}
	return list, nil
}

func (c *call) listGroups(cl *kgo.Client) error {
	states, err := words(c.o.last("state"), "state", []string{"Dead", "Reconciling", "PreparingRebalance", "Assigning", "CompletingRebalance", "Empty", "Stable"})
	if err != nil {
		return err
	}
	types, err := words(c.o.last("type"), "type", []string{"Classic", "Consumer"})
	if err != nil {
		return err
	}
	list, err := listGroups(c.ctx, cl, states, types)
	if err != nil {
		return err
	}
	heads := []string{"GROUP"}
	if c.o.has("type") {
		heads = append(heads, "TYPE")
	}
	if c.o.has("state") {
		heads = append(heads, "STATE")
	}
	if len(heads) == 1 {
		for _, g := range list {
			fmt.Fprintln(c.out, g.Group)
		}
		return nil
	}
	width := 15
	for _, g := range list {
		width = max(width, len(g.Group))
	}
	row := func(group, typ, state string) {
		fmt.Fprintf(c.out, "%-*s", width+10, group)
		if c.o.has("type") {
			fmt.Fprintf(c.out, " %-20s", typ)
		}
		if c.o.has("state") {
			fmt.Fprintf(c.out, " %-20s", state)
		}
		fmt.Fprintln(c.out)
	}
	row("GROUP", "TYPE", "STATE")
	for _, g := range list {
		row(g.Group, strings.ToUpper(g.GroupType[:min(1, len(g.GroupType))])+g.GroupType[min(1, len(g.GroupType)):], g.GroupState)
	}
	return nil
}

func (c *call) deleteGroups(cl *kgo.Client, groups []string) error {
	res, err := kadm.NewClient(cl).DeleteGroups(c.ctx, groups...)
	if err != nil {
		return err
	}
	var good, bad []string
	for _, g := range res.Sorted() {
		switch {
		case g.Err == nil:
			good = append(good, g.Group)
		default:
			bad = append(bad, fmt.Sprintf("* Group '%s' could not be deleted due to: %s: %v", g.Group, javaException(g.Err), plainly(g.Err)))
		}
	}
	if len(bad) == 0 {
		fmt.Fprintf(c.out, "Deletion of requested consumer groups ('%s') was successful.\n", strings.Join(good, "', '"))
		return nil
	}
	fmt.Fprintf(c.out, "\nError: Deletion of some consumer groups failed:\n%s\n", strings.Join(bad, "\n"))
	if len(good) > 0 {
		fmt.Fprintf(c.out, "\nThese consumer groups were deleted successfully: '%s'\n", strings.Join(good, "', '"))
	}
	return nil
}

// javaException is the name that Kafka's clients give an error of the protocol.
func javaException(err error) string {
	var code *kerr.Error
	if !errors.As(err, &code) {
		return "org.apache.kafka.common.KafkaException"
	}
	var name strings.Builder
	for _, word := range strings.Split(code.Message, "_") {
		name.WriteString(word[:1] + strings.ToLower(word[1:]))
	}
	return "org.apache.kafka.common.errors." + map[string]string{"NonEmptyGroup": "GroupNotEmpty"}[name.String()] + onlyWithout(name.String(), "NonEmptyGroup") + "Exception"
}

func onlyWithout(s, not string) string {
	if s == not {
		return ""
	}
	return s
}

func (c *call) deleteOffsets(cl *kgo.Client) error {
	group, adm := c.o.last("group"), kadm.NewClient(cl)
	type outcome struct {
		topic     string
		partition int32
		err       error
	}
	var rows []outcome
	set := kadm.TopicsSet{}
	for _, arg := range c.o.all("topic") {
		parts, err := c.partitionsToReset(adm, []string{arg})
		if err != nil {
			if errors.As(err, new(errUsage)) {
				return err
			}
			rows = append(rows, outcome{arg, -1, err})
			continue
		}
		for _, p := range parts {
			set.Add(p.topic, p.partition)
		}
	}
	res, err := adm.DeleteOffsets(c.ctx, group, set)
	words := map[error]string{kerr.InvalidGroupID: "'%s' is not valid.", kerr.GroupIDNotFound: "'%s' does not exist.", kerr.GroupAuthorizationFailed: "Access to '%s' is not authorized.",
		kerr.NonEmptyGroup: "Deleting offsets of a consumer group '%s' is forbidden if the group is not empty."}
	var partial error
	for topic, parts := range res {
		for partition, err := range parts {
			rows = append(rows, outcome{topic, partition, err})
			partial = errors.Join(partial, err)
		}
	}
	switch {
	case err != nil && words[err] != "":
		fmt.Fprintf(c.out, "\nError: "+words[err]+"\n", group)
	case err != nil:
		fmt.Fprintf(c.out, "\nError: Encounter some unknown error: %v\n", err)
	case partial != nil:
		fmt.Fprintf(c.out, "\nError: Encounter some partition level error, see the follow-up details:\n")
	default:
		fmt.Fprintf(c.out, "Request succeeded for deleting offsets from group %s.\n", group)
	}
	slices.SortFunc(rows, func(a, b outcome) int {
		return strings.Compare(fmt.Sprint(a.topic, a.partition), fmt.Sprint(b.topic, b.partition))
	})
	fmt.Fprintf(c.out, "\n%-15s %-10s %-15s", "TOPIC", "PARTITION", "STATUS")
	for _, r := range rows {
		status, partition := "Successful", fmt.Sprint(r.partition)
		if r.err != nil {
			status = fmt.Sprintf("Error: %s: %v", javaException(r.err), plainly(r.err))
		}
		if r.partition < 0 {
			partition = "-"
		}
		fmt.Fprintf(c.out, "\n%-15s %-10s %-15s", r.topic, partition, status)
	}
	fmt.Fprintln(c.out)
	return nil
}
