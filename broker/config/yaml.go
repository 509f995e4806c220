package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
)

// readYAML reads a varve.yaml: one flat map from names to scalars, or to sequences of
// scalars where the setting is a list.
func readYAML(b []byte, file string) ([]assignment, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(b))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, refuse("", "%s: %v", file, err)
	}
	root := document.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return nil, nil
	}
	if root.Kind != yaml.MappingNode {
		return nil, refuse("", "%s:%d: expected a flat map of settings, one `name: value` a line", file, root.Line)
	}
	var (
		list []assignment
		errs []error
		seen = map[string]int{}
	)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		at := fmt.Sprintf("%s:%d", file, key.Line)
		if first, ok := seen[key.Value]; ok {
			errs = append(errs, refuse(key.Value, "%s: %s is set twice, first in line %d", at, key.Value, first))
			continue
		}
		seen[key.Value] = key.Line
		text, problem := yamlText(key, value)
		if problem != "" {
			errs = append(errs, refuse(key.Value, "%s: %s", at, problem))
			continue
		}
		list = append(list, assignment{at, key.Value, text})
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		errs = append(errs, refuse("", "%s: expected one document, without `---` between settings", file))
	}
	return list, errors.Join(errs...)
}

// yamlText is the value as --set would take it, or what is wrong with it.
func yamlText(key, value *yaml.Node) (text, problem string) {
	switch {
	case key.Kind != yaml.ScalarNode:
		return "", "expected the name of a setting"
	case value.Kind == yaml.ScalarNode && value.Tag == "!!null":
		return "", key.Value + " has no value; remove the line, or write \"\" for the empty value"
	case value.Kind == yaml.ScalarNode:
		return value.Value, ""
	case value.Kind == yaml.MappingNode:
		name := key.Value + ".…"
		if len(value.Content) > 0 {
			name = key.Value + "." + value.Content[0].Value
		}
		return "", "settings are a flat map: write `" + name + ": value` in one line"
	case value.Kind == yaml.SequenceNode:
		if s, ok := Lookup(key.Value); ok && s.Type != List {
			return "", key.Value + " takes one value, not a list"
		}
		items := make([]string, 0, len(value.Content))
		for _, item := range value.Content {
			if item.Kind != yaml.ScalarNode || item.Tag == "!!null" {
				return "", key.Value + " takes a list of plain values"
			}
			items = append(items, item.Value)
		}
		return strings.Join(items, ","), ""
	default:
		return "", key.Value + ": anchors and aliases are not supported"
	}
}
