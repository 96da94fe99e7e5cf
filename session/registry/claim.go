package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"dipls/dipexec/journal"
	"dipls/internal/flock"
	"dipls/internal/private"
	"dipls/session"
)

// Claim is a session's place in the registry, held by its process.
type Claim struct {
	dir   string // the session's folder
	since time.Time

	mu       sync.Mutex // guards what follows
	path     string     // the session's directory
	lock     *os.File   // that, locked
	listener *net.UnixListener
	about    about
	record   *record
}

// Claim makes a place for a session of this process, which accepts connections from then on. [ErrTaken]: the folder has a session of that name.
func (r *Registry) Claim(ctx context.Context, dir, name string) (*Claim, error) {
	dir, err := realDir(dir)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = defaultName(dir)
	}
	if err := CheckName(name); err != nil {
		return nil, err
	}
	c := &Claim{dir: dir, since: time.Now()}
	c.about = about{ID: newID(), Dir: dir, Name: name, PID: os.Getpid(), Version: r.o.Build, Since: c.since}
	c.about.Journal, _ = journal.DefaultDir()
	c.record = newRecord(c.about)
	c.about.Log = c.record.Log
	h, err := hold(ctx)
	if err != nil {
		return nil, err
	}
	defer h.release()
	if err := free(c.about); err != nil {
		return nil, err
	}
	if err := c.settle(h.places[0]); err != nil {
		return nil, err
	}
	c.record.Path = c.path
	c.record.save() // without it nobody learns how the session ended
	return c, nil
}

// free makes sure that no other living session has a folder and name. The lock is held.
func free(wanted about) error {
	all, err := living()
	if err != nil {
		return err
	}
	for _, e := range all {
		if e.Dir == wanted.Dir && e.Name == wanted.Name && e.ID != wanted.ID {
			return ErrTaken
		}
	}
	return nil
}

// settle makes the session's directory in a place whose lock is held, and shows it when its socket accepts connections.
func (c *Claim) settle(place string) (err error) {
	path := filepath.Join(place, hidden+c.about.ID)
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.RemoveAll(path)
		}
	}()
	lock, err := flock.TryDir(path)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			lock.Close()
		}
	}()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(path, socketName), Net: "unix"})
	if err != nil {
		return fmt.Errorf("bind the socket of the session: %w", err)
	}
	listener.SetUnlinkOnClose(false) // by then it has another path
	defer func() {
		if err != nil {
			listener.Close()
		}
	}()
	if err := os.Chmod(filepath.Join(path, socketName), 0o600); err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(path, aboutName), c.about); err != nil {
		return err
	}
	seen := filepath.Join(place, c.about.ID)
	if err := os.Rename(path, seen); err != nil {
		return err
	}
	c.path, c.lock, c.listener = seen, lock, listener
	return nil
}

// Listener is the session's socket.
func (c *Claim) Listener() net.Listener {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.listener
}

// Dir is the session's folder, without links.
func (c *Claim) Dir() string { return c.dir }

// Name is the session's name.
func (c *Claim) Name() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.about.Name
}

// Log is the path of the session's log; "" if there is no place for it.
func (c *Claim) Log() string { return c.record.Log }

// Journal says where the journals of the session's runs are.
func (c *Claim) Journal() string { return c.about.Journal }

// Rename gives the session another name. The error's code is [session.CodeInvalid] if another session of its folder has it.
func (c *Claim) Rename(ctx context.Context, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	h, err := hold(ctx)
	if err != nil {
		return err
	}
	defer h.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.about
	now.Name = name
	if err := free(now); errors.Is(err, ErrTaken) {
		return &session.Error{Code: session.CodeInvalid, Text: fmt.Sprintf("%s has a session %s already", c.dir, name)}
	} else if err != nil {
		return err
	}
	if err := writeJSON(filepath.Join(c.path, aboutName), now); err != nil {
		return err
	}
	c.about = now
	c.record.Name = name
	c.record.save()
	return nil
}

// Tend looks whether the session's place is as it was. If something has removed it, such as a program that cleans up /tmp, it is made anew, and accepts
// connections by another listener; nil: nothing was to be done. If somebody has started a session of its name meanwhile, it gets another one.
func (c *Claim) Tend(ctx context.Context) (net.Listener, error) {
	c.mu.Lock()
	lock, path := c.lock, c.path
	c.mu.Unlock()
	if _, err := os.Lstat(filepath.Join(path, aboutName)); err == nil && flock.Same(lock, path) && private.ClosedSocket(filepath.Join(path, socketName)) == nil {
		return nil, nil
	}
	h, err := hold(ctx)
	if err != nil {
		return nil, err
	}
	defer h.release()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := free(c.about); errors.Is(err, ErrTaken) {
		c.about.Name += "-" + c.about.ID
	} else if err != nil {
		return nil, err
	}
	old := c.listener
	if flock.Same(lock, path) {
		_ = os.RemoveAll(path) // what is left of it
	}
	if err := c.settle(h.places[0]); err != nil {
		return nil, err
	}
	lock.Close()
	old.Close()
	c.record.Name, c.record.Path = c.about.Name, c.path
	c.record.save()
	return c.listener, nil
}

// End gives up the place. why says why the session has ended, a sentence; "": there is nothing that anybody had to know, and nobody is told. by is the
// user's program that has ended it, so the user knows: "VS Code"; "": none has.
func (c *Claim) End(why, by string) error {
	c.record.end(why, by)
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	h, err := hold(ctx)
	if err == nil {
		defer h.release()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.listener.Close()
	if removed := os.RemoveAll(c.path); !errors.Is(removed, fs.ErrNotExist) {
		err = errors.Join(err, removed)
	}
	return errors.Join(err, c.lock.Close())
}

// endPatience is how long a session that ends waits for those who look for others.
const endPatience = 5 * time.Second

// writeJSON writes a file for the user alone. Who reads it at the same time sees the old one, or the new one.
func writeJSON(path string, content any) error {
	data, err := json.Marshal(content)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
