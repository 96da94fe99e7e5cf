package host

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Shared memory belongs to a session if a library made it for the session and nobody else has it. Memory of another program, or that the user
// has given a name, does not.
func TestSharedFiles(t *testing.T) {
	began := time.Now()
	name := func(format string) string { return sharedDir + fmt.Sprintf(format, os.Getpid()) }
	files := map[string]bool{ // whether it is removed
		sharedDir + "psm_00d1f5aa": true,
		name("torch_%d_1_1"):       true,
		name("sem.mp-dipls%d"):     true,
		name("mine%d"):             false,
		name("torch_%d_2_2"):       false, // another process has it
		sharedDir + "psm_00d1f5ab": false, // no process of the session had it
	}
	t.Cleanup(func() {
		for file := range files {
			os.Remove(file)
		}
	})
	shared := sharedFiles{inodes: make(map[uint64]bool)}
	for file := range files {
		if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
			t.Skip(err)
		}
		var st syscall.Stat_t
		if err := syscall.Stat(file, &st); err != nil {
			t.Fatal(err)
		}
		shared.inodes[st.Ino] = file != sharedDir+"psm_00d1f5ab"
	}
	reader, err := os.Open(name("torch_%d_2_2"))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if made := madeSince(sharedDir+"psm_00d1f5aa", began); !made || madeSince(sharedDir+"psm_00d1f5aa", began.Add(time.Hour)) {
		t.Errorf("made by a library since: %v, since an hour from now: true", made)
	}
	shared.remove(began)
	for file, want := range files {
		if _, err := os.Lstat(file); (err != nil) != want {
			t.Errorf("%s: %v, want it removed: %v", file, err, want)
		}
	}
}

// The guard removes the directory on SIGTERM, even if the signal comes before there is one.
func TestGuardIsThereBeforeTheDirectory(t *testing.T) {
	for range 5 {
		dir := &runtimeDir{path: filepath.Join(shortTempDir(t), "session")}
		p, err := startGuard(NodeSpec{Env: os.Environ(), Log: testLog(t)}, []string{"sleep", "1000"}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(p.awaitGuard(testContext(t)), os.Mkdir(dir.path, 0o700)); err != nil {
			t.Error(err)
		}
		p.Kill()
		if e := p.Wait(); p.lost || e.Signal != "SIGKILL" {
			t.Errorf("the guard lost: %v, and the node %v, want it killed", p.lost, e)
		}
		if _, err := os.Lstat(dir.path); err == nil {
			t.Errorf("%s is left", dir.path)
		}
	}
}

// However soon a node ends its processes when the server is gone, the guard has seen them before.
func TestSharedMemoryOfANodeThatEndsAtOnce(t *testing.T) {
	name := sharedDir + fmt.Sprintf("psm_%08x", rand.Uint32())
	t.Cleanup(func() { os.Remove(name) })
	dir := &runtimeDir{path: filepath.Join(shortTempDir(t), "session")}
	p, err := startGuard(NodeSpec{Env: os.Environ(), Log: testLog(t)}, []string{"sh", "-c", `exec 5>"$0" && echo >&3; read line && read line`, name}, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.lifeline.WriteString("start\n"); err != nil {
		t.Error(err)
	}
	_, err = p.ready.Read(make([]byte, 1))
	if _, statErr := os.Stat(name); err != nil || statErr != nil {
		t.Error(err, statErr)
	}
	p.HangUp()
	if e := p.Wait(); e.Code == nil || *e.Code != 1 {
		t.Errorf("%v, want status 1: the node has read one line", e)
	}
	if _, err := os.Stat(name); err == nil {
		t.Errorf("%s is left", name)
	}
}
