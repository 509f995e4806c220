//go:build !varveplanted

package fault

// Planted says whether the process has a bug: never, in this build.
func Planted(Bug) bool { return false }
