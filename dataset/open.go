package dataset

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/nlnctl/nlnctl/internal/spelling"
)

// Splits are the parts of a data set that has been opened.
type Splits struct {
	Kind  string // as in [Kinds]
	Train *Set   // nil where the set has no training images
	Test  *Set   // nil where the set has no test images
}

// Single reports whether there is but one split, which then stands for both:
// Train and Test are the same set. A model evaluated on such a Test has seen
// its images in training.
func (sp *Splits) Single() bool { return sp.Train != nil && sp.Train == sp.Test }

// Notes returns the notes of both sets: what a user should know about them,
// such as batches that were missing, one sentence each.
func (sp *Splits) Notes() []string {
	var notes []string
	if sp.Train != nil {
		notes = append(notes, sp.Train.Notes...)
	}
	if sp.Test != nil && !sp.Single() {
		notes = append(notes, sp.Test.Notes...)
	}
	return notes
}

// A kind is one way in which data sets lie on disk or elsewhere. To add one, add a
// row.
type kind struct {
	name  string
	usage string
	open  func(ctx context.Context, location string, r Reading) (*Splits, error)

	// is reports whether a plain path looks like this kind; the kinds are
	// asked in order. Nil where no path is ever taken for this kind.
	is func(location string) bool

	// stream goes through the image files one after the other, without a list of
	// them. Nil where they lie in memory or can be listed cheaply.
	stream func(ctx context.Context, location string, r Reading) (*Stream, error)
}

var kinds = []kind{
	{"mnist", "mnist:DIR", asTheyAre(openMNIST), isMNIST, nil},
	{"fashion-mnist", "fashion-mnist:DIR", asTheyAre(openFashion), isFashion, nil},
	{"cifar-10", "cifar-10:DIR|FILE", asTheyAre(openCIFAR), isCIFAR, nil},
	{"mvtec", "mvtec:DIR/category", openMVTec, isMVTec, nil},
	{"folder", "folder:DIR", openFolder, isDir, nil},
	{"list", "list:FILE.csv|jsonl", openList, isList, nil},
	{"tar", "tar:FILE", openTar, isTar, streamTar},
	storeKind("s3", "s3://BUCKET/PREFIX"),
	storeKind("gs", "gs://BUCKET/PREFIX"),
	storeKind("azblob", "azblob://CONTAINER/PREFIX"),
	storeKind("file", "file:///DIR"),
}

// asTheyAre is for kinds that are not made of image files.
func asTheyAre(open func(location string) (*Splits, error)) func(context.Context, string, Reading) (*Splits, error) {
	return func(_ context.Context, location string, r Reading) (*Splits, error) {
		if r.hasGlobs() {
			return nil, fmt.Errorf("dataset: open %s: it is no set of image files, which alone globs can choose from", location)
		}
		sp, err := open(location)
		if err != nil || !r.resizes() {
			return sp, err
		}
		for _, s := range []*Set{sp.Train, sp.Test} {
			if s != nil && (s.Size.H != r.Rows || s.Size.W != r.Columns) {
				return nil, fmt.Errorf("dataset: open %s: its images are %v, and only image files are resized", location, s.Size)
			}
		}
		return sp, nil
	}
}

// Kinds returns how a spec of each known kind is written, such as "mnist:DIR".
func Kinds() []string {
	var usages []string
	for _, k := range kinds {
		usages = append(usages, k.usage)
	}
	return usages
}

// Open reads the data set that spec names, as [Reading.Open] does with the zero
// Reading.
func Open(spec string) (*Splits, error) { return Reading{}.Open(spec) }

// Open reads the data set that spec names: KIND:LOCATION, with one of
//
//	mnist:DIR, fashion-mnist:DIR   the four official IDX files, plain or gzip
//	cifar-10:DIR|FILE              the binary version, as batches or as tar.gz
//	mvtec:DIR/category             train/good, test/KIND, ground_truth/KIND
//	folder:DIR                     image files, classes by sub-folder
//	list:FILE                      image files that a list in CSV or JSON lines names
//	tar:FILE                       image files in a tar, plain, gzip or zstd
//	s3://BUCKET/PREFIX             image files in an object store; also gs://,
//	                               azblob:// and file://, see Reading.OpenStore
//
// or a plain path, whose kind is found out from what lies there. The two MNISTs
// have the same file names: a plain path is taken for Fashion-MNIST if one of
// its last two elements contains "fashion". A folder has one split, which
// stands for both ([Splits.Single]), unless it holds train and test folders; so
// has an archive and a URL, which are sets as the folder of the same files is. A
// list has one split unless it has a column "split".
// An image file by itself is a set of one image.
//
// Each set has passed [Set.Check] and holds at least one image. MNIST,
// Fashion-MNIST and CIFAR-10 have [ScaleMinMax], the others [Scale255].
func (r Reading) Open(spec string) (*Splits, error) { return r.OpenContext(context.Background(), spec) }

