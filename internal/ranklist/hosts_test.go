package ranklist

import "testing"

func TestNoSuchHost(t *testing.T) {
	for text, want := range map[string][2]string{ // on two hosts, and on a machine without a name
		"host:gpu9": {"no host gpu9; hosts: gpu1, gpu2", "no host gpu9; the pool has one host only, this machine"},
		"each:1":    {`"each:1" is not there on gpu2, which has 1`, `"each:1" is not there on this machine, which has 1`},
	} {
		l, err := ParseRanks(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		for i, on := range [][]string{{"gpu1", "gpu1", "gpu2"}, {""}} {
			if _, err = l.In(on); err == nil || err.Error() != want[i] {
				t.Errorf("%s on %q: %v, want %s", text, on, err, want[i])
			}
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
