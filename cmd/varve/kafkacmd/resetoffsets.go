package kafkacmd

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// target is where a group is to stand on a partition.
type target struct {
	place
	offset int64
}

func (c *call) resetOffsets(cl *kgo.Client, names []string) error {
	adm := kadm.NewClient(cl)
	plans := map[string][]target{}
	for _, name := range names {
		g, err := c.describe(cl, name)
		if err != nil && !errors.As(err, new(errNoGroup)) {
			return err
		}
		if g != nil && g.state != "Empty" && g.state != "Dead" {
			fmt.Fprintf(c.out, "\nError: Assignments can only be reset if the group '%s' is inactive, but the current state is %s.\n", name, g.state)
			continue
		}
		plan, err := c.planReset(adm, name)
		if err != nil {
			return err
		}
		plans[name] = plan
		if !c.o.has("execute") || c.o.has("dry-run") {
			continue
		}
		offsets := kadm.Offsets{}
		for _, t := range plan {
			offsets.AddOffset(t.topic, t.partition, t.offset, -1)
		}
		if err := adm.CommitAllOffsets(c.ctx, name, offsets); err != nil {
			return plainly(err)
		}
	}
	if c.o.has("export") {
		for _, name := range names {
			for _, t := range plans[name] {
				if len(c.o.all("group")) != 1 {
					fmt.Fprintf(c.out, "%s,", name)
				}
				fmt.Fprintf(c.out, "%s,%d,%d\n", t.topic, t.partition, t.offset)
			}
		}
		fmt.Fprintln(c.out)
		return nil
	}
	rows := [][]string{{"GROUP", "TOPIC", "PARTITION", "NEW-OFFSET"}}
	for _, name := range names {
		for _, t := range plans[name] {
			rows = append(rows, []string{name, t.topic, strconv.Itoa(int(t.partition)), strconv.FormatInt(t.offset, 10)})
		}
	}
	table(c.out, "\n", widest([]int{15, 15, 10}, rows, 0, 1), rows)
	fmt.Fprintln(c.out)
	return nil
}

// partitionsToReset reads TOPIC and TOPIC:PARTITION,… words.
func (c *call) partitionsToReset(adm *kadm.Client, args []string) ([]place, error) {
	var places []place
	for _, arg := range args {
		topic, list, some := strings.Cut(arg, ":")
		if !some {
			topics, err := adm.ListTopicsWithInternal(c.ctx, topic)
			if err != nil {
				return nil, err
			}
			if topics[topic].Err != nil {
				return nil, plainly(topics[topic].Err)
			}
			for _, p := range topics[topic].Partitions.Sorted() {
				places = append(places, place{topic, p.Partition})
			}
			continue
		}
		if list == "" || strings.Contains(list, ":") {
			return nil, usagef("Invalid topic arg '%s', expected topic name and partitions", arg)
		}
		for _, word := range strings.Split(list, ",") {
			p, err := strconv.ParseInt(word, 10, 32)
			if err != nil {
				return nil, usagef("Invalid partition '%s' specified in topic arg '%s''", word, arg)
			}
			places = append(places, place{topic, int32(p)})
		}
	}
	return places, nil
}

// planReset finds the new offsets of a group.
func (c *call) planReset(adm *kadm.Client, name string) ([]target, error) {
	commits := kadm.Offsets{}
	if now, err := adm.FetchOffsets(c.ctx, name); err == nil {
		commits = now.Offsets()
	} else if !errors.Is(err, kerr.GroupIDNotFound) {
		return nil, plainly(err)
	}
	var places []place
	var err error
	switch {
	case c.o.has("all-topics"):
		for _, o := range commits.Sorted() {
			places = append(places, place{o.Topic, o.Partition})
		}
	case c.o.has("topic"):
		places, err = c.partitionsToReset(adm, c.o.all("topic"))
	case !c.o.has("from-file"):
		err = usagef("One of the reset scopes should be defined: --all-topics, --topic.")
	}
	if err != nil {
		return nil, err
	}
	o := offsetsOf{c: c, adm: adm}
	switch {
	case c.o.has("to-offset"), c.o.has("shift-by"), c.o.has("from-file"):
		wanted, err := c.wantedOffsets(name, places, commits)
		if err != nil {
			return nil, err
		}
		return o.inRange(wanted)
	case c.o.has("to-earliest"):
		return o.at(places, -2)
	case c.o.has("to-latest"):
		return o.at(places, -1)
	case c.o.has("to-datetime"), c.o.has("by-duration"):
		when, err := c.resetTime()
		if err != nil {
			return nil, err
		}
		return o.after(places, when)
	case c.o.has("to-current"):
		return o.current(places, commits)
	}
	return nil, usagef("Option '[reset-offsets]' requires one of the following scenarios: [[%s]]", strings.Join(scenarios(), "], ["))
}

// wantedOffsets are those of --to-offset, --shift-by and --from-file, wherever the log ends.
func (c *call) wantedOffsets(name string, places []place, commits kadm.Offsets) ([]target, error) {
	var list []target
	if c.o.has("from-file") {
		return c.planOfFile(name)
	}
	for _, p := range places {
		if c.o.has("to-offset") {
			n, err := c.o.number("to-offset")
			if err != nil {
				return nil, usagef("%v", err)
			}
			list = append(list, target{p, n})
			continue
		}
		by, err := c.o.number("shift-by")
		if err != nil {
			return nil, usagef("%v", err)
		}
		now, ok := commits.Lookup(p.topic, p.partition)
		if !ok {
			return nil, usagef("Cannot shift offset for partition %s-%d since there is no current committed offset", p.topic, p.partition)
		}
		list = append(list, target{p, now.At + by})
	}
	return list, nil
}

