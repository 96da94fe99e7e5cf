package afar

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"dipls/ranks/wire"
)

// ProjectUpdate says what a copy of a project is to have. Paths are below the root.
type ProjectUpdate struct {
	Root   wire.Path     `json:"root"`   // the same path on the host
	Folder wire.Path     `json:"folder"` // a folder in it that there is to be in any case; ""
	Probe  *ProjectProbe `json:"probe"`  // nil: it is known that the host does not share the root
	Whole  bool          `json:"whole"`  // there is to be nothing else that was brought
	Files  []ProjectFile `json:"files"`
	Links  []ProjectLink `json:"links"`
	Gone   []wire.Path   `json:"gone"` // of what was brought, unless whole
}

// ProjectProbe is a file that a host sees if it shares the folder.
type ProjectProbe struct {
	Path wire.Path `json:"path"`
	Word string    `json:"word"` // what is in it
}

// ProjectFile is a file as it is to be.
type ProjectFile struct {
	Path wire.Path `json:"path"`
	Hash string    `json:"hash"` // SHA-256, in hexadecimal digits
}

// ProjectLink is a symbolic link as it is to be.
type ProjectLink struct {
	Path   wire.Path `json:"path"`
	Target wire.Path `json:"target"`
}

// ProjectContent is what is in a file now.
type ProjectContent struct {
	Bytes    []byte
	Hash     string
	Mode     uint32 // permissions
	Modified time.Time
}

// ProjectOutcome is what came of an update.
type ProjectOutcome struct {
	Shared  bool      // the host has the same folder: nothing was done
	Sent    int       // files
	Bytes   int64     // of these
	Removed int       // files and links
	Kept    wire.Path // where something was put that somebody else had in their place; ""
}

// UpdateProject makes a copy of a project on the host what it is to be. read reads the file with an index. Update by update, a file is there as it was
// or as it is to be.
func (h *Host) UpdateProject(ctx context.Context, u ProjectUpdate, read func(index int) (ProjectContent, error)) (done ProjectOutcome, err error) {
	channel, err := h.conn.Open(map[string]string{"serve": "project"})
	if err != nil {
		return done, err
	}
	defer channel.Close()
	defer context.AfterFunc(ctx, func() { channel.Close() })()
	defer func() {
		switch {
		case err == nil:
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case h.conn.Err() != nil:
			err = h.conn.Err()
		}
	}()
	answers := bufio.NewReader(channel)
	var answer struct {
		Shared  bool      `json:"shared"`
		Wants   []int     `json:"wants"`
		Removed int       `json:"removed"`
		Kept    wire.Path `json:"kept"`
		Error   wire.Path `json:"error"`
	}
	listen := func() error {
		line, err := answers.ReadBytes('\n')
		if err == nil {
			err = json.Unmarshal(line, &answer)
		}
		if err == nil && answer.Error != "" {
			err = errors.New(string(answer.Error))
		}
		return err
	}
	say := func(what any) error {
		line, err := codec{}.Marshal(what)
		if err == nil {
			_, err = channel.Write(append(line, '\n'))
		}
		return err
	}
	if err := errors.Join(say(u), listen()); err != nil {
		return done, err
	}
	if answer.Shared {
		return ProjectOutcome{Shared: true}, nil
	}
	for _, i := range answer.Wants {
		if i < 0 || i >= len(u.Files) {
			return done, fmt.Errorf("it wants file %d of %d", i, len(u.Files))
		}
		content, err := read(i)
		if err != nil {
			return done, err
		}
		head := map[string]any{"size": len(content.Bytes), "hash": content.Hash, "mode": content.Mode, "modified": content.Modified.UnixNano()}
		if err := say(head); err != nil {
			return done, errors.Join(listen(), err) // it may have said why
		}
		if _, err := channel.Write(content.Bytes); err != nil {
			return done, errors.Join(listen(), err)
		}
		done.Sent++
		done.Bytes += int64(len(content.Bytes))
	}
	err = listen()
	done.Removed, done.Kept = answer.Removed, answer.Kept
	return done, err
}
