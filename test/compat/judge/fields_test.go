package judge

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"net"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// fields is an answer taken apart: one line per field, with what must differ between two
// brokers (ids, ports, clocks) replaced by words.
type fields struct {
	s      *side
	values map[string]string
	order  []string
}

func newFields(s *side) *fields { return &fields{s: s, values: map[string]string{}} }

func (f *fields) put(path, value string) {
	if _, ok := f.values[path]; !ok {
		f.order = append(f.order, path)
	}
	f.values[path] = value
}

// message takes a response apart.
func (f *fields) message(resp kmsg.Response) {
	v := reflect.ValueOf(resp).Elem()
	f.fill(v)
	f.walk("", v)
}

// fill learns the ids of the topics that the answer names.
func (f *fields) fill(v reflect.Value) {
	if v.Kind() != reflect.Struct {
		return
	}
	id, name := v.FieldByName("TopicID"), v.FieldByName("Topic")
	if id.IsValid() && name.IsValid() {
		if text, ok := stringOf(name); ok && text != "" && !id.IsZero() {
			f.s.ids[id.Interface().([16]byte)] = text
		}
	}
	for i := range v.NumField() {
		if e := v.Field(i); e.Kind() == reflect.Slice && e.Type().Elem().Kind() == reflect.Struct {
			for j := range e.Len() {
				f.fill(e.Index(j))
			}
		}
	}
}

// walk visits the fields of a struct.
func (f *fields) walk(path string, v reflect.Value) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Name
		if name == "Version" && path == "" || name == "UnknownTags" {
			continue
		}
		f.value(path, name, v.Field(i))
	}
}

// value visits one field.
func (f *fields) value(parent, name string, v reflect.Value) {
	path := strings.TrimPrefix(parent+"."+name, ".")
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() && v.Elem().Kind() == reflect.Struct {
			f.put(path, "struct")
			f.walk(path, v.Elem())
			return
		}
		f.put(path, f.scalar(name, v))
	case reflect.Struct:
		f.walk(path, v)
	case reflect.Slice:
		if b, ok := v.Interface().([]byte); ok {
			if strings.HasPrefix(name, "Protocol") || strings.HasPrefix(name, "Member") { // what members tell each other
				f.put(path, fmt.Sprintf("%q", b))
			} else {
				f.records(path, b)
			}
			return
		}
		f.list(path, v)
	default:
		f.put(path, f.scalar(name, v))
	}
}

// list visits the elements of a list under their natural keys: the order of most lists is
// that of a hash table in Kafka.
func (f *fields) list(path string, v reflect.Value) {
	if v.IsNil() {
		f.put(path, "null")
		return
	}
	f.put(path, "list")
	if list, ok := v.Interface().([]int32); ok && strings.HasSuffix(path, ".Partitions") { // a set
		sorted := slices.Clone(list)
		slices.Sort(sorted)
		v = reflect.ValueOf(sorted)
	}
	if list, ok := v.Interface().([]string); ok && strings.HasSuffix(path, "SupportedMechanisms") { // as well
		sorted := slices.Clone(list)
		slices.Sort(sorted)
		v = reflect.ValueOf(sorted)
	}
	seen := map[string]int{}
	for i := range v.Len() {
		e := v.Index(i)
		key := f.key(e)
		if key == "" {
			key = strconv.Itoa(i)
		} else if seen[key]++; seen[key] > 1 && !split(e) {
			key += "#" + strconv.Itoa(seen[key])
		}
		if f.foreign(e) {
			continue
		}
		at := fmt.Sprintf("%s[%s]", path, key)
		if e.Kind() == reflect.Struct {
			f.put(at, "element")
			f.walk(at, e)
			continue
		}
		f.put(at, f.scalar("", e))
	}
}

