package lsp

import (
	"context"

	"go.uber.org/zap"

	"dipls/cells"
	"dipls/lsp/docs"
	"dipls/session"
)

// prewarm starts Python and imports what ranks need as soon as a file is opened whose cells run on ranks, so that the first cell starts at once.
// If the folder is not trusted yet, it waits for the first command that runs something.
type prewarm struct{ s *server }

func newPrewarm(s *server) feature {
	p := &prewarm{s}
	return feature{changed: p.changed}
}

func (p *prewarm) changed(c change) {
	if p.s.forbidden() {
		return
	}
	for u, d := range p.s.docs.View() {
		if doc := c.docs[u]; (c.trusted || doc != nil && doc.opened) && usesRanks(d.File) {
			p.s.goOn("prewarm", func() { p.start(d) })
		}
	}
}

// usesRanks reports whether a file says anything about ranks.
func usesRanks(f *cells.File) bool {
	if where := f.Target().Where; where == cells.Remote || where == cells.Everywhere {
		return true
	}
	for c := range f.Cells() {
		if where := c.Directive().Target.Where; where == cells.Remote || where == cells.Everywhere || len(c.Magics()) > 0 {
			return true
		}
	}
	return false
}

// start starts what a document's cells need. Whatever goes wrong here goes wrong again when a cell runs, and is told then.
func (p *prewarm) start(d *docs.Snapshot) {
	dir := p.s.folderOf(d.Path)
	p.s.config.await(p.s.ctx)
	if !p.s.config.of(dir).Prewarm || p.s.ctx.Err() != nil {
		return
	}
	if err := p.prepare(p.s.ctx, dir, d.Path); err != nil && p.s.ctx.Err() == nil {
		p.s.log.Info("Python was not started ahead: "+err.Error(), zap.String("folder", dir))
	}
}

func (p *prewarm) prepare(ctx context.Context, dir, script string) error {
	w, err := p.s.join(ctx, dir, script)
	if err != nil {
		return err
	}
	by, err := p.s.caller(ctx, w)
	if err != nil {
		return err
	}
	return w.Prepare(ctx, by, session.Preparation{})
}
