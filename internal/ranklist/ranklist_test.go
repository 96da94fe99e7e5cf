package ranklist

import "testing"

func TestName(t *testing.T) {
	var many []int
	for i := range 17 {
		many = append(many, 2*i)
	}
	for _, c := range []struct {
		ranks []int
		want  string
	}{
		{[]int{2}, "rank 2"},
		{[]int{-1}, "rank -1"},
		{[]int{2, 2}, "rank 2"},
		{[]int{0, 2, 3, 4}, "ranks 0,2-4"},
		{[]int{4, 0, 3, 2, 3}, "ranks 0,2-4"},
		{many[:16], "ranks 0,2,4,6,8,10,12,14,16,18,20,22,24,26,28,30"},
		{many, "17 ranks"},
	} {
		if got := Name(c.ranks); got != c.want {
			t.Errorf("%v: got %s, want %s", c.ranks, got, c.want)
		}
	}
	for list, want := range map[string]string{"0": "rank 0", "-1": "rank -1", "0,-1": "ranks 0,-1", "0-2": "ranks 0-2", "-2:": "ranks -2:", "all": "ranks all"} {
		if got := Named(list); got != want {
			t.Errorf("%s: got %s, want %s", list, got, want)
		}
	}
}
