package afar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"go.lsp.dev/jsonrpc2"

	"dipls/ranks/host/mux"
)

// service is a process of the agent that answers requests: dip_agent/hosts/rpc.py is the other end.
type service struct {
	name    string
	mux     *mux.Conn
	channel *mux.Channel
	rpc     jsonrpc2.Conn
}

// serve has the agent start a process. told gets its notifications, in order; params are only valid during the call.
func serve(c *mux.Conn, name string, told func(method string, params []byte)) (*service, error) {
	channel, err := c.Open(map[string]string{"serve": name})
	if err != nil {
		return nil, err
	}
	s := &service{name: name, mux: c, channel: channel, rpc: jsonrpc2.NewConn(jsonrpc2.NewNDJSONStream(channel), jsonrpc2.WithCodec(codec{}))}
	s.rpc.Go(context.Background(), func(_ context.Context, r *jsonrpc2.Request) (any, error) {
		if told != nil && !r.IsCall() {
			told(r.Method(), r.Params())
		}
		return nil, nil
	})
	return s, nil
}

// call sends a request and waits for the answer.
func (s *service) call(ctx context.Context, method string, params, result any) error {
	_, err := s.rpc.Call(ctx, method, params, result)
	if err == nil {
		return nil
	}
	var refused *jsonrpc2.Error
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case s.mux.Err() != nil:
		return s.mux.Err()
	case errors.As(err, &refused) && refused.Code == refusal:
		return errors.New(refused.Message)
	}
	return fmt.Errorf("the host's %s %w: %w", s.name, errSilent, err)
}

// errSilent is the error of a call whose process has ended, or says what it should not.
var errSilent = errors.New("does not answer")

// ends reports whether a call's error is the end of its process. That may be known before [service.done] is closed.
func (s *service) ends(err error) bool {
	var answer *jsonrpc2.Error
	return s.over() || errors.Is(err, errSilent) && !errors.As(err, &answer)
}

// refusal is the code of the other end's errors.
const refusal jsonrpc2.Code = 1

// tell sends a notification. If the process has ended, there is nobody to tell.
func (s *service) tell(method string) { _ = s.rpc.Notify(context.Background(), method, nil) }

// done is closed when nothing more comes.
func (s *service) done() <-chan struct{} { return s.rpc.Done() }

// over reports whether the process has ended.
func (s *service) over() bool {
	select {
	case <-s.rpc.Done():
		return true
	default:
		return false
	}
}

// close ends the process there.
func (s *service) close() {
	s.channel.Close()
	s.rpc.Close()
}

// codec writes payloads by the standard library, on which the types' own methods rely.
type codec struct{}

// Marshal implements [jsonrpc2.Codec].
func (codec) Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

// Unmarshal implements [jsonrpc2.Codec].
func (codec) Unmarshal(data []byte, v any) error { return json.Unmarshal(data, v) }
