package house

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// acceptance is how many lines each letter of the acceptance list has; R is bad input from the network.
var acceptance = map[string][]int{"C": upTo(13), "P": upTo(13), "I": upTo(14), "F": upTo(16), "G": upTo(13), "A": upTo(11), "R": {43, 44, 45, 46, 47, 48, 49, 50}}

func upTo(n int) []int {
	var list []int
	for i := range n {
		list = append(list, i+1)
	}
	return list
}

// onlyOwed are the lines that no single node can keep at all.
var onlyOwed = map[string]bool{"F9": true}

// TestAcceptanceLines: lines.txt names a test of its name for each line of the acceptance
// list, and every test it names exists.
func TestAcceptanceLines(t *testing.T) {
	b, err := os.ReadFile("lines.txt")
	if err != nil {
		t.Fatal(err)
	}
	exist := testsOf(t)
	named, owed := map[string]bool{}, map[string]bool{}
	for i, text := range strings.Split(string(b), "\n") {
		words := strings.Fields(text)
		if len(words) == 0 || words[0] == "#" {
			continue
		}
		switch {
		case len(words) > 2 && words[1] == "owed:":
			owed[words[0]] = true
			continue
		case len(words) != 3:
			t.Errorf("lines.txt:%d: want LINE PACKAGE TEST, or LINE owed: REASON", i+1)
			continue
		case !exist[words[1]+" "+words[2]]:
			t.Errorf("lines.txt:%d: %s has no test %s: write it, or name the one that took its place", i+1, words[1], words[2])
		}
		if hasName(words[2], words[0]) {
			named[words[0]] = true
		}
	}
	for letter, numbers := range acceptance {
		for _, n := range numbers {
			line := fmt.Sprint(letter, n)
			if !named[line] && !(onlyOwed[line] && owed[line]) {
				t.Errorf("line %s has no test of its name in lines.txt", line)
			}
			if named[line] && onlyOwed[line] {
				t.Errorf("line %s has a test now: take it out of onlyOwed", line)
			}
		}
	}
}

// testsOf lists "PACKAGE TEST" for every test function and every scenario file of the module.
func testsOf(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, p := range load(t) {
		for _, f := range p.files {
			for name := range f.funcs {
				if f.test && strings.HasPrefix(name, "Test") {
					out[p.dir+" "+name] = true
				}
			}
		}
		if !out[p.dir+" TestScenarios"] {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, p.dir, "testdata", "*.txt"))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range files {
			out[p.dir+" TestScenarios/"+strings.TrimSuffix(filepath.Base(path), ".txt")] = true
		}
	}
	return out
}

// hasName says whether a test's name carries that of a line: TestC10…, TestI10I11… or a
// scenario c10_….
func hasName(test, line string) bool {
	if _, scenario, ok := strings.Cut(test, "/"); ok {
		return strings.HasPrefix(scenario, fmt.Sprintf("%s%02s_", strings.ToLower(line[:1]), line[1:]))
	}
	rest, ok := strings.CutPrefix(test, "Test")
	for ok && rest != "" {
		n := 1
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if n == 1 {
			return false
		}
		if rest[:n] == line {
			return true
		}
		rest = rest[n:]
	}
	return false
}
