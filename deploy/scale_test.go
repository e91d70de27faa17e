package deploy_test

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/nlnctl/nlnctl/batch"
)

const scalePage = "../docs/scale.md"

var update = flag.Bool("update", false, "write the tables of docs/scale.md anew")

// Parameters of docs/scale.md, by the names they have there. Its table of parameters
// says where each comes from.
const (
	keys     = 1000     // of a LIST
	small    = 16384    // images in a shard
	large    = 65536    // images in a shard
	inTar    = 10000    // images in an archive
	imageB   = 100e3    // bytes of an image
	nameSeqB = 0.7      // bytes of a numbered name in a plan
	nameHexB = 18.2     // bytes of a hash as a name in a plan
	rowSeqB  = 57.0     // bytes of a row of a result, numbered names
	rowHexB  = 74.0     // bytes of a row of a result, hashes
	messageB = 250.0    // bytes of a message in the queue
	gets     = 4        // GET and HEAD of a shard beside its images
	puts     = 2        // PUT of a shard
	flushes  = 2        // of the queue for a shard
	listUSD  = 0.005e-3 // of a LIST or PUT
	getUSD   = 0.0004e-3
	keepUSD  = 0.023 // of a GB for a month
	outUSD   = 0.09  // of a GB out of the region
	gpuUSD   = 0.5   // of a GPU for an hour
	cpuUSD   = 0.02  // of a processor for an hour
	gpuRate  = 2000.0
	cpuRate  = 137. / 2
	decodeBy = 480 / 2.92 // images a second and processor
	listS    = 0.1        // seconds of a LIST
	flushS   = 2e-3       // seconds of a flush
	getRate  = 5500.0     // a second and prefix
	putRate  = 3500.0     // a second and prefix
	nodeB    = 25e9 / 8   // bytes a second of a machine's network
)

var counts = []float64{1e8, 1e10}

func ceil(a, b float64) float64 { return math.Ceil(a / b) }

// row returns a row of a table: name, formula, and f for each count of images.
func row(name, formula string, f func(n float64) string) string {
	s := "| " + name + " | " + formula + " |"
	for _, n := range counts {
		s += " " + f(n) + " |"
	}
	return s + "\n"
}

func sizes() string {
	return "| | formula | 100 million | 10 billion |\n|---|---|---|---|\n" +
		row("LIST requests", "⌈N/keys⌉", func(n float64) string { return count(ceil(n, keys)) }) +
		row("for them", "· list $", func(n float64) string { return dollars(ceil(n, keys) * listUSD) }) +
		row("time, one after the other", "· list s", func(n float64) string { return span(ceil(n, keys) * listS) }) +
		row("plan, numbered names", "N · name B", func(n float64) string { return size(n * nameSeqB) }) +
		row("plan, hashes as names", "N · name B", func(n float64) string { return size(n * nameHexB) }) +
		row("shards of 16,384", "S = ⌈N/16,384⌉", func(n float64) string { return count(ceil(n, small)) }) +
		row("shards of 65,536", "S = ⌈N/65,536⌉", func(n float64) string { return count(ceil(n, large)) }) +
		row("messages, 16,384 a shard", "S · message B", func(n float64) string { return size(ceil(n, small) * messageB) }) +
		row("messages, 65,536 a shard", "S · message B", func(n float64) string { return size(ceil(n, large) * messageB) }) +
		row("time to queue them, 16,384 a shard", "S · flush s", func(n float64) string { return span(ceil(n, small) * flushS) }) +
		row("objects written, 16,384 a shard", "S · puts", func(n float64) string { return count(ceil(n, small) * puts) }) +
		row("for them", "· put $", func(n float64) string { return dollars(ceil(n, small) * puts * listUSD) }) +
		row("LIST requests of a status", "2 · ⌈S/keys⌉", func(n float64) string { return count(2 * ceil(ceil(n, small), keys)) }) +
		row("input", "N · image B", func(n float64) string { return size(n * imageB) }) +
		row("GET requests", "N + S · gets", func(n float64) string { return count(n + ceil(n, small)*gets) }) +
		row("for them", "· get $", func(n float64) string { return dollars((n + ceil(n, small)*gets) * getUSD) }) +
		row("input, read in its region", "0", func(float64) string { return dollars(0) }) +
		row("input, read from outside", "N · image B · out $", func(n float64) string { return dollars(n * imageB / 1e9 * outUSD) }) +
		row("results, numbered names", "N · row B", func(n float64) string { return size(n * rowSeqB) }) +
		row("results, hashes as names", "N · row B", func(n float64) string { return size(n * rowHexB) }) +
		row("to keep them a month", "· keep $", func(n float64) string { return dollars(n * rowHexB / 1e9 * keepUSD) })
}

