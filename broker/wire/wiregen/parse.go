package main

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// file is one definition file: an API with its two messages, or stored records.
type file struct {
	name     string // 03_metadata.txt
	api      *api   // nil for records
	messages []*message
}

// api is the line "api KEY NAME …".
type api struct {
	key       int
	name      string
	versions  span
	flexible  int // -1 for never
	advertise int
}

// message is a request, a response or a record.
type message struct {
	name      string // MetadataRequest
	doc       []string
	versions  span
	flexible  int // -1 for never
	handCodec bool
	hand      bool
	root      *structure
}

// structure is a Go struct of a message.
type structure struct {
	goName string
	path   string // MetadataResponse.Topics, for its comment
	doc    []string
	fields []*field
	span   span // the versions that have it
	many   bool // an element of an array
	tagged bool // a single struct behind a tag: needs isDefault
}

// field is one line of a definition.
type field struct {
	name     string
	doc      []string
	array    bool
	prim     string     // a key of primitives, or "" for a struct
	sub      *structure // what prim is empty for
	versions span
	null     *span
	tag      int // -1 for none
	def      string
}

// span is an inclusive range of versions.
type span struct{ lo, hi int }

func (s span) contains(v int) bool { return v >= s.lo && v <= s.hi }

// open stands for "+" until the message's versions bound it.
const open = math.MaxInt16

var nameRule = regexp.MustCompile(`^[A-Z][A-Za-z0-9]*$`)

// parser goes over the lines of one definition.
type parser struct {
	f      *file
	line   int
	doc    []string
	msg    *message
	stack  []*structure // by depth of indentation
	byName map[string]*structure
}

// parse reads a definition file.
func parse(name, text string) (*file, error) {
	p := &parser{f: &file{name: name}}
	for i, line := range strings.Split(text, "\n") {
		p.line = i + 1
		if err := p.parseLine(strings.TrimRight(line, " ")); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", name, p.line, err)
		}
	}
	if len(p.f.messages) == 0 {
		return nil, fmt.Errorf("%s: no message in it", name)
	}
	return p.f, nil
}

func (p *parser) parseLine(line string) error {
	text := strings.TrimLeft(line, " ")
	switch {
	case text == "" || strings.HasPrefix(text, "#"):
		return nil
	case strings.HasPrefix(text, "//"):
		p.doc = append(p.doc, strings.TrimSpace(text[2:]))
		return nil
	}
	indent := len(line) - len(text)
	if indent%2 != 0 {
		return fmt.Errorf("indented by %d spaces: want two per level", indent)
	}
	words := strings.Fields(text)
	var err error
	if depth := indent / 2; depth > 0 {
		err = p.parseField(depth, words)
	} else {
		err = p.parseHead(words)
	}
	p.doc = nil
	return err
}

// parseHead reads a line without indentation.
func (p *parser) parseHead(words []string) error {
	switch words[0] {
	case "api":
		return p.parseAPI(words[1:])
	case "request", "response":
		if p.f.api == nil {
			return fmt.Errorf("%s before the api line", words[0])
		}
		m := &message{versions: p.f.api.versions, flexible: p.f.api.flexible}
		m.name = p.f.api.name + strings.ToUpper(words[0][:1]) + words[0][1:]
		switch mode := strings.Join(words[1:], " "); mode {
		case "":
		case "hand codec":
			m.handCodec = true
		case "hand":
			m.hand = true
		default:
			return fmt.Errorf("unknown mode %q: want nothing, hand codec or hand", mode)
		}
		return p.startMessage(m)
	case "record":
		if len(words) < 2 || !nameRule.MatchString(words[1]) {
			return fmt.Errorf("a record needs a name")
		}
		m := &message{name: words[1], flexible: -1}
		opts, err := options(words[2:], "versions", "flexible")
		if err != nil {
			return err
		}
		if m.versions, m.flexible, err = versionsAndFlexible(opts); err != nil {
			return err
		}
		return p.startMessage(m)
	}
	return fmt.Errorf("unknown word %q: want api, request, response or record", words[0])
}

func (p *parser) parseAPI(words []string) error {
	if len(words) < 2 || !nameRule.MatchString(words[1]) {
		return fmt.Errorf("want: api KEY NAME versions MIN-MAX [flexible N+] [advertise MIN]")
	}
	key, err := strconv.ParseUint(words[0], 10, 15)
	if err != nil {
		return fmt.Errorf("key: %w", err)
	}
	opts, err := options(words[2:], "versions", "flexible", "advertise")
	if err != nil {
		return err
	}
	a := &api{key: int(key), name: words[1]}
	if a.versions, a.flexible, err = versionsAndFlexible(opts); err != nil {
		return err
	}
	a.advertise = a.versions.lo
	if s, ok := opts["advertise"]; ok {
		if a.advertise, err = strconv.Atoi(s); err != nil {
			return fmt.Errorf("advertise: %w", err)
		}
	}
	p.f.api = a
	return nil
}

func (p *parser) startMessage(m *message) error {
	if len(p.doc) == 0 {
		return fmt.Errorf("%s has no documentation: put a // line before it", m.name)
	}
	m.doc = p.doc
	m.root = &structure{goName: m.name, doc: m.doc, span: m.versions}
	p.msg = m
	p.stack = []*structure{m.root}
	p.byName = make(map[string]*structure)
	p.f.messages = append(p.f.messages, m)
	return nil
}

