package wire

import "encoding/json"

// Payload says, as a JSON object, where pickled variables are: in the memory of a host, which only processes of that host can map. Go reads
// only the host's name from it; the rest is for Python. docs/wire.md has the format.
type Payload json.RawMessage

// Host is the name of the host; "" if it has none.
func (p Payload) Host() string {
	var head struct {
		Host string `json:"host"`
	}
	_ = json.Unmarshal(p, &head) // a broken one is noticed when it is mapped
	return head.Host
}

// MarshalJSON gives the object as it came.
func (p Payload) MarshalJSON() ([]byte, error) { return json.RawMessage(p).MarshalJSON() }

// UnmarshalJSON keeps the object as it comes.
func (p *Payload) UnmarshalJSON(data []byte) error { return (*json.RawMessage)(p).UnmarshalJSON(data) }
