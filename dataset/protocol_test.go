package dataset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestProtocols(t *testing.T) {
	labels := []int{0, 1, 2, 1, 0}
	for _, c := range []struct {
		p       Protocol
		class   int
		inliers []int
		novel   []bool
	}{
		{MISO, 1, []int{0, 2, 4}, []bool{false, true, false, true, false}},
		{SIMO, 1, []int{1, 3}, []bool{true, false, true, false, true}},
		{MISO, 7, []int{0, 1, 2, 3, 4}, []bool{false, false, false, false, false}},
		{SIMO, 7, nil, []bool{true, true, true, true, true}},
		{Defects, -1, []int{0, 4}, []bool{false, true, true, true, false}},
		{Unlabelled, -1, []int{0, 1, 2, 3, 4}, nil},
	} {
		if got := c.p.Inliers(labels, c.class); !slices.Equal(got, c.inliers) {
			t.Errorf("%q, class %d: inliers %v, want %v", c.p, c.class, got, c.inliers)
		}
		if got := c.p.Novel(labels, c.class); !slices.Equal(got, c.novel) || (got == nil) != (c.novel == nil) {
			t.Errorf("%q, class %d: novel %v, want %v", c.p, c.class, got, c.novel)
		}
	}
}

// What one protocol trains on is what the other calls novel.
func TestProtocolsAreComplementary(t *testing.T) {
	var labels []int
	for i := range 1000 {
		labels = append(labels, i*i%10)
	}
	for c := range 10 {
		miso, simo := MISO.Inliers(labels, c), SIMO.Inliers(labels, c)
		both := slices.Concat(miso, simo)
		slices.Sort(both)
		if len(both) != 1000 || len(slices.Compact(both)) != 1000 {
			t.Errorf("class %d: miso and simo do not part the images", c)
		}
		novel := MISO.Novel(labels, c)
		for _, i := range miso {
			if labels[i] == c || novel[i] {
				t.Fatalf("class %d: miso trains on image %d of label %d", c, i, labels[i])
			}
		}
	}
}

func TestParseProtocol(t *testing.T) {
	for s, want := range map[string]Protocol{"miso": MISO, "SIMO": SIMO, "Defects": Defects, "": Unlabelled} {
		if got, err := ParseProtocol(s); err != nil || got != want {
			t.Errorf("ParseProtocol(%q) = %q, %v", s, got, err)
		}
	}
	if _, err := ParseProtocol("mimo"); err == nil {
		t.Error("mimo: no error")
	}
}

// labelled returns a set of one-pixel images with the labels given.
func labelled(name string, classes int, labels ...int) *Set {
	s := &Set{Name: name, Size: Shape{1, 1, 1}, Pix: make([]uint8, len(labels)), Labels: labels}
	for c := range classes {
		s.Classes = append(s.Classes, fmt.Sprintf("class %c", 'A'+c))
	}
	return s
}

func TestTask(t *testing.T) {
	sp := &Splits{Kind: "mnist", Train: labelled("train", 3, 0, 1, 2, 1), Test: labelled("test", 3, 2, 1)}
	task, err := sp.Task(MISO, "class B")
	if err != nil || task.Class != 1 || !slices.Equal(task.Inliers, []int{0, 2}) || !slices.Equal(task.Novel, []bool{false, true}) {
		t.Errorf("miso: %+v, %v", task, err)
	}
	task, err = sp.Task("SIMO", "2")
	if err != nil || task.Protocol != SIMO || !slices.Equal(task.Inliers, []int{2}) || !slices.Equal(task.Novel, []bool{false, true}) {
		t.Errorf("simo: %+v, %v", task, err)
	}
	task, err = sp.Task(Unlabelled, "")
	if err != nil || task.Class != -1 || len(task.Inliers) != 4 || task.Novel != nil {
		t.Errorf("no protocol: %+v, %v", task, err)
	}
	sp.Kind = "mvtec"
	task, err = sp.Task(Unlabelled, "")
	if err != nil || task.Protocol != Defects || !slices.Equal(task.Inliers, []int{0}) || !slices.Equal(task.Novel, []bool{true, true}) {
		t.Errorf("mvtec without protocol: %+v, %v", task, err)
	}
	sp.Train = nil
	if task, err = sp.Task(MISO, "0"); err != nil || task.Inliers != nil || len(task.Novel) != 2 {
		t.Errorf("no training images: %+v, %v", task, err)
	}
}

func TestTaskErrors(t *testing.T) {
	unlabelled := &Set{Name: "plain", Size: Shape{1, 1, 1}, Pix: make([]uint8, 2)}
	full := &Splits{Train: labelled("train", 3, 0, 1), Test: labelled("test", 3, 2)}
	for name, c := range map[string]struct {
		sp    *Splits
		p     Protocol
		class string
		says  string
	}{
		"unknown protocol":   {full, "mimo", "0", "mimo"},
		"class missing":      {full, MISO, "", "needs a class"},
		"class not wanted":   {full, Defects, "0", "take one"},
		"unknown class":      {full, SIMO, "cat", "class A, class B, class C"},
		"class out of range": {full, SIMO, "3", "unknown class"},
		"nothing to train":   {full, SIMO, "2", "no image of train"},
		"no labels":          {&Splits{Train: unlabelled, Test: unlabelled}, MISO, "0", "plain has none"},
		"no labels in test":  {&Splits{Train: full.Train, Test: unlabelled}, MISO, "0", "plain has none"},
	} {
		if _, err := c.sp.Task(c.p, c.class); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: error %v, want one with %q", name, err, c.says)
		}
	}
}

func TestClass(t *testing.T) {
	s := &Set{Name: "s", Classes: []string{"1", "cat", "Dog"}}
	for name, want := range map[string]int{"1": 0, "cat": 1, "dog": 2, "Dog": 2, "2": 2, "0": 0} {
		if got, err := s.Class(name); err != nil || got != want {
			t.Errorf("Class(%q) = %d, %v, want %d", name, got, err, want)
		}
	}
	for _, name := range []string{"3", "-1", "bird", ""} {
		if got, err := s.Class(name); err == nil {
			t.Errorf("Class(%q) = %d, want an error", name, got)
		}
	}
}
