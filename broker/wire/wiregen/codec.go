package main

import (
	"fmt"
	"slices"
	"strings"
)

// readFunc writes Read for the message itself, and read for what is inside it.
func (p *printer) readFunc(s *structure) {
	body := &printer{m: p.m, scope: p.scope}
	for _, f := range s.fields {
		if f.tag < 0 {
			body.readField(f)
		}
	}
	body.readTags(s)
	if s != p.m.root {
		p.f("func (v *%s) read(r *Reader, version int16) {", s.goName)
		p.flexVar(body.String())
		p.Write(body.Bytes())
		p.f("}\n")
		return
	}
	m := p.m
	p.f("// Read takes the message from r; see Message.")
	p.f("func (v *%s) Read(r *Reader, version int16) error {", s.goName)
	p.f("if err := checkVersion(%q, version, %d, %d); err != nil {\nreturn err\n}", m.name, m.versions.lo, m.versions.hi)
	p.flexVar(body.String())
	p.Write(body.Bytes())
	p.f("return r.finish(%q, version)\n}\n", m.name)
}

func (p *printer) readField(f *field) {
	cond := p.cond(f.versions)
	if cond != "" {
		p.f("if %s {", cond)
	}
	p.readValue(f)
	if cond != "" {
		p.f("} else {")
		p.setDefault(f)
		p.f("}")
	}
}

// readValue reads a field that the version has.
func (p *printer) readValue(f *field) {
	prim := primitives[f.prim]
	switch {
	case f.array:
		p.readArray(f)
	case f.nullStruct():
		present := "r.present()"
		if f.tag >= 0 {
			present = "r.tagPresent()"
		}
		p.f("if %s {\nif v.%s == nil {", present, f.name)
		p.f("v.%s = alloc[%s](r)\n}\nv.%[1]s.read(r, version)\n} else {\nv.%[1]s = nil\n}", f.name, f.sub.goName)
	case f.sub != nil:
		p.f("v.%s.read(r, version)", f.name)
	case f.prim == "string" && f.null != nil:
		p.f("v.%s = r.nullStr(%s, %s, v.%[1]s)", f.name, p.flex(), p.nullOK(f))
	case f.prim == "string":
		p.f("v.%s = r.str(%s, v.%[1]s)", f.name, p.flex())
	case prim.kind == kindBytes:
		p.f("v.%s = r.%s(%s, %s)", f.name, prim.read, p.flex(), p.nullOK(f))
	default:
		p.f("v.%s = r.%s()", f.name, prim.read)
	}
}

func (p *printer) readArray(f *field) {
	count := fmt.Sprintf("r.count(%s, %s, %s)", p.flex(), p.leastExpr(f), p.nullOK(f))
	if f.null != nil {
		p.f("if n := %s; n < 0 {\nv.%s = nil\n} else {", count, f.name)
		p.f("v.%s = grow(r, v.%[1]s, n)", f.name)
	} else {
		p.f("v.%s = grow(r, v.%[1]s, %s)", f.name, count)
	}
	p.f("for i := range v.%s {\nif r.err != nil {\nbreak\n}", f.name)
	switch {
	case f.sub != nil:
		p.f("v.%s[i].read(r, version)", f.name)
	case f.prim == "string":
		p.f("v.%s[i] = r.str(%s, v.%[1]s[i])", f.name, p.flex())
	default:
		p.f("v.%s[i] = r.%s()", f.name, primitives[f.prim].read)
	}
	p.f("}")
	if f.null != nil {
		p.f("}")
	}
}

// leastExpr is the fewest bytes of an element as a Go expression.
func (p *printer) leastExpr(f *field) string {
	switch {
	case f.sub != nil:
		return fmt.Sprintf("least%s(version)", f.sub.goName)
	case f.prim == "string":
		return "1"
	}
	return fmt.Sprint(primitives[f.prim].size)
}

// readTags reads the tag section; a known tag in a version that lacks it is skipped.
func (p *printer) readTags(s *structure) {
	tagged := taggedFields(s)
	for _, f := range tagged {
		p.setDefault(f)
	}
	flex := p.flex()
	if flex == "false" {
		return
	}
	if flex == "flex" {
		p.f("if flex {")
	}
	if len(tagged) == 0 {
		p.f("r.skipTags()")
	} else {
		p.f("for n := r.tags(); n > 0 && r.err == nil; n-- {\ntag, rest := r.openTag()\nswitch tag {")
		for _, f := range tagged {
			p.f("case %d:", f.tag)
			cond := p.condFlexible(f.versions)
			if cond != "" {
				p.f("if %s {", cond)
			}
			p.readValue(f)
			if cond != "" {
				p.f("}")
			}
		}
		p.f("}\nr.closeTag(rest)\n}")
	}
	if flex == "flex" {
		p.f("}")
	}
}

// condFlexible is cond where the version is known to be flexible.
func (p *printer) condFlexible(s span) string {
	return (&printer{m: p.m, scope: span{max(p.scope.lo, p.m.flexible), p.scope.hi}}).cond(s)
}

