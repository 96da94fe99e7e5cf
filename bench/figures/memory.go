package main

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// self stands for this process in /proc.
var self = os.Getpid()

// pids are the ranks' processes.
func (s *server) pids() (pids []int) {
	for _, process := range s.pool.Ranks() {
		pids = append(pids, process.PID())
	}
	return pids
}

// sumPSS is the proportional share of memory of processes, in bytes.
func sumPSS(pids []int) (sum float64, err error) {
	for _, pid := range pids {
		pss, err := procField(pid, "smaps_rollup", "Pss:")
		if err != nil {
			return 0, err
		}
		sum += pss
	}
	return sum, nil
}

// residentMemory is how much memory of this process is in RAM, in bytes; 0 if it cannot be read.
func residentMemory() float64 {
	resident, _ := procField(self, "status", "VmRSS:")
	return resident
}

// procField reads a field, given in kB, of a file of /proc/PID.
func procField(pid int, file, name string) (float64, error) {
	path := fmt.Sprintf("/proc/%d/%s", pid, file)
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if value, ok := bytes.CutPrefix(line, []byte(name)); ok {
			kB, err := strconv.Atoi(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(value), []byte("kB")))))
			return float64(kB) * 1024, err
		}
	}
	return 0, fmt.Errorf("%s has no %s", path, name)
}

// watcher keeps the largest memory of this process and of the ranks.
type watcher struct {
	stop, ended   chan struct{}
	server, ranks float64
}

// watch looks several times a second. End stops it.
func watch(pids []int) *watcher {
	w := &watcher{stop: make(chan struct{}), ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			if sum, err := sumPSS(pids); err == nil {
				w.ranks = max(w.ranks, sum)
			}
			w.server = max(w.server, residentMemory())
			select {
			case <-w.stop:
				return
			case <-ticker.C:
			}
		}
	}()
	return w
}

func (w *watcher) end() (server, ranks float64) {
	close(w.stop)
	<-w.ended
	return w.server, w.ranks
}