// key is what tells an element of a list from the others, "" for its place.
func (f *fields) key(e reflect.Value) string {
	if e.Kind() != reflect.Struct {
		return ""
	}
	switch r := e.Interface().(type) {
	case kmsg.ListConfigResourcesResponseConfigResource:
		return fmt.Sprintf("%s of type %d", r.Name, r.Type)
	case kmsg.DescribeACLsResponseResource:
		return fmt.Sprintf("%s of type %d, pattern %d", r.ResourceName, r.ResourceType, r.ResourcePatternType)
	case kmsg.DescribeACLsResponseResourceACL:
		return fmt.Sprintf("%s on %q: %d %d", r.Principal, r.Host, r.Operation, r.PermissionType)
	case kmsg.DeleteACLsResponseResultMatchingACL:
		return fmt.Sprintf("%s of type %d, pattern %d: %s on %q: %d %d", r.ResourceName, r.ResourceType, r.ResourcePatternType,
			r.Principal, r.Host, r.Operation, r.PermissionType)
	case kmsg.AlterUserSCRAMCredentialsResponseResult:
		return "user " + r.User
	case kmsg.DescribeUserSCRAMCredentialsResponseResultCredentialInfo:
		return fmt.Sprint("mechanism ", r.Mechanism)
	case kmsg.DescribeUserSCRAMCredentialsResponseResult:
		return "user " + r.User
	case kmsg.DescribeClientQuotasResponseEntryEntity:
		return r.Type
	case kmsg.AlterClientQuotasResponseEntryEntity:
		return r.Type
	case kmsg.AlterClientQuotasResponseEntry:
		var names []string
		for _, part := range r.Entity {
			if part.Name != nil {
				names = append(names, *part.Name)
			}
		}
		slices.Sort(names)
		return fmt.Sprint("entity ", names)
	}
	for _, name := range []string{"Topic", "Name", "Group", "TransactionalID", "MemberID", "ResourceName", "ApiKey", "NodeID", "Partition", "TopicID"} {
		k := e.FieldByName(name)
		if !k.IsValid() {
			continue
		}
		if text, ok := stringOf(k); ok {
			if text = memberID.ReplaceAllString(text, "-random"); text == "" && name == "Group" {
				return `""`
			}
			if text == "" && e.FieldByName("TopicID").IsValid() {
				continue
			}
			return text
		}
		if k.Kind() != reflect.Pointer {
			return f.scalar(name, k)
		}
	}
	return ""
}

// split says whether a list may name a topic twice, with some of its partitions each time,
// as some answers to Produce and Fetch do.
func split(e reflect.Value) bool {
	switch e.Interface().(type) {
	case kmsg.FetchResponseTopic, kmsg.ProduceResponseTopic:
		return true
	}
	return false
}

