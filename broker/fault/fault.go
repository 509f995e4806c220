// Package fault names the moments at which a process may be made to die, fail, wait or
// lose something, so that tests can stop it exactly there.
//
// It owns the points and what is armed at them; the caller owns what an error at its
// point means. Without the build tag varvefault every function here is empty, inlined
// and gone. With the tag, points are armed by the environment variable VARVE_FAULT or by
// Arm, and all functions may be called from several goroutines at once.
package fault

import "errors"

// ErrInjected is the error of a point that is armed to fail.
var ErrInjected = errors.New("injected fault")

// ErrDropped is what Err answers at a point that is armed to drop: the caller goes on as
// if its message, or the answer to it, had been lost.
var ErrDropped = errors.New("injected fault: dropped")
