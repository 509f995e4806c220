package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/varve-io/varve/broker/kafka"
)

// Version is the version of Varve whose settings this table describes.
const Version = "0.1"

const (
	sinceVarve = "Varve " + Version
	maxLong    = "9223372036854775807"
)

func defaultOf(topicSetting string) string {
	return "The default of the topic setting `" + topicSetting + "`."
}

// Error is a setting that is refused. It unwraps to kafka.InvalidConfig, or to its Code, and
// its text is fit to be shown to a client: it never holds a sensitive value.
type Error struct {
	Name    string // of the setting
	Problem string
	Code    kafka.Error // kafka.NoError stands for kafka.InvalidConfig
}

// Error is the text for the one who set it.
func (e *Error) Error() string { return e.Problem }

// Unwrap makes errors.Is(err, kafka.InvalidConfig) true.
func (e *Error) Unwrap() error {
	if e.Code != kafka.NoError {
		return e.Code
	}
	return kafka.InvalidConfig
}

func refuse(name, format string, args ...any) *Error {
	return &Error{Name: name, Problem: fmt.Sprintf(format, args...)}
}

// invalid is the refusal of a value, in Kafka's words so that its tools show it as usual.
func invalid(s Setting, value, reason string) *Error {
	value = withoutQueries(s.Name, value)
	if s.Sensitive {
		value = "[hidden]"
	} else if scheme, rest, ok := strings.Cut(value, "://"); ok {
		authority, path, _ := strings.Cut(rest, "/")
		if at := strings.LastIndexByte(authority, '@'); at >= 0 {
			value = scheme + "://[hidden]" + authority[at:] + "/" + path
		}
	}
	return refuse(s.Name, "Invalid value %s for configuration %s: %s", value, s.Name, reason)
}

// merge is the refusals as one, in one line: it travels in an answer to a client. nil where
// there are none.
func merge(errs ...error) error {
	var all *Error
	for _, err := range errs {
		var e *Error
		if !errors.As(err, &e) {
			continue // nil: every check answers *Error
		}
		if all == nil {
			all = refuse(e.Name, "%s", e.Problem)
			continue
		}
		all.Problem += "; " + e.Problem
	}
	if all == nil {
		return nil
	}
	return all
}

// Validator is the range of a setting. The zero Validator accepts every value of the type.
type Validator struct {
	// Range says in words what is accepted: "at least 1". Empty where all is.
	Range string
	// check answers what is wrong with a canonical value, "" if nothing is.
	check func(value string) string
}

// canonical is the one spelling of a value of s, in which it is stored and shown, or why
// the value is refused. It accepts what Kafka accepts.
func (s Setting) canonical(raw string) (string, error) {
	value, problem := spell(s.Type, strings.TrimSpace(raw))
	if problem == "" && s.Valid.check != nil {
		problem = s.Valid.check(value)
	}
	if problem != "" {
		return "", invalid(s, s.culprit(raw), problem)
	}
	return value, nil
}

// culprit is what to name of a value that is refused: the first item of a list that is refused
// by itself, else all of it.
func (s Setting) culprit(raw string) string {
	if s.Type == List && s.Valid.check != nil {
		for _, item := range splitList(raw) {
			if item != "" && s.Valid.check(item) != "" {
				return item
			}
		}
	}
	return raw
}

func spell(t Type, v string) (value, problem string) {
	switch t {
	case Bool:
		if lower := strings.ToLower(v); lower == "true" || lower == "false" {
			return lower, ""
		}
		return "", "Expected value to be either true or false"
	case Int, Short, Long:
		bits := map[Type]int{Int: 32, Short: 16, Long: 64}[t]
		n, err := strconv.ParseInt(v, 10, bits)
		if err != nil {
			return "", fmt.Sprintf("Not a number of type %s", strings.ToUpper(t.String()))
		}
		return strconv.FormatInt(n, 10), ""
	case Double:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return "", "Not a number of type DOUBLE"
		}
		return formatDouble(f), ""
	case List:
		items := splitList(v)
		if slices.Contains(items, "") {
			return "", "Values must not be empty"
		}
		return strings.Join(items, ","), ""
	default:
		return v, ""
	}
}

// formatDouble always shows a fraction, and powers of ten where Java does, as Kafka does.
func formatDouble(f float64) string {
	format := byte('f')
	if a := math.Abs(f); a >= 1e7 || a > 0 && a < 1e-3 {
		format = 'E'
	}
	mantissa, exponent, has := strings.Cut(strconv.FormatFloat(f, format, -1, 64), "E")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	if !has {
		return mantissa
	}
	n, _ := strconv.Atoi(exponent) // just printed
	return mantissa + "E" + strconv.Itoa(n)
}

// splitList is the items of a comma-separated list, each once.
func splitList(v string) []string {
	if v == "" {
		return nil
	}
	var items []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); !slices.Contains(items, item) {
			items = append(items, item)
		}
	}
	return items
}

// integer reads a canonical number.
func integer(v string) int64 {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic("BUG: not a canonical number: " + err.Error())
	}
	return n
}

