package commitlog

// SetProducerIDExpiration changes Options.ProducerIDExpirationMs of a log.
func SetProducerIDExpiration(l *Log, ms int64) { l.expiration.Store(ms) }

// Producers lists the producers that a log remembers, ascending in id, without those
// that have expired. It waits for an append that is under way. Errors: what Err answers.
func Producers(l *Log) ([]ProducerSnapshotEntry, error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	if err := l.ready(); err != nil {
		return nil, err
	}
	l.w.producers.expire(l.opts.nowMs(), l.expiration.Load())
	return l.w.producers.snapshot(), nil
}
