package controller

// OpenStoreSized is OpenStore with log files of another size, in bytes.
var OpenStoreSized = openStore
