package host

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// gpuTimeout bounds nvidia-smi. It takes seconds where the driver has to be loaded for it.
const gpuTimeout = 20 * time.Second

// nvidiaSMI lists GPUs. With plainCSV it prints a line for each, and neither a header nor units.
var nvidiaSMI = []string{"nvidia-smi"}

const plainCSV = "--format=csv,noheader,nounits"

// GPU is one visible GPU.
type GPU struct {
	Index    int    `json:"index"`     // the number that torch uses: the position among the visible ones
	ID       string `json:"id"`        // what CUDA_VISIBLE_DEVICES takes: a UUID
	Name     string `json:"name"`      // "NVIDIA H100 80GB HBM3"; "" for a part of a GPU (MIG)
	MemTotal int    `json:"mem_total"` // MiB; 0 if unknown
	MemUsed  int    `json:"mem_used"`  // MiB
}

// GPUMaskName is the variable that says which GPUs a process sees.
const GPUMaskName = "CUDA_VISIBLE_DEVICES"

// GPUMask is what CUDA_VISIBLE_DEVICES is in an environment; nil: not set.
func GPUMask(environ []string) *string {
	for _, s := range slices.Backward(environ) { // the last of several counts
		if value, ok := strings.CutPrefix(s, GPUMaskName+"="); ok {
			return &value
		}
	}
	return nil
}

// ListGPUs lists the GPUs that a process on a host sees by default.
func ListGPUs(ctx context.Context, h Host) ([]GPU, error) { return h.GPUs(ctx, GPUMask(h.Environ())) }

// GPUs implements [Host]: it lists the GPUs that nvidia-smi finds (in PCI order) and mask does not hide. A machine without nvidia-smi has no GPU. No CUDA
// library is loaded.
func (o Observer) GPUs(ctx context.Context, mask *string) ([]GPU, error) {
	if mask != nil {
		if first, _, _ := strings.Cut(*mask, ","); slices.Contains([]string{"", "-1"}, strings.TrimSpace(first)) {
			return nil, nil // none is visible; no need to ask nvidia-smi
		}
	}
	all, err := o.queryGPUs(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w; set CUDA_VISIBLE_DEVICES= for CPU ranks", err)
	}
	if mask == nil {
		return all, nil
	}
	return visibleGPUs(all, *mask)
}

// queryGPUs runs nvidia-smi.
func (o Observer) queryGPUs(ctx context.Context) ([]GPU, error) {
	ctx, cancel := context.WithTimeout(ctx, gpuTimeout)
	defer cancel()
	printed, err := o.Run(ctx, nvidiaSMI, "--query-gpu=index,uuid,name,memory.total,memory.used", plainCSV)
	switch {
	case errors.Is(err, ErrNoProgram):
		return nil, nil
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("nvidia-smi: no answer: %w (does it work by hand?)", ctx.Err())
	case err != nil:
		return nil, err
	}
	text := strings.TrimSpace(string(printed.Out))
	if strings.Contains(text, "No devices were found") {
		return nil, nil // some versions exit with 0, some with 6
	}
	if printed.Status != "" {
		text = strings.Join(strings.Fields(text+"\n"+string(printed.Err)), " ")
		return nil, fmt.Errorf("nvidia-smi failed (%s), so no GPU can be used: %s", printed.Status, text)
	}
	return parseGPUs(printed.Out)
}

// GPUMemory implements [Host].
func (o Observer) GPUMemory(ctx context.Context) (map[int]int64, error) {
	out, err := o.askGPUs(ctx, "--query-compute-apps=pid,used_memory")
	if err != nil {
		return nil, fmt.Errorf("ask nvidia-smi for the memory of processes: %w", err)
	}
	if out == nil {
		return nil, nil
	}
	return parseGPUMemory(out), nil
}

// GPULoad implements [Host].
func (o Observer) GPULoad(ctx context.Context) (map[string]int, error) {
	out, err := o.askGPUs(ctx, "--query-gpu=uuid,utilization.gpu")
	if err != nil {
		return nil, fmt.Errorf("ask nvidia-smi how busy GPUs are: %w", err)
	}
	return parseGPULoad(out), nil
}

// askGPUs gives the lines with which nvidia-smi answers a query; nil without nvidia-smi.
func (o Observer) askGPUs(ctx context.Context, query string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, gpuTimeout)
	defer cancel()
	printed, err := o.Run(ctx, nvidiaSMI, query, plainCSV)
	switch {
	case errors.Is(err, ErrNoProgram):
		return nil, nil
	case err != nil:
		return nil, err
	case printed.Status != "":
		return nil, printed.failure()
	}
	return append([]byte{}, printed.Out...), nil
}

