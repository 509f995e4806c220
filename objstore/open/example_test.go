package open_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/varve-io/varve/objstore"
	"github.com/varve-io/varve/objstore/open"
)

// The same code runs on s3://bucket/prefix?region=…, azblob://account/container/prefix, gs://bucket/prefix
// and file:///dir.
func Example() {
	ctx := context.Background()
	b, err := open.Open(ctx, "mem://example")
	if err != nil {
		fmt.Println(err) // names the parameter, and what to write instead
		return
	}
	defer b.Close()

	// Only one writer creates an object, and he is told so even when the reply to his write was lost.
	first, err := b.Put(ctx, "jobs/leader", objstore.Bytes([]byte("node 1")), objstore.PutOpts{IfAbsent: true})
	fmt.Println("created:", err == nil)
	_, err = b.Put(ctx, "jobs/leader", objstore.Bytes([]byte("node 2")), objstore.PutOpts{IfAbsent: true})
	fmt.Println("taken:", errors.Is(err, objstore.ErrPrecondition))

	// Only who knows the version swaps it.
	_, err = b.Put(ctx, "jobs/leader", objstore.Bytes([]byte("node 2")), objstore.PutOpts{IfVersion: first.Version})
	fmt.Println("swapped:", err == nil)

	// A range comes whole into the caller's buffer, or not at all.
	p := make([]byte, 1)
	_, err = b.GetRange(ctx, "jobs/leader", 5, p, "")
	fmt.Printf("read: %s %v\n", p, err)
	_, err = b.GetRange(ctx, "jobs/leader", 100, p, "")
	fmt.Println("beyond the end:", errors.Is(err, objstore.ErrInvalidRange))

	for a, err := range objstore.All(ctx, b, "jobs/", "") {
		fmt.Println("listed:", a.Key, a.Size, err)
	}
	fmt.Println("deleted:", b.Delete(ctx, "jobs/leader", "jobs/never-there"))
	// Output:
	// created: true
	// taken: true
	// swapped: true
	// read: 2 <nil>
	// beyond the end: true
	// listed: jobs/leader 6 <nil>
	// deleted: <nil>
}
