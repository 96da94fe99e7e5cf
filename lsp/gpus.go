package lsp

import (
	"context"

	"dipls/ranks/host"
)

// gpusReply answers which GPUs a pool can be made of.
type gpusReply struct {
	GPUs []gpuInfo `json:"gpus"`
}

type gpuInfo struct {
	Index      int    `json:"index"`       // as torch numbers it, and dip.makePool takes it
	Name       string `json:"name"`        // "" for a part of a GPU
	TotalBytes int64  `json:"total_bytes"` // 0 if unknown
	UsedBytes  int64  `json:"used_bytes"`  // by whatever process
}

func (s *server) gpus(ctx context.Context, a *whereArgs) (*gpusReply, error) {
	if s.forbidden() {
		return nil, errUntrusted
	}
	visible := func(ctx context.Context) ([]host.GPU, error) { return host.ListGPUs(ctx, host.Local{}) }
	if w, err := a.begun(ctx, s); err != nil {
		return nil, err
	} else if w != nil {
		if here := w.processes.opened(); here != nil {
			visible = here.GPUs
		}
	}
	found, err := visible(ctx)
	if err != nil {
		return nil, err
	}
	const mib = 1 << 20
	reply := &gpusReply{GPUs: make([]gpuInfo, len(found))}
	for i, g := range found {
		reply.GPUs[i] = gpuInfo{Index: g.Index, Name: g.Name, TotalBytes: int64(g.MemTotal) * mib, UsedBytes: int64(g.MemUsed) * mib}
	}
	return reply, nil
}
