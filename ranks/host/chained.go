package host

import (
	"context"
	"io"
)

// Chained is a host that passes on what it keeps to other hosts of its kind, as it comes, over their own network.
type Chained interface {
	Host
	// KeepAlong is [Host.Keep] for this host and others. The bytes leave the source once, as far as the hosts reach each other. kept are in the order of
	// the hosts, this one first; after an error there is nothing. told hears how much there is on the host that has least, one call at a time.
	KeepAlong(ctx context.Context, others []Host, sizes []int64, source Source, told func(has int64)) (kept []Kept, err error)
}

// Source writes its bytes to w, but for the first ones. It may be called again, also while it goes on.
type Source func(ctx context.Context, w io.Writer, skip int64) error

// Kept is memory of a host that processes of ours there can map until Free is called.
type Kept struct {
	Files []SharedFile
	Free  func()
}
