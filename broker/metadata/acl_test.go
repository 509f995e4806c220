package metadata

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/varve-io/varve/broker/kafka"
)

func aclSamples() []Record {
	rule := kafka.ACL{
		Resource: kafka.ResourceTopic, Name: "orders.", Pattern: kafka.PatternPrefixed, Principal: "User:ann", Host: "10.0.0.1",
		Operation: kafka.OpWrite, Permission: kafka.Allow,
	}
	other := rule
	other.Name, other.Pattern, other.Host, other.Permission = "*", kafka.PatternLiteral, "*", kafka.Deny
	return []Record{ACLRecord{ACL: rule}, ACLRecord{ACL: other}, ACLRecord{ACL: rule, Remove: true}}
}

// The bytes of aclSamples, which must open for ever.
const goldenACL = "564d454e017784cde3030f011f0408076f72646572732e08557365723a616e6e0831302e302e302e310806000f01120406012a08557365723a616e6e012a0804000f011f0408076f72646572732e08557365723a616e6e0831302e302e302e31080601"

func TestGoldenACLRecords(t *testing.T) { golden(t, aclSamples(), goldenACL) }

// Rules are kept by snapshots, forgotten when they are removed, and told of.
func TestACLsInTheImage(t *testing.T) {
	samples := aclSamples()
	img, d := apply(t, &Image{}, samples...)
	left := samples[1].(ACLRecord).ACL
	if !d.ACLs || d.Empty() || !slices.Equal(slices.Collect(img.ACLs()), []kafka.ACL{left}) || img.ACLCount() != 1 {
		t.Errorf("delta %+v, %d rules", d, img.ACLCount())
	}
	again, err := ReadImage(bytes.NewReader(encoded(t, img)))
	if err != nil {
		t.Fatal(err)
	}
	if !again.HasACL(left) || Diff(img, again).ACLs || !Diff(&Image{}, again).ACLs {
		t.Error("a snapshot loses rules, or Diff does not tell them apart")
	}
	if _, _, err := img.Apply(2, samples[2:]); !errors.Is(err, kafka.ResourceNotFound) {
		t.Errorf("removing a rule twice: %v", err)
	}
	bad := left
	bad.Name = ""
	if _, _, err := img.Apply(2, []Record{ACLRecord{ACL: bad}}); !errors.Is(err, kafka.InvalidRequest) {
		t.Errorf("a rule without a name: %v", err)
	}
}
