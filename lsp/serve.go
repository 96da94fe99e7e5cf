package lsp

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"
	"go.lsp.dev/uri"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"dipls/cells"
	"dipls/internal/clean"
	"dipls/internal/contain"
	"dipls/internal/trace"
	"dipls/lsp/docs"
	"dipls/lsp/rpc"
	"dipls/session"
)

// Deps are what a connection needs and does not end itself.
type Deps struct {
	Sessions   *Sessions     // where cells run
	Log        *zap.Logger   // nil: none
	Version    string        // of the program
	ParentPoll time.Duration // how often to look whether the editor's process lives; 0 is 3 s
	Trace      *trace.Tracer // nil: none
	// FirstTime reports whether the user is told something for the first time, in whatever window, and remembers that. Nil: nobody needs to be told.
	FirstTime func(what string) bool
}

// Reasons for the end of a connection.
var (
	errExit       = errors.New("exit")
	errParentGone = errors.New("the editor's process has ended")

	// ErrNoShutdown is what Serve returns if the client left without asking for a shutdown first. LSP asks for exit code 1 then.
	ErrNoShutdown = errors.New("the client left without a shutdown request")
)

// Serve serves one client on a stream of bytes until it leaves (exit, end of file, death of its process) or ctx ends. It closes rwc, and returns when
// nothing of the connection is left, except a goroutine in a read or write of rwc that cannot be interrupted. What runs in the sessions goes on: whoever
// made them ends them.
func Serve(ctx context.Context, rwc io.ReadWriteCloser, deps Deps) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	s := newServer(ctx, cancel, rwc, deps)
	s.goOn("changes", s.deliverChanges)
	s.goOn("marks", s.marks.run)
	s.goOn("announcer", s.announcer.run)
	s.conn.Serve(ctx, rpc.Handler{Methods: s.allMethods(), Admit: s.admits, Enter: s.enter, Log: s.log})
	return s.close()
}

// server is one connection.
type server struct {
	deps   Deps
	log    *zap.Logger
	ctx    context.Context // ends with the connection
	cancel context.CancelCauseFunc
	tasks  sync.WaitGroup // all goroutines of the connection except those that serve its messages

	conn      *rpc.Conn
	client    *rpc.Client
	wants     options // set by initialize, before anything reads them
	docs      *docs.Store
	board     *board
	marks     *marks
	feed      *feed
	config    *configuration
	announcer *announcer
	inputs    *inputs
	bars      *bars
	posed     *posed
	features  []feature
	trusted   atomic.Value // whether the client trusts its folders; a [session.Trust]
	front     string       // the name of this connection in sessions
	columns   atomic.Int64 // how wide the place is where the client's user reads; 0: it has not said so
	program   string       // of the client, for others who are attached to read
	turns     turns        // of commands

	mu     sync.Mutex // guards what follows
	state  lifecycle
	dirs   []string                 // of the workspace folders
	opened map[*workspace]*follower // whose events come here
	recent *workspace               // the last one in which something was done
	asking map[*workspace]bool      // whose user is asked whether the pool may end
}

func newServer(ctx context.Context, cancel context.CancelCauseFunc, rwc io.ReadWriteCloser, deps Deps) *server {
	if deps.Log == nil {
		deps.Log = zap.NewNop()
	}
	s := &server{
		deps: deps, ctx: ctx, cancel: cancel, feed: newFeed(), front: rand.Text(), opened: map[*workspace]*follower{}, asking: map[*workspace]bool{},
	}
	s.conn = rpc.New(rwc, deps.Log, deps.Trace)
	s.client = rpc.NewClient(ctx, s.conn, s.goOn)
	s.log = deps.Log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, &clientCore{client: s.client}) }))
	s.docs = docs.New(s.log, func(c docs.Change) { s.feed.tell(textChange(c)) }, func(g docs.Gone) { s.board.forgetCells(g) })
	s.docs.Markers = func(path string) *cells.Markers { return s.config.of(s.folderOf(path)).CellMarkers }
	s.board = newBoard(s.docs, s.feed.tell)
	s.docs.Renamed = func(from, to uri.URI) {
		s.board.rename(from, to)
		s.marks.rename(from, to)
	}
	s.bars = newBars()
	s.marks = newMarks(s)
	s.config = newConfiguration(s)
	s.announcer = newAnnouncer(s)
	s.inputs = newInputs(s)
	s.posed = newPosed(s)
	for _, make := range features {
		s.features = append(s.features, make(s))
	}
	return s
}

// lastWords is how long the end of a connection waits for a client that does not read.
const lastWords = time.Second

