package judge

import (
	"compress/gzip"
	"encoding/json"
	"os"
	"testing"
)

// recording is what Kafka has answered: the steps of each script.
type recording map[string][]step

// recordedStep is a step in a file: its fields as path and value by turns, each an index
// into the file's texts.
type recordedStep struct {
	Name   string `json:"name"`
	Fields []int  `json:"fields"`
}

// recordedFile is a recording in a file.
type recordedFile struct {
	Texts   []string                  `json:"texts"`
	Scripts map[string][]recordedStep `json:"scripts"`
}

// recorded is what the sides of Kafka have seen; every script has to have come to its end.
func recorded(t *testing.T, sides []*side) recording {
	t.Helper()
	r := recording{}
	for _, s := range sides {
		if s.broken != nil {
			t.Fatalf("script %s could not go on with Kafka after step %q: %v", s.name, lastStep(s), s.broken)
		}
		r[s.name] = s.steps
	}
	return r
}

// save writes a recording to a file.
func (r recording) save(t *testing.T, path string) {
	t.Helper()
	file := recordedFile{Scripts: map[string][]recordedStep{}}
	known := map[string]int{}
	intern := func(text string) int {
		i, ok := known[text]
		if !ok {
			i = len(file.Texts)
			known[text] = i
			file.Texts = append(file.Texts, text)
		}
		return i
	}
	for name, steps := range r {
		for _, s := range steps {
			out := recordedStep{Name: s.name}
			for _, p := range s.order {
				out.Fields = append(out.Fields, intern(p), intern(s.fields[p]))
			}
			file.Scripts[name] = append(file.Scripts[name], out)
		}
	}
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, _ := gzip.NewWriterLevel(f, gzip.BestCompression)
	if err := json.NewEncoder(z).Encode(file); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
}

// loadRecording reads what save has written.
func loadRecording(t *testing.T, path string) recording {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var file recordedFile
	if err := json.NewDecoder(z).Decode(&file); err != nil {
		t.Fatal(err)
	}
	r := recording{}
	for name, steps := range file.Scripts {
		for _, in := range steps {
			s := step{name: in.Name, fields: map[string]string{}}
			for i := 0; i+1 < len(in.Fields); i += 2 {
				path := file.Texts[in.Fields[i]]
				s.order = append(s.order, path)
				s.fields[path] = file.Texts[in.Fields[i+1]]
			}
			r[name] = append(r[name], s)
		}
	}
	return r
}