// memberID is the random end of a member's id.
var memberID = regexp.MustCompile(`-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// foreign says whether an element is a topic or a group of another script, which runs at the same time.
func (f *fields) foreign(e reflect.Value) bool {
	if e.Kind() != reflect.Struct {
		return false
	}
	field := "Topic"
	switch e.Interface().(type) {
	case kmsg.ListGroupsResponseGroup:
		field = "Group"
	case kmsg.ListConfigResourcesResponseConfigResource:
		field = "Name"
	case kmsg.ListTransactionsResponseTransactionState:
		field = "TransactionalID"
	case kmsg.MetadataResponseTopic:
	default:
		return false
	}
	name, ok := stringOf(e.FieldByName(field))
	if ok && name == "" && field == "Group" {
		return true // several scripts commit under the empty id
	}
	own := strings.TrimPrefix(name, "__")
	return ok && scriptName(own) && !strings.HasPrefix(own, f.s.name+".")
}

func stringOf(v reflect.Value) (string, bool) {
	if v.Kind() == reflect.Pointer && !v.IsNil() {
		v = v.Elem()
	}
	return v.String(), v.Kind() == reflect.String
}

// scalar is a plain value in words.
func (f *fields) scalar(name string, v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return "null"
		}
		v = v.Elem()
	}
	switch x := v.Interface().(type) {
	case [16]byte:
		return f.id(x)
	case string:
		return f.text(name, x)
	case int16:
		if strings.HasSuffix(name, "ErrorCode") {
			return errorName(x)
		}
	}
	if !v.CanInt() {
		return fmt.Sprint(v.Interface())
	}
	n := v.Int()
	switch {
	case name == "Port" && slices.Contains(f.s.ports(), strconv.FormatInt(n, 10)):
		return "its port"
	case name == "ProducerID" && n >= 0:
		return "an id"
	case f.s.afloat && n >= 0 && (name == "BaseOffset" || name == "HighWatermark" || name == "LastStableOffset" || name == "FirstOffset"):
		return "an offset"
	case name == "FinalizedFeaturesEpoch" && n > 0:
		return "an epoch"
	case name == "StartTimestamp" && n > 0:
		return "a time"
	case name == "SessionID" && n > 0:
		return "a session"
	case strings.HasPrefix(name, "Timestamp") || strings.HasSuffix(name, "Timestamp") || strings.HasPrefix(name, "LogAppendTime"):
		return f.time(n)
	}
	return strconv.FormatInt(n, 10)
}

func errorName(code int16) string {
	if code == 0 {
		return "0"
	}
	if e := kerr.TypedErrorForCode(code); e != nil {
		return fmt.Sprintf("%d %s", code, e.Message)
	}
	return strconv.Itoa(int(code))
}

// id is a topic id by the name of its topic.
func (f *fields) id(id [16]byte) string {
	name, ok := f.s.ids[id]
	switch {
	case id == [16]byte{}:
		return "zero"
	case id == bogusID:
		return "bogus"
	case ok:
		return "id of " + name
	}
	return "an id"
}

// bogusID belongs to no topic.
var bogusID = [16]byte{0xb0, 0x90, 5, 6, 7, 8, 0x49, 10, 0x8b, 12, 13, 14, 15, 16, 17, 18}

// text is a string; of what is prose only counts whether it is there, but for what is wrong
// with a setting: those words are Kafka's.
func (f *fields) text(name, text string) string {
	switch {
	case text == "":
		return `""`
	case memberID.MatchString(text):
		return memberID.ReplaceAllString(text, "-random")
	case strings.HasPrefix(text, "Invalid value "):
		return text
	case name == "ClusterID" || strings.HasSuffix(name, "ErrorMessage") || name == "Documentation":
		return "a text"
	}
	for _, port := range f.s.ports() {
		text = strings.ReplaceAll(text, ":"+port, ":its port")
	}
	return text
}

// ports are those of the broker's listeners.
func (s *side) ports() (ports []string) {
	for _, addr := range []string{s.addr, s.sasl} {
		if _, port, err := net.SplitHostPort(addr); err == nil {
			ports = append(ports, port)
		}
	}
	return ports
}

// time is a moment: one that a script chose, as the distance from its base, or the clock's.
func (f *fields) time(ms int64) string {
	if d := ms - f.s.base; d > -7*24*3600*1000 && d < 10*60*1000 {
		return fmt.Sprintf("base%+d", d)
	}
	if d := time.Since(time.UnixMilli(ms)); d > -5*time.Minute && d < 5*time.Minute {
		return "now"
	}
	return strconv.FormatInt(ms, 10)
}

// records takes the batches of a Fetch answer apart.
func (f *fields) records(path string, b []byte) {
	if b == nil {
		f.put(path, "null")
		return
	}
	f.put(path, "records")
	for i := 0; len(b) > 0; i++ {
		at := fmt.Sprintf("%s[%d]", path, i)
		if len(b) < 61 || int(binary.BigEndian.Uint32(b[8:])) > len(b)-12 {
			f.put(at, "a part of a batch")
			return
		}
		var batch kmsg.RecordBatch
		whole := b[:12+int(binary.BigEndian.Uint32(b[8:]))]
		if err := batch.ReadFrom(whole); err != nil {
			f.put(at, err.Error())
			return
		}
		f.put(at, "element")
		f.batch(at, &batch, whole)
		b = b[len(whole):]
	}
}

func (f *fields) batch(at string, b *kmsg.RecordBatch, whole []byte) {
	for _, n := range []struct {
		name  string
		value int64
	}{
		{"PartitionLeaderEpoch", int64(b.PartitionLeaderEpoch)}, {"Magic", int64(b.Magic)},
		{"Attributes", int64(b.Attributes)}, {"LastOffsetDelta", int64(b.LastOffsetDelta)}, {"ProducerEpoch", int64(b.ProducerEpoch)},
		{"FirstSequence", int64(b.FirstSequence)}, {"NumRecords", int64(b.NumRecords)},
	} {
		f.put(at+"."+n.name, strconv.FormatInt(n.value, 10))
	}
	f.put(at+".FirstOffset", f.scalar("FirstOffset", reflect.ValueOf(b.FirstOffset)))
	f.put(at+".ProducerID", f.scalar("ProducerID", reflect.ValueOf(b.ProducerID)))
	f.put(at+".FirstTimestamp", f.time(b.FirstTimestamp))
	f.put(at+".MaxTimestamp", f.time(b.MaxTimestamp))
	f.put(at+".CRC", strconv.FormatBool(crc32.Checksum(whole[21:], crc32.MakeTable(crc32.Castagnoli)) == uint32(b.CRC)))
	if b.Attributes&7 == 0 {
		f.put(at+".Records", fmt.Sprintf("%x", b.Records))
	}
}
