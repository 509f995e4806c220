package main

import (
	"fmt"
	"strings"
)

// kind sorts the primitive types by how they are coded.
type kind int

const (
	kindFixed  kind = iota // of one size
	kindVarint             // 1 byte at least
	kindString
	kindBytes
)

// primitive says how a type of the definition language looks in Go.
type primitive struct {
	goType string
	kind   kind
	size   int    // of kindFixed, in bytes
	read   string // method of Reader; of kindString and kindBytes it takes more
	write  string // function with dst and the value
	zero   string
	null   bool // may be null
}

var primitives = map[string]primitive{
	"bool":    {goType: "bool", size: 1, read: "Bool", write: "appendBool(dst, %s)", zero: "false"},
	"int8":    {goType: "int8", size: 1, read: "Int8", write: "append(dst, byte(%s))", zero: "0"},
	"int16":   {goType: "int16", size: 2, read: "Int16", write: "appendInt16(dst, %s)", zero: "0"},
	"int32":   {goType: "int32", size: 4, read: "Int32", write: "appendInt32(dst, %s)", zero: "0"},
	"int64":   {goType: "int64", size: 8, read: "Int64", write: "appendInt64(dst, %s)", zero: "0"},
	"uint16":  {goType: "uint16", size: 2, read: "Uint16", write: "appendInt16(dst, int16(%s))", zero: "0"},
	"uint32":  {goType: "uint32", size: 4, read: "Uint32", write: "appendInt32(dst, int32(%s))", zero: "0"},
	"float64": {goType: "float64", size: 8, read: "Float64", write: "appendFloat64(dst, %s)", zero: "0"},
	"uuid":    {goType: "kafka.UUID", size: 16, read: "UUID", write: "append(dst, %s[:]...)", zero: "kafka.UUID{}"},
	"varint":  {goType: "int32", kind: kindVarint, read: "Varint", write: "appendVarint(dst, %s)", zero: "0"},
	"varlong": {goType: "int64", kind: kindVarint, read: "Varlong", write: "appendVarlong(dst, %s)", zero: "0"},
	"string":  {goType: "string", kind: kindString, read: "str", zero: `""`, null: true},
	"bytes":   {goType: "[]byte", kind: kindBytes, read: "bytes", zero: "nil", null: true},
	"records": {goType: "[]byte", kind: kindBytes, read: "records", zero: "nil", null: true},
}

// goType is the type of a field in its struct.
func (f *field) goType() string {
	switch {
	case f.array:
		return "[]" + f.elemType()
	case f.null != nil && (f.sub != nil || f.prim == "string"):
		return "*" + f.elemType()
	}
	return f.elemType()
}

func (f *field) elemType() string {
	if f.sub != nil {
		return f.sub.goName
	}
	return primitives[f.prim].goType
}

// nullStruct says whether the field is a pointer to a struct.
func (f *field) nullStruct() bool { return f.sub != nil && !f.array && f.null != nil }

// zero is the default of a field that is neither array nor struct.
func (f *field) zero() string {
	switch {
	case f.def != "" && f.prim == "string":
		return fmt.Sprintf("%q", strings.Trim(f.def, `"`))
	case f.def != "":
		return f.def
	case f.null != nil:
		return "nil"
	}
	return primitives[f.prim].zero
}

// comment tells versions, tag and default after a field.
func (f *field) comment(m *message) string {
	text := versionText(f.versions, m.versions)
	if f.null != nil {
		text += ", null " + versionText(*f.null, m.versions)
	}
	if f.tag >= 0 {
		text += fmt.Sprintf(", tag %d", f.tag)
	}
	if f.def != "" {
		text += ", default " + f.def
	}
	return text
}

func versionText(s, of span) string {
	switch {
	case s.hi == of.hi:
		return fmt.Sprintf("v%d+", s.lo)
	case s.lo == s.hi:
		return fmt.Sprintf("v%d", s.lo)
	}
	return fmt.Sprintf("v%d-v%d", s.lo, s.hi)
}

// least is the fewest bytes that a value of the field takes in a version, 0 where it is absent.
func (f *field) least(m *message, version int) int {
	flex := m.flexible >= 0 && version >= m.flexible
	switch {
	case !f.versions.contains(version) || f.tag >= 0:
		return 0
	case f.array && flex, f.nullStruct():
		return 1
	case f.array:
		return 4
	case f.sub != nil:
		return f.sub.least(m, version)
	}
	return leastPrimitive(f.prim, flex)
}

func leastPrimitive(name string, flex bool) int {
	switch p := primitives[name]; {
	case p.kind == kindFixed:
		return p.size
	case p.kind == kindVarint || flex:
		return 1
	case p.kind == kindString:
		return 2
	}
	return 4
}

// least is the fewest bytes that the struct takes in a version.
func (s *structure) least(m *message, version int) int {
	n := 0
	for _, f := range s.fields {
		n += f.least(m, version)
	}
	if m.flexible >= 0 && version >= m.flexible {
		n++ // the count of tags
	}
	return n
}

// structs lists the structs of a message, each before those inside it.
func (m *message) structs() []*structure {
	var list []*structure
	seen := make(map[*structure]bool)
	var walk func(s *structure)
	walk = func(s *structure) {
		if seen[s] {
			return
		}
		seen[s] = true
		list = append(list, s)
		for _, f := range s.fields {
			if f.sub != nil {
				walk(f.sub)
			}
		}
	}
	walk(m.root)
	return list
}

// fileName is where the code of a message goes: 03_metadata_request.go.
func (m *message) fileName(f *file) string {
	stem := strings.TrimSuffix(f.name, ".txt")
	switch {
	case f.api == nil && len(f.messages) == 1:
		return stem + ".go"
	case f.api == nil:
		return stem + "_" + strings.ToLower(m.name) + ".go"
	case strings.HasSuffix(m.name, "Request"):
		return stem + "_request.go"
	}
	return stem + "_response.go"
}
