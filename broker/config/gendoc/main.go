// Command gendoc writes docs/configuration.md from the table of settings. Run it in the
// root of the repository: go run ./broker/config/gendoc.
package main

import (
	"os"

	"github.com/varve-io/varve/broker/config"
	"github.com/varve-io/varve/broker/vfs"
)

func main() {
	if err := vfs.WriteFileAtomic(vfs.OS(), "docs/configuration.md", config.Markdown()); err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
}