// parseField reads "NAME TYPE VERSIONS [null VERSIONS] [tag N] [default VALUE]".
func (p *parser) parseField(depth int, words []string) error {
	if depth > len(p.stack) || p.msg == nil {
		return fmt.Errorf("indented too far: nothing above it has fields")
	}
	if len(words) < 3 || !nameRule.MatchString(words[0]) {
		return fmt.Errorf("want: NAME TYPE VERSIONS [null VERSIONS] [tag N] [default VALUE]")
	}
	parent := p.stack[depth-1]
	p.stack = p.stack[:depth]
	f := &field{name: words[0], doc: p.doc, tag: -1}
	opts, err := options(words[3:], "null", "tag", "default")
	if err != nil {
		return err
	}
	if f.versions, err = p.span(words[2]); err != nil {
		return err
	}
	if s, ok := opts["null"]; ok {
		null, err := p.span(s)
		if err != nil {
			return fmt.Errorf("null: %w", err)
		}
		f.null = &null
	}
	if s, ok := opts["tag"]; ok {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return fmt.Errorf("tag: %w", err)
		}
		f.tag = int(n)
	}
	f.def = opts["default"]
	if err := p.setType(f, words[1], parent); err != nil {
		return err
	}
	parent.fields = append(parent.fields, f)
	return p.checkField(f)
}

// setType resolves the type of a field, and opens a struct for the lines that follow.
func (p *parser) setType(f *field, typ string, parent *structure) error {
	name, array := strings.CutPrefix(typ, "[]")
	f.array = array
	if _, ok := primitives[name]; ok {
		f.prim = name
		return nil
	}
	if !nameRule.MatchString(name) {
		return fmt.Errorf("unknown type %q", typ)
	}
	s := p.byName[name]
	if s == nil {
		s = &structure{goName: p.msg.name + name, path: parent.goName + "." + f.name, span: f.versions}
		p.byName[name] = s
		p.stack = append(p.stack, s)
	}
	s.span = span{min(s.span.lo, f.versions.lo), max(s.span.hi, f.versions.hi)}
	s.many = s.many || array
	s.tagged = s.tagged || f.tag >= 0 && !array
	f.sub = s
	return nil
}

func (p *parser) checkField(f *field) error {
	prim := primitives[f.prim]
	nullable := f.array || f.sub != nil || prim.null
	switch {
	case f.null != nil && !nullable:
		return fmt.Errorf("%s: %s can't be null", f.name, f.prim)
	case f.nullStruct() && *f.null != f.versions:
		return fmt.Errorf("%s: a struct is nullable in all its versions or in none", f.name)
	case f.def != "" && (f.array || f.sub != nil || f.null != nil || prim.kind == kindBytes):
		return fmt.Errorf("%s: only numbers, bool and plain strings have a default of their own", f.name)
	case f.tag >= 0 && (p.msg.flexible < 0 || f.versions.lo < p.msg.flexible):
		return fmt.Errorf("%s: tagged in versions that are not flexible", f.name)
	case f.tag >= 0 && f.null != nil && *f.null != f.versions:
		return fmt.Errorf("%s: a tagged field is nullable in all its versions or in none", f.name)
	case f.array && (prim.kind == kindBytes || prim.kind == kindVarint):
		return fmt.Errorf("%s: arrays of %s are not supported", f.name, f.prim)
	}
	return nil
}

// span reads "3+", "3-7" or "3", bounded by the versions of the message.
func (p *parser) span(s string) (span, error) {
	v, err := parseSpan(s)
	if err != nil {
		return span{}, err
	}
	if v.hi == open {
		v.hi = p.msg.versions.hi
	}
	if v.lo > v.hi || v.lo < p.msg.versions.lo || v.hi > p.msg.versions.hi {
		return span{}, fmt.Errorf("versions %s are not within %d-%d", s, p.msg.versions.lo, p.msg.versions.hi)
	}
	return v, nil
}

func parseSpan(s string) (span, error) {
	lo, hi, ranged := strings.Cut(s, "-")
	if first, ok := strings.CutSuffix(s, "+"); ok {
		lo, hi, ranged = first, strconv.Itoa(open), true
	}
	if !ranged {
		hi = lo
	}
	l, err := strconv.ParseUint(lo, 10, 15)
	if err != nil {
		return span{}, fmt.Errorf("versions %q: want 3+, 3-7 or 3", s)
	}
	h, err := strconv.ParseUint(hi, 10, 15)
	if err != nil {
		return span{}, fmt.Errorf("versions %q: want 3+, 3-7 or 3", s)
	}
	return span{int(l), int(h)}, nil
}

// options reads pairs of a word and its value.
func options(words []string, allowed ...string) (map[string]string, error) {
	opts := make(map[string]string)
	for i := 0; i < len(words); i += 2 {
		known := false
		for _, a := range allowed {
			known = known || a == words[i]
		}
		if !known {
			return nil, fmt.Errorf("unknown word %q: want %s", words[i], strings.Join(allowed, ", "))
		}
		if i+1 == len(words) {
			return nil, fmt.Errorf("%s has no value", words[i])
		}
		opts[words[i]] = words[i+1]
	}
	return opts, nil
}

func versionsAndFlexible(opts map[string]string) (span, int, error) {
	versions, err := parseSpan(opts["versions"])
	if err != nil {
		return span{}, 0, err
	}
	if versions.hi == open || versions.lo > versions.hi {
		return span{}, 0, fmt.Errorf("versions %q: want MIN-MAX", opts["versions"])
	}
	s, ok := opts["flexible"]
	if !ok {
		return versions, -1, nil
	}
	flexible, err := parseSpan(s)
	if err != nil || flexible.hi != open {
		return span{}, 0, fmt.Errorf("flexible %q: want N+", s)
	}
	return versions, flexible.lo, nil
}
