package lsp

import "context"

// gpusReply answers which GPUs a pool can be made of.
type gpusReply struct {
	GPUs []gpuInfo `json:"gpus"`
}

type gpuInfo struct {
	Index      int    `json:"index"`       // as torch numbers it, and dip.makePool takes it
	Name       string `json:"name"`        // "" for a part of a GPU
	TotalBytes int64  `json:"total_bytes"` // 0 if unknown
	UsedBytes  int64  `json:"used_bytes"`  // by all processes
}

func (s *server) gpus(ctx context.Context, a *whereArgs) (*gpusReply, error) {
	w, err := a.workspace(s, ctx)
	if err != nil {
		return nil, err
	}
	found, err := w.GPUs(ctx)
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
