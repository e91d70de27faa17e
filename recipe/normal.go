package recipe

import (
	"errors"
	"fmt"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// Normals are the normal images of a task and what is made of them.
type Normals struct {
	Settings *Settings
	Task     *dataset.Task

	Images  *dataset.Set     // to learn from
	Calib   *dataset.Set     // held out
	Train   models.Images    // Images, or patches of them
	Indexed models.Images    // the same, each once
	Patches *dataset.Patches // that are indexed; nil: whole images

	grid dataset.Grid // of patches
}

// TooFewError says that there are too few normal images to hold some out.
type TooFewError struct{ Images int }

func (e *TooFewError) Error() string {
	return fmt.Sprintf("%d normal images are too few to hold some out for calibration, at least 10 are needed", e.Images)
}

// Learn parts the normal images of a data set, by a protocol with a class, in those to
// learn from and those to calibrate with. sp.Train keeps only the former, so that there
// is no second copy of them.
func Learn(sp *dataset.Splits, p dataset.Protocol, class string, s *Settings) (*Normals, error) {
	if s.Scale != "" {
		sp.Train.Scale = s.Scale
	}
	task, err := sp.Task(p, class)
	if err != nil {
		return nil, err
	}
	if err := task.AddNoise(sp.Train, s.Noise, s.Model.Seed); err != nil {
		return nil, err
	}
	keep, out := dataset.Split(len(task.Inliers), pick(sp.Train.Labels, task.Inliers), s.HeldOut, s.Model.Seed)
	if len(out) == 0 || len(keep) == 0 {
		return nil, &TooFewError{len(task.Inliers)}
	}
	n := &Normals{Settings: s, Task: task, Images: sp.Train, Calib: sp.Train.Subset(pick(task.Inliers, out))}
	sp.Train.Keep(pick(task.Inliers, keep)) // nothing else has a part in it from here on
	return n, n.learn()
}

// learn decides what the model learns from and what is indexed: the images, or
// patches of them.
func (n *Normals) learn() error {
	n.Train, n.Indexed = n.Images, n.Images
	s := n.Settings
	if s.Patch == 0 {
		return nil
	}
	if n.Images.Scale != dataset.Scale255 {
		return errors.New("patches need values that do not depend on the image around them: set scale to div255")
	}
	n.grid = s.Grid()
	if err := n.grid.Check(n.Images.Size); err != nil {
		return err
	}
	all, err := n.grid.Of(n.Images).Augmented(s.Augment, s.Model.Seed)
	if err != nil {
		return err
	}
	n.Patches = all
	if s.Dedup {
		n.Patches = all.Unique()
	}
	n.Train, n.Indexed = all, n.Patches
	return nil
}

// FitConfig returns the settings of scoring for a model of these images.
func (n *Normals) FitConfig(m nln.Model) nln.Config {
	c := n.Settings.FitConfig(m)
	if n.Patches == nil {
		return c
	}
	c.Patched = nln.Patched{Grid: n.grid, Image: n.Images.Size}
	for i := range n.Patches.Len() {
		c.Sources = append(c.Sources, int64(n.Patches.Source(i)))
	}
	return c
}

// Entry returns the name and the class of what has the id i in the index.
func (n *Normals) Entry(i int) (name, class string) {
	if n.Patches == nil {
		return n.Images.ImageName(i), n.Images.ClassName(i)
	}
	return n.Patches.Name(i), n.Images.ClassName(n.Patches.Source(i))
}

// HeldOut returns held-out images as the model takes them, evenly spaced.
func (n *Normals) HeldOut(most int) *dataset.Set {
	if n.Patches != nil {
		held := n.grid.Of(n.Calib)
		return held.Set(Spaced(held.Len(), most))
	}
	return some(n.Calib, most)
}

// Held returns how many held-out images there are as the model takes them.
func (n *Normals) Held() int {
	if n.Patches != nil {
		return n.grid.Of(n.Calib).Len()
	}
	return n.Calib.Len()
}

// String says what is learnt from.
func (n *Normals) String() string {
	if n.Patches == nil {
		return fmt.Sprintf("%d images of %v", n.Images.Len(), n.Images.Shape())
	}
	return fmt.Sprintf("%d patches of %v of %d images of %v", n.Train.Len(), n.Train.Shape(), n.Images.Len(), n.Images.Shape())
}
