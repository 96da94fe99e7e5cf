package remote

import (
	"encoding/json"

	"dipls/ranks/wire"
	"dipls/session"
)

// Names of files are bytes, which JSON cannot have: [wire.Path] says how they are written. What describes a session has such names as strings.

// aboutAnswer is a session.About as it is written.
type aboutAnswer struct{ session.About }

type aboutJSON struct {
	session.About
	Dir     wire.Path `json:"dir"`
	Python  wire.Path `json:"python,omitempty"`
	Journal wire.Path `json:"journal,omitempty"`
	Log     wire.Path `json:"log,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (a aboutAnswer) MarshalJSON() ([]byte, error) {
	return json.Marshal(aboutJSON{a.About, wire.Path(a.Dir), wire.Path(a.Python), wire.Path(a.Journal), wire.Path(a.Log)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (a *aboutAnswer) UnmarshalJSON(data []byte) error {
	var read aboutJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	a.About = read.About
	a.Dir, a.Python, a.Journal, a.Log = string(read.Dir), string(read.Python), string(read.Journal), string(read.Log)
	return nil
}

type (
	plainWelcome Welcome
	welcomeJSON  struct {
		plainWelcome
		About aboutAnswer `json:"about"`
	}
)

// MarshalJSON implements [json.Marshaler].
func (w Welcome) MarshalJSON() ([]byte, error) {
	return json.Marshal(welcomeJSON{plainWelcome(w), aboutAnswer{w.About}})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (w *Welcome) UnmarshalJSON(data []byte) error {
	var read welcomeJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*w = Welcome(read.plainWelcome)
	w.About = read.About.About
	return nil
}
