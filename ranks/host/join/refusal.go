package join

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	refusalsShown  = 10 // in each period; then they are only counted, for whoever knocks decides how many there are
	refusalsPeriod = time.Minute
)

// refusal is why somebody is not let in, in words for the other end.
type refusal struct {
	text  string
	again bool // in a moment it may be otherwise
}

func (r *refusal) Error() string { return r.text }

func refuse(format string, args ...any) error { return &refusal{text: fmt.Sprintf(format, args...)} }

// refusals logs who was not let in.
type refusals struct {
	log *zap.Logger

	mu    sync.Mutex
	since time.Time // the beginning of the period
	n     int       // in it
}

func (r *refusals) add(from net.Addr, why error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.since) > refusalsPeriod {
		r.count()
		r.since = time.Now()
	}
	r.n++
	if r.n <= refusalsShown {
		r.log.Warn("a join was refused", zap.Stringer("address", from), zap.Error(why))
	}
}

// flush logs what was only counted.
func (r *refusals) flush() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.count()
}

func (r *refusals) count() {
	if more := r.n - refusalsShown; more > 0 {
		r.log.Warn("more joins were refused", zap.Int("count", more), zap.Time("since", r.since))
	}
	r.n = 0
}

// explainHandshake says what is behind an error of a TLS handshake that does not say it itself.
func explainHandshake(err error) error {
	switch text := err.Error(); {
	case strings.Contains(text, "bad record MAC"):
		// This is how OpenSSL's refusal looks from here: its alert is not encrypted as we expect at that point.
		return fmt.Errorf("the host does not trust the session's certificate: was it started by another session? (%w)", err)
	case strings.Contains(text, "first record does not look like a TLS handshake"):
		return fmt.Errorf("no host: %w", err)
	}
	return explainSilence(err)
}

// explainSilence says what is behind a timeout.
func explainSilence(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("it did not say who it is within %v: %w", helloPatience, err)
	}
	return err
}
