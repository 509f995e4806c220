// Command gendoc writes docs/protocol.md from the table of API keys and the gaps that
// docs/differences.md lists. Run it in the root of the repository: go run ./broker/api/gendoc.
package main

import (
	"os"

	"github.com/varve-io/varve/broker/api"
	"github.com/varve-io/varve/broker/vfs"
)

func main() {
	differences, err := vfs.ReadFile(vfs.OS(), "docs/differences.md")
	if err == nil {
		err = vfs.WriteFileAtomic(vfs.OS(), "docs/protocol.md", api.Markdown(differences))
	}
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
