package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// Forms of what a read command prints.
const (
	formTable = "table" // for people: the columns that matter
	formWide  = "wide"  // for people: every field
	formJSON  = "json"
	formYAML  = "yaml"
	formName  = "name" // the first field of each row alone, for scripts
)

// output is the form of what a read command prints; "" is a table.
type output string

func (o *output) add(cmd *cobra.Command) {
	cmd.Flags().VarP(o, "output", "o", "output form, `table|wide|json|yaml|name`")
	fixed(cmd, "output", formTable, formWide, formJSON, formYAML, formName)
}

// String, Set and Type make output a flag value.
func (o *output) String() string {
	if *o == "" {
		return formTable
	}
	return string(*o)
}

// Set takes a form.
func (o *output) Set(s string) error {
	if !slices.Contains([]string{formTable, formWide, formJSON, formYAML, formName}, s) {
		return fmt.Errorf("want table, wide, json, yaml or name, not %q", s)
	}
	*o = output(s)
	return nil
}

// Type names the flag's type in the help text.
func (o *output) Type() string { return "form" }

// isTable says whether people read it.
func (o *output) isTable() bool { return *o == "" || *o == formTable }

// print writes v in a form other than a table, or the table that rows fills. The keys of JSON and YAML
// are those of v's JSON tags and do not change; wide and name come from them.
func (o *output) print(to io.Writer, v any, header string, rows func(w io.Writer)) error {
	if o.isTable() {
		w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
		if header != "" {
			fmt.Fprintln(w, strings.ReplaceAll(header, " ", "\t"))
		}
		rows(w)
		return w.Flush()
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if *o == formJSON {
		_, err := fmt.Fprintf(to, "%s\n", text)
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	tree, err := parseTree(d)
	if err != nil {
		return err
	}
	switch *o {
	case formYAML:
		tree.yaml(to, "", false)
	case formName:
		tree.names(to)
	default:
		w := tabwriter.NewWriter(to, 0, 4, 2, ' ', 0)
		tree.wide(w)
		return w.Flush()
	}
	return nil
}

// tree is a JSON value whose keys keep their order.
type tree struct {
	scalar any // where keys and list are nil
	keys   []string
	list   []*tree // of an array, or the values of the keys
	object bool
	array  bool
}

func parseTree(d *json.Decoder) (*tree, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return &tree{scalar: token}, nil
	}
	t := &tree{object: open == '{', array: open == '['}
	for d.More() {
		if t.object {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			t.keys = append(t.keys, fmt.Sprint(key))
		}
		value, err := parseTree(d)
		if err != nil {
			return nil, err
		}
		t.list = append(t.list, value)
	}
	_, err = d.Token()
	return t, err
}

// plainWord is a text that YAML takes for a text without quotes. What looks like a number, a truth or
// null has quotes.
func plainWord(s string) bool {
	return regexp.MustCompile(`^[A-Za-z_/][A-Za-z0-9_./:@+-]*$`).MatchString(s) && !strings.HasSuffix(s, ":") &&
		!slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, strings.ToLower(s))
}

// quoted is a scalar as YAML has it: JSON's form is right for all that is not plain.
func (t *tree) quoted() string {
	if s, ok := t.scalar.(string); ok && plainWord(s) {
		return s
	}
	b, err := json.Marshal(t.scalar)
	if err != nil {
		return ""
	}
	return string(b)
}

// yaml writes the value; first says that the place before it is on the line already.
func (t *tree) yaml(w io.Writer, indent string, first bool) {
	switch {
	case t.array && len(t.list) == 0:
		fmt.Fprintln(w, "[]")
	case t.object && len(t.keys) == 0:
		fmt.Fprintln(w, "{}")
	case t.array || t.object:
		for i, v := range t.list {
			if !first || i > 0 {
				fmt.Fprint(w, indent)
			}
			if t.array {
				fmt.Fprint(w, "- ")
				v.yaml(w, indent+"  ", true)
				continue
			}
			key := tree{scalar: t.keys[i]}
			fmt.Fprint(w, key.quoted(), ":")
			if len(v.list) > 0 {
				fmt.Fprintln(w)
				v.yaml(w, indent+"  ", false)
				continue
			}
			fmt.Fprint(w, " ")
			v.yaml(w, "", true)
		}
	default:
		fmt.Fprintln(w, t.quoted())
	}
}

// cell is a value in a table.
func (t *tree) cell() string {
	switch {
	case t.object:
		var parts []string
		for i, v := range t.list {
			parts = append(parts, t.keys[i]+"="+v.cell())
		}
		return strings.Join(parts, " ")
	case t.array:
		var parts []string
		for _, v := range t.list {
			parts = append(parts, v.cell())
		}
		return strings.Join(parts, ",")
	case t.scalar == nil:
		return "-"
	}
	return fmt.Sprint(t.scalar)
}

// names writes the first field of each row, each once where rows with the same follow each other.
func (t *tree) names(w io.Writer) {
	rows := []*tree{t}
	if t.array {
		rows = t.list
	}
	last := ""
	for i, row := range rows {
		name := row.cell()
		if row.object && len(row.list) > 0 {
			name = row.list[0].cell()
		}
		if i == 0 || name != last {
			fmt.Fprintln(w, name)
		}
		last = name
	}
}

// wide writes every field: a row's in columns, one object's in lines with its rows below.
func (t *tree) wide(w io.Writer) {
	if t.object {
		for i, v := range t.list {
			if !v.array || len(v.list) == 0 || !v.list[0].object {
				fmt.Fprintf(w, "%s\t%s\n", t.keys[i], v.cell())
			}
		}
		for _, v := range t.list {
			if v.array && len(v.list) > 0 && v.list[0].object {
				fmt.Fprintln(w)
				v.wide(w)
			}
		}
		return
	}
	var heads []string
	for _, row := range t.list {
		for _, key := range row.keys {
			if !slices.Contains(heads, key) {
				heads = append(heads, key)
			}
		}
	}
	if len(heads) > 0 {
		fmt.Fprintln(w, strings.ToUpper(strings.ReplaceAll(strings.Join(heads, "\t"), "_", "-")))
	}
	for _, row := range t.list {
		if !row.object {
			fmt.Fprintln(w, row.cell())
			continue
		}
		cells := make([]string, len(heads))
		for i, head := range heads {
			cells[i] = "-"
			if at := slices.Index(row.keys, head); at >= 0 {
				cells[i] = row.list[at].cell()
			}
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
}

// firstNonEmpty is a, or b where a says nothing.
func firstNonEmpty(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
