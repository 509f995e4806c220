package judge

import (
	"encoding/binary"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// blind are wrong answers that the judge does not see, and why that is right. A * stands for any text.
var blind = []struct{ at, why string }{}

// plants are the wrong answers of one kind: in each answer of a key that has the field, one
// value is changed, and the judge has to see it in one of them at least.
type plants map[string]*planted

// planted is one wrong answer.
type planted struct {
	tried int
	found bool
}

// plantTries is how many answers a wrong one is planted in before the judge counts as blind for it.
const plantTries = 60

// plant has the judge look at answers of Varve that were made wrong on their way, one at a
// time: a field with another value, an element of a list that is missing, there twice or in
// another place, the layout of another version, another correlation id, a tag or a byte too
// many, a close instead of an answer and an answer instead of a close.
func plant(t *testing.T, kafka recording, sides []*side) {
	all, e := plants{}, newExpectation(expected)
	for _, s := range sides {
		theirs := map[string]*step{}
		for i := range kafka[s.name] {
			theirs[kafka[s.name][i].name] = &kafka[s.name][i]
		}
		for i := range s.steps {
			if k := theirs[s.steps[i].name]; k != nil {
				all.step(s, k, &s.steps[i], e)
			}
		}
	}
	kinds, unused := map[string]int{}, map[string]bool{}
	for _, b := range blind {
		unused[b.at] = true
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		p := all[name]
		if p.found {
			kinds[name[strings.LastIndexByte(name, ' ')+1:]]++
			continue
		}
		i := slices.IndexFunc(blind, func(b struct{ at, why string }) bool { return fits(b.at, name) })
		if i < 0 {
			t.Errorf("not found in %d answers: %s", p.tried, name)
			continue
		}
		delete(unused, blind[i].at)
	}
	for at := range unused {
		t.Errorf("the judge is not blind for %q any more: delete the row", at)
	}
	total := 0
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Logf("%4d wrong answers found: %s", kinds[kind], kind)
		total += kinds[kind]
	}
	t.Logf("%4d wrong answers planted and found", total)
}

// try plants one wrong answer, which see makes and looks at, unless it was found before.
func (p plants) try(name string, see func() (changed, found bool)) {
	one := p[name]
	if one != nil && (one.found || one.tried >= plantTries) {
		return
	}
	changed, found := see()
	if !changed {
		return
	}
	if one == nil {
		one = &planted{}
		p[name] = one
	}
	one.tried++
	one.found = found
}

// step plants wrong answers in one step.
func (p plants) step(s *side, kafka, varve *step, e *expectation) {
	differs := func(v *step) bool {
		return slices.ContainsFunc(compare(s.name, kafka, v), func(d difference) bool { return !e.explains(d) })
	}
	outcome := func(value string) *step {
		f := newFields(s)
		f.put("outcome", value)
		return &step{name: varve.name, fields: f.values, order: f.order}
	}
	if varve.answer == nil {
		if was := varve.fields["outcome"]; was != "" {
			for _, other := range []string{"closed", "answer", "silence", "waited", "at once", "out of order"} {
				p.try(fmt.Sprintf("%q in place of %q close", other, was), func() (changed, found bool) {
					return was != other, differs(outcome(other))
				})
			}
		}
		return
	}
	api := kmsg.NameForKey(varve.key)
	p.try(api+": closed in place of the answer close", func() (changed, found bool) { return true, differs(outcome("closed")) })
	version := varve.answer.GetVersion()
	good := varve.answer.AppendTo(nil)
	received := func(frame []byte) bool { // whether a frame is found to be wrong
		resp := kmsg.ResponseForKey(varve.key)
		if err := answers(frame, 7, version, resp); err != nil {
			return true
		}
		return differs(again(s, varve, resp))
	}
	for name, wrong := range map[string]func() []byte{
		"the answer to another request order": func() []byte { return frameOf(varve.answer, 8, good) },
		"a byte too many layout":              func() []byte { return append(frameOf(varve.answer, 7, good), 0) },
		"a byte too few layout":               func() []byte { b := frameOf(varve.answer, 7, good); return b[:len(b)-1] },
		"a tag in the header layout":          func() []byte { return tagged(varve.answer, good) },
		"of the version before version":       func() []byte { return inVersion(varve.answer, good, version-1) },
		"of the version after version":        func() []byte { return inVersion(varve.answer, good, version+1) },
	} {
		p.try(api+": "+name, func() (changed, found bool) {
			frame := wrong()
			return frame != nil, frame != nil && received(frame)
		})
	}
	tried := map[string]bool{} // in this answer: its first place only
	sites(reflect.ValueOf(varve.answer).Elem(), api+": ", func(name string, _ func()) bool {
		if tried[name] {
			return false
		}
		tried[name] = true
		p.try(name, func() (changed, found bool) {
			wrong := clone(varve.answer, good)
			sites(reflect.ValueOf(wrong).Elem(), api+": ", func(at string, change func()) bool {
				if at == name {
					change()
				}
				return at == name
			})
			b := wrong.AppendTo(nil)
			return string(b) != string(good), received(frameOf(wrong, 7, b))
		})
		return false
	})
}

