package paper

import (
	"fmt"
	"math"
	"strconv"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/experiment"
	"github.com/nlnctl/nlnctl/nln"
)

var (
	fakeKs     = []int{1, 2, 3, 5, 10}
	fakeAlphas = []float64{0, .1, .2, .3, .4, .5, .6, .7, .75, .8, .9, 1}
)

// fakeTotal is the AUROC of a total, the same for all models but for their place in
// the list: highest at L = 64, K = 3 and alpha 0.7 on the test set, and at alpha 0.6
// for terms scaled by held-out images. Each class is 0.005 below the one before.
func fakeTotal(c experiment.Cell, protocol string, k int, alpha float64) float64 {
	top := .7
	if protocol == nln.ProtocolHeldOut {
		top = .6
	}
	v := .9 - .02*math.Abs(math.Log2(float64(c.Latent))-6) - .004*math.Abs(float64(k)-3) - .1*(alpha-top)*(alpha-top)
	return v + fakeOffset(c)
}

func fakeOffset(c experiment.Cell) float64 {
	class := fakeClass(c)
	v := -.005*float64(class) + .0024*float64(c.Seed)
	for i, m := range models {
		if m == c.Method {
			v += .003 * float64(i)
		}
	}
	return v
}

// fakeClass is the number of a class or category.
func fakeClass(c experiment.Cell) int {
	_, name := place(c)
	if n, err := strconv.Atoi(name); err == nil {
		return n
	}
	for i, x := range categories {
		if x.name == name {
			return i
		}
	}
	return 0
}

// fakeRecon is lower by 0.05 at its best L = 16, and the more so the larger the class.
func fakeRecon(c experiment.Cell) float64 {
	latent := max(c.Latent, 1)
	return .85 - .01*math.Abs(math.Log2(float64(latent))-4) - .001*float64(fakeClass(c)) + fakeOffset(c)
}

func fakeRecord(c experiment.Cell) experiment.Record {
	c.K, c.Alpha = fakeKs, fakeAlphas
	rec := experiment.Record{
		Format: experiment.Format, Cell: c, Digest: fmt.Sprintf("%x", c.String()), Train: 54000, Calibration: 6000, Indexed: 54000, Test: 10000, Novel: 1000,
		Steps: 3000, Seconds: map[string]float64{"train": 30, "evaluate": 6}, Threads: 2, Program: "nlnctl test", Libraries: map[string]string{"libtorch": "2.9"},
	}
	add := func(protocol, score string, k int, alpha, v float64) {
		rec.Results = append(rec.Results, nln.Result{Protocol: protocol, Score: score, K: k, Alpha: alpha, AUROC: v, Lo: v - .01, Hi: v + .01})
	}
	for _, protocol := range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
		if c.Method != experiment.MethodPixels && c.Method != experiment.MethodDKNN {
			add(protocol, nln.ScoreRecon, 0, 1, fakeRecon(c))
		}
		for _, k := range c.K {
			add(protocol, nln.ScoreDistance, k, 0, fakeRecon(c)-.01*float64(k))
			if experiment.Baseline(c.Method) {
				continue
			}
			add(protocol, nln.ScoreError, k, 1, fakeTotal(c, protocol, k, 1))
			for _, a := range c.Alpha {
				add(protocol, nln.ScoreTotal, k, a, fakeTotal(c, protocol, k, a))
			}
			add(protocol, nln.ScoreLocal, k, 0, fakeRecon(c)+.01)
			add(protocol, nln.ScoreProduct, k, 0, fakeRecon(c)+.02)
			if c.Method == aeCon {
				for i, space := range []string{nln.SpaceImage, spaceCode, spaceText} {
					add(protocol, nln.InSpace(nln.ScoreError, space), k, 1, fakeRecon(c)+.004*float64(i))
				}
			}
		}
	}
	if c.Pixels {
		for _, protocol := range []string{nln.ProtocolPaper, nln.ProtocolHeldOut} {
			rec.Pixels = append(rec.Pixels, experiment.PixelResult{Protocol: protocol, Score: nln.ScoreRecon, Alpha: 1, AUROC: .8, IoU: .1})
			for _, k := range c.K {
				for _, a := range c.Alpha {
					v := .9 - .2*(a-.6)*(a-.6) - .01*float64(k) + fakeOffset(c)
					rec.Pixels = append(rec.Pixels, experiment.PixelResult{Protocol: protocol, Score: nln.ScoreTotal, K: k, Alpha: a, AUROC: v, IoU: v - .6})
				}
			}
		}
	}
	return rec
}

