package s3

// Name is the key as the store knows it.
func (b *Bucket) Name(key string) string { return *b.name(key) }