// close ends the connection and waits for all that belongs to it.
func (s *server) close() error {
	cause := context.Cause(s.ctx)
	if cause == nil {
		cause = io.EOF
	}
	s.log.Info("the connection ends", zap.Error(cause))
	words, stop := context.WithTimeout(context.Background(), lastWords)
	defer stop()
	_ = s.conn.Flush(words) // a client that does not read gets no last words
	s.cancel(cause)
	s.conn.Close()
	s.tasks.Wait()
	s.conn.AwaitWriter(words)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != shutDown && s.state != uninitialized {
		return fmt.Errorf("%w (%w)", ErrNoShutdown, cause)
	}
	return nil
}

// deliverChanges hands changes to the features.
func (s *server) deliverChanges() {
	for {
		select {
		case <-s.feed.wake:
		case <-s.ctx.Done():
			return
		}
		c := s.feed.take()
		if c.empty() {
			continue
		}
		s.contained("marks", func() { s.marks.changed(c) })
		for _, f := range s.features {
			if f.changed != nil {
				s.contained("changed", func() { f.changed(c) })
			}
		}
	}
}

// lifecycle is the state of a connection.
type lifecycle int

const (
	uninitialized lifecycle = iota
	initialized
	shutDown
)

func (l lifecycle) String() string {
	return [...]string{"not initialized", "initialized", "shut down"}[l]
}

// codeNotInitialized is LSP's ServerNotInitialized.
const codeNotInitialized jsonrpc2.Code = -32002

// admits returns why a method cannot be served now; nil if it can.
func (s *server) admits(method string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case method == protocol.MethodExit:
		return nil
	case s.state == uninitialized && method != protocol.MethodInitialize:
		return jsonrpc2.Errorf(codeNotInitialized, "%s before initialize", method)
	case s.state == shutDown:
		return jsonrpc2.Errorf(jsonrpc2.InvalidRequest, "%s after shutdown", method)
	case s.state == initialized && method == protocol.MethodInitialize:
		return jsonrpc2.Errorf(jsonrpc2.InvalidRequest, "initialize came twice")
	}
	return nil
}

// lifecycleMethods begin and end a connection.
func (s *server) lifecycleMethods() map[string]rpc.Method {
	return map[string]rpc.Method{
		protocol.MethodInitialize:                         rpc.InOrder(s.initialize),
		protocol.MethodInitialized:                        rpc.Notification(s.initialized),
		protocol.MethodShutdown:                           rpc.InOrder(s.shutdown),
		protocol.MethodExit:                               rpc.Notification(s.exit),
		protocol.MethodSetTrace:                           rpc.Notification(func(context.Context, *protocol.SetTraceParams) error { return nil }),
		protocol.MethodWorkspaceDidChangeWorkspaceFolders: rpc.Notification(s.didChangeFolders),
		methodTrusted:                                     rpc.Notification(s.didTrust),
	}
}

// documentMethods tell the server what happens to documents.
func (s *server) documentMethods() map[string]rpc.Method {
	return map[string]rpc.Method{
		protocol.MethodTextDocumentDidOpen:   rpc.Notification(s.docs.DidOpen),
		protocol.MethodTextDocumentDidChange: rpc.Notification(s.docs.DidChange),
		protocol.MethodTextDocumentDidClose:  rpc.Notification(s.docs.DidClose),
		protocol.MethodTextDocumentDidSave:   rpc.Notification(func(context.Context, *protocol.DidSaveTextDocumentParams) error { return nil }),
	}
}

// options are the initializationOptions that are not settings.
type options struct {
	Trusted json.RawMessage `json:"trusted,omitempty" doc:"true: code of the folders may run; false: none may; absent: a command is the consent for its folder"`
	Events  bool            `json:"events,omitempty" doc:"true: the client takes events instead of text"`
	Folded  bool            `json:"folded,omitempty" doc:"true, with events: the client also takes what a person reads of them"`
	Input   bool            `json:"input,omitempty" doc:"true: the client can ask its user for text (dip/input)"`
	Cells   bool            `json:"cells,omitempty" doc:"true: the client is told when to ask for cells again"`
}

