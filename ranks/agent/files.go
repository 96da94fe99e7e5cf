// Package agent is the Python agent, which runs in the user's interpreter, as files in the binary. docs/architecture.md tells what it does.
package agent

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"
)

// The pattern says all: because without it embed leaves out names that begin with "_", such as __main__.py.
//
//go:embed all:src
var files embed.FS

// Source is the agent's source tree, with whatever Python has left beside it.
func Source() fs.FS {
	src, err := fs.Sub(files, "src")
	if err != nil {
		panic(err) // "src" is a valid path
	}
	return src
}

// Walk calls f with each file of a source tree, in lexical order, but for what Python has left beside them. It ends at the first error.
func Walk(src fs.FS, f func(name string, text []byte) error) error {
	return fs.WalkDir(src, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path.Base(name) == "__pycache__" || strings.HasSuffix(name, ".egg-info")):
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		text, err := fs.ReadFile(src, name)
		if err != nil {
			return err
		}
		return f(name, text)
	})
}

// Zip is the source tree as a zip file, without what Python has left beside it, and its SHA-256 in hexadecimal. It is the same for the same tree.
func Zip() (data []byte, hash string) {
	data = zipped()
	sum := sha256.Sum256(data)
	return data, hex.EncodeToString(sum[:])
}

var zipped = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	err := Walk(Source(), func(name string, text []byte) error {
		f, err := w.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err == nil {
			_, err = f.Write(text)
		}
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		panic(fmt.Sprintf("embedded agent: %v", err)) // it is read from and written to memory
	}
	return b.Bytes()
})