// again takes an answer apart as its script has done.
func again(s *side, was *step, resp kmsg.Response) *step {
	f := newFields(&side{addr: s.addr, name: s.name, base: s.base, ids: maps.Clone(s.ids), afloat: was.afloat})
	was.take(f, resp)
	return &step{name: was.name, fields: f.values, order: f.order}
}

// clone is a copy of an answer, read from its bytes.
func clone(of kmsg.Response, b []byte) kmsg.Response {
	out := kmsg.ResponseForKey(of.Key())
	out.SetVersion(of.GetVersion())
	if err := out.ReadFrom(slices.Clone(b)); err != nil {
		panic(err) // it was written by the same codec
	}
	return out
}

// frameOf is an answer as it comes over the wire.
func frameOf(resp kmsg.Response, correlation int32, b []byte) []byte {
	out := binary.BigEndian.AppendUint32(nil, uint32(correlation))
	if resp.IsFlexible() && resp.Key() != 18 {
		out = append(out, 0)
	}
	return append(out, b...)
}

// tagged is an answer with a tag in its header, nil where the header has none.
func tagged(resp kmsg.Response, b []byte) []byte {
	if !resp.IsFlexible() || resp.Key() == 18 {
		return nil
	}
	return append([]byte{0, 0, 0, 7, 1, 9, 1, 'x'}, b...)
}

// inVersion is an answer in the layout of another version, nil where there is none or it is the same.
func inVersion(resp kmsg.Response, b []byte, version int16) []byte {
	if version < 0 || version > resp.MaxVersion() {
		return nil
	}
	other := clone(resp, b)
	other.SetVersion(version)
	frame := frameOf(other, 7, other.AppendTo(nil))
	if string(frame) == string(frameOf(resp, 7, b)) {
		return nil
	}
	return frame
}

// sites calls visit with each way to make a message wrong, until it says that this was enough.
func sites(v reflect.Value, path string, visit func(name string, change func()) bool) bool {
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name == "Version" || name == "UnknownTags" {
			continue
		}
		if fieldSites(v.Field(i), strings.TrimSuffix(path, " ")+map[bool]string{true: " ", false: "."}[strings.HasSuffix(path, " ")]+name, visit) {
			return true
		}
	}
	return false
}

func fieldSites(v reflect.Value, path string, visit func(name string, change func()) bool) bool {
	switch v.Kind() {
	case reflect.Bool:
		return visit(path+" field", func() { v.SetBool(!v.Bool()) })
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if strings.HasSuffix(path, "ErrorCode") {
			return visit(path+" code", func() { v.SetInt(map[bool]int64{true: 42, false: 0}[v.Int() == 0]) })
		}
		return visit(path+" field", func() { v.SetInt(v.Int() + 1) })
	case reflect.String:
		return visit(path+" field", func() { v.SetString(v.String() + "x") })
	case reflect.Array:
		return visit(path+" field", func() { v.Index(0).SetUint(v.Index(0).Uint() ^ 1) })
	case reflect.Pointer:
		if v.IsNil() {
			return visit(path+" null", func() { v.Set(reflect.New(v.Type().Elem())) })
		}
		return visit(path+" null", v.SetZero) || fieldSites(v.Elem(), path, visit)
	case reflect.Struct:
		return sites(v, path, visit)
	case reflect.Slice:
		return listSites(v, path, visit)
	}
	return false
}

func listSites(v reflect.Value, path string, visit func(name string, change func()) bool) bool {
	n := v.Len()
	switch {
	case n == 0:
		return visit(path+" element", func() { v.Set(reflect.MakeSlice(v.Type(), 1, 1)) })
	case v.Type().Elem().Kind() == reflect.Uint8:
		return visit(path+" bytes", func() { v.Index(n - 1).SetUint(v.Index(n-1).Uint() ^ 1) })
	}
	if visit(path+" missing", func() { v.Set(v.Slice(1, n)) }) ||
		visit(path+" twice", func() { v.Set(reflect.Append(v, v.Index(0))) }) ||
		n > 1 && visit(path+" order", func() { reflect.Swapper(v.Interface())(0, n-1) }) {
		return true
	}
	for i := range n {
		if v.Index(i).Kind() == reflect.Struct {
			if sites(v.Index(i), path+"[]", visit) {
				return true
			}
		} else if fieldSites(v.Index(i), path+"[]", visit) {
			return true
		}
	}
	return false
}
