package report

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A Pick is images that are worth a look, without their pictures.
type Pick struct {
	Title, Note string
	Images      []int // positions in Page.Scores, in the order to be shown
}

// Pick chooses the images to show, at most n of each kind and none twice: novel
// ones that were found, false alarms and missed ones where the truth is known,
// else those that score highest; and some ordinary ones, for comparison. Equal
// scores are ordered by position. A kind of which there are no images, such as
// false alarms of a good detector, stays in the list with a note that says so.
func (p *Page) Pick(n int) []Pick {
	if len(p.Scores) == 0 || n < 1 {
		return nil
	}
	descending := make([]int, len(p.Scores))
	for i := range descending {
		descending[i] = i
	}
	slices.SortStableFunc(descending, func(a, b int) int {
		return cmp.Compare(p.Scores[b].Score, p.Scores[a].Score)
	})
	if p.Novel == nil {
		top, rest := split(descending, n)
		return []Pick{
			{"Highest scores", "The images that are least like the normal ones.", top},
			{"Ordinary images", "Scores around the median, for comparison.", middle(rest, n)},
		}
	}
	novel, normal := partition(descending, func(i int) bool { return p.Novel[i] })
	if math.IsInf(p.Threshold, 0) {
		return pickByScore(novel, normal, n)
	}
	return p.pickByVerdict(novel, normal, n)
}

// pickByVerdict picks by right and wrong verdicts; both lists have the highest
// scores first.
func (p *Page) pickByVerdict(novel, normal []int, n int) []Pick {
	flagged := func(i int) bool { return p.Scores[i].Novel }
	found, missed := partition(novel, flagged)
	alarms, passed := partition(normal, flagged)
	slices.Reverse(missed)
	pick := func(title, what string, ids, of []int, class string) Pick {
		top, _ := split(ids, n)
		k := Pick{Title: title, Images: top}
		switch len(ids) {
		case 0:
			k.Note = fmt.Sprintf("%s: none of the %s %s images.", what, count(len(of)), class)
		case len(top):
			k.Note = fmt.Sprintf("%s: %s of %s.", what, count(len(ids)), count(len(of)))
		default:
			k.Note = fmt.Sprintf("%s: %s of %s, of which %d are shown.", what, count(len(ids)), count(len(of)), len(top))
		}
		return k
	}
	var picks []Pick
	if len(novel) > 0 {
		picks = append(picks, pick("Found", "Novel images above the threshold, highest score first", found, novel, "novel"))
	}
	if len(normal) > 0 {
		picks = append(picks, pick("False alarms", "Normal images above the threshold, highest score first", alarms, normal, "normal"))
	}
	if len(novel) > 0 {
		picks = append(picks, pick("Missed", "Novel images below the threshold, lowest score first", missed, novel, "novel"))
	}
	if len(passed) > 0 {
		picks = append(picks, Pick{"Ordinary images", "Normal images below the threshold, scores around their median, for comparison.", middle(passed, n)})
	}
	return picks
}

// pickByScore picks where the threshold is infinite, so that all verdicts are
// the same; both lists have the highest scores first.
func pickByScore(novel, normal []int, n int) []Pick {
	high, rest := split(novel, n)
	slices.Reverse(rest)
	low, _ := split(rest, n)
	alarms, ordinary := split(normal, n)
	picks := []Pick{
		{"Most novel", "Novel images with the highest scores.", high},
		{"Normal, but high", "Normal images with the highest scores.", alarms},
		{"Novel, but low", "Novel images with the lowest scores.", low},
		{"Ordinary images", "Normal images with scores around their median, for comparison.", middle(ordinary, n)},
	}
	return slices.DeleteFunc(picks, func(k Pick) bool { return len(k.Images) == 0 })
}

// partition returns the ids that have a property and those that have not, in
// their order.
func partition(ids []int, has func(i int) bool) (with, without []int) {
	for _, i := range ids {
		if has(i) {
			with = append(with, i)
		} else {
			without = append(without, i)
		}
	}
	return with, without
}

// split returns the first n of ids, or all, and the rest.
func split(ids []int, n int) (first, rest []int) {
	n = min(n, len(ids))
	return ids[:n:n], ids[n:]
}

// middle returns the n of ids around its middle.
func middle(ids []int, n int) []int {
	n = min(n, len(ids))
	lo := (len(ids) - n) / 2
	return ids[lo : lo+n : lo+n]
}

// Illustrate appends to Groups pictures of what [Page.Pick] chooses. test holds
// the images of Scores in the same order, and gives names, classes and masks. s
// and indexed are as for [Explain].
func (p *Page) Illustrate(ctx context.Context, s *nln.Scorer, test *dataset.Set, indexed func(id int64) string, n int) error {
	if test.Len() != len(p.Scores) {
		return fmt.Errorf("report: illustrate: %d images, %d scores", test.Len(), len(p.Scores))
	}
	for _, pick := range p.Pick(n) {
		pix := make([]float32, len(pick.Images)*test.Size.Len())
		examples, err := Explain(ctx, s, test.Gather(pick.Images, pix), indexed)
		if err != nil {
			return err
		}
		for k, i := range pick.Images {
			e := &examples[k]
			e.Name = test.ImageName(i)
			if p.Classes != nil {
				e.Class = p.Classes[i]
			} else if test.Labels != nil {
				e.Class = test.Classes[test.Labels[i]]
			}
			if p.Novel != nil {
				e.Novel = new(p.Novel[i])
			}
			if test.Masks != nil {
				e.Mask = test.Masks[i]
			}
		}
		p.Groups = append(p.Groups, Group{Title: pick.Title, Note: pick.Note, Examples: examples})
	}
	return nil
}
