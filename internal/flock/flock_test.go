package flock

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := File(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := File(ctx, path); err == nil || !strings.Contains(err.Error(), "which another dipls holds") {
		t.Errorf("a second lock: %v", err)
	}
	unlock()
	unlock, err = File(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestDir(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	if lock, err := TryDir(dir); lock != nil || err != nil {
		t.Fatalf("of no directory: %v, %v", lock, err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	held := func(want bool) {
		t.Helper()
		if got, err := Held(dir); got != want || err != nil {
			t.Errorf("held %v, %v, want %v", got, err, want)
		}
	}
	held(false)
	lock, err := TryDir(dir)
	if lock == nil || err != nil {
		t.Fatalf("%v, %v", lock, err)
	}
	held(true)
	if second, err := TryDir(dir); second != nil || err != nil {
		t.Errorf("a second lock: %v, %v", second, err)
	}
	got := make(chan error, 1)
	go func() {
		unlock, err := Dir(t.Context(), dir)
		if err == nil {
			unlock()
		}
		got <- err
	}()
	lock.Close()
	if err := <-got; err != nil {
		t.Errorf("who has waited: %v", err)
	}
	link := dir + "-link"
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if _, err := TryDir(link); err == nil {
		t.Error("a link was locked")
	}
}
