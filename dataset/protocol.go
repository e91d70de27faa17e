package dataset

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A Protocol says which training images a model may see and which test images
// are novel, after Burlina et al., "Where's Wally now? Deep generative and
// discriminative embeddings for novelty detection", CVPR 2019.
type Protocol string

const (
	// MISO, multiple inliers and a single outlier: all classes but one are
	// normal, the class named is novel.
	MISO Protocol = "miso"

	// SIMO, a single inlier and multiple outliers: the class named is normal,
	// all others are novel.
	SIMO Protocol = "simo"

	// Defects is the protocol of MVTec AD: label 0 is normal, every other is
	// novel. It takes no class.
	Defects Protocol = "defects"

	// Unlabelled, the zero value, trains on everything and knows of no test
	// image whether it is novel. [Splits.Task] takes it as Defects for MVTec.
	Unlabelled Protocol = ""
)

// ParseProtocol returns the protocol named s, in any case.
func ParseProtocol(s string) (Protocol, error) {
	p := Protocol(strings.ToLower(s))
	switch p {
	case MISO, SIMO, Defects, Unlabelled:
		return p, nil
	}
	return "", fmt.Errorf("dataset: unknown protocol %q, want miso, simo or defects", s)
}

// NeedsClass reports whether p is about one class.
func (p Protocol) NeedsClass() bool { return p == MISO || p == SIMO }

// Novel returns for each label whether it is novel under p with class c, which
// is ignored where p takes none. For Unlabelled it returns nil: unknown.
func (p Protocol) Novel(labels []int, c int) []bool {
	if p == Unlabelled {
		return nil
	}
	novel := make([]bool, len(labels))
	for i, label := range labels {
		novel[i] = p.novel(label, c)
	}
	return novel
}

// Inliers returns the indices of the labels that are normal under p with class
// c, ascending; all of them for Unlabelled.
func (p Protocol) Inliers(labels []int, c int) []int {
	var ids []int
	for i, label := range labels {
		if !p.novel(label, c) {
			ids = append(ids, i)
		}
	}
	return ids
}

func (p Protocol) novel(label, c int) bool {
	switch p {
	case MISO:
		return label == c
	case SIMO:
		return label != c
	case Defects:
		return label != 0
	case Unlabelled:
		return false
	}
	panic(fmt.Sprintf("dataset: unknown protocol %q", string(p)))
}

// A Task is what a protocol makes of a data set: the images to learn normal
// from, and the truth about the images to be scored.
type Task struct {
	Protocol Protocol
	Class    int    // the class that Protocol is about; -1 where it takes none
	Inliers  []int  // of Train, ascending; nil where there is no Train
	Noise    []int  // those of Inliers that AddNoise put there, ascending
	Novel    []bool // of each image of Test; nil where there is no Test, or unknown
}

// Task applies protocol p with the class named (see [Set.Class]; empty where p
// takes none). No protocol means [Defects] for an mvtec set. It returns an
// error if p needs labels that a set lacks, or leaves nothing to train on.
func (sp *Splits) Task(p Protocol, class string) (*Task, error) {
	p, err := ParseProtocol(string(p))
	if err != nil {
		return nil, err
	}
	if p == Unlabelled && sp.Kind == "mvtec" {
		p = Defects
	}
	t := &Task{Protocol: p, Class: -1}
	switch {
	case p.NeedsClass() && class == "":
		return nil, fmt.Errorf("dataset: protocol %s needs a class", p)
	case !p.NeedsClass() && class != "":
		return nil, fmt.Errorf("dataset: class %q given, but only the protocols miso and simo take one", class)
	}
	for _, s := range []*Set{sp.Train, sp.Test} {
		if s == nil || p == Unlabelled {
			continue
		}
		if s.Labels == nil {
			return nil, fmt.Errorf("dataset: protocol %s needs labels, %s has none", p, s.Name)
		}
		if p == Defects && sp.Kind == "list" && !slices.Contains(normalClasses, s.Classes[0]) {
			return nil, fmt.Errorf("dataset: protocol %s needs a class %s, which %s has not; it has %s",
				p, strings.Join(normalClasses, " or "), s.Name, strings.Join(s.Classes, ", "))
		}
		if p.NeedsClass() {
			if t.Class, err = s.Class(class); err != nil {
				return nil, err
			}
		}
	}
	if sp.Test != nil {
		t.Novel = p.Novel(sp.Test.Labels, t.Class)
	}
	if sp.Train == nil {
		return t, nil
	}
	if p == Unlabelled {
		t.Inliers = make([]int, sp.Train.Len())
		for i := range t.Inliers {
			t.Inliers[i] = i
		}
	} else {
		t.Inliers = p.Inliers(sp.Train.Labels, t.Class)
	}
	if len(t.Inliers) == 0 {
		return nil, fmt.Errorf("dataset: protocol %s leaves no image of %s to train on", p, sp.Train.Name)
	}
	return t, nil
}

// Class returns the label of the class called name: an exact class name first,
// then one that differs in case only, then a label in decimal.
func (s *Set) Class(name string) (int, error) {
	if i := slices.Index(s.Classes, name); i >= 0 {
		return i, nil
	}
	for i, c := range s.Classes {
		if strings.EqualFold(c, name) {
			return i, nil
		}
	}
	if i, err := strconv.Atoi(name); err == nil && 0 <= i && i < len(s.Classes) {
		return i, nil
	}
	if len(s.Classes) == 0 {
		return 0, fmt.Errorf("dataset: unknown class %q: %s has no classes", name, s.Name)
	}
	return 0, fmt.Errorf("dataset: unknown class %q: %s has %s, or 0 to %d", name, s.Name, strings.Join(s.Classes, ", "), len(s.Classes)-1)
}
