package paper

import (
	"fmt"
	"image"
	"slices"
	"strconv"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment"
)

// Ends of the colours of the paper's figures, as shares of the range over the test
// images: of figures 1 and 3, and of figure 4.
const (
	lowError, highError = .35, .5
	lowScore, highScore = .25, .5
)

// checkExamples makes sure that the parts of pictures fit together.
func checkExamples(e *experiment.Examples) error {
	for i := range e.Images {
		x := &e.Images[i]
		n, plane := x.Shape.Len(), x.Shape.H*x.Shape.W
		if n <= 0 {
			return fmt.Errorf("image %d has the shape %v", i, x.Shape)
		}
		for _, v := range []struct {
			what      string
			have, len int
			needed    bool
		}{
			{"input", len(x.Input), n, true}, {"reconstruction", len(x.Recon), n, false},
			{"map of the reconstruction error", len(x.ReconMap), plane, false}, {"map of the error", len(x.ErrorMap), plane, false},
			{"map of scores", len(x.ScoreMap), plane, false}, {"mask", len(x.Mask), plane, false},
		} {
			if v.have != v.len && (v.needed || v.have > 0) {
				return fmt.Errorf("image %d, %s: have %d values, want %d", i, v.what, v.have, v.len)
			}
		}
		for _, nb := range x.Neighbors {
			if len(nb) != n {
				return fmt.Errorf("image %d, neighbour: have %d values, want %d", i, len(nb), n)
			}
		}
	}
	return nil
}

// pick returns the pictures of one method on a task whose class is wanted, or else
// of the first class that has any.
func pick(examples []experiment.Examples, t task, wanted string) *experiment.Examples {
	var found *experiment.Examples
	for i := range examples {
		e := &examples[i]
		at, class := place(e.Cell)
		if at != t || e.Cell.Method != ae || len(e.Images) == 0 {
			continue
		}
		if class == wanted {
			return e
		}
		if found == nil {
			found = e
		}
	}
	return found
}

// some returns up to novel images that are novel and normal ones that are not, in
// their order, so that nobody has chosen them by what they show.
func some(e *experiment.Examples, novel, normal int) []*experiment.Example {
	var chosen []*experiment.Example
	for i := range e.Images {
		x := &e.Images[i]
		left := &normal
		if x.Novel {
			left = &novel
		}
		if *left > 0 {
			*left--
			chosen = append(chosen, x)
		}
	}
	slices.SortStableFunc(chosen, func(a, b *experiment.Example) int { return order(a) - order(b) })
	return chosen
}

func order(x *experiment.Example) int {
	if x.Novel {
		return 0
	}
	return 1
}

// heading says what the pictures are of.
func heading(e *experiment.Examples) string {
	t, class := place(e.Cell)
	if t.set == mvtec {
		return "MVTec-AD, " + class
	}
	return fmt.Sprintf("%s, class %s novel", t, class)
}

// cellWords say which cell pictures are of, for a caption.
func cellWords(e *experiment.Examples) string {
	return fmt.Sprintf("%s: AE, L = %d, seed %d, K = %d, %s", heading(e), e.Cell.Latent, e.Cell.Seed, e.Images[0].K, setupWords(e.Cell))
}

func names(images []*experiment.Example) string {
	var s []string
	for _, x := range images {
		s = append(s, x.Name)
	}
	return strings.Join(s, ", ")
}

// truth says what an image is and its name, as the label of a row.
func truth(x *experiment.Example) []string {
	word := "normal"
	if x.Novel {
		word = "novel"
	}
	if x.Class != "" {
		word += ", " + shorten(x.Class)
	}
	return []string{word, shorten(x.Name)}
}

// shorten keeps the end of a name, which tells files apart.
func shorten(s string) string {
	const most = 24
	r := []rune(s)
	if len(r) <= most {
		return s
	}
	return "…" + string(r[len(r)-most+1:])
}

// neighbourFigure makes figure 1.
func neighbourFigure(_ *index, examples []experiment.Examples) (*part, error) {
	m := montage{low: lowError, high: highError,
		columns: []string{"input", "reconstruction", "1st neighbour", "2nd neighbour", "recon. error", "NLN error"}}
	var words []string
	for _, e := range []*experiment.Examples{
		pick(examples, defects, "screw"),
		pick(examples, task{mnist, dataset.MISO}, "2"),
	} {
		if e == nil {
			continue
		}
		m.rows = append(m.rows, montageRow{heading: heading(e)})
		images := some(e, 2, 1)
		for _, x := range images {
			row := montageRow{label: truth(x), cells: []image.Image{outline(pictureOf(x.Shape, x.Input), x.Shape, x.Mask)}}
			row.label = append(row.label, "recon. error "+short(x.ReconScore), "NLN error "+short(x.Error))
			if x.Recon != nil {
				row.cells = append(row.cells, pictureOf(x.Shape, x.Recon))
			} else {
				row.cells = append(row.cells, nil)
			}
			for k := range 2 {
				if k < len(x.Neighbors) {
					row.cells = append(row.cells, pictureOf(x.Shape, x.Neighbors[k]))
				} else {
					row.cells = append(row.cells, nil)
				}
			}
			row.cells = append(row.cells, errorCell(x, x.ReconMap, e, false), errorCell(x, x.ErrorMap, e, true))
			m.rows = append(m.rows, row)
		}
		words = append(words, cellWords(e)+"; images "+names(images))
	}
	if len(words) == 0 {
		return nil, nil
	}
	f := &figure{name: "figure1", panels: []panel{m.panel()}, across: 1, picture: true}
	f.alt = "Rows of test images with their reconstruction, two neighbours' reconstructions and two maps of errors."
	f.caption = "Test images, their reconstructions, the reconstructions of the nearest normal images, and the absolute differences of the image from the former and from the mean over the K latter, as means over the channels. " +
		"Maps are scaled by the range over the test images and shown from 0.35 to 0.5 of it, as in the paper; marked defects are outlined in blue, where the paper circles them by hand. " +
		"The images are the first two novel and the first normal of those that the cell kept. " + strings.Join(words, ". ") + "."
	return &part{figures: []*figure{f}}, nil
}

