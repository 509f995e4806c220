package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/varve-io/varve/broker/config"
)

func TestFormsOfOutput(t *testing.T) {
	type inner struct {
		Partition int32 `json:"partition"`
		End       int64 `json:"end_offset"`
	}
	type row struct {
		Name   string            `json:"name"`
		Null   *string           `json:"null"`
		Odd    string            `json:"odd"`
		Of     map[string]string `json:"of"`
		Inside []inner           `json:"inside"`
		Empty  []int             `json:"empty"`
	}
	rows := []row{
		{Name: "a", Odd: "x: y # z", Of: map[string]string{"retention.ms": "12"}, Inside: []inner{{0, 7}, {1, 1 << 60}}, Empty: []int{}},
		{Name: "a", Odd: "true", Empty: []int{1, 2}}, {Name: "b"},
	}
	form := func(o output, v any) string {
		var b bytes.Buffer
		if err := o.print(&b, v, "NAME", func(io.Writer) {}); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	want := `- name: a
  "null": null
  odd: "x: y # z"
  of:
    retention.ms: "12"
  inside:
    - partition: 0
      end_offset: 7
    - partition: 1
      end_offset: 1152921504606846976
  empty: []
- name: a
  "null": null
  odd: "true"
  of: null
  inside: null
  empty:
    - 1
    - 2
`
	if got := form(formYAML, rows[:2]); got != want {
		t.Errorf("yaml:\n%s", got)
	}
	if got := form(formYAML, []row{}); got != "[]\n" {
		t.Errorf("yaml of nothing: %q", got)
	}
	if got := form(formName, rows); got != "a\nb\n" {
		t.Errorf("names: %q", got)
	}
	if got := form(formWide, rows); !strings.HasPrefix(got, "NAME  NULL  ODD") || !strings.Contains(got, "partition=0 end_offset=7,partition=1") {
		t.Errorf("wide:\n%s", got)
	}
	if got := form(formWide, rows[0]); !strings.Contains(got, "PARTITION  END-OFFSET") || !strings.Contains(got, "retention.ms=12") {
		t.Errorf("wide of one:\n%s", got)
	}
	// A reader of YAML finds the same in it: the settings file is one.
	set := map[string]string{"retention.ms": "12", "listeners": "PLAINTEXT://127.0.0.1:0", "node.id": "3"}
	if c, _, err := config.Load(config.Sources{YAML: []byte(form(formYAML, map[string]string{"node.id": set["node.id"], "listeners": set["listeners"]}))}); err != nil || c.NodeID != 3 {
		t.Errorf("settings written as YAML: %+v, %v", c, err)
	}
}
