package broker

import "syscall"

// Shares of the process's file descriptors. Connections get what the others leave, so that
// clients who open ever more of them cannot keep a log from opening its next segment.
const (
	maxLogFiles    = 4096 // files of logs kept open between uses
	otherFiles     = 512  // chunk cache, metadata log, listeners, requests to the object store
	minConnections = 16
)

// shareDescriptors divides limit descriptors: files that logs keep open, and connections.
func shareDescriptors(limit uint64) (logFiles, connections int) {
	n := int(min(limit, 1<<31-1))
	logFiles = min(maxLogFiles, n/4)
	// An eighth is for what is open for a moment, and for files that answers on their way hold.
	return logFiles, max(minConnections, n-logFiles-min(otherFiles, n/4)-n/8)
}

// descriptorLimit is how many files the process may have open; Go has raised it to the
// system's hard limit.
func descriptorLimit() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024 // what systems allow at least
	}
	return uint64(l.Cur)
}
