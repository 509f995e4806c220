package kafkacmd

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// missing stands in a column that has nothing.
const missing = "-"

// group is a group of either protocol.
type group struct {
	name, state, assignor string
	epoch, target         string // of the consumer protocol, else missing
	coordinator           string // HOST:PORT  (ID)
	members               []member
}

type member struct {
	id, host, client, instance string
	epoch                      string
	assigned                   []place
}

// place is a partition.
type place struct {
	topic     string
	partition int32
}

// tail is the end of a sorted list of places, as a text to compare.
func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.partition, b.partition), strings.Compare(a.topic, b.topic))
}

// describe asks for a group by the protocol that it has.
func (c *call) describe(cl *kgo.Client, name string) (*group, error) {
	adm := kadm.NewClient(cl)
	coordinators := adm.FindGroupCoordinators(c.ctx, name)
	found := coordinators[name]
	if found.Err != nil {
		return nil, told(found.Err, &found.ErrMessage)
	}
	g := &group{name: name, epoch: missing, target: missing, assignor: missing, coordinator: fmt.Sprintf("%s:%d  (%d)", found.Host, found.Port, found.NodeID)}
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Groups = []string{name}
	resp, err := req.RequestWith(c.ctx, cl)
	if err == nil && len(resp.Groups) == 1 && resp.Groups[0].ErrorCode == 0 {
		g.of(&resp.Groups[0])
		return g, nil
	}
	classic, err := adm.DescribeGroups(c.ctx, name)
	if err != nil {
		return nil, err
	}
	d := classic[name]
	if errors.Is(d.Err, kerr.GroupIDNotFound) || d.Err == nil && d.State == "Dead" {
		return nil, errNoGroup{fmt.Sprintf("Group %s not found.", name)}
	}
	if d.Err != nil {
		return nil, plainly(d.Err)
	}
	g.state = d.State
	if d.Protocol != "" {
		g.assignor = d.Protocol
	}
	for _, m := range d.Members {
		one := member{id: m.MemberID, host: m.ClientHost, client: m.ClientID, epoch: missing}
		if m.InstanceID != nil {
			one.instance = *m.InstanceID
		}
		if a, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range a.Topics {
				for _, p := range t.Partitions {
					one.assigned = append(one.assigned, place{t.Topic, p})
				}
			}
		}
		g.members = append(g.members, one)
	}
	return g, nil
}

// of takes over a group of the consumer protocol.
func (g *group) of(d *kmsg.ConsumerGroupDescribeResponseGroup) {
	g.state, g.epoch, g.target = d.State, strconv.Itoa(int(d.Epoch)), strconv.Itoa(int(d.AssignmentEpoch))
	if d.AssignorName != "" {
		g.assignor = d.AssignorName
	}
	for _, m := range d.Members {
		one := member{id: m.MemberID, host: m.ClientHost, client: m.ClientID, epoch: strconv.Itoa(int(m.MemberEpoch))}
		if m.InstanceID != nil {
			one.instance = *m.InstanceID
		}
		for _, t := range m.Assignment.TopicPartitions {
			for _, p := range t.Partitions {
				one.assigned = append(one.assigned, place{t.Topic, p})
			}
		}
		g.members = append(g.members, one)
	}
}

