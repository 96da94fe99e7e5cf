package ranks

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"

	"dipls/internal/contain"
	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Bring copies variables that a process of one host has shared to another host, where processes can map the copy until free is called. If they are there
// already, it is the payload itself.
func Bring(ctx context.Context, payload wire.Payload, from, to host.Host, told func(moved, total int64)) (there wire.Payload, free func(), err error) {
	if name := payload.Host(); name == "" || name == to.Name() {
		return payload, func() {}, nil
	}
	return carry(ctx, payload, from, to, &progress{told: told})
}

// carry copies a payload's files from one host to another.
func carry(ctx context.Context, payload wire.Payload, from, to host.Host, p *progress) (there wire.Payload, free func(), err error) {
	var object map[string]json.RawMessage
	var files []host.SharedFile
	if err = json.Unmarshal(payload, &object); err == nil {
		err = json.Unmarshal(object["files"], &files)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("variables of %s: %w", from.Name(), err)
	}
	sizes := make([]int64, len(files))
	var total int64
	for i, f := range files {
		sizes[i] = f.Size
		total += f.Size
	}
	p.expect(total)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r, w := io.Pipe()
	var sending sync.WaitGroup
	sending.Go(func() {
		err := io.ErrUnexpectedEOF
		defer func() { w.CloseWithError(err) }()
		defer contain.AsError(&err)
		if err = from.Fetch(ctx, files, io.MultiWriter(w, p)); err == nil {
			err = io.EOF
		}
	})
	kept, free, err := to.Keep(ctx, sizes, r)
	if err != nil {
		stop(err)
	}
	r.CloseWithError(io.ErrClosedPipe)
	sending.Wait()
	if err != nil {
		return nil, nil, fmt.Errorf("copy variables from %s to %s: %w", from.Name(), to.Name(), err)
	}
	object["host"], _ = json.Marshal(to.Name()) // strings and numbers can be marshalled
	object["files"], _ = json.Marshal(kept)
	if there, err = json.Marshal(object); err != nil {
		free()
		return nil, nil, err
	}
	return there, free, nil
}

// progress adds up how much has moved.
type progress struct {
	told func(moved, total int64) // nil: nobody wants to know

	mu           sync.Mutex
	moved, total int64
}

func (p *progress) expect(n int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total += n
}

// Write implements [io.Writer].
func (p *progress) Write(data []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved += int64(len(data))
	if p.told != nil {
		p.told(p.moved, p.total)
	}
	return len(data), nil
}
