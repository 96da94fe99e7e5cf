package lsp

import (
	"strings"

	"go.lsp.dev/protocol"
	"go.uber.org/zap/zapcore"

	"dipls/internal/clean"
	"dipls/lsp/rpc"
)

// clientCore is a zap core that shows what is a warning or worse in the editor's output window.
type clientCore struct {
	client *rpc.Client
	fields []zapcore.Field
}

// Enabled implements [zapcore.Core].
func (*clientCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With implements [zapcore.Core].
func (c *clientCore) With(fields []zapcore.Field) zapcore.Core {
	return &clientCore{c.client, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements [zapcore.Core].
func (c *clientCore) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

// Write implements [zapcore.Core].
func (c *clientCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	encoder := zapcore.NewConsoleEncoder(zapcore.EncoderConfig{MessageKey: "message", EncodeDuration: zapcore.StringDurationEncoder})
	e.Stack = "" // on stderr only
	line, err := encoder.EncodeEntry(e, append(c.fields[:len(c.fields):len(c.fields)], fields...))
	if err != nil {
		return err
	}
	t := protocol.MessageTypeWarning
	if e.Level >= zapcore.ErrorLevel {
		t = protocol.MessageTypeError
	}
	c.client.LogMessage(t, "dipls: "+clean.Excerpt(strings.TrimSpace(line.String()), rpc.LoggedLines, rpc.LoggedBytes, ""))
	line.Free()
	return nil
}

// Sync implements [zapcore.Core].
func (*clientCore) Sync() error { return nil }
