package kafka

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The table is that of Apache Kafka 4.3.1, as its own jars print it, and the codes that
// newer clients know besides.
func TestErrorsAreKafkas(t *testing.T) {
	raw, err := os.ReadFile("testdata/errors-kafka-4.3.1.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Error]bool{}
	for line := range strings.Lines(string(raw)) {
		var code Error
		var name string
		var retriable bool
		if _, err := fmt.Sscanf(line, "%d %s %t", &code, &name, &retriable); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		seen[code] = true
		if row := errorTable[code]; row.name != name || row.retriable != retriable || code.Retriable() != retriable {
			t.Errorf("code %d is %s, retriable %v, to Kafka; %s, %v here", code, name, retriable, row.name, row.retriable)
		}
	}
	for code, row := range errorTable {
		if client := kerr.ErrorForCode(int16(code)); !seen[code] && (!errors.As(client, new(*kerr.Error)) || !strings.HasPrefix(client.Error(), row.name)) {
			t.Errorf("code %d, %s: neither Kafka nor clients know it", code, row.name)
		}
		if !strings.HasSuffix(row.text, ".") {
			t.Errorf("%s: %q is no sentence", row.name, row.text)
		}
	}
}

func TestCodeFindsTheWrappedError(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Error
	}{
		{nil, NoError},
		{InvalidRecord, InvalidRecord},
		{fmt.Errorf("partition 3: %w", OffsetOutOfRange), OffsetOutOfRange},
		{errors.Join(errors.New("disk"), fmt.Errorf("log: %w", KafkaStorageError)), KafkaStorageError},
		{errors.New("no code"), UnknownServerError},
	} {
		if got := Code(c.err); got != c.want {
			t.Errorf("Code(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	if !errors.Is(fmt.Errorf("x: %w", NotLeaderOrFollower), NotLeaderOrFollower) {
		t.Error("errors.Is does not find a wrapped code")
	}
}

func TestUUIDText(t *testing.T) {
	for range 2000 {
		u := NewUUID()
		s := u.String()
		if len(s) != 22 || s[0] == '-' {
			t.Fatalf("%q: want 22 characters and no leading dash", s)
		}
		if back, err := ParseUUID(s); err != nil || back != u {
			t.Fatalf("%q reads back as %v, %v", s, back, err)
		}
	}
	for _, bad := range []string{"", "short", strings.Repeat("a", 23), strings.Repeat("+", 22)} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q is taken for an id", bad)
		}
	}
	if got := (TopicPartition{"a-b", 7}).String(); got != "a-b-7" {
		t.Errorf("partition is %q", got)
	}
}
