package dipexec

import "sync"

// Columns is how wide the screen of one reader is. The processes that run something for that reader hear of it, also when it changes while they do. The zero
// value is that nobody knows yet.
type Columns struct {
	mu      sync.Mutex // guards what follows
	columns int
	running map[Process]int // how many runs of that reader's are on a process
}

// Set tells how wide the screen is now; 0: nobody knows.
func (c *Columns) Set(columns int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if columns == 0 {
		return
	}
	c.columns = columns
	for p := range c.running {
		p.TellColumns(columns)
	}
}

// follow tells processes how wide the screen is, now and until leave is called. c may be nil.
func (c *Columns) follow(procs []Process) (leave func()) {
	if c == nil {
		return func() {}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		c.running = map[Process]int{}
	}
	for _, p := range procs {
		c.running[p]++
		p.TellColumns(c.columns)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, p := range procs {
			if c.running[p]--; c.running[p] == 0 {
				delete(c.running, p)
			}
		}
	}
}
