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

	// probeStale is how old a probe is whose session was killed.
	probeStale = time.Minute
)

// probe is a file in a folder, by which hosts see that the folder is the same as here. A host that is not shown one compares files, and finds them
// equal.
type probe struct {
	path, word string // "": the folder cannot be written to
}

// newProbe makes a probe.
func newProbe(folder string) *probe {
	sweepStale(folder, probePrefix, probeStale)
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

// sweepStale removes files of such an age from a folder that killed programs have left there.
func sweepStale(folder, prefix string, age time.Duration) {
	entries, _ := os.ReadDir(folder)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > age {
			_ = os.Remove(filepath.Join(folder, e.Name()))
		}
	}
}

func (p *probe) remove() {
	if p.path != "" {
		_ = os.Remove(p.path) // the next one removes it
	}
}

// forHost is what a host is asked for.
func (p *probe) forHost() *afar.ProjectProbe {
	if p == nil || p.path == "" {
		return nil
	}
	return &afar.ProjectProbe{Path: wire.Path(p.path), Word: p.word}
}
