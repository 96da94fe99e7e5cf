package fleet

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dipls/ranks/host/afar"
	"dipls/ranks/wire"
)

const (
	// probePrefix begins the names of probes.
	probePrefix = ".dipls-probe-"

	// probeStale is how old a probe is whose program was killed. Others may wait long for a host.
	probeStale = time.Hour
)

// probe is a file in a folder, by which hosts see that the folder is the same as here.
type probe struct {
	path, word string // "": the folder cannot be written to
}

// newProbe makes a probe, and removes those of killed programs. Where folder is "" there is none.
func newProbe(folder string) *probe {
	if folder == "" {
		return &probe{}
	}
	sweepProbes(folder)
	word := rand.Text()
	f, err := os.CreateTemp(folder, probePrefix)
	if err != nil {
		return &probe{}
	}
	p := &probe{f.Name(), word}
	_, err = f.WriteString(word)
	if closed := f.Close(); err != nil || closed != nil {
		p.remove()
		return &probe{}
	}
	return p
}

func sweepProbes(folder string) {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), probePrefix) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > probeStale {
			_ = os.Remove(filepath.Join(folder, e.Name()))
		}
	}
}

func (p *probe) remove() {
	if p.path != "" {
		_ = os.Remove(p.path) // the next one removes it
	}
}

// forHost is what a host is asked for. One that is shown none compares files, and finds them equal.
func (p *probe) forHost() *afar.ProjectProbe {
	if p == nil || p.path == "" {
		return nil
	}
	return &afar.ProjectProbe{Path: wire.Path(p.path), Word: p.word}
}
