//go:build !linux

package load

import "time"

func nap(d time.Duration) { <-time.After(d) }