func archives() string {
	return "| in archives of 10,000 images | formula | 100 million | 10 billion |\n|---|---|---|---|\n" +
		row("objects, and shards", "A = ⌈N/10,000⌉", func(n float64) string { return count(ceil(n, inTar)) }) +
		row("LIST requests", "⌈A/keys⌉", func(n float64) string { return count(ceil(ceil(n, inTar), keys)) }) +
		row("time, one after the other", "· list s", func(n float64) string { return span(ceil(ceil(n, inTar), keys) * listS) }) +
		row("GET requests", "A + A · gets", func(n float64) string { return count(ceil(n, inTar) * (1 + gets)) }) +
		row("for them", "· get $", func(n float64) string { return dollars(ceil(n, inTar) * (1 + gets) * getUSD) })
}

func times() string {
	s := "| | formula | 100 million | 10 billion |\n|---|---|---|---|\n"
	for _, g := range []float64{1, 8, 64, 512} {
		s += row(strings.Replace(fmt.Sprintf("%.0f GPUs", g), "1 GPUs", "1 GPU", 1), "N / (G · GPU rate)", func(n float64) string { return span(n / (g * gpuRate)) })
	}
	s += row("for the GPUs, however many", "N / GPU rate · gpu $", func(n float64) string { return dollars(n / gpuRate / 3600 * gpuUSD) })
	for _, c := range []float64{64, 1024, 16384} {
		s += row(count(c)+" processors", "N / (C · processor rate)", func(n float64) string { return span(n / (c * cpuRate)) })
	}
	return s + row("for the processors, however many", "N / processor rate · cpu $", func(n float64) string { return dollars(n / cpuRate / 3600 * cpuUSD) })
}

// limits says how many images a second each part carries.
func limits() string {
	s := "| part | formula | images/s | GPUs it keeps busy |\n|---|---|---|---|\n"
	for _, l := range []struct {
		part, formula string
		rate          float64
	}{
		{"listing, one request after the other", "keys / list s", keys / listS},
		{"GET of one prefix, an object an image", "get rate", getRate},
		{"GET of one prefix, archives", "get rate · 10,000 / (1 + gets)", getRate * inTar / (1 + gets)},
		{"PUT of one prefix, 16,384 a shard", "put rate · 16,384 / puts", putRate * small / puts},
		{"queue, 16,384 a shard", "16,384 / (flushes · flush s)", small / (flushes * flushS)},
		{"queue, 65,536 a shard", "65,536 / (flushes · flush s)", large / (flushes * flushS)},
		{"network of one machine", "node B / image B", nodeB / imageB},
		{"decoding by one processor", "decode rate", decodeBy},
		{"decoding by 16 processors", "16 · decode rate", 16 * decodeBy},
	} {
		s += fmt.Sprintf("| %s | %s | %s | %s |\n", l.part, l.formula, count(l.rate), fraction(l.rate/gpuRate))
	}
	s += "\n| for each GPU | formula | |\n|---|---|---|\n"
	s += fmt.Sprintf("| processors that decode | GPU rate / decode rate | %s |\n", fraction(gpuRate/decodeBy))
	s += fmt.Sprintf("| network | GPU rate · image B | %s a second |\n", size(gpuRate*imageB))
	s += fmt.Sprintf("| a shard of 16,384 | 16,384 / GPU rate | %s |\n", span(small/gpuRate))
	s += fmt.Sprintf("| a shard of 65,536 | 65,536 / GPU rate | %s |\n", span(large/gpuRate))
	return s + fmt.Sprintf("| a shard of 16,384 on 2 processors | 16,384 / (2 · processor rate) | %s |\n", span(small/(2*cpuRate)))
}

func count(v float64) string {
	text := fmt.Sprintf("%.0f", v)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

func fraction(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.3g", v)
	}
	return count(v)
}

func dollars(v float64) string {
	if v < 100 {
		return fmt.Sprintf("$%.2f", v)
	}
	return "$" + count(v)
}

// size writes bytes in powers of a thousand.
func size(v float64) string {
	i := 0
	for ; v >= 999.5 && i < 5; i++ {
		v /= 1000
	}
	return fmt.Sprintf("%.3g %s", v, []string{"B", "kB", "MB", "GB", "TB", "PB"}[i])
}

