package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// result is one finished line of a table.
type result struct {
	Row     string   `json:"row"` // the row that made it
	Section string   `json:"section"`
	Name    string   `json:"name"`
	Cells   []string `json:"cells"`           // below the section's header, after the name
	Plots   []plot   `json:"plots,omitempty"` // what the drawing shows of it
}

// plot is one ratio of Varve to Kafka: below 1 Varve is ahead, unless more is better.
type plot struct {
	What  string   `json:"what"`
	Ratio interval `json:"ratio"`
	More  bool     `json:"more,omitempty"` // more is better
	Noisy bool     `json:"noisy,omitempty"`
}

// readResults reads what an earlier run has finished; a file that isn't there holds nothing.
func readResults(name string) ([]result, error) {
	b, err := os.ReadFile(name)
	if name == "" || errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var done []result
	if err := json.Unmarshal(b, &done); err != nil {
		return nil, fmt.Errorf("%s is not a file of results: %w", name, err)
	}
	return done, nil
}

// writeResults replaces the file, so that a run that is stopped keeps what it has.
func writeResults(name string, done []result) error {
	if name == "" {
		return nil
	}
	b, err := json.MarshalIndent(done, "", "\t")
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".tmp", append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(name+".tmp", name)
}

// printTables prints the finished rows as the tables of docs/benchmarks.md.
func printTables(w io.Writer, done []result) {
	for _, s := range sections {
		var lines []string
		for _, r := range rows() {
			for _, d := range done {
				if d.Row == r.id && d.Section == s.id {
					lines = append(lines, "| "+d.Name+" | "+strings.Join(d.Cells, " | ")+" |")
				}
			}
		}
		if len(lines) > 0 {
			fmt.Fprintf(w, "\n| %s |\n|%s\n%s\n", strings.Join(s.header, " | "), strings.Repeat("--|", len(s.header)), strings.Join(lines, "\n"))
		}
	}
}
