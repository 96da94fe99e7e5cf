package export

import (
	"html/template"
	"regexp"
	"strconv"
	"strings"

	"dipls/internal/clean"
)

// style is an escape sequence that sets colours and other styles.
var style = regexp.MustCompile("\x1b\\[([0-9;:]*)m")

// styled is text as HTML, with its ANSI colours as classes: bold, faint, italic, underline and the sixteen named colours of letters. Everything else that
// controls a terminal is gone.
func styled(text string) template.HTML {
	text = clean.Styled(text)
	var b strings.Builder
	on := map[string]bool{}
	colour, at := "", 0
	write := func(s string) {
		if s == "" {
			return
		}
		classes := colour
		for _, c := range []string{"b", "f", "i", "u"} {
			if on[c] {
				classes = strings.TrimSpace(classes + " " + c)
			}
		}
		if classes != "" {
			b.WriteString(`<span class="` + classes + `">`)
		}
		template.HTMLEscape(&b, []byte(s))
		if classes != "" {
			b.WriteString("</span>")
		}
	}
	for _, m := range style.FindAllStringSubmatchIndex(text, -1) {
		write(text[at:m[0]])
		at = m[1]
		codes := strings.FieldsFunc(text[m[2]:m[3]], func(r rune) bool { return r == ';' || r == ':' })
		if len(codes) == 0 {
			codes = []string{"0"}
		}
		for i := 0; i < len(codes); i++ {
			switch n, _ := strconv.Atoi(codes[i]); {
			case n == 0:
				clear(on)
				colour = ""
			case n == 1:
				on["b"] = true
			case n == 2:
				on["f"] = true
			case n == 3:
				on["i"] = true
			case n == 4:
				on["u"] = true
			case n == 22:
				on["b"], on["f"] = false, false
			case n == 23:
				on["i"] = false
			case n == 24:
				on["u"] = false
			case n >= 30 && n <= 37:
				colour = "c" + strconv.Itoa(n-30)
			case n >= 90 && n <= 97:
				colour = "c" + strconv.Itoa(n-90+8)
			case n == 39:
				colour = ""
			case n == 38 || n == 48: // 5 and a number, or 2 and three
				named := i+2 < len(codes) && codes[i+1] == "5"
				if k, err := strconv.Atoi(codes[min(i+2, len(codes)-1)]); named && n == 38 && err == nil {
					colour = ""
					if k < 16 {
						colour = "c" + strconv.Itoa(k)
					}
				}
				i += map[bool]int{true: 2, false: 4}[named]
			}
		}
	}
	write(text[at:])
	return template.HTML(b.String())
}
