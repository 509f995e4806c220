package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The committed code is what the definitions give.
func TestGeneratedCodeIsCurrent(t *testing.T) {
	if err := run("..", true); err != nil {
		t.Fatal(err)
	}
}

// -check sees a changed, a missing and a stale file; a run without it repairs all three.
func TestCheckSeesDifferences(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "defs"), 0o755); err != nil {
		t.Fatal(err)
	}
	def := "api 1 Ping versions 0-1\n// PingRequest asks.\nrequest\n  ID int32 0+\n// PingResponse answers.\nresponse\n  ID int32 1+\n"
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("defs/01_ping.txt", def)
	write("by_hand.go", "package wire\n")
	for _, c := range []struct {
		name  string
		spoil func()
		want  string
	}{
		{"missing", func() {}, "01_ping_request.go, 01_ping_response.go, apis.go"},
		{"changed", func() { write("01_ping_request.go", generatedMark) }, "01_ping_request.go:"},
		{"stale", func() { write("02_pong_request.go", generatedMark) }, "02_pong_request.go:"},
	} {
		c.spoil()
		if err := run(dir, true); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := run(dir, false); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := run(dir, true); err != nil {
			t.Errorf("%s, repaired: %v", c.name, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "by_hand.go")); err != nil {
		t.Error("a file that wiregen did not write is gone")
	}
}

// A wrong definition is refused with its line and a reason.
func TestParseRefuses(t *testing.T) {
	const head = "api 1 Ping versions 2-5 flexible 4+\n// Doc.\nrequest\n"
	for name, c := range map[string]struct{ text, want string }{
		"empty":                    {"", "no message"},
		"unknown word":             {"apis 1 Ping", "unknown word"},
		"bad key":                  {"api x Ping versions 0-1", "key"},
		"open versions":            {"api 1 Ping versions 0+", "MIN-MAX"},
		"request without api":      {"// Doc.\nrequest", "before the api line"},
		"request without doc":      {"api 1 Ping versions 0-1\nrequest", "no documentation"},
		"unknown mode":             {"api 1 Ping versions 0-1\n// Doc.\nrequest by foot", "unknown mode"},
		"record without name":      {"record", "needs a name"},
		"odd indent":               {head + "   ID int32 2+", "two per level"},
		"fields of a primitive":    {head + "  ID int32 2+\n    Sub int32 2+", "indented too far"},
		"lower-case name":          {head + "  id int32 2+", "want: NAME"},
		"unknown type":             {head + "  ID int31 2+", "unknown type"},
		"versions below":           {head + "  ID int32 1+", "not within"},
		"versions above":           {head + "  ID int32 2-6", "not within"},
		"versions reversed":        {head + "  ID int32 4-3", "not within"},
		"versions of words":        {head + "  ID int32 two", "want 3+"},
		"unknown option":           {head + "  ID int32 2+ nullable 2+", "unknown word"},
		"option without value":     {head + "  ID int32 2+ tag", "no value"},
		"null number":              {head + "  ID int32 2+ null 2+", "can't be null"},
		"partly null struct":       {head + "  Sub Sub 2+ null 4+", "all its versions"},
		"default of an array":      {head + "  IDs []int32 2+ default 1", "default"},
		"tag before flexible":      {head + "  ID int32 3+ tag 0", "not flexible"},
		"partly null tagged field": {head + "  Name string 4+ null 5+ tag 0", "all its versions"},
		"array of bytes":           {head + "  Blobs []bytes 2+", "not supported"},
	} {
		_, err := parse("01_ping.txt", c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	f, err := parse("01_ping.txt", head+"  Late []Late 2+\n    ID int32 3+")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := generateMessage(f, f.messages[0]); err == nil || !strings.Contains(err.Error(), "no bytes in version 2") {
		t.Errorf("elements of no size: %v", err)
	}
	if _, err := parse("01_ping.txt", head+"\n# note\n  ID int31 2+"); err == nil || !strings.HasPrefix(err.Error(), "01_ping.txt:6: ") {
		t.Errorf("no file and line in %v", err)
	}
}