func (s *server) initialize(_ context.Context, p *protocol.InitializeParams) (*protocol.InitializeResult, error) {
	s.client.Can = p.Capabilities
	var o options
	if err := json.Unmarshal([]byte(cmp.Or(string(p.InitializationOptions), "{}")), &o); err != nil {
		s.log.Warn("initializationOptions: events, folded, input and cells want true or false")
	}
	s.wants = o
	s.program = programOf(p.ClientInfo)
	s.trusted.Store(trustIn(o.Trusted))
	encoding, kind := negotiate(p.Capabilities.General)
	s.docs.Encoding = encoding
	s.config.initialize(json.RawMessage(p.InitializationOptions))
	s.mu.Lock()
	s.dirs = foldersOf(p)
	s.state = initialized
	s.mu.Unlock()
	if p.ProcessID != nil && *p.ProcessID > 0 {
		s.goOn("the watch over the editor", func() { s.watchParent(int(*p.ProcessID)) })
	}
	caps := protocol.ServerCapabilities{
		PositionEncoding:       kind,
		TextDocumentSync:       &protocol.TextDocumentSyncOptions{OpenClose: ptr(true), Change: ptr(protocol.TextDocumentSyncKindIncremental)},
		ExecuteCommandProvider: protocol.ExecuteCommandOptions{Commands: commandNames()},
		Workspace: &protocol.WorkspaceOptions{WorkspaceFolders: &protocol.WorkspaceFoldersServerCapabilities{
			Supported: ptr(true), ChangeNotifications: protocol.Boolean(true),
		}},
	}
	for _, f := range s.features {
		if f.capabilities != nil {
			f.capabilities(&caps)
		}
	}
	return &protocol.InitializeResult{
		Capabilities: caps,
		ServerInfo:   protocol.ServerInfo{Name: "dipls", Version: protocol.NewOptional(s.deps.Version)},
	}, nil
}

// programOf names a client for others: "VS Code", "Neovim".
func programOf(info protocol.ClientInfo) string {
	switch name := clean.Brief(info.Name); {
	case strings.HasPrefix(name, "Visual Studio Code"), name == "code-server", name == "Code - OSS":
		return "VS Code"
	default:
		return cmp.Or(name, "an editor")
	}
}

func ptr[T any](v T) *T { return &v }

// negotiate picks the first of the client's position encodings that we know.
func negotiate(general *protocol.GeneralClientCapabilities) (cells.Encoding, protocol.PositionEncodingKind) {
	if general != nil {
		for _, kind := range general.PositionEncodings {
			switch kind {
			case protocol.PositionEncodingKindUTF8:
				return cells.UTF8, kind
			case protocol.PositionEncodingKindUTF16:
				return cells.UTF16, kind
			case protocol.PositionEncodingKindUTF32:
				return cells.UTF32, kind
			}
		}
	}
	return cells.UTF16, protocol.PositionEncodingKindUTF16
}

// foldersOf returns the directories of the workspace folders.
func foldersOf(p *protocol.InitializeParams) []string {
	var dirs []string
	folders, known := p.WorkspaceFolders.Get()
	for _, f := range folders {
		dirs = appendDir(dirs, f.URI)
	}
	rootURI := p.RootURI              //lint:ignore SA1019 older editors have nothing else
	root, hasPath := p.RootPath.Get() //lint:ignore SA1019 likewise
	switch {
	case known:
	case rootURI != nil:
		dirs = appendDir(dirs, *rootURI)
	case hasPath && root != "":
		dirs = append(dirs, filepath.Clean(root))
	}
	return dirs
}

func appendDir(dirs []string, u uri.URI) []string {
	if path := docs.PathOf(u); path != "" {
		return append(dirs, filepath.Clean(path))
	}
	return dirs
}

func (s *server) initialized(context.Context, *protocol.InitializedParams) error {
	s.config.refetch()
	return nil
}

// methodTrusted is the notification that the user now trusts the folders. There is none for the contrary: it would have to end what runs.
const methodTrusted = "dip/trusted"

// didTrust refuses parameters: a client that sends {"trusted": false} would get the contrary.
func (s *server) didTrust(_ context.Context, params *any) error {
	if object, ok := (*params).(map[string]any); *params != nil && (!ok || len(object) > 0) {
		return errors.New("it takes no parameters, and trust cannot be taken back")
	}
	if s.trusted.Swap(session.TrustYes) != session.TrustYes {
		s.feed.tell(change{trusted: true})
	}
	return nil
}

func (s *server) shutdown(context.Context, *struct{}) (any, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = shutDown
	return nil, nil
}

func (s *server) exit(context.Context, *struct{}) error {
	s.cancel(errExit)
	return nil
}

func (s *server) didChangeFolders(_ context.Context, p *protocol.DidChangeWorkspaceFoldersParams) error {
	s.changeFolders(p)
	s.config.refetch() // each folder may have its own settings
	return nil
}

func (s *server) changeFolders(p *protocol.DidChangeWorkspaceFoldersParams) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var gone []string
	for _, f := range p.Event.Removed {
		gone = appendDir(gone, f.URI)
	}
	var dirs []string
	for _, dir := range s.dirs {
		if !slices.Contains(gone, dir) {
			dirs = append(dirs, dir)
		}
	}
	for _, f := range p.Event.Added {
		dirs = appendDir(dirs, f.URI)
	}
	s.dirs = dirs
}

