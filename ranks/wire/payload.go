package wire

import "encoding/json"

// Payload says, as a JSON object, where pickled variables lie: in the memory of a host, which only processes of that host can map. Only Python
// reads more of it than which host that is. docs/wire.md has the format.
type Payload json.RawMessage

// Host is the name of the host; "" if it has none.
func (p Payload) Host() string {
	var head struct {
		Host string `json:"host"`
	}
	_ = json.Unmarshal(p, &head) // whoever maps it finds out
	return head.Host
}

// MarshalJSON gives the object as it came.
func (p Payload) MarshalJSON() ([]byte, error) { return json.RawMessage(p).MarshalJSON() }

// UnmarshalJSON keeps the object as it comes.
func (p *Payload) UnmarshalJSON(data []byte) error { return (*json.RawMessage)(p).UnmarshalJSON(data) }
