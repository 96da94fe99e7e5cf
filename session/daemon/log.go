package daemon

import (
	"bytes"
	"io"
	"os"
	"sync"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// maxLog is how many bytes the log of a session has at most. Of a longer one the older half goes.
const maxLog = 1 << 20

// OpenLog makes the log of a session, for the user alone. From then on this process's standard output and errors go there, too, so that it holds
// what the runtime says of a crash. "", and where no file can be made: nothing is kept, and the session works all the same.
func OpenLog(path string) (*zap.Logger, error) {
	l, err := newLog(path)
	if err != nil {
		l, err = newLog("")
	}
	if err != nil {
		return nil, err
	}
	for _, fd := range []int{1, 2} {
		if err := replace(int(l.f.Fd()), fd); err != nil {
			return nil, err
		}
	}
	return newLogger(l), nil
}

// newLog makes a file that does not grow without end.
func newLog(path string) (*logFile, error) {
	if path == "" {
		path = os.DevNull
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, err
	}
	return &logFile{f: f}, nil
}

// newLogger writes lines for people.
func newLogger(w io.Writer) *zap.Logger {
	config := zap.NewDevelopmentEncoderConfig()
	config.EncodeTime = zapcore.TimeEncoderOfLayout("2006-01-02 15:04:05")
	config.CallerKey = ""
	return zap.New(zapcore.NewCore(zapcore.NewConsoleEncoder(config), zapcore.AddSync(w), zap.InfoLevel))
}

// logFile is a file that does not grow without end.
type logFile struct {
	mu sync.Mutex
	f  *os.File // appends
}

func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.f.Write(b)
	if info, err := l.f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > maxLog {
		l.halve(info.Size())
	}
	return n, err
}

// halve removes the older half.
func (l *logFile) halve(size int64) {
	rest := make([]byte, size/2)
	if _, err := l.f.ReadAt(rest, size-size/2); err != nil && err != io.EOF {
		return
	}
	if _, whole, ok := bytes.Cut(rest, []byte("\n")); ok {
		rest = whole
	}
	if l.f.Truncate(0) == nil {
		_, _ = l.f.Write(rest) // a full disk: the rest is lost
	}
}