func atLeast(n int64) Validator {
	return Validator{fmt.Sprintf("at least %d", n), func(v string) string {
		if integer(v) < n {
			return fmt.Sprintf("Value must be at least %d", n)
		}
		return ""
	}}
}

func between(low, high int64) Validator {
	return Validator{fmt.Sprintf("%d to %d", low, high), func(v string) string {
		switch n := integer(v); {
		case n < low:
			return fmt.Sprintf("Value must be at least %d", low)
		case n > high:
			return fmt.Sprintf("Value must be no more than %d", high)
		}
		return ""
	}}
}

func oneOf(words ...string) Validator {
	list := strings.Join(words, ", ")
	return Validator{"one of " + list, func(v string) string {
		if !slices.Contains(words, v) {
			return "String must be one of: " + list
		}
		return ""
	}}
}

// standardAuthorizer is the authorizer of Kafka whose rules are those here.
const standardAuthorizer = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"

var principals = Validator{"principals such as User:admin, separated by semicolons", func(v string) string {
	if _, err := kafka.ParsePrincipals(v); err != nil {
		return err.Error()
	}
	return ""
}}

// oneOfFold is oneOf where case does not count.
func oneOfFold(words ...string) Validator {
	list := strings.Join(words, ", ")
	return Validator{"one of " + list, func(v string) string {
		if !slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, v) }) {
			return "String must be one of (case insensitive): " + list
		}
		return ""
	}}
}

func listOf(words ...string) Validator {
	list := strings.Join(words, ", ")
	return Validator{"any of " + list, func(v string) string {
		for _, item := range splitList(v) {
			if !slices.Contains(words, item) {
				return "String must be one of: " + list
			}
		}
		return ""
	}}
}

var (
	unlimitedOrPositive = Validator{"at least 1, or negative for no limit", func(v string) string {
		if integer(v) == 0 {
			return "Value must be unlimited (-1) or at least 1"
		}
		return ""
	}}

	gzipLevel = Validator{"1 to 9, or -1", func(v string) string {
		if n := integer(v); n != -1 && (n < 1 || n > 9) {
			return "Value must be between 1 and 9 or equal to -1"
		}
		return ""
	}}

	fraction = Validator{"0 to 1", func(v string) string {
		f, err := strconv.ParseFloat(v, 64)
		switch {
		case err != nil || f < 0:
			return "Value must be at least 0"
		case f > 1:
			return "Value must be no more than 1"
		}
		return ""
	}}

	loadFactor = Validator{"above 0, at most 1", func(v string) string {
		if f, err := strconv.ParseFloat(v, 64); err != nil || f <= 0 || f > 1 {
			return "Value must be above 0 and no more than 1"
		}
		return ""
	}}

	positive = Validator{"above 0", func(v string) string {
		if f, err := strconv.ParseFloat(v, 64); err != nil || f <= 0 {
			return "Value must be above 0"
		}
		return ""
	}}

	nonEmptyList = Validator{"at least one", func(v string) string {
		if v == "" {
			return "At least one value is needed"
		}
		return ""
	}}

	assignorList = Validator{"uniform, range or both", func(v string) string {
		if v == "" {
			return "At least one value is needed"
		}
		for _, item := range splitList(v) {
			if item != "uniform" && item != "range" {
				return "The assignors are uniform and range; classes of one's own can't be loaded"
			}
		}
		return ""
	}}

	hostPort = Validator{"HOST:PORT", func(v string) string {
		if v == "" {
			return ""
		}
		_, port, err := net.SplitHostPort(v)
		if err != nil {
			return "Expected HOST:PORT, such as 127.0.0.1:9644"
		}
		if _, err := strconv.ParseUint(port, 10, 16); err != nil {
			return fmt.Sprintf("Port %q is not a number up to 65535", port)
		}
		return ""
	}}

	clusterID = Validator{"22 characters of URL-safe base64", func(v string) string {
		if v == "" {
			return ""
		}
		if _, err := kafka.ParseUUID(v); err != nil {
			return "Expected 22 characters of URL-safe base64"
		}
		return ""
	}}

	directoryIDs = Validator{"directory ids, separated by commas", func(v string) string {
		for _, id := range splitList(v) {
			if _, err := kafka.ParseUUID(id); err != nil {
				return "Expected directory ids, 22 characters of URL-safe base64 each"
			}
		}
		return ""
	}}

	tierURL = Validator{"file:///dir, mem://name, s3://bucket/prefix, azblob://account/container/prefix, gs://bucket/prefix", func(v string) string {
		if v == "" {
			return ""
		}
		u, err := url.Parse(v)
		switch {
		case err != nil || u.Scheme == "":
			return "Expected a URL such as file:///var/lib/varve/tier or s3://bucket/prefix?region=eu-central-1"
		case u.User != nil:
			return "Credentials do not belong in the URL; they come from the provider's own chain (environment, profile, instance role)"
		case u.Scheme == "file" && (u.Host != "" || u.Path == ""):
			return "Expected file:/// and an absolute path: file:///var/lib/varve/tier"
		case u.Scheme != "file" && u.Host == "":
			return "The URL names no bucket: " + u.Scheme + "://BUCKET/PREFIX"
		}
		return ""
	}}
)
