// Command wiregen turns the message definitions in broker/wire/defs into the Go code of
// broker/wire: one file per message, and the table of APIs.
//
// It owns the definition language (defs/README.md) and the shape of the generated code;
// what that code calls lives in broker/wire. It runs by hand or by go generate, in the
// root of the repository or in broker/wire:
//
//	go run ./broker/wire/wiregen          writes the files
//	go run ./broker/wire/wiregen -check   fails when a file is not what the definitions give
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	check := flag.Bool("check", false, "compare with the files, and write nothing")
	flag.Parse()
	dir, err := wireDir()
	if err == nil {
		err = run(dir, *check)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "wiregen:", err)
		os.Exit(1)
	}
}

// wireDir finds broker/wire from the root of the repository or from itself.
func wireDir() (string, error) {
	for _, dir := range []string{".", "broker/wire"} {
		if _, err := os.Stat(filepath.Join(dir, "defs")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("no defs folder here: run it in the root of the repository or in broker/wire")
}

// run writes the generated files of dir, or compares them.
func run(dir string, check bool) error {
	want, err := generateAll(filepath.Join(dir, "defs"))
	if err != nil {
		return err
	}
	stale, err := generatedFiles(dir)
	if err != nil {
		return err
	}
	var differ []string
	for name, text := range want {
		stale = slices.DeleteFunc(stale, func(s string) bool { return s == name })
		have, err := os.ReadFile(filepath.Join(dir, name))
		if err == nil && bytes.Equal(have, text) {
			continue
		}
		differ = append(differ, name)
		if !check {
			if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
				return err
			}
		}
	}
	for _, name := range stale {
		differ = append(differ, name)
		if !check {
			if err := os.Remove(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	if check && len(differ) > 0 {
		slices.Sort(differ)
		return fmt.Errorf("%s: not what the definitions give: run go run ./broker/wire/wiregen", strings.Join(differ, ", "))
	}
	return nil
}

// generateAll reads every definition and answers the generated files by name.
func generateAll(defs string) (map[string][]byte, error) {
	names, err := filepath.Glob(filepath.Join(defs, "*.txt"))
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var files []*file
	out := make(map[string][]byte)
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f, err := parse(filepath.Base(name), string(text))
		if err != nil {
			return nil, err
		}
		files = append(files, f)
		for _, m := range f.messages {
			if m.hand {
				continue
			}
			b, err := generateMessage(f, m)
			if err != nil {
				return nil, err
			}
			out[m.fileName(f)] = b
		}
	}
	out["apis.go"], err = generateTable(files)
	return out, err
}

// generatedFiles lists the files of dir that wiregen wrote.
func generatedFiles(dir string) ([]string, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	var generated []string
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		if bytes.HasPrefix(text, []byte(generatedMark)) {
			generated = append(generated, filepath.Base(name))
		}
	}
	return generated, nil
}
