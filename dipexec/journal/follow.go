package journal

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"dipls/dipexec/event"
	"dipls/dipexec/view"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
)

const (
	followEvery  = 200 * time.Millisecond // how often a journal that is followed is looked at
	followWindow = 500 * time.Millisecond // how far apart ranks may print the same line for it to be folded: somebody waits
)

// Follow opens a journal as [Read] does, for a run that may go on: where the journal ends now, Next returns [io.EOF], and more may come.
func Follow(dir string) (*Reader, error) {
	r, err := Read(dir)
	if err == nil {
		r.follows = true
	}
	return r, err
}

// Going reports whether a process may still write the journal in a directory: the run goes on, or what it has started still prints.
func Going(dir string) bool { return locked(dir) }

// Beyond makes Next return also what processes have printed and the index does not mention yet. While there is output, the index is behind by a
// second at most, and tells in which order it came; after that it may take until there is more.
func (r *Reader) Beyond() { r.beyond = true }

// Unfollow says that the run has ended: what is there is all of it.
func (r *Reader) Unfollow() { r.follows = false }

// pause ends what is there now.
func (r *Reader) pause() error {
	if r.beyond {
		if more, err := r.findRest(); more || err != nil {
			return err
		}
		r.beyond = false
	}
	r.waits = true
	return nil
}

// skipRead leaves out of the current stretch what was read before the index mentioned it.
func (r *Reader) skipRead() {
	who, _ := r.output.Who()
	if n := min(r.proc(who).seen[r.output.Section]-r.output.Offset, r.output.Size); r.follows && n > 0 {
		r.output.Offset += n
		r.output.Size -= n
	}
}

// PrintOptions say how a run's output is printed.
type PrintOptions struct {
	Who    *ranklist.Who // only of this process; nil: of all, folded
	Follow bool          // go on until the run has ended, or the process that ran it
}

// Print writes a run's output to w, as [Render] writes it to a file.
func Print(ctx context.Context, w io.Writer, dir string, o PrintOptions) error {
	open, window := Read, renderWindow
	if o.Follow {
		open, window = Follow, followWindow
	}
	r, err := open(dir)
	if err != nil {
		return err
	}
	defer r.Close()
	p := &printer{w: w, who: o.Who, known: o.Who == nil, r: r, folder: view.NewFolder(view.FoldOptions{Window: window, Whole: true})}
	if o.Follow {
		err = p.follow(ctx)
	}
	if err == nil {
		err = p.drain(ctx)
	}
	if err == nil && !p.known {
		err = fmt.Errorf("%v has no part in the run", *o.Who)
	}
	if err != nil && ctx.Err() == nil {
		return err
	}
	if err := p.write(p.folder.Flush(p.at.Add(time.Hour))); err != nil {
		return err
	}
	return cmp.Or(writeLive(w, p.folder.Live()), err) // of a run that goes on
}

// printer writes a run's folded output, without colours.
type printer struct {
	w      io.Writer
	who    *ranklist.Who // only of this process; nil: of all
	known  bool          // it has a part in the run
	r      *Reader
	folder *view.Folder
	at     time.Time // when what was read last was published, or later
	events int       // read so far
	ended  bool      // the run has
}

// follow prints what comes until the run has ended.
func (p *printer) follow(ctx context.Context) error {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	grown := time.Now()
	for {
		going := locked(p.r.dir) // asked before reading: what was written before its end is read
		before := p.events
		if err := p.drain(ctx); err != nil {
			return err
		}
		if !going || p.ended {
			p.r.Unfollow()
			return nil
		}
		now := time.Now()
		switch {
		case p.events > before:
			grown = now
		case now.Sub(grown) > indexFlush:
			p.r.Beyond()
		}
		if now.After(p.at) {
			p.at = now
		}
		if err := p.write(p.folder.Flush(p.at)); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// drain prints what is there.
func (p *printer) drain(ctx context.Context) error {
	for ctx.Err() == nil {
		ev, at, err := p.r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if published := p.r.Record.Started.Add(at); published.After(p.at) {
			p.at = published
		}
		p.events++
		if err := p.take(ev); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// take prints an event.
func (p *printer) take(ev event.Event) error {
	if of, ok := ev.Head().Who(); p.who != nil && ok {
		if of != *p.who {
			return nil
		}
		p.known = true
	}
	switch e := ev.(type) {
	case *event.RunStarted:
		all := *e
		all.See, all.Quiet = "all", false
		ev = &all
	case *event.RunFinished:
		p.ended = true
	}
	return p.write(p.folder.Add(ev, p.at))
}

func (p *printer) write(items []view.Item) error {
	for _, item := range items {
		if _, err := io.WriteString(p.w, clean.Text(item.String())+"\n"); err != nil {
			return err
		}
	}
	return nil
}
