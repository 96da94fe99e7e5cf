package ranklist

import "testing"

func TestNoSuchHost(t *testing.T) {
	for text, want := range map[string]string{
		"host:gpu9": `"host:gpu9" is no host of the pool; it is on gpu1, gpu2`,
		"each:1":    `"each:1" is not there on gpu2, which has 1`,
	} {
		l, err := ParseTargets(text)
		if err == nil {
			_, err = l.In([]string{"gpu1", "gpu1", "gpu2"})
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestVerb(t *testing.T) {
	for sentence, want := range map[string]string{
		"rank 2 was killed": "was killed", "rank 2 (gpu2) was killed": "was killed", "rank 2 (pid 5) is stopped (by a signal)": "(pid 5) is stopped (by a signal)",
		"rank 21 was killed": "rank 21 was killed", "": "",
	} {
		if got, ok := Rank(2).Verb(sentence); got != want || ok != (got != sentence) {
			t.Errorf("%q: %q, %v", sentence, got, ok)
		}
	}
}

func TestTogether(t *testing.T) {
	hosts := []string{"gpu1", "gpu1", "gpu2"}
	of := func(rank int) string { return hosts[rank] }
	for want, ranks := range map[string][][]int{"gpu1": {{0}, {0, 1}}, "gpu2": {{2}}, "": {{}, {0, 2}, {0, 1, 2}}} {
		for _, some := range ranks {
			if got := Together(some, of); got != want {
				t.Errorf("%v: %q, want %q", some, got, want)
			}
		}
	}
}
