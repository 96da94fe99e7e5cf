package session

import (
	"encoding/json"

	"dipls/ranks/wire"
)

// Names of files are bytes, which JSON cannot have: [wire.Path] says how they are written. Settings have such names as strings.

type (
	plainSettings Settings
	settingsJSON  struct {
		plainSettings
		Python wire.Path `json:"python,omitempty"`
		Script wire.Path `json:"script,omitempty"`
	}
)

// MarshalJSON implements [json.Marshaler].
func (s Settings) MarshalJSON() ([]byte, error) {
	return json.Marshal(settingsJSON{plainSettings(s), wire.Path(s.Python), wire.Path(s.Script)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Settings) UnmarshalJSON(data []byte) error {
	var read settingsJSON
	if err := json.Unmarshal(data, &read); err != nil {
		return err
	}
	*s = Settings(read.plainSettings)
	s.Python, s.Script = string(read.Python), string(read.Script)
	return nil
}
