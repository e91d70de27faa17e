package synth

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/nlnctl/nlnctl/dataset"
)

// InspectionOptions say what set of good and defective images to make. Start
// from [DefaultInspection].
type InspectionOptions struct {
	Inliers  []int  // the classes that are good, at least one
	Train    int    // good training images, at least 1; the inliers take turns
	Good     int    // good test images
	Each     int    // test images of each kind of defect
	Novel    []int  // classes that appear in the test set alone, Each of each, as kinds class-0 ...
	Size     int    // rows and columns, 12 to 1024
	Channels int    // as in Options
	Seed     uint64 // any
}

// DefaultInspection returns a set of the size of one category of MVTec AD, in
// small images: good images are sixes and eights, on coloured paper.
func DefaultInspection() InspectionOptions {
	return InspectionOptions{
		Inliers:  []int{6, 8},
		Train:    240,
		Good:     30,
		Each:     15,
		Size:     64,
		Channels: 3,
		Seed:     1,
	}
}

// Check reports the first option that is out of its range.
func (o InspectionOptions) Check() error {
	switch {
	case len(o.Inliers) == 0:
		return fmt.Errorf("synth: no inlier classes")
	case o.Train < 1:
		return fmt.Errorf("synth: %d training images, want at least 1", o.Train)
	case o.Good < 0 || o.Each < 0:
		return fmt.Errorf("synth: %d good images and %d of each defect, want at least 0", o.Good, o.Each)
	}
	seen := make(map[int]bool)
	for _, c := range slices.Concat(o.Inliers, o.Novel) {
		if c < 0 || c >= NumClasses {
			return fmt.Errorf("synth: class %d, want 0 to %d", c, NumClasses-1)
		}
		if seen[c] {
			return fmt.Errorf("synth: class %d is named twice", c)
		}
		seen[c] = true
	}
	groups := 1 + len(defects) + len(o.Novel)
	return checkImages(o.Size, o.Channels, max(o.Train, o.Good, o.Each), groups)
}

// GenerateInspection makes the set, as reading what [WriteMVTec] writes gives
// it: Kind "mvtec", label 0 good, then the kinds sorted by name, names as in
// the layout, and masks of 255 where a defect changed a pixel visibly: by more
// than 32/255 in a channel. Images of novel classes have no masks. Test is nil
// if it would be empty.
func GenerateInspection(o InspectionOptions) (*dataset.Splits, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	groups := o.testGroups()
	var kinds []string
	for _, g := range groups {
		kinds = append(kinds, g.kind)
	}
	sp := &dataset.Splits{Kind: "mvtec"}
	sp.Train = o.build("synth/train", splitTrain, "train/", groups[:1], []int{o.Train}, kinds)
	counts := []int{o.Good}
	for range groups[1:] {
		counts = append(counts, o.Each)
	}
	if test := o.build("synth/test", splitTest, "test/", groups, counts, kinds); test.Len() > 0 {
		sp.Test = test
	}
	return sp, nil
}

// A group is one kind of test image: good, a defect, or a novel class.
type group struct {
	kind   string
	key    uint64 // of its images' streams; the good ones have 0
	defect *defect
	class  int // the novel class; -1 for the inliers
}

// testGroups returns good, then the other kinds sorted by name.
func (o InspectionOptions) testGroups() []group {
	var groups []group
	for i := range defects {
		groups = append(groups, group{kind: defects[i].name, key: uint64(1 + i), defect: &defects[i], class: -1})
	}
	for _, c := range o.Novel {
		groups = append(groups, group{kind: "class-" + strconv.Itoa(c), class: c})
	}
	slices.SortFunc(groups, func(a, b group) int {
		if a.kind < b.kind {
			return -1
		}
		return 1
	})
	return slices.Insert(groups, 0, group{kind: "good", class: -1})
}

// An item is one image to be made.
type item struct {
	group group
	label int
	index int // within the group
}

func (o InspectionOptions) build(name string, split uint64, prefix string, groups []group, counts []int, kinds []string) *dataset.Set {
	var items []item
	for label, g := range groups {
		for i := range counts[label] {
			items = append(items, item{g, label, i})
		}
	}
	s := &dataset.Set{
		Name:    name,
		Size:    dataset.Shape{C: o.Channels, H: o.Size, W: o.Size},
		Classes: kinds,
		Labels:  make([]int, len(items)),
		Names:   make([]string, len(items)),
		Masks:   make([][]byte, len(items)),
		Scale:   dataset.Scale255,
	}
	s.Pix = make([]uint8, len(items)*s.Size.Len())
	eachImage(len(items), func(i int) {
		it := items[i]
		s.Labels[i] = it.label
		s.Names[i] = fmt.Sprintf("%s%s/%03d.png", prefix, it.group.kind, it.index)
		class := it.group.class
		if class < 0 {
			class = o.Inliers[it.index%len(o.Inliers)]
		}
		// Each kind of defect has its own glyphs: no good image is a clean
		// twin of a defective one.
		id := imageID{o.Seed, split + 2*it.group.key, uint64(class), uint64(it.index)}
		sc := newScene(id, o.Size, o.Channels)
		if it.group.defect == nil {
			copy(s.Image(i), sc.bytes(sc.paint(sc.cover)))
			return
		}
		pix, mask := sc.spoil(*it.group.defect, id)
		copy(s.Image(i), pix)
		s.Masks[i] = mask
	})
	return s
}
