// Package scenario plays text files against the coordinators in their tests: a line is something
// that happens, the indented lines behind it are all that comes of it.
//
// It owns the form of the files, the words of a line and the log in memory; what a line does is
// the test's. Files is called by one test, inside which time is virtual; a Log may be used from
// any goroutine.
package scenario

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/varve-io/varve/broker/kafka"
	"github.com/varve-io/varve/broker/vfs"
)

// Files plays every file of testdata, each in a test of its own: play gets the text and answers
// it with the outcomes of now (see Lines). With update the files take them.
func Files(t *testing.T, update bool, play func(t *testing.T, text string) string) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := vfs.ReadFile(vfs.OS(), file)
			if err != nil {
				t.Fatal(err)
			}
			var got string
			synctest.Test(t, func(t *testing.T) { got = play(t, string(text)) })
			if update {
				if err := vfs.WriteFileAtomic(vfs.OS(), file, []byte(got)); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(text) {
				t.Errorf("%s (with -update the file takes the new text):\n%s", file, diff(string(text), got))
			}
		})
	}
}

// diff shows the first lines that differ.
func diff(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	i := 0
	for i < len(w) && i < len(g) && w[i] == g[i] {
		i++
	}
	show := func(lines []string) string { return strings.Join(lines[max(0, i-3):min(len(lines), i+6)], "\n") }
	return fmt.Sprintf("at line %d want:\n%s\n\ngot:\n%s", i+1, show(w), show(g))
}

// Lines does each line of a text, but for comments and what is indented, and answers the text
// with the outcomes that do returns once everything is at rest.
func Lines(text string, do func(verb string, w Words), outcomes func() []string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "  ") {
			continue // the outcome of the last time
		}
		b.WriteString(line + "\n")
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		do(f[0], parse(f[1:]))
		synctest.Wait()
		for _, o := range outcomes() {
			b.WriteString("  " + o + "\n")
		}
	}
	return b.String()
}

// Words are the NAME=VALUE of a line; a word without a name has the name "".
type Words map[string]string

func parse(fields []string) Words {
	w := Words{}
	for _, word := range fields {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			name, value = "", word
		}
		w[name] = value
	}
	return w
}

// Int is a number, or the fallback where the line has none. It panics on anything else.
func (w Words) Int(name string, fallback int) int {
	if v, ok := w[name]; ok {
		n, err := strconv.Atoi(v)
		if err != nil {
			panic(err)
		}
		return n
	}
	return fallback
}

// Optional is a word, nil where the line has none.
func (w Words) Optional(name string) *string {
	if v, ok := w[name]; ok {
		return &v
	}
	return nil
}

// Or is a word, or the fallback where the line has none.
func (w Words) Or(name, fallback string) string {
	if v, ok := w[name]; ok {
		return v
	}
	return fallback
}

// ErrorNamed is Kafka's error of a name; it panics when there is none.
func ErrorNamed(name string) kafka.Error {
	for e := kafka.Error(-1); e < 200; e++ {
		if e.Name() == name {
			return e
		}
	}
	panic("no error " + name)
}