// planOfFile reads the CSV file: topic,partition,offset, with the group before them where several are asked for.
func (c *call) planOfFile(name string) ([]target, error) {
	f, err := os.Open(c.o.last("from-file"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.FieldsPerRecord = -1
	records, err := r.ReadAll()
	if err != nil {
		return nil, err
	}
	var list []target
	for i, fields := range records {
		of := name
		if len(fields) == 4 {
			of, fields = fields[0], fields[1:]
		}
		if len(fields) != 3 {
			return nil, argumentf("line %d of %s: want topic,partition,offset or group,topic,partition,offset", i+1, c.o.last("from-file"))
		}
		partition, err1 := strconv.ParseInt(fields[1], 10, 32)
		offset, err2 := strconv.ParseInt(fields[2], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("line %d of %s: %w", i+1, c.o.last("from-file"), err)
		}
		if of == name {
			list = append(list, target{place{fields[0], int32(partition)}, offset})
		}
	}
	if len(list) == 0 {
		fmt.Fprintf(c.out, "\nError: No reset plan for group %s found\n", name)
	}
	return list, nil
}

// resetTime reads --to-datetime and --by-duration.
func (c *call) resetTime() (time.Time, error) {
	if c.o.has("by-duration") {
		d, err := isoDuration(c.o.last("by-duration"))
		return time.Now().Add(-d), err
	}
	s := c.o.last("to-datetime")
	for _, layout := range []string{"2006-01-02T15:04:05.000Z07:00", "2006-01-02T15:04:05.000-0700", "2006-01-02T15:04:05.000-07"} {
		if t, err := time.Parse(layout, s); err == nil {
			return t, nil
		}
	}
	t, err := time.Parse("2006-01-02T15:04:05.000", s)
	if err != nil {
		return t, fmt.Errorf("Unparseable date: %q: want YYYY-MM-DDTHH:mm:SS.sss", s) //nolint:staticcheck // Kafka's words
	}
	return t, nil
}

// isoDuration reads a time as ISO 8601 has it, such as P1DT2H.
func isoDuration(s string) (time.Duration, error) {
	m := regexp.MustCompile(`^P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`).FindStringSubmatch(strings.ToUpper(s))
	if m == nil || strings.TrimLeft(strings.Join(m[1:], ""), "") == "" {
		return 0, errors.New("Text cannot be parsed to a Duration") //nolint:staticcheck // Kafka's words
	}
	var d time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(m[i+1], 64)
		if err != nil {
			return 0, err
		}
		d += time.Duration(n * float64(unit))
	}
	return d, nil
}

// offsetsOf asks the brokers for offsets.
type offsetsOf struct {
	c   *call
	adm *kadm.Client
}

// list asks for one special offset, or that of a time, of each topic of the places.
func (o offsetsOf) list(places []place, at int64) (kadm.ListedOffsets, error) {
	if len(places) == 0 {
		return nil, nil
	}
	var topics []string
	for _, p := range places {
		if !slices.Contains(topics, p.topic) {
			topics = append(topics, p.topic)
		}
	}
	var listed kadm.ListedOffsets
	var err error
	switch at {
	case -2:
		listed, err = o.adm.ListStartOffsets(o.c.ctx, topics...)
	case -1:
		listed, err = o.adm.ListEndOffsets(o.c.ctx, topics...)
	default:
		listed, err = o.adm.ListOffsetsAfterMilli(o.c.ctx, at, topics...)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range places {
		l, ok := listed.Lookup(p.topic, p.partition)
		if !ok {
			return nil, plainly(kerr.UnknownTopicOrPartition)
		}
		if l.Err != nil {
			return nil, plainly(l.Err)
		}
	}
	return listed, nil
}

// at is a special offset of each place.
func (o offsetsOf) at(places []place, at int64) ([]target, error) {
	listed, err := o.list(places, at)
	if err != nil {
		return nil, err
	}
	var list []target
	for _, p := range places {
		l, _ := listed.Lookup(p.topic, p.partition)
		list = append(list, target{p, l.Offset})
	}
	return list, nil
}

// after is the first record from a time on, or the end.
func (o offsetsOf) after(places []place, when time.Time) ([]target, error) {
	listed, err := o.list(places, when.UnixMilli())
	if err != nil {
		return nil, err
	}
	var list []target
	for _, p := range places {
		l, _ := listed.Lookup(p.topic, p.partition)
		if l.Timestamp < 0 { // the client fills in the end
			fmt.Fprintf(o.c.out, "\nWarn: Partition %d from topic %s is empty. Falling back to latest known offset.\n", p.partition, p.topic)
		}
		list = append(list, target{p, l.Offset})
	}
	return list, nil
}

// current is what is committed, or the end.
func (o offsetsOf) current(places []place, commits kadm.Offsets) ([]target, error) {
	ends, err := o.at(places, -1)
	if err != nil {
		return nil, err
	}
	for i, t := range ends {
		if now, ok := commits.Lookup(t.topic, t.partition); ok {
			ends[i].offset = now.At
		}
	}
	return ends, nil
}

// inRange moves offsets into the logs.
func (o offsetsOf) inRange(list []target) ([]target, error) {
	var places []place
	for _, t := range list {
		places = append(places, t.place)
	}
	starts, err := o.at(places, -2)
	if err != nil {
		return nil, err
	}
	ends, err := o.at(places, -1)
	if err != nil {
		return nil, err
	}
	for i, t := range list {
		list[i].offset = min(max(t.offset, starts[i].offset), ends[i].offset)
		if list[i].offset != t.offset {
			fmt.Fprintf(o.c.err, "New offset (%d) is outside of topic partition %s-%d. Value will be set to %d\n", t.offset, t.topic, t.partition, list[i].offset)
		}
	}
	return list, nil
}