func taggedFields(s *structure) []*field {
	var tagged []*field
	for _, f := range s.fields {
		if f.tag >= 0 {
			tagged = append(tagged, f)
		}
	}
	slices.SortFunc(tagged, func(a, b *field) int { return a.tag - b.tag })
	return tagged
}

// appendFunc writes Append for the message itself, and append for what is inside it.
func (p *printer) appendFunc(s *structure) {
	body := &printer{m: p.m, scope: p.scope}
	for _, f := range s.fields {
		if f.tag >= 0 {
			continue
		}
		cond := p.cond(f.versions)
		if cond != "" {
			body.f("if %s {", cond)
		}
		body.appendValue(f)
		if cond != "" {
			body.f("}")
		}
	}
	body.appendTags(s)
	name := "append"
	if s == p.m.root {
		name = "Append"
		p.f("// Append writes the message to dst; see Message.")
	}
	p.f("func (v *%s) %s(dst []byte, version int16) []byte {", s.goName, name)
	p.flexVar(body.String())
	p.Write(body.Bytes())
	p.f("return dst\n}\n")
}

// appendValue writes a field that the version has.
func (p *printer) appendValue(f *field) {
	prim := primitives[f.prim]
	switch {
	case f.array:
		p.appendArray(f)
	case f.nullStruct():
		null := "0xff"
		if f.tag >= 0 {
			null = "0" // Kafka writes an unsigned varint there, a byte elsewhere
		}
		p.f("if v.%s == nil {\ndst = append(dst, %s)\n} else {", f.name, null)
		p.f("dst = v.%s.append(append(dst, 1), version)\n}", f.name)
	case f.sub != nil:
		p.f("dst = v.%s.append(dst, version)", f.name)
	case f.prim == "string" && f.null != nil:
		p.f("dst = appendNullString(dst, %s, %s, v.%s)", p.flex(), p.nullOK(f), f.name)
	case f.prim == "string":
		p.f("dst = appendString(dst, %s, v.%s)", p.flex(), f.name)
	case prim.kind == kindBytes:
		p.f("dst = appendBytes(dst, %s, %s, v.%s)", p.flex(), p.nullOK(f), f.name)
	default:
		p.f("dst = "+prim.write, "v."+f.name)
	}
}

func (p *printer) appendArray(f *field) {
	if f.null != nil {
		cond := ""
		if ok := p.nullOK(f); ok != "true" {
			cond = " && " + ok
		}
		p.f("if v.%s == nil%s {\ndst = appendNull(dst, %s)\n} else {", f.name, cond, p.flex())
	}
	p.f("dst = appendCount(dst, %s, len(v.%s))", p.flex(), f.name)
	p.f("for i := range v.%s {", f.name)
	switch {
	case f.sub != nil:
		p.f("dst = v.%s[i].append(dst, version)", f.name)
	case f.prim == "string":
		p.f("dst = appendString(dst, %s, v.%s[i])", p.flex(), f.name)
	default:
		p.f("dst = "+primitives[f.prim].write, "v."+f.name+"[i]")
	}
	p.f("}")
	if f.null != nil {
		p.f("}")
	}
}

func (p *printer) appendTags(s *structure) {
	flex := p.flex()
	if flex == "false" {
		return
	}
	if flex == "flex" {
		p.f("if flex {")
	}
	tagged := taggedFields(s)
	if len(tagged) == 0 {
		p.f("dst = append(dst, 0)")
	} else {
		p.f("tags := 0")
		for _, f := range tagged {
			p.when(p.tagCond(f), "tags++")
		}
		p.f("dst = append(dst, byte(tags))")
		for _, f := range tagged {
			if cond := p.tagCond(f); cond != "" {
				p.f("if %s {", cond)
			} else {
				p.f("{")
			}
			p.f("var at int\ndst, at = openTag(dst, %d)", f.tag)
			p.appendValue(f)
			p.f("dst = closeTag(dst, at)\n}")
		}
	}
	if flex == "flex" {
		p.f("}")
	}
}

// when writes a statement behind a condition, if there is one.
func (p *printer) when(cond, statement string) {
	if cond == "" {
		p.f("%s", statement)
		return
	}
	p.f("if %s {\n%s\n}", cond, statement)
}

// tagCond says when a tagged field is written: the version has it, and it is not its default;
// "" for always. A struct that may be null is always written: to Kafka one that is absent is not
// null, but has all of its fields at their defaults.
func (p *printer) tagCond(f *field) string {
	cond := p.condFlexible(f.versions)
	if f.nullStruct() {
		return cond
	}
	if cond != "" {
		cond += " && "
	}
	return cond + negate(p.equalsDefault(f))
}

// negate turns around one of the conditions that equalsDefault gives.
func negate(cond string) string {
	if left, right, ok := strings.Cut(cond, " == "); ok {
		return left + " != " + right
	}
	if positive, ok := strings.CutPrefix(cond, "!"); ok {
		return positive
	}
	return "!" + cond
}
