package ranks

import (
	"encoding/json"
	"slices"
	"strings"

	"go.uber.org/zap"

	"dipls/ranks/host"
	"dipls/ranks/wire"
)

// Surroundings are what the process has changed, since its start, of what its children inherit: variables of its environment and directories. nil:
// nothing. Nobody may change the value.
func (p *Process) Surroundings() *wire.Surroundings {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.moved
}

// hasMoved is called by the reader.
func (p *Process) hasMoved(m *wire.Message) {
	s := new(wire.Surroundings)
	if err := json.Unmarshal(m.Content, s); err != nil {
		p.log.Warn("content of surroundings", zap.Error(err))
		return
	}
	for name := range s.Env {
		if slices.Contains(launcherEnv, name) || strings.HasPrefix(name, "DIPLS_") {
			delete(s.Env, name)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.moved = s
}

// Carry has each rank take over surroundings before its next request, and in the same message. Nil takes that back.
func (p *Pool) Carry(s *wire.Surroundings) {
	var carry []byte
	if s = inheritable(s); s != nil {
		content, err := json.Marshal(s)
		if err != nil {
			panic(err) // it has come as JSON
		}
		carry = content
	}
	for _, proc := range p.ranks {
		proc.mu.Lock()
		proc.carry = carry
		proc.mu.Unlock()
	}
}

// laden is a request together with what Carry has left for it. p.mu is held.
func (p *Process) laden(content []byte) []byte {
	if p.carry == nil {
		return content
	}
	body := content[:len(content)-1] // without the brace
	whole := make([]byte, 0, len(content)+len(p.carry)+32)
	whole = append(whole, body...)
	if len(body) > 1 {
		whole = append(whole, ',')
	}
	whole = append(whole, `"surroundings":`...)
	whole = append(whole, p.carry...)
	p.carry = nil
	return append(whole, '}')
}

// inheritable is the part of surroundings that ranks take over; nil if there is none.
func inheritable(s *wire.Surroundings) *wire.Surroundings {
	if s == nil {
		return nil
	}
	of := wire.Surroundings{Env: map[string]json.RawMessage{}, Cwd: s.Cwd, Path: s.Path}
	for name, value := range s.Env {
		if name != host.GPUMaskName {
			of.Env[name] = value
		}
	}
	return &of
}

// CountsAtJoining reports whether a variable has an effect on a rank only if it is set before the rank joins its process group.
func CountsAtJoining(name string) bool {
	return slices.Contains(atJoining, name) || slices.ContainsFunc(atJoiningFamilies, func(family string) bool { return strings.HasPrefix(name, family) })
}

var (
	atJoining         = []string{host.GPUMaskName, "OMP_NUM_THREADS", "TORCH_DISTRIBUTED_DEBUG"}
	atJoiningFamilies = []string{"NCCL_", "GLOO_", "TORCH_NCCL_", "TORCH_GLOO_"}
)

// GPUMask is the CUDA_VISIBLE_DEVICES of a process with surroundings, on a node with an environment; nil: not set.
func GPUMask(environ []string, s *wire.Surroundings) *string {
	if s != nil {
		if value, ok := s.Env[host.GPUMaskName]; ok {
			var mask *string
			_ = json.Unmarshal(value, &mask) // null if it was removed
			return mask
		}
	}
	return host.GPUMask(environ)
}
