package config

import (
	"maps"
	"testing"
)

func TestConnectionsPerAddress(t *testing.T) {
	for v, want := range map[string]map[string]int{
		"": nil, "10.0.0.1:7": {"10.0.0.1": 7}, "10.0.0.1:7, ::1:0,[2001:db8::5]:9": {"10.0.0.1": 7, "::1": 0, "2001:db8::5": 9},
		"::ffff:10.0.0.1:3": {"10.0.0.1": 3},
	} {
		got, problem := parseIPCounts(v)
		if problem != "" || !maps.Equal(got, want) {
			t.Errorf("%q: %v %s, want %v", v, got, problem, want)
		}
	}
	for _, v := range []string{"7", "host.example:7", "10.0.0.1", "10.0.0.1:", "10.0.0.1:-1", "10.0.0.1:x", "10.0.0.1:99999999999"} {
		if _, problem := parseIPCounts(v); problem == "" {
			t.Errorf("%q is taken", v)
		}
	}
}
