package experiment

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nlnctl/nlnctl/dataset"
	"github.com/nlnctl/nlnctl/nln"
)

// A Cell is one training and all that is measured of it: K, alpha and the kinds of
// score cost no further training. Two cells are the same if all their values are.
type Cell struct {
	Data     string           `json:"data"`            // a folder of the data's root, such as "mnist" or "mvtec/bottle"
	Protocol dataset.Protocol `json:"protocol"`        // which images are normal
	Class    string           `json:"class,omitempty"` // by its number; empty for dataset.Defects

	// Method is a model of package models, such as "ae", or a baseline, one of the
	// Method constants.
	Method string `json:"method"`
	Latent int    `json:"latent,omitempty"` // L; 0 for a baseline
	Seed   uint64 `json:"seed"`

	Preset   string            `json:"preset,omitempty"`   // of package recipe
	Settings map[string]string `json:"settings,omitempty"` // that differ from the preset's, by name
	Size     int               `json:"size,omitempty"`     // rows and columns to which image files are resized; 0: as they are
	Backbone string            `json:"backbone,omitempty"` // of MethodDKNN: the name and the digest of its file

	// At most so many images of the sets are used, drawn at random but always the same;
	// 0: all.
	TrainImages int `json:"train_images,omitempty"`
	TestImages  int `json:"test_images,omitempty"`

	K     []int     `json:"k"`     // numbers of neighbours to evaluate
	Alpha []float64 `json:"alpha"` // weights of the error term to evaluate

	// Pictures is how many test images are kept with what the model made of them.
	Pictures int `json:"pictures,omitempty"`

	// Pixels has the maps of images with masks measured too.
	Pixels bool `json:"pixels,omitempty"`
}

// Baselines: methods without an autoencoder.
const (
	MethodPixels = "pixels" // distance to the nearest training images
	MethodPCA    = "pca"    // error of the reconstruction from principal components, and distance among these
	MethodDKNN   = "dknn"   // distance among features of a network that the user supplies (Bergman et al., 2020)
)

// Baseline says whether a method trains no autoencoder.
func Baseline(method string) bool {
	return method == MethodPixels || method == MethodPCA || method == MethodDKNN
}

// String names the cell for a line of progress, such as "mnist miso 4 ae L32 seed 0".
func (c Cell) String() string {
	s := []string{c.Data, string(c.Protocol)}
	if c.Class != "" {
		s = append(s, c.Class)
	}
	s = append(s, c.Method)
	if c.Latent > 0 {
		s = append(s, fmt.Sprintf("L%d", c.Latent))
	}
	return strings.Join(append(s, fmt.Sprintf("seed %d", c.Seed)), " ")
}

// Format is of a cell's files and of what is computed for it: it changes when a cell
// of an earlier program must not be taken for one of a later.
const Format = 1

// Digest returns what a cell's folder is called: a digest of its values, of the data
// and of Format. data is the digest of the images and labels that it is of, and settings
// are all settings of its model, so that neither other images nor another preset of the
// same name are taken for these. What Pictures and Pixels keep in addition is no part.
func (c Cell) Digest(data string, settings map[string]string) string {
	c.Pictures, c.Pixels = 0, false
	text, err := json.Marshal(struct {
		Format   int
		Data     string
		Settings map[string]string
		Cell     Cell
	}{Format, data, settings, c})
	if err != nil {
		panic(err) // a cell holds nothing that JSON cannot
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])[:24]
}

// A Record is a cell that has been done. It is kept as JSON.
type Record struct {
	Format     int    `json:"format"`
	Cell       Cell   `json:"cell"`
	Digest     string `json:"digest"`
	DataDigest string `json:"data_digest"`
	ClassName  string `json:"class_name,omitempty"` // of Cell.Class

	Inliers     int `json:"inliers"`     // normal training images, those held out included
	Train       int `json:"train"`       // images or patches learnt from
	Calibration int `json:"calibration"` // held out, neither learnt from nor indexed
	Indexed     int `json:"indexed"`
	Test        int `json:"test"`
	Novel       int `json:"novel"` // of Test
	Steps       int `json:"steps,omitempty"`
	Parameters  int `json:"parameters,omitempty"`

	// Results are the AUROCs of whole images, under both protocols of package nln.
	// Of a baseline the scores are nln.ScoreDistance, and for MethodPCA nln.ScoreRecon
	// as well.
	Results []nln.Result `json:"results"`

	// Pixels are those of the maps of test images with masks, if Cell.Pixels.
	Pixels []PixelResult `json:"pixels,omitempty"`

	Config    json.RawMessage    `json:"config,omitempty"` // of the model: a models.Config
	Seconds   map[string]float64 `json:"seconds"`          // of the stages: read, train, fit, evaluate
	Threads   int                `json:"threads"`
	Device    string             `json:"device,omitempty"`    // that trained, such as "cpu" or "cuda:0"; absent: the CPU
	Precision string             `json:"precision,omitempty"` // of the factors of products there; absent: "f32"
	Together  int                `json:"together,omitempty"`  // cells that were trained at once there, whose times are not their own; absent: 1
	PeakBytes int64              `json:"peak_bytes"`
	Program   string             `json:"program"`
	Libraries map[string]string  `json:"libraries,omitempty"` // of the native core
}

// A PixelResult says how well one kind of map finds the marked pixels, as
// nln.Result does for images.
type PixelResult struct {
	Protocol string  `json:"protocol"` // which scales the two terms
	Score    string  `json:"score"`    // nln.ScoreRecon, or nln.ScoreTotal, of which alpha 1 is the error and 0 the distance
	K        int     `json:"k"`
	Alpha    float64 `json:"alpha"`
	AUROC    float64 `json:"auroc"`
	IoU      float64 `json:"iou_test_tuned"` // at the threshold with the largest TPR - FPR on the test masks, as the paper's
}

// An Example is a test image with what a model made of it, for the figures.
type Example struct {
	Name  string
	Class string // its own
	Novel bool

	Shape     dataset.Shape // of all images here
	Input     []float32     // len Shape.Len(), order C, H, W, values in [0, 1]
	Recon     []float32     // the same, of Input itself
	Neighbors [][]float32   // the same, the reconstructions of the nearest normal images, nearest first

	// Maps, len H*W: the mean over the channels of |x - g(f(x))|, and of |x - g(z^k)|
	// over the channels and the K nearest neighbours; and the score of the pixel, at the
	// K and alpha of the recipe, where the model takes patches.
	ReconMap, ErrorMap, ScoreMap []float32

	Mask []byte // marked defect, len H*W, non-zero = defect; nil: none is known

	ReconScore, Error, Distance, Total float64 // of the whole image
	K                                  int     // of ErrorMap and the scores
	Alpha                              float64
}

// Examples are the pictured test images of a cell, and the ranges by which the paper
// scales their maps: over the pixels of all test images that were looked at.
type Examples struct {
	Cell                               Cell
	Images                             []Example
	ReconRange, ErrorRange, ScoreRange nln.Range
}
