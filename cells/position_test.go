package cells

import "testing"

func TestPosition(t *testing.T) {
	//       0123456 7 8 9   13     15 16 17
	text := "# %%\r\na\u00e9😀\xff\rb\n"
	f := Parse(text)
	if f.Size() != 17 || f.Lines() != 4 {
		t.Fatalf("%d bytes, %d lines", f.Size(), f.Lines())
	}
	for _, tt := range []struct {
		offset             int
		line               int
		utf8, utf16, utf32 int
		back               int // offset that the position is at
	}{
		{0, 0, 0, 0, 0, 0},
		{4, 0, 4, 4, 4, 4},
		{5, 0, 4, 4, 4, 4}, // between \r and \n
		{6, 1, 0, 0, 0, 6},
		{7, 1, 1, 1, 1, 7},
		{8, 1, 1, 1, 1, 7}, // inside of é
		{9, 1, 3, 2, 2, 9},
		{11, 1, 3, 2, 2, 9}, // inside of 😀
		{13, 1, 7, 4, 3, 13},
		{14, 1, 8, 5, 4, 14},
		{15, 2, 0, 0, 0, 15},
		{16, 2, 1, 1, 1, 16},
		{17, 3, 0, 0, 0, 17},
		{99, 3, 0, 0, 0, 17},
		{-1, 0, 0, 0, 0, 0},
	} {
		for enc, column := range map[Encoding]int{UTF8: tt.utf8, UTF16: tt.utf16, UTF32: tt.utf32} {
			p := f.Position(tt.offset, enc)
			if p != (Position{tt.line, column}) || f.Offset(p, enc) != tt.back {
				t.Errorf("offset %d in encoding %d: %v and back to %d; want line %d, column %d, back to %d",
					tt.offset, enc, p, f.Offset(p, enc), tt.line, column, tt.back)
			}
		}
	}
	for _, tt := range []struct {
		p    Position
		want int
	}{
		{Position{-1, 5}, 0}, {Position{0, -1}, 0}, {Position{0, 99}, 4}, {Position{1, 3}, 9}, // inside of the surrogate pair
		{Position{1, 99}, 14}, {Position{3, 0}, 17}, {Position{3, 5}, 17}, {Position{99, 0}, 17},
	} {
		if got := f.Offset(tt.p, UTF16); got != tt.want {
			t.Errorf("%v is offset %d, want %d", tt.p, got, tt.want)
		}
	}
	if p := Parse("").Position(3, UTF16); p != (Position{}) {
		t.Errorf("in an empty file: %v", p)
	}
	if n := Parse("").Lines(); n != 1 {
		t.Errorf("an empty file has %d lines", n)
	}
}
