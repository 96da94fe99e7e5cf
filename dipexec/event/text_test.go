package event

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestTextDecoder(t *testing.T) {
	for _, c := range []struct {
		pieces []string
		want   string
	}{
		{[]string{"plain"}, "plain"},
		{[]string{"h\xc3", "\xa9llo"}, "héllo"},
		{[]string{"\xf0", "\x9f", "\x98", "\x80!"}, "😀!"},
		{[]string{"\xff\xfe"}, "��"},
		{[]string{"\xe2\x82", "A"}, "��A"},
		{[]string{"end \xe2\x82"}, "end ��"},
		{[]string{"\xc3", "\xc3", "\xa9"}, "�é"},
	} {
		var d TextDecoder
		var got strings.Builder
		for _, p := range c.pieces {
			got.WriteString(d.Decode([]byte(p)))
		}
		got.WriteString(d.Flush())
		if got.String() != c.want {
			t.Errorf("%q: got %q, want %q", c.pieces, got.String(), c.want)
		}
	}
}

// The text must not depend on where the bytes were cut.
func FuzzTextDecoder(f *testing.F) {
	f.Add([]byte("h\xc3\xa9llo \xf0\x9f\x98\x80\xff\xe2\x82"), uint64(0b1010101))
	f.Add([]byte("\xed\xa0\x80\xf4\x90\x80\x80\xc0\x80"), uint64(0xffff))
	f.Fuzz(func(t *testing.T, b []byte, cuts uint64) {
		var d TextDecoder
		var got strings.Builder
		begin := 0
		for i := range b {
			if cuts>>(i%64)&1 == 1 {
				got.WriteString(d.Decode(b[begin:i]))
				begin = i
			}
		}
		got.WriteString(d.Decode(b[begin:]))
		got.WriteString(d.Flush())
		if want := string([]rune(string(b))); got.String() != want {
			t.Errorf("got %q, want %q", got.String(), want)
		}
	})
}

func FuzzSplitText(f *testing.F) {
	f.Add("héllo\nwörld", 4)
	f.Fuzz(func(t *testing.T, s string, max int) {
		if max < utf8.UTFMax || !utf8.ValidString(s) {
			return
		}
		var all string
		for rest := s; rest != ""; {
			var piece string
			piece, rest = SplitText(rest, max)
			if piece == "" || len(piece) > max || !utf8.ValidString(piece) {
				t.Fatalf("%q is a bad piece of %q", piece, s)
			}
			all += piece
		}
		if all != s {
			t.Errorf("got %q, want %q", all, s)
		}
	})
}
