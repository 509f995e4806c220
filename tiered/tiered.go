package tiered

import "errors"

// errNothing ends a copy job that found no segment to upload.
var errNothing = errors.New("nothing to upload")

// errStillThere ends a clean-up that found an object under a name it had just removed.
var errStillThere = errors.New("still there after its deletion")
