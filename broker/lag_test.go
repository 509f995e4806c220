package broker_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/varve-io/varve/broker/brokertest"
)

// TestLagOfGroups: the metrics show how far groups are behind, not more series than allowed, in
// the order of names, and with 0 nothing.
func TestLagOfGroups(t *testing.T) {
	for limit, want := range map[string][]string{
		"1000": {`varve_group_lag_records{group="a",partition="0",topic="t"} 2`, `varve_group_lag_records{group="a",partition="1",topic="t"} 0`,
			`varve_group_lag_records{group="b",partition="0",topic="t"} 1`, `varve_group_lag_left_out 0`},
		"2": {`varve_group_lag_records{group="a",partition="0",topic="t"} 2`, `varve_group_lag_records{group="a",partition="1",topic="t"} 0`, `varve_group_lag_left_out 1`},
		"0": nil,
	} {
		t.Run(limit, func(t *testing.T) {
			n := brokertest.Node{Set: []string{"varve.group.lag.max.series=" + limit}}.Start(t)
			client, adm := admin(t, n)
			if _, err := adm.CreateTopics(t.Context(), 2, 1, nil, "t"); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := produce(t, client, "t", 10); err != nil {
					t.Fatal(err)
				}
			}
			for group, at := range map[string]map[int32]int64{"a": {0: 1, 1: 0}, "b": {0: 2}} {
				offsets := kadm.Offsets{}
				for p, o := range at {
					offsets.AddOffset("t", p, o, -1)
				}
				if err := adm.CommitAllOffsets(t.Context(), group, offsets); err != nil {
					t.Fatal(err)
				}
			}
			_, body := get(t, "http://"+n.AdminAddr()+"/metrics")
			var got []string
			for line := range strings.Lines(string(body)) {
				if strings.HasPrefix(line, "varve_group_lag_") && !strings.HasPrefix(line, "varve_group_lag_seconds") {
					got = append(got, strings.TrimSpace(line))
				}
			}
			if len(want) > 0 && !strings.Contains(string(body), `varve_group_lag_seconds{group="a",partition="1",topic="t"} 0`+"\n") ||
				strings.Count(string(body), "\nvarve_group_lag_seconds{") != max(0, len(want)-1) {
				t.Errorf("lag in seconds is not beside lag in records")
			}
			if len(got) != len(want) {
				t.Errorf("%d series, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
			}
			for _, line := range want {
				if !strings.Contains(string(body), line+"\n") {
					t.Errorf("/metrics lacks %s; it has\n%s", line, strings.Join(got, "\n"))
				}
			}
		})
	}
}