// OpenContext is Open. When ctx ends, the reading of an archive or of an object
// store ends with its error; what lies on disk is read to the end.
func (r Reading) OpenContext(ctx context.Context, spec string) (*Splits, error) {
	k, location, err := r.resolve(spec)
	if err != nil {
		return nil, err
	}
	sp, err := k.open(ctx, location, r)
	if err != nil {
		return nil, err
	}
	for _, s := range []*Set{sp.Train, sp.Test} {
		if s == nil {
			continue
		}
		if err := s.Check(); err != nil {
			return nil, fmt.Errorf("dataset: open %s: %w", spec, err)
		}
		if s.Len() == 0 {
			return nil, fmt.Errorf("dataset: open %s: %s holds no images", spec, s.Name)
		}
	}
	return sp, nil
}

// resolve is resolve for what is going to be read.
func (r Reading) resolve(spec string) (kind, string, error) {
	k, location, err := resolve(spec)
	if err != nil {
		return k, location, err
	}
	if strings.Trim(location, "/") == "" && location != "/" {
		return k, "", fmt.Errorf("dataset: open %q: no location after the colon, want %s", spec, k.usage)
	}
	return k, location, r.CheckGlobs()
}

// likeKind matches what may be meant as a kind. One letter is left to be the
// drive of a Windows path.
var likeKind = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_+.-]+$`)

// resolve finds the kind and the location that spec means.
func resolve(spec string) (kind, string, error) {
	prefix, location, colon := strings.Cut(spec, ":")
	if colon {
		for _, k := range kinds {
			if k.name == prefix {
				return k, location, nil
			}
		}
	}
	// A path with a colon in it is still a path if it is there.
	if _, err := os.Stat(spec); err != nil {
		if colon && likeKind.MatchString(prefix) {
			return kind{}, "", unknownKind(prefix)
		}
		if errors.Is(err, fs.ErrNotExist) && !colon {
			return kind{}, "", fmt.Errorf("dataset: open %q: neither a file or folder nor one of %s", spec, strings.Join(Kinds(), ", "))
		}
		return kind{}, "", fmt.Errorf("dataset: open: %w", err)
	}
	for _, k := range kinds {
		if k.is != nil && k.is(spec) {
			if c := mvtecCategories(spec); k.name == "folder" && len(c) > 0 {
				return kind{}, "", notMVTec(spec)
			}
			return k, spec, nil
		}
	}
	if IsImageName(spec) {
		return kind{name: "files", usage: "FILE", open: openFile}, spec, nil
	}
	return kind{}, "", fmt.Errorf("dataset: open %q: cannot tell what kind of set this file is; known are %s", spec, strings.Join(Kinds(), ", "))
}

// openFile reads one image file as a set.
func openFile(_ context.Context, location string, r Reading) (*Splits, error) {
	s, err := r.OpenFiles([]string{location})
	if err != nil {
		return nil, err
	}
	return &Splits{Kind: "files", Train: s, Test: s}, nil
}

// unknownKind lists the known kinds and names the nearest one, if one is near.
func unknownKind(name string) error {
	nearest, least := "", 1+len(name)/2
	for _, k := range kinds {
		if d := spelling.Distance(strings.ToLower(name), k.name); d < least {
			nearest, least = k.name, d
		}
	}
	hint := ""
	if nearest != "" {
		hint = fmt.Sprintf(", did you mean %s:", nearest)
	}
	return fmt.Errorf("dataset: unknown kind %q%s; known are %s", name, hint, strings.Join(Kinds(), ", "))
}

func isMNIST(location string) bool { return hasIDX(location) && !namesFashion(location) }

func isFashion(location string) bool { return hasIDX(location) && namesFashion(location) }

func hasIDX(dir string) bool {
	return findIDX(dir, "train-images", 3) != "" || findIDX(dir, "t10k-images", 3) != ""
}

// namesFashion looks at the last two elements of a path, all there is to tell
// the two sets apart by.
func namesFashion(location string) bool {
	abs, err := filepath.Abs(location)
	if err != nil {
		abs = location
	}
	near := filepath.Join(filepath.Base(filepath.Dir(abs)), filepath.Base(abs))
	return strings.Contains(strings.ToLower(near), "fashion")
}

func isCIFAR(location string) bool {
	if isDir(location) {
		return hasCIFARBatch(location) || hasCIFARBatch(filepath.Join(location, cifarDir)) ||
			isFile(filepath.Join(location, cifarArchive))
	}
	// An archive of another name is known by what is in it.
	return strings.HasSuffix(location, cifarArchive) || archiveHasCIFAR(location)
}

func isMVTec(location string) bool { return isDir(filepath.Join(location, "train", "good")) }
