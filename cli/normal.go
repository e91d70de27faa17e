package cli

import (
	"errors"
	"fmt"

	"github.com/nlnctl/nlnctl/bundle"
	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/models"
	"github.com/nlnctl/nlnctl/nln"
)

// normals are the normal images of a training and what is made of them.
type normals struct {
	images, calib *dataset.Set // to learn from, and held out
	grid          dataset.Grid // of patches; the zero value: whole images
	train         models.Images
	indexed       models.Images
	patches       *dataset.Patches // that are indexed; nil: whole images
	settings      *settings
	data          bundle.Data
}

// learn decides what the model learns from and what is indexed: the images, or
// patches of them.
func (n *normals) learn() error {
	n.train, n.indexed = n.images, n.images
	s := n.settings
	if s.patch == 0 {
		return nil
	}
	if n.images.Scale != dataset.Scale255 {
		return errors.New("patches need values that do not depend on the image around them: set scale to div255")
	}
	n.grid = s.grid()
	if err := n.grid.Check(n.images.Size); err != nil {
		return err
	}
	all, err := n.grid.Of(n.images).Augmented(s.augment, s.model.Seed)
	if err != nil {
		return err
	}
	n.patches = all
	if s.dedup {
		n.patches = all.Unique()
	}
	n.train, n.indexed = all, n.patches
	n.data.Augment = s.augment
	return nil
}

// fitConfig returns the settings of scoring for a model of these images.
func (n *normals) fitConfig(m nln.Model) nln.Config {
	c := n.settings.fitConfig(m)
	if n.patches == nil {
		return c
	}
	c.Patched = nln.Patched{Grid: n.grid, Image: n.images.Size}
	for i := range n.patches.Len() {
		c.Sources = append(c.Sources, int64(n.patches.Source(i)))
	}
	return c
}

// entry names what has the id i in the index.
func (n *normals) entry(i int) bundle.Image {
	if n.patches == nil {
		return bundle.Image{Name: n.images.ImageName(i), Class: className(n.images, i)}
	}
	return bundle.Image{Name: n.patches.Name(i), Class: className(n.images, n.patches.Source(i))}
}

// heldOut returns images as the model takes them, held out, evenly spaced.
func (n *normals) heldOut(most int) *dataset.Set {
	if n.patches != nil {
		held := n.grid.Of(n.calib)
		return held.Set(spaced(held.Len(), most))
	}
	return n.calib.Subset(spaced(n.calib.Len(), most))
}

// spaced returns at most so many of the numbers below n, evenly spaced.
func spaced(n, most int) []int {
	ids := make([]int, min(n, most))
	for i := range ids {
		ids[i] = i * n / len(ids)
	}
	return ids
}

// String says what is learnt from.
func (n *normals) String() string {
	if n.patches == nil {
		return fmt.Sprintf("%d images of %v", n.images.Len(), n.images.Shape())
	}
	return fmt.Sprintf("%d patches of %v of %d images of %v", n.train.Len(), n.train.Shape(), n.images.Len(), n.images.Shape())
}

// held returns how many held-out images, or patches of them, are kept for changes of
// the index.
func (n *normals) held() int {
	if n.patches != nil {
		return n.grid.Of(n.calib).Len()
	}
	return n.calib.Len()
}
