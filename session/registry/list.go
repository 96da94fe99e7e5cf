package registry

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"dipls/session"
	"dipls/session/remote"
)

// aboutPatience is how long a session may take to describe itself. What its GPUs hold takes nvidia-smi most of a second.
var aboutPatience = 3 * time.Second

// List lists the sessions of the user on this machine, in the order of their folders and names, with the GPU memory that they hold.
func (r *Registry) List(ctx context.Context) ([]session.Listed, error) {
	patient, cancel := context.WithTimeout(ctx, aboutPatience)
	defer cancel()
	if h, err := hold(patient); err == nil { // removes what dead ones have left; who cannot do that lists the living all the same
		h.release()
	}
	all, err := living()
	if err != nil {
		return nil, err
	}
	listed := make([]session.Listed, len(all))
	var work sync.WaitGroup
	for i, e := range all {
		work.Go(func() { listed[i] = e.list(ctx, true) })
	}
	work.Wait()
	listed = slices.DeleteFunc(listed, func(l session.Listed) bool { return l.PID == 0 && l.Problem == "" })
	slices.SortFunc(listed, func(a, b session.Listed) int { return cmp.Or(cmp.Compare(a.Dir, b.Dir), cmp.Compare(a.Name, b.Name)) })
	return listed, nil
}

// Find describes the session that Attach would attach to, and attaches to nothing: also one of another version of dipls can be found, and stopped. It
// starts none.
func (r *Registry) Find(ctx context.Context, q session.AttachRequest) (session.Listed, error) {
	dir, err := realDir(q.Dir)
	if err != nil {
		return session.Listed{}, err
	}
	all, err := living()
	if err != nil {
		return session.Listed{}, err
	}
	e, err := find(all, dir, q.Name, false, q.Only)
	if err != nil {
		return session.Listed{}, err
	}
	if e != nil {
		if l := e.list(ctx, false); l.PID != 0 || l.Problem != "" {
			return l, nil
		}
	}
	return session.Listed{}, noSession(q, dir)
}

// list asks a session. The zero value: it has ended.
func (e *entry) list(ctx context.Context, memory bool) session.Listed {
	if e.problem != nil {
		return session.Listed{About: e.session(), Problem: e.problem.Error()}
	}
	patient, cancel := context.WithTimeout(ctx, aboutPatience)
	defer cancel()
	known, err := remote.About(patient, e.socket(), memory)
	switch {
	case err == nil:
		return session.Listed{About: known}
	case isGone(err):
		return session.Listed{}
	case patient.Err() != nil:
		return session.Listed{About: e.session(), Problem: "it does not answer; " + e.remedy()}
	}
	return session.Listed{About: e.session(), Problem: err.Error()}
}