// watchParent ends the connection when the process ends that has started us, as the client says. If that process cannot be seen from the start, it is on
// another machine or in another container, and is not watched.
func (s *server) watchParent(pid int) {
	if gone(pid) {
		s.log.Warn("the editor's process is not to be seen from here: the connection ends with the stream only", zap.Int("pid", pid))
		return
	}
	ticker := time.NewTicker(cmp.Or(s.deps.ParentPoll, 3*time.Second))
	defer ticker.Stop()
	for !gone(pid) {
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return
		}
	}
	s.cancel(errParentGone)
}

// gone reports whether there is no process with an id.
func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// folderOf returns the directory whose workspace a file belongs to: the innermost workspace folder around it, else its own directory.
func (s *server) folderOf(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	dir := ""
	for _, d := range s.dirs {
		if contains(d, path) && len(d) > len(dir) {
			dir = d
		}
	}
	switch {
	case dir != "":
		return dir
	case path != "":
		return filepath.Dir(path)
	case len(s.dirs) > 0:
		return s.dirs[0]
	}
	here, _ := os.Getwd() // "" is the same place
	return here
}

// workspaceOf returns the workspace that a document belongs to.
func (s *server) workspaceOf(ctx context.Context, d *docs.Snapshot) (*workspace, error) {
	return s.open(ctx, s.folderOf(d.Path), d.Path)
}

// existing returns the workspace that a document belongs to, if there already is one, else nil: looking something up makes none.
func (s *server) existing(ctx context.Context, d *docs.Snapshot) *workspace {
	dir := s.folderOf(d.Path)
	if !s.deps.Sessions.has(dir) {
		return nil
	}
	w, err := s.join(ctx, dir, d.Path)
	if err != nil {
		return nil // it is not trusted, or gone
	}
	return w
}

// anyWorkspace returns the workspace of a command that names no document: the one in which something was done last, else the first folder's, else that of
// the first document by name.
func (s *server) anyWorkspace(ctx context.Context) (*workspace, error) {
	s.mu.Lock()
	w := s.recent
	s.mu.Unlock()
	if w != nil {
		return w, nil
	}
	path := s.anyPath()
	return s.open(ctx, s.folderOf(path), path)
}

// anyPath is the file of the first document by name, if there are no folders; else "".
func (s *server) anyPath() string {
	s.mu.Lock()
	folders := len(s.dirs)
	s.mu.Unlock()
	open := s.docs.View()
	if folders > 0 || len(open) == 0 {
		return ""
	}
	return open[slices.Min(slices.Collect(maps.Keys(open)))].Path
}

// open returns a workspace in which something is about to be done.
func (s *server) open(ctx context.Context, dir, script string) (*workspace, error) {
	w, err := s.join(ctx, dir, script)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recent = w
	return w, nil
}

// join returns a workspace whose events come here from then on. If something starts, modules are looked for beside the file script; "" means the file of
// the last time. It may have to wait for the client's settings, and for a session that is found or started; later messages are handled meanwhile.
func (s *server) join(ctx context.Context, dir, script string) (*workspace, error) {
	if s.forbidden() {
		return nil, session.ErrUntrusted
	}
	if w := s.joined(dir, script); w != nil {
		return w, nil
	}
	if s.deps.Sessions.attach != nil {
		rpc.Release(ctx)
		s.config.await(ctx)
	}
	w, err := s.deps.Sessions.of(ctx, s.attachRequest(dir))
	if err != nil {
		return nil, err
	}
	return w, s.follow(ctx, w, script)
}

// attachRequest says which session a folder is to have.
func (s *server) attachRequest(dir string) session.AttachRequest {
	settings := s.config.of(dir)
	return session.AttachRequest{
		Dir: dir, Chosen: true, Start: true, Keep: settings.Keep, Program: s.program, Python: settings.ofSession(dir).Python, History: true,
	}
}

// joined is the workspace of a folder whose events come here; nil: there is none.
func (s *server) joined(dir, script string) *workspace {
	s.mu.Lock()
	defer s.mu.Unlock()
	for w, f := range s.opened {
		if w.dir == dir && f.follows() {
			f.script = cmp.Or(script, f.script)
			return w
		}
	}
	return nil
}

// contained calls a function whose panic must not end the connection, and reports whether it returned.
func (s *server) contained(what string, f func()) bool { return contained(s.log, what, f) }

// contained is the same for code that has no server.
func contained(log *zap.Logger, what string, f func()) bool {
	fault := contain.Do(f)
	if fault != nil {
		log.Error("a fault of ours", zap.String("in", what), zap.Any("panic", fault.Value), zap.ByteString("stack", fault.Stack))
	}
	return fault == nil
}

// goOn does something in a goroutine of the connection.
func (s *server) goOn(what string, f func()) {
	s.tasks.Go(func() { s.contained(what, f) })
}