// parseGPULoad reads the answer to GPULoad: a line for each GPU, "[N/A]" for one that is cut into parts. Other lines are skipped.
func parseGPULoad(out []byte) map[string]int {
	byID := map[string]int{}
	for line := range strings.Lines(string(out)) {
		id, load, _ := strings.Cut(line, ",")
		if percent, err := strconv.Atoi(strings.TrimSpace(load)); err == nil {
			byID[strings.TrimSpace(id)] = percent
		}
	}
	return byID
}

// parseGPUMemory reads the answer to GPUMemory: a line for each process and GPU. Other lines are skipped, such as the one that says that there
// is no process.
func parseGPUMemory(out []byte) map[int]int64 {
	byPID := make(map[int]int64)
	for line := range strings.Lines(string(out)) {
		pid, used, _ := strings.Cut(line, ",")
		n, err := strconv.Atoi(strings.TrimSpace(pid))
		mib, unknown := strconv.ParseInt(strings.TrimSpace(used), 10, 64)
		if err == nil && unknown == nil {
			byPID[n] += mib << 20
		}
	}
	return byPID
}

// parseGPUs reads the answer to queryGPUs.
func parseGPUs(out []byte) ([]GPU, error) {
	r := csv.NewReader(bytes.NewReader(out))
	r.FieldsPerRecord = 5
	r.TrimLeadingSpace = true
	records, err := r.ReadAll()
	if err != nil {
		return nil, fmt.Errorf("output of nvidia-smi: %w", err)
	}
	gpus := make([]GPU, 0, len(records))
	for i, rec := range records {
		index, err := strconv.Atoi(rec[0])
		if err != nil || index != i {
			return nil, fmt.Errorf("output of nvidia-smi: GPU number %q in line %d", rec[0], i+1)
		}
		gpus = append(gpus, GPU{Index: index, ID: rec[1], Name: rec[2], MemTotal: mebibytes(rec[3]), MemUsed: mebibytes(rec[4])})
	}
	return gpus, nil
}

// mebibytes reads a size, which is "[N/A]" where memory is shared with the CPU.
func mebibytes(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}

// visibleGPUs applies CUDA_VISIBLE_DEVICES. Its entries are numbers, UUIDs, beginnings of UUIDs, or MIG ids; the last are kept as they are, for
// nvidia-smi does not list them. Like CUDA it stops at the first entry that names no device.
func visibleGPUs(all []GPU, mask string) ([]GPU, error) {
	var visible []GPU
	for entry := range strings.SplitSeq(mask, ",") {
		entry = strings.TrimSpace(entry)
		g, ok := GPU{}, false
		switch {
		case strings.HasPrefix(entry, "MIG-"):
			g, ok = GPU{ID: entry}, true
		case strings.HasPrefix(entry, "GPU-"):
			matches := func(g GPU) bool { return strings.HasPrefix(g.ID, entry) }
			if i := slices.IndexFunc(all, matches); i >= 0 {
				if slices.ContainsFunc(all[i+1:], matches) {
					return nil, fmt.Errorf("CUDA_VISIBLE_DEVICES=%s: %s fits more than one GPU", mask, entry)
				}
				g, ok = all[i], true
			}
		default:
			if n, err := strconv.Atoi(entry); err == nil && n >= 0 && n < len(all) {
				g, ok = all[n], true
			}
		}
		if !ok {
			break
		}
		if slices.ContainsFunc(visible, func(v GPU) bool { return v.ID == g.ID }) {
			return nil, fmt.Errorf("CUDA_VISIBLE_DEVICES=%s names %s twice: CUDA would show no GPU at all", mask, g.ID)
		}
		g.Index = len(visible)
		visible = append(visible, g)
	}
	return visible, nil
}

// SelectGPUs picks visible GPUs by their numbers in torch, in the order of the numbers: the first one is for rank 0.
func SelectGPUs(visible []GPU, numbers []int) ([]GPU, error) {
	var picked []GPU
	for i, n := range numbers {
		if n < 0 || n >= len(visible) {
			return nil, fmt.Errorf("there is no GPU %d: %s", n, countGPUs(len(visible)))
		}
		if slices.Contains(numbers[:i], n) {
			return nil, fmt.Errorf("GPU %d is named twice, but each rank needs one of its own: %s", n, countGPUs(len(visible)))
		}
		picked = append(picked, visible[n])
	}
	return picked, nil
}

func countGPUs(n int) string {
	switch n {
	case 0:
		return "no GPU is visible"
	case 1:
		return "the only visible one is GPU 0"
	default:
		return fmt.Sprintf("the visible ones are 0 to %d", n-1)
	}
}