func (c *call) describeGroups(cl *kgo.Client, names []string) error {
	var groups []*group
	for _, name := range names {
		g, err := c.describe(cl, name)
		if err != nil {
			return err
		}
		groups = append(groups, g)
	}
	slices.SortFunc(groups, func(a, b *group) int { return strings.Compare(a.name, b.name) })
	for _, g := range groups {
		var err error
		switch {
		case c.o.has("members"):
			c.warn(g)
			c.printMembers(g)
		case c.o.has("state"):
			c.warn(g)
			c.printState(g)
		default:
			err = c.printOffsets(cl, g)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// warn says what a group lacks.
func (c *call) warn(g *group) {
	switch g.state {
	case "Empty":
		fmt.Fprintf(c.err, "\nConsumer group '%s' has no active members.\n", g.name)
	case "PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling":
		fmt.Fprintf(c.err, "\nWarning: Consumer group '%s' is rebalancing.\n", g.name)
	}
}

// table prints rows with columns of at least the widths; the last column has none.
func table(w io.Writer, before string, widths []int, rows [][]string) {
	for _, row := range rows {
		fmt.Fprint(w, before)
		for i, cell := range row {
			if i == len(row)-1 && i >= len(widths) {
				fmt.Fprint(w, cell)
			} else {
				fmt.Fprintf(w, "%-*s ", widths[i], cell)
			}
		}
	}
}

// widest widens columns to what is in them.
func widest(widths []int, rows [][]string, columns ...int) []int {
	for _, row := range rows {
		for _, i := range columns {
			widths[i] = max(widths[i], len(row[i]))
		}
	}
	return widths
}

func (c *call) printOffsets(cl *kgo.Client, g *group) error {
	adm := kadm.NewClient(cl)
	commits, err := adm.FetchOffsets(c.ctx, g.name)
	if err != nil {
		return plainly(err)
	}
	verbose := c.o.has("verbose")
	var rows [][]string
	taken := map[place]bool{}
	add := func(places []place, m member) error {
		slices.SortFunc(places, comparePlaces)
		for _, p := range places {
			taken[p] = true
			row, err := c.offsetRow(adm, g.name, commits, p, m, verbose)
			if err != nil {
				return err
			}
			rows = append(rows, row)
		}
		return nil
	}
	members := slices.Clone(g.members)
	slices.SortStableFunc(members, func(a, b member) int { return cmp.Compare(len(b.assigned), len(a.assigned)) })
	for _, m := range members {
		if err := add(m.assigned, m); err != nil {
			return err
		}
	}
	var rest []place
	for _, o := range commits.Offsets().Sorted() {
		if p := (place{o.Topic, o.Partition}); !taken[p] {
			rest = append(rest, p)
		}
	}
	if err := add(rest, member{id: missing, host: missing, client: missing}); err != nil {
		return err
	}
	c.warn(g)
	if len(rows) == 0 {
		return nil
	}
	heads := []string{"GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG", "CONSUMER-ID", "HOST", "CLIENT-ID"}
	widths, flexible := []int{15, 15, 10, 15, 15, 15, 15, 15}, []int{0, 1, 6, 7}
	if verbose {
		heads, widths, flexible = slices.Insert(heads, 3, "LEADER-EPOCH"), slices.Insert(widths, 3, 15), []int{0, 1, 7, 8}
	}
	rows = slices.Insert(rows, 0, heads)
	table(c.out, "\n", widest(widths, rows, flexible...), rows)
	fmt.Fprintln(c.out)
	return nil
}

// offsetRow is where a group stands on a partition.
func (c *call) offsetRow(adm *kadm.Client, name string, commits kadm.OffsetResponses, p place, m member, verbose bool) ([]string, error) {
	current, end, lag, epoch := missing, missing, missing, missing
	ends, err := adm.ListEndOffsets(c.ctx, p.topic)
	if err != nil {
		return nil, err
	}
	e, known := ends.Lookup(p.topic, p.partition)
	if known = known && e.Err == nil; known {
		end = strconv.FormatInt(e.Offset, 10)
	}
	if o, ok := commits.Lookup(p.topic, p.partition); ok && o.At >= 0 {
		current = strconv.FormatInt(o.At, 10)
		if o.LeaderEpoch >= 0 {
			epoch = strconv.Itoa(int(o.LeaderEpoch))
		}
		if known {
			lag = strconv.FormatInt(e.Offset-o.At, 10)
		}
	}
	row := []string{name, p.topic, strconv.Itoa(int(p.partition)), current, end, lag, m.id, m.host, m.client}
	if verbose {
		row = slices.Insert(row, 3, epoch)
	}
	return row, nil
}

func (c *call) printMembers(g *group) {
	instances := slices.ContainsFunc(g.members, func(m member) bool { return m.instance != "" })
	rows := [][]string{{"GROUP", "CONSUMER-ID", "GROUP-INSTANCE-ID", "HOST", "CLIENT-ID", "#PARTITIONS"}}
	if c.o.has("verbose") {
		rows[0] = append(rows[0], "CURRENT-EPOCH", "CURRENT-ASSIGNMENT")
	}
	for _, m := range g.members {
		row := []string{g.name, m.id, m.instance, m.host, m.client, strconv.Itoa(len(m.assigned))}
		if c.o.has("verbose") {
			row = append(row, m.epoch, assignment(m.assigned))
		}
		rows = append(rows, row)
	}
	widths := []int{15, 15, 17, 15, 15, 15}
	widths = widest(widths, rows, 0, 1, 2, 3, 4)
	if c.o.has("verbose") {
		widths = append(widths, 15)
	}
	if !instances {
		widths = slices.Delete(widths, 2, 3)
		for i := range rows {
			rows[i] = slices.Delete(rows[i], 2, 3)
		}
	}
	fmt.Fprintln(c.out)
	for _, row := range rows {
		table(c.out, "", widths, [][]string{row})
		fmt.Fprintln(c.out)
	}
}

// assignment is a list of partitions: topic:0,1;other:0.
func assignment(places []place) string {
	if len(places) == 0 {
		return missing
	}
	byTopic := map[string][]int32{}
	var topics []string
	for _, p := range places {
		if byTopic[p.topic] == nil {
			topics = append(topics, p.topic)
		}
		byTopic[p.topic] = append(byTopic[p.topic], p.partition)
	}
	slices.Sort(topics)
	for i, t := range topics {
		slices.Sort(byTopic[t])
		topics[i] = t + ":" + ids(byTopic[t])
	}
	return strings.Join(topics, ";")
}

func (c *call) printState(g *group) {
	heads := []string{"GROUP", "COORDINATOR (ID)", "ASSIGNMENT-STRATEGY", "STATE", "#MEMBERS"}
	row := []string{g.name, g.coordinator, g.assignor, g.state, strconv.Itoa(len(g.members))}
	widths := []int{15, 25, 20, 20}
	if c.o.has("verbose") {
		heads = slices.Insert(heads, 4, "GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH")
		row = slices.Insert(row, 4, g.epoch, g.target)
		widths = append(widths, 15, 25)
	}
	rows := [][]string{heads, row}
	table(c.out, "\n", widest(widths, rows, 0, 1), rows)
	fmt.Fprintln(c.out)
}
