package rpc

import (
	"bytes"
	"errors"
	"strconv"

	"go.lsp.dev/jsonrpc2"
	"go.lsp.dev/protocol"

	"dipls/internal/contain"
)

// Appender is a result that writes its own JSON into the message that it is sent in. For one of megabytes that follows each keystroke, that is the only
// copy, and mostly into memory that the last one was in: to get fresh memory costs more than to fill it.
type Appender interface {
	AppendJSON(b []byte) []byte
}

// appendRequest appends a request, or without an id a notification. There are no parameters if params is nil.
func appendRequest(b []byte, id jsonrpc2.ID, method string, params any) (_ []byte, err error) {
	b = append(b, `{"jsonrpc":"2.0",`...)
	if id.IsValid() {
		b = append(appendID(b, id), ',')
	}
	b = append(b, `"method":`...)
	if b, err = protocol.AppendMarshal(b, method); err != nil {
		return nil, err
	}
	if params != nil {
		b = append(b, `,"params":`...)
		if b, err = protocol.AppendMarshal(b, params); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

// appendResult appends the answer to a request.
func appendResult(b []byte, id jsonrpc2.ID, result any) (_ []byte, err error) {
	b = append(appendID(append(b, `{"jsonrpc":"2.0",`...), id), `,"result":`...)
	if own, ok := result.(Appender); ok {
		b = own.AppendJSON(b)
	} else if b, err = protocol.AppendMarshal(b, result); err != nil {
		return nil, err
	}
	return append(b, '}'), nil
}

// appendID appends the member "id".
func appendID(b []byte, id jsonrpc2.ID) []byte {
	b = append(b, `"id":`...)
	if n, ok := id.Number(); ok {
		return strconv.AppendInt(b, n, 10)
	}
	text, _ := id.StringValue()
	b, _ = protocol.AppendMarshal(b, text) // a string can always be encoded
	return b
}

// unmarshal decodes what a message carries, with LSP's union types.
func unmarshal(data []byte, v any) (err error) {
	defer contain.AsError(&err)
	return protocol.Unmarshal(data, v)
}

// decode reads one message. The error is the answer.
func decode(body []byte) (_ jsonrpc2.Message, err error) {
	defer contain.AsError(&err)
	if text := bytes.TrimLeft(body, " \t\r\n"); len(text) > 0 && text[0] == '[' {
		return nil, jsonrpc2.NewError(jsonrpc2.InvalidRequest, "LSP has no batches: send one message at a time")
	}
	m, err := jsonrpc2.DecodeMessage(body)
	if err != nil {
		var coded *jsonrpc2.Error
		if !errors.As(err, &coded) {
			return nil, jsonrpc2.NewError(jsonrpc2.ParseError, err.Error())
		}
		return nil, coded
	}
	return m, nil
}
