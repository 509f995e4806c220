//go:build !varvefault

package fault

// Enabled says whether the points exist in this build.
const Enabled = false

// Point is a moment at which the process can be killed or delayed.
func Point(string) {}

// Err is a moment that can also fail with ErrInjected or ErrDropped.
func Err(string) error { return nil }