// errorCell returns a map of an example, nil if it has none.
func errorCell(x *experiment.Example, values []float32, e *experiment.Examples, neighbours bool) image.Image {
	if values == nil {
		return nil
	}
	r := e.ReconRange
	if neighbours {
		r = e.ErrorRange
	}
	return outline(mapOf(x.Shape, values, r, lowError, highError), x.Shape, x.Mask)
}

// short writes an error or a score to three digits.
func short(v float64) string { return minus(strconv.FormatFloat(v, 'g', 3, 64)) }

// scoringFigure makes figure 3.
func scoringFigure(_ *index, examples []experiment.Examples) (*part, error) {
	e := pick(examples, task{mnist, dataset.MISO}, "1")
	if e == nil {
		return nil, nil
	}
	images := some(e, 2, 1)
	shown := 0
	for _, x := range images {
		shown = max(shown, min(3, len(x.Neighbors)))
	}
	m := montage{low: lowError, high: highError, columns: []string{"query x"}}
	for k := range shown {
		m.columns = append(m.columns, fmt.Sprintf("neighbour %d, g(z%d)", k+1, k+1))
	}
	m.columns = append(m.columns, "mean |x − g(z)|")
	m.rows = append(m.rows, montageRow{heading: heading(e)})
	for _, x := range images {
		row := montageRow{label: append(truth(x), "error "+short(x.Error), "distance "+short(x.Distance), "score "+short(x.Total),
			"recon. error "+short(x.ReconScore)), cells: []image.Image{pictureOf(x.Shape, x.Input)}}
		for k := range shown {
			if k < len(x.Neighbors) {
				row.cells = append(row.cells, pictureOf(x.Shape, x.Neighbors[k]))
			} else {
				row.cells = append(row.cells, nil)
			}
		}
		row.cells = append(row.cells, errorCell(x, x.ErrorMap, e, true))
		m.rows = append(m.rows, row)
	}
	f := &figure{name: "figure3", panels: []panel{m.panel()}, across: 1, picture: true}
	f.alt = "Three queries with the reconstructions of their neighbours, the map of the error and the scores."
	f.caption = fmt.Sprintf("How an image is scored: the reconstructions of the normal images that lie nearest to it in the latent space are compared with it; the error is the mean absolute difference, the distance that "+
		"to the neighbours in the latent space, and the score weighs both, scaled, with alpha = %s of the error and %s of the distance. Maps as in figure 1. %s; images %s.",
		weight(images[0].Alpha), weight(1-images[0].Alpha), cellWords(e), names(images))
	return &part{figures: []*figure{f}}, nil
}

// defectFigure makes figure 4: up to four categories, textures and objects in turn.
func defectFigure(_ *index, examples []experiment.Examples) (*part, error) {
	m := montage{low: lowScore, high: highScore, columns: []string{"input", "marked defect", "NLN"}}
	var words []string
	for _, e := range fourCategories(examples) {
		for i := range e.Images {
			x := &e.Images[i]
			if !x.Novel || x.Mask == nil || x.ScoreMap == nil {
				continue
			}
			_, class := place(e.Cell)
			m.rows = append(m.rows, montageRow{
				label: append([]string{class}, truth(x)...),
				cells: []image.Image{pictureOf(x.Shape, x.Input), maskOf(x.Shape, x.Mask), mapOf(x.Shape, x.ScoreMap, e.ScoreRange, lowScore, highScore)},
			})
			words = append(words, cellWords(e)+fmt.Sprintf(", alpha = %s of the error and %s of the distance; image %s", weight(x.Alpha), weight(1-x.Alpha), x.Name))
			break
		}
	}
	if len(words) == 0 {
		return nil, nil
	}
	f := &figure{name: "figure4", panels: []panel{m.panel()}, across: 1, picture: true}
	f.alt = "Rows of a defective image, the mask of its defect and the map of NLN scores."
	f.caption = "Defects of MVTec-AD, their masks, and the score of each pixel, scaled by the range over the test images and shown from 0.25 to 0.5 of it. The image of a category is the first with a marked defect that the cell kept. " +
		strings.Join(words, ". ") + "."
	return &part{figures: []*figure{f}}, nil
}

// fourCategories returns pictures of at most two textures and two objects, of more of
// one kind if the other has fewer.
func fourCategories(examples []experiment.Examples) []*experiment.Examples {
	var textures, objects []*experiment.Examples
	for _, c := range categories {
		e := pick(examples, defects, c.name)
		if e == nil {
			continue
		}
		if _, class := place(e.Cell); class != c.name {
			continue
		}
		if c.texture {
			textures = append(textures, e)
		} else {
			objects = append(objects, e)
		}
	}
	if len(textures)+len(objects) == 0 { // then any category of the user's own
		if e := pick(examples, defects, ""); e != nil {
			objects = append(objects, e)
		}
	}
	t := min(len(textures), max(2, 4-len(objects)))
	return append(textures[:t:t], objects[:min(len(objects), 4-t)]...)
}
