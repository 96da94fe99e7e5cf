package ranks

import "context"

// GPU is one visible GPU.
type GPU struct {
	Index    int    // the number that torch would use: its position among the visible ones
	ID       string // what CUDA_VISIBLE_DEVICES takes: the UUID
	Name     string // "NVIDIA H100 80GB HBM3"
	MemTotal int    // MiB; 0 if unknown
	MemUsed  int    // MiB
}

// ListGPUs lists the visible GPUs.
func ListGPUs(ctx context.Context) ([]GPU, error) { return nil, errTODO }

// SelectGPUs picks GPUs by the user's list, "all" or "3,1", in the order given.
func SelectGPUs(all []GPU, list string) ([]GPU, error) { return nil, errTODO }
