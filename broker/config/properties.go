package config

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// readProperties reads a Kafka server.properties. What Varve knows is taken; each other
// line becomes a warning, because a trial with an existing file must not stop at the first
// setting of a Java thread pool. A value that Varve knows and refuses is an error.
func readProperties(b []byte, file string) ([]assignment, []Warning, error) {
	lines, err := parseProperties(string(b), file)
	var (
		list     []assignment
		warnings []Warning
		given    = map[string]string{}
	)
	for _, a := range lines {
		given[a.name] = a.value
	}
	for _, a := range lines {
		name := a.name
		replacement, renamed := propertyNames[name]
		if _, both := given[replacement]; renamed && both {
			warnings = append(warnings, Warning{a.origin, name, replacement + " is set as well and goes before it"})
			continue
		}
		if renamed {
			name = replacement
		}
		s, ok := nodeSetting(name)
		switch {
		case ok && ofController(name, given["controller.listener.names"]):
			warnings = append(warnings, Warning{a.origin, name, metadataReason})
			continue
		case !ok:
			warnings = append(warnings, Warning{a.origin, name, ignoredBecause(name)})
			continue
		case name == "listeners" || name == "advertised.listeners":
			var dropped []string
			a.value, dropped = withoutControllers(a.value, given["controller.listener.names"])
			for _, d := range dropped {
				warnings = append(warnings, Warning{a.origin, d + " in " + name, metadataReason})
			}
			if a.value == "" && len(dropped) > 0 {
				continue
			}
		case a.value == "" && s.Type != List && s.Type != String && s.Type != Password:
			continue // Kafka's own files carry empty values for "not set"
		}
		list = append(list, assignment{a.origin, name, a.value})
	}
	return list, warnings, err
}

// propertyNames are Kafka's other names for settings of the table.
var propertyNames = map[string]string{
	"broker.id":        "node.id",
	"log.dir":          "log.dirs",
	"metadata.log.dir": "varve.metadata.dir",
}

// withoutControllers takes the listeners out that Kafka keeps for its metadata quorum.
func withoutControllers(listeners, controllers string) (kept string, dropped []string) {
	names := splitList(strings.ToUpper(controllers))
	var keep []string
	for _, l := range splitList(listeners) {
		name, _, _ := strings.Cut(l, "://")
		if slices.Contains(names, strings.ToUpper(name)) {
			dropped = append(dropped, l)
			continue
		}
		keep = append(keep, l)
	}
	return strings.Join(keep, ","), dropped
}

// ofController says whether a setting is for a listener of Kafka's metadata quorum alone.
func ofController(name, controllers string) bool {
	rest, ok := strings.CutPrefix(name, listenerPrefix)
	return ok && slices.ContainsFunc(splitList(strings.ToLower(controllers)), func(c string) bool { return strings.HasPrefix(rest, c+".") })
}

// parseProperties reads the format of java.util.Properties: comments with # or !, a name
// up to '=', ':' or white space, continuation lines, escapes. The last value of a name counts.
func parseProperties(text, file string) ([]assignment, error) {
	var (
		list []assignment
		errs []error
	)
	lines := strings.Split(strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(text), "\n")
	for i := 0; i < len(lines); i++ {
		at := fmt.Sprintf("%s:%d", file, i+1)
		line := strings.TrimLeft(lines[i], " \t\f")
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		for continues(line) {
			line = line[:len(line)-1]
			if i++; i == len(lines) {
				break
			}
			line += strings.TrimLeft(lines[i], " \t\f")
		}
		end := nameEnd(line)
		value := strings.TrimLeft(line[end:], " \t\f")
		if value != "" && (value[0] == '=' || value[0] == ':') {
			value = strings.TrimLeft(value[1:], " \t\f")
		}
		name, errName := unescape(line[:end])
		value, errValue := unescape(value)
		if err := errors.Join(errName, errValue); err != nil {
			errs = append(errs, refuse(name, "%s: %v", at, err))
			continue
		}
		list = slices.DeleteFunc(list, func(a assignment) bool { return a.name == name })
		list = append(list, assignment{at, name, strings.TrimSpace(value)})
	}
	return list, errors.Join(errs...)
}

// continues says whether a line ends in an odd number of backslashes.
func continues(line string) bool {
	trimmed := strings.TrimRight(line, `\`)
	return (len(line)-len(trimmed))%2 == 1
}

// nameEnd is the length of the name that starts a line.
func nameEnd(line string) int {
	for i := 0; i < len(line); i++ {
		switch line[i] {
		case '\\':
			i++
		case '=', ':', ' ', '\t', '\f':
			return i
		}
	}
	return len(line)
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 't':
			b.WriteByte('\t')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if i+4 >= len(s) {
				return "", fmt.Errorf(`\u needs four hexadecimal digits`)
			}
			r, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`\u needs four hexadecimal digits`)
			}
			b.WriteRune(rune(r))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}
