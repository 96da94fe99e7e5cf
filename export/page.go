package export

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
	"time"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/extension"

	"dipls/cells"
	"dipls/dipexec/view"
	"dipls/internal/bytesize"
	"dipls/internal/clean"
	"dipls/internal/ranklist"
	"dipls/session"
)

var (
	//go:embed page.html
	pageHTML string
	//go:embed page.css
	pageCSS string
	//go:embed page.js
	pageJS string
)

var pageTemplate = template.Must(template.New("page").Parse(pageHTML))

// markdown leaves raw HTML out, and so do links with scripts.
var markdown = goldmark.New(goldmark.WithExtensions(extension.GFM))

// page is what the template shows.
type page struct {
	Name, Summary string
	ScriptHash    string
	Style         template.CSS
	Script        template.JS
	Cells         []pageCell
}

type pageCell struct {
	Number               int
	Heading, Target      string
	Mark, State, Outcome string
	Source               string
	Markdown             template.HTML
	Outputs              []pageOutput
}

type pageOutput struct {
	Class, Label, Whose string
	Text                template.HTML
	Image               template.URL
	Frame               string
	Markdown            template.HTML
	Alt                 string
}

// WritePage writes a document as one HTML file that needs nothing else: pictures are in it, and no script runs but its own two dozen lines. HTML of the
// cells is in frames in which nothing can run or be loaded.
func WritePage(w io.Writer, d Document, now time.Time) error {
	hash := sha256.Sum256([]byte(pageJS))
	p := page{
		Name: clean.Line(d.Name), Summary: "Exported " + now.Format("2006-01-02 15:04") + " by dipls.",
		ScriptHash: "sha256-" + base64.StdEncoding.EncodeToString(hash[:]),
		Style:      template.CSS(pageCSS), Script: template.JS(pageJS),
	}
	for _, c := range d.Cells {
		p.Cells = append(p.Cells, pageCellOf(c))
	}
	return pageTemplate.Execute(w, p)
}

func pageCellOf(c Cell) pageCell {
	cell := pageCell{Number: c.Number, Heading: clean.Line(c.Title), Target: c.Target, Source: c.Source}
	switch c.Type {
	case cells.CodeCell:
	case cells.MarkdownCell:
		cell.Markdown = rendered(uncommented(c.Source))
		return cell
	default:
		cell.Source = uncommented(c.Source)
		return cell
	}
	if c.Run != nil {
		cell.Mark, cell.State = mark(*c.Run), string(c.Run.Status)
		cell.Outcome = outcome(c)
	}
	for _, o := range c.Outputs {
		cell.Outputs = append(cell.Outputs, pageOutputOf(o))
	}
	return cell
}

// mark is how a run has ended, as a sign beside its words.
func mark(r session.PastRun) string {
	switch r.Status {
	case session.PastOK:
		return "✓"
	case session.PastRunning:
		return "…"
	}
	return "✗"
}

// outcome is how a cell's run went, as a sentence.
func outcome(c Cell) string {
	r := c.Run
	facts := []string{mark(*r) + " " + string(r.Status), cells.NameTarget(r.Target)}
	if r.Seconds > 0 {
		facts = append(facts, view.FormatDuration(time.Duration(r.Seconds*float64(time.Second))))
	}
	facts = append(facts, r.Started.Local().Format("2006-01-02 15:04:05"))
	if r.PeakMemory > 0 {
		facts = append(facts, bytesize.Format(r.PeakMemory)+" of GPU memory at most")
	}
	if c.Edited {
		facts = append(facts, "edited since: this is not the text that ran")
	}
	return clean.Line(view.Joined(append(facts, r.Reason)...))
}

// pageOutputOf is an output as the page shows it.
func pageOutputOf(o Output) pageOutput {
	out := pageOutput{Class: o.Stream, Label: o.Label, Whose: whose(o)}
	switch {
	case o.Failure != nil:
		out.Class, out.Text = "failure", styled(strings.Join(o.Failure.Traceback, "\n"))
		if len(o.Failure.Traceback) == 0 {
			out.Text = styled(o.Failure.EName + ": " + o.Failure.EValue)
		}
	case o.Data != nil:
		out.Class = "rich"
		out.show(o)
	default:
		if o.Notice {
			out.Class = "notice"
		}
		out.Label, out.Text = "", styled(strings.TrimSuffix(o.Text, "\n")) // its lines have the ranks
	}
	return out
}

// whose says whose output it is.
func whose(o Output) string {
	if len(o.Ranks) == 0 {
		return ""
	}
	return ranklist.Name(o.Ranks)
}

// pictures are the types of pictures that a page shows, the best first.
var pictures = []string{"image/svg+xml", "image/png", "image/jpeg", "image/webp", "image/gif"}

// show shows rich output: a picture, a table, formatted text, or the text that stands for it.
func (out *pageOutput) show(o Output) {
	text := func(mime string) (s string, ok bool) {
		ok = o.Data[mime] != nil && json.Unmarshal(o.Data[mime], &s) == nil
		return s, ok
	}
	plain, _ := text("text/plain")
	if o.Result {
		out.Label = strings.TrimSpace(fmt.Sprintf("Out[%s%d]:", strings.Trim(o.Label, "[]")+map[bool]string{true: ":"}[o.Label != ""], o.Count))
	}
	out.Alt = clean.Brief(plain)
	for _, mime := range pictures {
		value, ok := text(mime)
		if !ok {
			continue
		}
		if mime == "image/svg+xml" {
			value = base64.StdEncoding.EncodeToString([]byte(value))
		}
		if _, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(value), "")); err != nil {
			continue
		}
		out.Image = template.URL("data:" + mime + ";base64," + strings.Join(strings.Fields(value), "")) // checked: nothing but base64
		return
	}
	if html, ok := text("text/html"); ok {
		out.Frame = `<!DOCTYPE html><meta charset="utf-8"><style>body{font:13px sans-serif;color:#1f2328}td,th{padding:.2em .5em;text-align:right}</style>` + html
		return
	}
	if source, ok := text("text/markdown"); ok {
		out.Markdown = rendered(source)
		return
	}
	for _, mime := range []string{"text/latex", "text/plain"} {
		if source, ok := text(mime); ok {
			out.Text = styled(source)
			return
		}
	}
	for mime, value := range o.Data {
		var b bytes.Buffer
		if json.Indent(&b, value, "", "  ") == nil {
			out.Text = styled(mime + "\n" + b.String())
		}
	}
}

// rendered is Markdown as HTML.
func rendered(source string) template.HTML {
	var b bytes.Buffer
	if err := markdown.Convert([]byte(source), &b); err != nil {
		return styled(source)
	}
	return template.HTML(b.String())
}
