package lsp

// newMarkers has documents parsed anew when the setting says that other comments begin cells.
func newMarkers(s *server) feature {
	return feature{changed: func(c change) {
		if c.settings {
			s.docs.Reparse()
		}
	}}
}
