package dataset

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"sort"
	"strings"
	"sync"
)

// ImageFiles returns the image files of dir at any depth, as slash-separated
// paths relative to dir, sorted by bytes. A file is an image by its extension,
// .png, .jpg, .jpeg, .bmp, .tif, .tiff or .webp in any case. Names that begin with a dot are left out,
// and so is what lies in folders of such names. Links to files are followed,
// links to folders are not.
func ImageFiles(dir string) ([]string, error) { return Reading{}.ImageFiles(dir) }

// ImageFiles is [ImageFiles] for those that Include and Exclude choose.
func (r Reading) ImageFiles(dir string) ([]string, error) {
	if err := r.CheckGlobs(); err != nil {
		return nil, err
	}
	images, _, err := r.listImages(dir, "")
	return images, err
}

// listImages also returns the files that are no images by their names. What the
// globs are compared with begins with prefix.
func (r Reading) listImages(dir, prefix string) (images, others []string, err error) {
	root := os.DirFS(dir)
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name != "." && strings.HasPrefix(d.Name(), "."):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return nil
		case d.Type()&fs.ModeSymlink != 0:
			if info, err := fs.Stat(root, name); err != nil || !info.Mode().IsRegular() {
				others = append(others, name)
				return nil
			}
		case !d.Type().IsRegular():
			others = append(others, name)
			return nil
		}
		switch {
		case !IsImageName(name):
			others = append(others, name)
		case r.takes(prefix + name):
			images = append(images, name)
		}
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("dataset: list images of %s: %w", dir, err)
	}
	sort.Strings(images)
	return images, others, nil
}

// IsImageName says whether name has the extension of an image file, see [ImageFiles].
func IsImageName(name string) bool {
	switch strings.ToLower(path.Ext(name)) {
	case ".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp":
		return true
	}
	return false
}

// OpenFiles reads image files into a set, as [Reading.OpenFiles] does with the zero
// Reading.
func OpenFiles(paths []string) (*Set, error) { return Reading{}.OpenFiles(paths) }

// OpenFiles reads image files into a set, in the order given and named as
// given, without labels. Where images are not resized the first file sets the
// number of rows and columns; the set has one channel if every file is grey by its
// header ([StatImage]), else three. The first file that cannot be read or has another size ends the
// reading with its error; to go on past such files, use an [ImageReader].
// The scale is [Scale255].
func (r Reading) OpenFiles(paths []string) (*Set, error) {
	s := &Set{Name: "files", Names: paths, Scale: Scale255}
	if err := s.readFiles(paths, r); err != nil {
		return nil, err
	}
	return s, nil
}

// readFiles sets Size and Pix from image files.
func (s *Set) readFiles(paths []string, r Reading) error {
	return s.readPictures(filePictures(paths, r), r)
}

// filePictures are image files.
func filePictures(paths []string, reading Reading) pictures {
	readers := sync.Pool{New: func() any { return &ImageReader{Reading: reading} }}
	return pictures{
		n:    len(paths),
		name: func(i int) string { return paths[i] },
		stat: func(i int) (Shape, error) { return reading.Stat(paths[i]) },
		read: func(i int, dst []uint8, want Shape) error {
			r := readers.Get().(*ImageReader)
			defer readers.Put(r)
			return r.Read(dst, paths[i], want)
		},
	}
}

// pictures are n encoded images that can be read in any order and from several
// goroutines. Their names are for errors.
type pictures struct {
	n       int
	name    func(i int) string
	stat    func(i int) (Shape, error)
	read    func(i int, dst []uint8, want Shape) error
	workers int // goroutines that read; 0: one a processor
}

// readPictures sets Size and Pix. Sizes are settled before pixels, so that a set
// that does not fit together is refused at once.
func (s *Set) readPictures(p pictures, reading Reading) error {
	shapes := make([]Shape, p.n)
	err := inParallel(p.workers, p.n, func(i int) (err error) {
		shapes[i], err = p.stat(i)
		return err
	})
	if err != nil {
		return err
	}
	if err := s.allocate(shapes, p.name, reading); err != nil {
		return err
	}
	return inParallel(p.workers, p.n, func(i int) error { return p.read(i, s.Image(i), s.Size) })
}

// allocate sets Size to the shape that holds all images, and makes Pix for them.
func (s *Set) allocate(shapes []Shape, name func(i int) string, reading Reading) error {
	if len(shapes) == 0 {
		return fmt.Errorf("dataset: read %s: no image files", s.Name)
	}
	size, err := commonShape(shapes, name, reading)
	if err != nil {
		return err
	}
	n := size.Len()
	if int64(len(shapes)) > MaxSetBytes/int64(n) {
		return &TooLargeError{
			Path: s.Name,
			Have: fmt.Sprintf("%d images of %v pixels", len(shapes), size),
			Max:  fmt.Sprintf("%d bytes", int64(MaxSetBytes)),
		}
	}
	s.Size = size
	s.Pix = make([]uint8, len(shapes)*n)
	return nil
}

// commonShape returns the shape that holds every one of the images.
func commonShape(shapes []Shape, name func(i int) string, r Reading) (Shape, error) {
	want := shapes[0]
	for _, s := range shapes {
		want.C = max(want.C, s.C)
	}
	if r.resizes() {
		return Shape{C: want.C, H: r.Rows, W: r.Columns}, nil
	}
	for i, s := range shapes {
		if s.H != want.H || s.W != want.W {
			return Shape{}, &SizeError{
				Path: name(i), Have: s, Want: Shape{s.C, want.H, want.W},
				Why: "the size of " + name(0) + "; all images of a set need one size, or one to be resized to",
			}
		}
	}
	return want, nil
}

// inParallel calls do(0) to do(n-1) from so many goroutines, 0 meaning one a
// processor, and returns the error of the smallest i that failed, the one that a
// plain loop would meet.
func inParallel(workers, n int, do func(i int) error) error {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	workers = min(n, workers)
	var (
		mu     sync.Mutex
		wg     sync.WaitGroup
		next   int
		failed = n
		first  error
	)
	for range workers {
		wg.Go(func() {
			for {
				mu.Lock()
				i := next
				next++
				// Indices are handed out in order, so that all before a
				// failure have been started when it is seen.
				stop := i >= failed
				mu.Unlock()
				if stop {
					return
				}
				if err := do(i); err != nil {
					mu.Lock()
					if i < failed {
						failed, first = i, err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return first
}
