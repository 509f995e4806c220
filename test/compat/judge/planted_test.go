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

// blindness is a wrong answer that the judge does not see, and why that is right. A * stands for any text.
type blindness struct{ at, why string }

// blind are those of scripts.
var blind = []blindness{
	{"* order", "most lists come in the order of a hash table in Kafka: those with names are compared as sets"},
	{"*ErrorMessage field", "the wording of messages is each broker's own; that there is one counts"},
	{"*Documentation field", "as messages"},
	{"ApiVersions: *Features missing", "Kafka has features that Varve lacks, by rows of expected: TestC5AdvertisedVersions counts them"},
	{"CreateTopics: Topics[].Configs missing", "as are settings: broker/config has tests of the list"},
	{"DescribeLogDirs: Dirs[].*", "paths and sizes of disks are each broker's own; topics and partitions go by their names"},
	{"*ProducerID field", "the ids of producers are each broker's own; that there is one counts"},
	{"DescribeQuorum: Nodes[].Listeners*", "Varve's controllers have no listener of their own, by rows of expected: TestDescribeQuorum"},
	{"DescribeQuorum: Topics[].Partitions[].CurrentVoters[].*", "offsets and times of the metadata log are each broker's own"},
	{"Fetch: Topics twice", "both may name a topic twice, with some of its partitions each time"},
	{"Produce: Topics twice", "both may name a topic twice, with some of its partitions each time"},
	{"Metadata: ClusterID field", "each cluster has its own"},
}

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
func plant(t *testing.T, kafka recording, sides []*side, expected []row, blind []blindness) {
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
		i := slices.IndexFunc(blind, func(b blindness) bool { return fits(b.at, name) })
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
	tried := map[string]bool{} // in this answer: in all its places at once
	walk := plantWalk{own: func(e reflect.Value) bool { return !newFields(s).foreign(e) }}
	walk.visit = func(name string, _ func()) {
		if tried[name] {
			return
		}
		tried[name] = true
		p.try(name, func() (changed, found bool) {
			wrong := clone(varve.answer, good)
			change := walk
			change.visit = func(at string, change func()) {
				if at == name {
					change()
				}
			}
			change.message(reflect.ValueOf(wrong).Elem(), api+": ")
			b := wrong.AppendTo(nil)
			return string(b) != string(good), received(frameOf(wrong, 7, b))
		})
	}
	walk.message(reflect.ValueOf(varve.answer).Elem(), api+": ")
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

// plantWalk calls visit with each way to make a message wrong. The changes may be made meanwhile.
type plantWalk struct {
	visit func(name string, change func())
	own   func(element reflect.Value) bool // not another script's, which nobody looks at
}

// message visits the fields of a struct.
func (w plantWalk) message(v reflect.Value, path string) {
	if !strings.HasSuffix(path, " ") {
		path += "."
	}
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; name != "Version" && name != "UnknownTags" {
			w.field(v.Field(i), path+name)
		}
	}
}

func (w plantWalk) field(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Bool:
		w.visit(path+" field", func() { v.SetBool(!v.Bool()) })
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if strings.HasSuffix(path, "ErrorCode") {
			w.visit(path+" code", func() { v.SetInt(map[bool]int64{true: 42, false: 0}[v.Int() == 0]) })
			return
		}
		w.visit(path+" field", func() { v.SetInt(v.Int() + 1) })
	case reflect.String:
		w.visit(path+" field", func() { v.SetString(v.String() + "x") })
	case reflect.Array:
		w.visit(path+" field", func() { v.Index(0).SetUint(v.Index(0).Uint() ^ 1) })
	case reflect.Pointer:
		if v.IsNil() {
			w.visit(path+" null", func() { v.Set(reflect.New(v.Type().Elem())) })
			return
		}
		if w.visit(path+" null", v.SetZero); !v.IsNil() {
			w.field(v.Elem(), path)
		}
	case reflect.Struct:
		w.message(v, path)
	case reflect.Slice:
		w.list(v, path)
	}
}

func (w plantWalk) list(v reflect.Value, path string) {
	n := v.Len()
	switch {
	case n == 0:
		w.visit(path+" element", func() { v.Set(reflect.MakeSlice(v.Type(), 1, 1)) })
		return
	case v.Type().Elem().Kind() == reflect.Uint8:
		w.visit(path+" bytes", func() { v.Index(n - 1).SetUint(v.Index(n-1).Uint() ^ 1) })
		return
	}
	at := 0
	for at < n && !w.own(v.Index(at)) {
		at++
	}
	if at == n {
		return
	}
	w.visit(path+" missing", func() { v.Set(reflect.AppendSlice(v.Slice3(0, at, at), v.Slice(at+1, n))) })
	w.visit(path+" twice", func() { v.Set(reflect.Append(v, v.Index(at))) })
	if n > 1 {
		w.visit(path+" order", func() { reflect.Swapper(v.Interface())(0, n-1) })
	}
	for i := range v.Len() {
		if v.Index(i).Kind() == reflect.Struct {
			w.message(v.Index(i), path+"[]")
		} else {
			w.field(v.Index(i), path+"[]")
		}
	}
}
