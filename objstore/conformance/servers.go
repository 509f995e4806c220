package conformance

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// Server is one implementation that the suite is run against.
type Server struct {
	// Name as localstack/store has it; mem and file are our own.
	Name string
	// What it is, with the version that the table was made with.
	What string
	// Gaps are the lines that it fails, each with what it does instead.
	Gaps map[string]string
	// Racy are the lines that it fails now and then: those depend on who comes first, and may
	// pass too.
	Racy map[string]string
	// Absent are the lines that do not apply to it: the store behind it has no such thing.
	Absent []string
}

// lines of the matrix, in its order, with what each says. What the suite has and the matrix
// has not is held by every server.
var lines = [...]struct{ name, says string }{
	{"RoundTrip", "sizes 0 to 10 MiB, whole and in parts, with metadata"},
	{"Missing", "a missing object is told from a missing bucket"},
	{"Rules", "keys up to 255 bytes a segment, leading dots; class and metadata rules"},
	{"Checksum", "CRC32C told by writes and heads; a wrong one refused, whole and in parts"},
	{"Conditions", "create-only and compare-and-swap, whole and in parts"},
	{"SettleOwnWrite", "a repeated write is recognised as one's own"},
	{"CreateRace", "16 writers create one object: one wins"},
	{"SwapRace", "16 writers swap one version: one wins"},
	{"SwapCounter", "no increment lost, none done twice"},
	{"Ranges", "ranges at every edge; beyond the end refused"},
	{"ReadWhileOverwritten", "a reader never sees two versions"},
	{"ListOrder", "byte order, prefix, start after a key"},
	{"ListPages", "1,010 keys over pages"},
	{"Delete", "missing keys are success, failures are told by key"},
	{"DeleteIf", "delete under a version"},
	{"ConditionalDelete", "the store itself refuses to delete another version"},
	{"CancelLeavesNothing", "a cancelled upload leaves nothing"},
	{"Sweep", "uploads of crashed writers are found and removed"},
	{"Tags", "tags are kept"},
	{"Classes", "each online storage class is kept"},
	{"SetClass", "the class of an object is changed in place"},
	{"Offline", "an archived object is refused, restored and read"},
	{"Lifecycle", "rules of the bucket are told"},
	{"NoBucket", "a missing bucket has an error of its own"},
	{"WrongSecret", "wrong credentials are refused"},
}

// Servers is the one table of what each server fails.
func Servers() []Server {
	var (
		oneClass = []string{"Tags", "Classes", "SetClass", "Offline", "Lifecycle"}
		noServer = []string{"NoBucket", "WrongSecret", "ConditionalDelete"}
	)
	return []Server{
		{Name: "mem", What: "in this process", Absent: slices.Concat(oneClass, []string{"Sweep"}, noServer)},
		{Name: "file", What: "a directory", Absent: slices.Concat(oneClass, noServer)},
		{Name: "versitygw", What: "S3, versitygw v1.8.0", Gaps: map[string]string{
			"Classes":   "takes the name of any class, and keeps STANDARD",
			"SetClass":  "400 InvalidRequest",
			"Offline":   "has no classes but STANDARD",
			"Lifecycle": "501",
		}},
		{Name: "minio", What: "S3, MinIO of 2026-02-12", Gaps: map[string]string{
			"ConditionalDelete": "the condition is ignored: the object is gone. Varve looks first, which leaves a gap of milliseconds",
			"Classes":           "STANDARD and REDUCED_REDUNDANCY only, 400 InvalidStorageClass",
			"SetClass":          "400 InvalidStorageClass",
			"Offline":           "400 InvalidStorageClass",
			"Sweep":             "lists the uploads of a single key only; it removes old ones by itself (MINIO_API_STALE_UPLOADS_EXPIRY, 24 h)",
			"Lifecycle":         "expiry only, 400 InvalidArgument for uploads and classes",
		}},
		{Name: "ministack", What: "S3, MiniStack 1.5.33, with checksum=none", Absent: []string{"Checksum"}, Gaps: map[string]string{
			"Tags":        "an upload in parts loses its tags",
			"WrongSecret": "checks no signatures",
		}},
		{Name: "localstack", What: "S3, LocalStack 4.14.0", Gaps: map[string]string{
			"ReadWhileOverwritten": "a write waits until nobody reads the object",
			"DeleteIf":             "501",
			"WrongSecret":          "checks no signatures",
		}, Racy: map[string]string{
			"SwapRace":   "two uploads in parts under one version may both win",
			"CreateRace": "two uploads in parts may both win",
		}},
		{Name: "azurite", What: "Azure Blob, Azurite 3.37.0", Absent: []string{"Sweep", "Lifecycle"}},
		{Name: "fake-gcs", What: "Cloud Storage, fake-gcs-server v1.56.1", Absent: []string{"Tags", "Offline", "Sweep", "WrongSecret"}, Gaps: map[string]string{
			"ConditionalDelete":            "the generation is ignored: the object is gone. Varve looks first",
			"SetClass":                     "a rewrite keeps STANDARD",
			"Lifecycle":                    "takes rules and forgets them",
			faultName + "part, reply lost": "appends a chunk again that is sent again; the write fails, as it should",
		}},
	}
}

// Named is the server of that name; one without a name is a real cloud, which has no gaps.
func Named(t *testing.T, name string) Server {
	t.Helper()
	if name == "" {
		return Server{Name: "the cloud"}
	}
	for _, s := range Servers() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no server %q in objstore/conformance/servers.go", name)
	return Server{}
}

// Matrix is the table of servers as docs/object-stores.md shows it.
func Matrix() string {
	var b strings.Builder
	servers := Servers()
	b.WriteString("| | what is tried |")
	for _, s := range servers {
		fmt.Fprintf(&b, " %s |", s.Name)
	}
	b.WriteString("\n|---|---|" + strings.Repeat(":-:|", len(servers)) + "\n")
	var notes []string
	for _, l := range lines {
		fmt.Fprintf(&b, "| %s | %s |", l.name, l.says)
		for _, s := range servers {
			mark := "✓"
			if why, gap := s.Gaps[l.name]; gap {
				notes = append(notes, fmt.Sprintf("%d. %s, %s: %s.", len(notes)+1, s.Name, l.name, why))
				mark = fmt.Sprintf("✗ %d", len(notes))
			} else if why, racy := s.Racy[l.name]; racy {
				notes = append(notes, fmt.Sprintf("%d. %s, %s: %s.", len(notes)+1, s.Name, l.name, why))
				mark = fmt.Sprintf("(✗) %d", len(notes))
			} else if s.absent(l.name) {
				mark = "–"
			}
			fmt.Fprintf(&b, " %s |", mark)
		}
		b.WriteString("\n")
	}
	for _, s := range servers {
		for _, name := range slices.Sorted(maps.Keys(s.Gaps)) {
			if row, ok := strings.CutPrefix(name, faultName); ok {
				notes = append(notes, fmt.Sprintf("%d. %s, in the table of faults, %s: %s.", len(notes)+1, s.Name, row, s.Gaps[name]))
			}
		}
	}
	b.WriteString("\n" + strings.Join(notes, "\n") + "\n")
	return b.String()
}

// listed says that the server is one of the table, and no cloud.
func (s Server) listed() bool { return s.What != "" }

func (s Server) absent(line string) bool {
	return slices.Contains(s.Absent, line)
}
