package batch

// AppendXerial is the writer of snappy-java's framing, for tests that put streams together.
var AppendXerial = appendXerial
