package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dipls/dipexec/journal"
	"dipls/internal/private"
)

// maxPast is how many statements are kept at least. The file is made shorter when it has twice as many.
const maxPast = 2000

// past is what the user has typed into shells, the earliest first. Its file has a JSON string on each line, and is the user's alone.
// It implements the editor's history source.
type past struct {
	file  string // "": it is kept in memory only
	texts []string
}

// openPast reads what was typed. There is a past in any case; the error says why it is not kept.
func openPast() (*past, error) {
	runs, err := journal.DefaultDir()
	if err != nil {
		return &past{}, err
	}
	dir := filepath.Dir(runs)
	if err := private.Dir(dir); err != nil {
		return &past{}, err
	}
	p := &past{file: filepath.Join(dir, "shell_history")}
	data, err := os.ReadFile(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return &past{}, err
	}
	for line := range bytes.Lines(data) {
		var text string
		if json.Unmarshal(line, &text) == nil { // a line that was cut by a full disk is none
			p.texts = append(p.texts, text)
		}
	}
	if len(p.texts) >= 2*maxPast {
		p.texts = slices.Clone(p.texts[len(p.texts)-maxPast:])
		return p, p.rewrite()
	}
	return p, nil
}

// rewrite writes the file anew.
func (p *past) rewrite() error {
	var data []byte
	for _, text := range p.texts {
		data = append(data, line(text)...)
	}
	short := p.file + ".new"
	if err := os.WriteFile(short, data, 0o600); err != nil {
		return err
	}
	return os.Rename(short, p.file)
}

// line is a text as a line of the file.
func line(text string) []byte {
	data, _ := json.Marshal(text) // a string can be written
	return append(data, '\n')
}

// Write adds what was typed.
func (p *past) Write(text string) (int, error) {
	if text = strings.TrimRight(text, " \t\n"); text == "" || len(p.texts) > 0 && p.texts[len(p.texts)-1] == text {
		return len(p.texts), nil
	}
	p.texts = append(p.texts, text)
	if p.file == "" {
		return len(p.texts), nil
	}
	f, err := os.OpenFile(p.file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return len(p.texts), err
	}
	_, err = f.Write(line(text))
	return len(p.texts), errors.Join(err, f.Close())
}

// GetLine is the text at a place.
func (p *past) GetLine(at int) (string, error) {
	if at < 0 || at >= len(p.texts) {
		return "", errors.New("nothing was typed there")
	}
	return p.texts[at], nil
}

// Len is how many texts there are.
func (p *past) Len() int { return len(p.texts) }

// Dump is all of them.
func (p *past) Dump() any { return p.texts }