// fakeRecords are the cells of a report: all classes and two seeds of MNIST, four
// classes of CIFAR-10, and three categories of MVTec-AD; of F-MNIST, nothing.
func fakeRecords() []experiment.Record {
	var all []experiment.Record
	for _, protocol := range []dataset.Protocol{dataset.MISO, dataset.SIMO} {
		for class := range 10 {
			for _, method := range []string{ae, aeRes, aeCon} {
				for _, latent := range []int{16, 32, 64, 128} {
					for seed := range uint64(2) {
						all = append(all, fakeRecord(experiment.Cell{Data: mnist, Protocol: protocol, Class: strconv.Itoa(class), Method: method, Latent: latent, Seed: seed, Preset: "paper"}))
					}
				}
			}
			for _, method := range baselines {
				all = append(all, fakeRecord(experiment.Cell{Data: mnist, Protocol: protocol, Class: strconv.Itoa(class), Method: method}))
			}
		}
		for class := range 4 {
			all = append(all, fakeRecord(experiment.Cell{Data: cifar, Protocol: protocol, Class: strconv.Itoa(class), Method: ae, Latent: 32, Preset: "paper", TrainImages: 5000}))
		}
	}
	for class := range 3 {
		all = append(all, fakeRecord(experiment.Cell{Data: mnist, Protocol: dataset.MISO, Class: strconv.Itoa(class), Method: ae, Latent: 32, Preset: "paper",
			Settings: map[string]string{"views": "4", "whiten": "true"}}))
	}
	for _, name := range []string{"carpet", "bottle", "screw"} {
		for _, method := range []string{ae, aeRes, aeCon} {
			all = append(all, fakeRecord(experiment.Cell{Data: mvtec + "/" + name, Protocol: dataset.Defects, Method: method, Latent: 128, Preset: "paper", Pixels: true}))
		}
	}
	return all
}

// fakeExamples are pictures of stripes and a blot.
func fakeExamples(c experiment.Cell, s dataset.Shape) experiment.Examples {
	e := experiment.Examples{Cell: c, ReconRange: nln.Range{Max: 1}, ErrorRange: nln.Range{Max: 1}, ScoreRange: nln.Range{Max: 1}}
	for i := range 4 {
		x := experiment.Example{
			Name: fmt.Sprintf("test/%03d.png", i), Class: "good", Novel: i%2 == 1, Shape: s,
			ReconScore: .12, Error: .34, Distance: 5.6, Total: .7, K: 2, Alpha: .8,
		}
		if x.Novel {
			x.Class = "scratch"
		}
		paint := func(blot float64) []float32 {
			pix := make([]float32, s.Len())
			for j := range pix {
				y, at := j/s.W%s.H, j%s.W
				v := .5 + .3*math.Sin(float64(at+5*i)*20/float64(s.W))
				if math.Hypot(float64(y)-.4*float64(s.H), float64(at)-.6*float64(s.W)) < .2*float64(s.H) {
					v += blot
				}
				pix[j] = float32(v)
			}
			return pix
		}
		blot := 0.
		if x.Novel {
			blot = .4
		}
		x.Input, x.Recon = paint(blot), paint(blot/2)
		x.Neighbors = [][]float32{paint(0), paint(-.05), paint(.05)}
		plane := func(scale float64) []float32 {
			m := make([]float32, s.H*s.W)
			for j := range m {
				m[j] = float32(scale * math.Abs(float64(x.Input[j]-x.Neighbors[0][j])))
			}
			return m
		}
		x.ReconMap, x.ErrorMap, x.ScoreMap = plane(1), plane(1.2), plane(1.1)
		if s.C == 3 {
			x.Mask = make([]byte, s.H*s.W)
			for j, v := range x.ErrorMap {
				if v > .1 {
					x.Mask[j] = 255
				}
			}
		}
		e.Images = append(e.Images, x)
	}
	return e
}

func fakePictures() []experiment.Examples {
	small, large := dataset.Shape{C: 1, H: 28, W: 28}, dataset.Shape{C: 3, H: 300, W: 256}
	var all []experiment.Examples
	for _, class := range []string{"1", "2"} {
		all = append(all, fakeExamples(experiment.Cell{Data: mnist, Protocol: dataset.MISO, Class: class, Method: ae, Latent: 32, Preset: "paper"}, small))
	}
	for _, name := range []string{"bottle", "carpet"} {
		all = append(all, fakeExamples(experiment.Cell{Data: mvtec + "/" + name, Protocol: dataset.Defects, Method: ae, Latent: 128, Preset: "paper"}, large))
	}
	return all
}