func span(s float64) string {
	switch {
	case s < 100:
		return fmt.Sprintf("%.2g s", s)
	case s < 100*60:
		return fmt.Sprintf("%.0f min", s/60)
	case s < 48*3600:
		return fmt.Sprintf("%.1f h", s/3600)
	}
	return fraction(s/86400) + " days"
}

// TestScale computes each figure of the page's tables from its formula.
func TestScale(t *testing.T) {
	b, err := os.ReadFile(scalePage)
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	for name, want := range map[string]string{"sizes": sizes(), "archives": archives(), "times": times(), "limits": limits()} {
		begin, end := "<!-- "+name+": go test ./deploy -update -->\n", "<!-- end of "+name+" -->\n"
		i, j := strings.Index(page, begin), strings.Index(page, end)
		if i < 0 || j < i {
			t.Errorf("the page has no place for %s", name)
			continue
		}
		i += len(begin)
		if page[i:j] == want {
			continue
		}
		if !*update {
			t.Errorf("%s is\n%s\nwant\n%s", name, page[i:j], want)
		}
		page = page[:i] + want + page[j:]
	}
	if *update {
		if err := os.WriteFile(scalePage, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// TestScaleParameters checks that the page's table of parameters has the numbers that
// are computed with.
func TestScaleParameters(t *testing.T) {
	page, err := os.ReadFile(scalePage)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"| keys | " + count(keys) + " |", "| image B | 100 kB |",
		fmt.Sprintf("| name B | %v, %v |", nameSeqB, nameHexB), fmt.Sprintf("| row B | %v, %v |", rowSeqB, rowHexB),
		fmt.Sprintf("| message B | %v |", messageB), fmt.Sprintf("| gets, puts | %d, %d |", gets, puts), fmt.Sprintf("| flushes | %d |", flushes),
		fmt.Sprintf("| list $, put $ | $%.3f a thousand |", listUSD*1e3), fmt.Sprintf("| get $ | $%.4f a thousand |", getUSD*1e3),
		fmt.Sprintf("| keep $ | $%v a GB and month |", keepUSD), fmt.Sprintf("| out $ | $%v a GB |", outUSD),
		fmt.Sprintf("| gpu $ | $%.2f an hour |", gpuUSD), fmt.Sprintf("| cpu $ | $%.2f an hour |", cpuUSD),
		"| GPU rate | " + count(gpuRate) + " images/s |", fmt.Sprintf("| processor rate | %v images/s |", cpuRate),
		fmt.Sprintf("| decode rate | %.0f images/s |", decodeBy), fmt.Sprintf("| list s | %v s |", listS), fmt.Sprintf("| flush s | %v s |", flushS),
		"| get rate, put rate | " + count(getRate) + ", " + count(putRate) + " a second |", "| node B | 25 Gbit/s |",
	} {
		if !strings.Contains(string(page), "\n"+want) {
			t.Errorf("the page has no row %q", want)
		}
	}
	measured, err := os.ReadFile("../docs/benchmarks.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"| 480 JPEG of 1024x1024, colour | 2 | decode | 1.82 | 2.92 |", "| 480 JPEG of 1024x1024, colour | 2 | 137 |"} {
		if !strings.Contains(string(measured), want) {
			t.Errorf("docs/benchmarks.md, from which parameters come, does not say %q any more", want)
		}
	}
}

func sequential(i int) string {
	return fmt.Sprintf("2026/11/26/line-%02d/%010d.jpg", i/20000, 12345678+i)
}

func hashes(i int) string {
	sum := sha256.Sum256([]byte(sequential(i)))
	return "2026/11/26/" + hex.EncodeToString(sum[:16]) + ".jpg"
}

// TestPlanBytes makes plans and compares their sizes with those on the page.
func TestPlanBytes(t *testing.T) {
	for _, c := range []struct {
		what string
		name func(i int) string
		want float64
	}{{"numbered names", sequential, nameSeqB}, {"hashes", hashes, nameHexB}} {
		st, err := batch.OpenStore(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		spec := batch.Spec{Input: "in", Output: st.URL, Model: "m.nln", Digest: "d", ShardSize: small, Kind: batch.Images}
		p, err := batch.MakePlan(t.Context(), st, spec, names(4*small, c.name), "test")
		if err != nil {
			t.Fatal(err)
		}
		total := int64(0)
		for _, part := range p.Parts {
			total += part.Size
		}
		if got := float64(total) / float64(p.Items); math.Abs(got-c.want) > 0.05 {
			t.Errorf("%s: %.2f bytes a name, the page says %v", c.what, got, c.want)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	}
}
