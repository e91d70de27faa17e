package paper

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"io"
	"strings"
	"testing"
)

// nasty is text that is markup in every form.
const nasty = `a|b <i>&amp; 50% $x_1^2$ {*} \n ~#"' −0.5 ± ’`

func nastyTable() *Table {
	t := &Table{Name: "table9", Title: nasty, Labels: 1,
		Columns: []Column{{"", "name"}, {"group <1>", "x"}, {"group <1>", "y"}}, Notes: []string{nasty}}
	t.section("[first] section")
	t.add(nasty, "−0.5", missing)
	t.add("[b]", "1", "2")
	return t
}

func TestCSV(t *testing.T) {
	var b bytes.Buffer
	if err := nastyTable().WriteCSV(&b); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.Join(rows[0], ";"), "section;name;group <1>: x;group <1>: y"; got != want {
		t.Errorf("titles %q, want %q", got, want)
	}
	if len(rows) != 3 || rows[1][0] != "[first] section" || rows[1][2] != "-0.5" || rows[1][3] != "-" {
		t.Errorf("rows %q", rows[1:])
	}
}

func TestMarkdown(t *testing.T) {
	var b bytes.Buffer
	if err := nastyTable().WriteMarkdown(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(b.String(), "\n") {
		if strings.HasPrefix(line, "|") {
			// Bars that are not escaped part the cells.
			if n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); n != 4 {
				t.Errorf("%d bars, want 4: %s", n, line)
			}
		}
		if strings.Contains(line, "<i>") || strings.Contains(strings.ReplaceAll(line, `\*`, ""), "{*}") {
			t.Errorf("not escaped: %s", line)
		}
	}
	if want := "| \\[b\\] | 1 | 2 |"; !strings.Contains(b.String(), want) {
		t.Errorf("no %s in\n%s", want, b.String())
	}
	long := nastyTable()
	long.Long = true
	b.Reset()
	if err := long.WriteMarkdown(&b); err != nil || strings.Contains(b.String(), "\n|") || !strings.Contains(b.String(), "table9.csv") {
		t.Errorf("a long table: %v\n%s", err, b.String())
	}
}

func TestLaTeX(t *testing.T) {
	if got, want := latexText(`50% of $x_1$ & {a} \b [c] −1 “q” é 漢`), `50\% of \$x\_1\$ \& \{a\} \textbackslash{}b {[}c{]} $-$1 `+"``q''"+` é ?`; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	table := nastyTable()
	for range 2 * latexRows {
		table.add("x", "1", "2")
	}
	var b bytes.Buffer
	if err := table.WriteLaTeX(&b); err != nil {
		t.Fatal(err)
	}
	s := b.String()
	if n := strings.Count(s, `\begin{tabular}{lrr}`); n != 3 {
		t.Errorf("%d pieces, want 3", n)
	}
	for _, name := range []string{"center", "tabular", "itemize"} {
		if a, z := strings.Count(s, `\begin{`+name+`}`), strings.Count(s, `\end{`+name+`}`); a != z || a == 0 {
			t.Errorf("%s begins %d times and ends %d times", name, a, z)
		}
	}
	if braces := strings.NewReplacer(`\{`, "", `\}`, "").Replace(s); strings.Count(braces, "{") != strings.Count(braces, "}") {
		t.Error("braces do not match")
	}
	for _, line := range strings.Split(s, "\n") {
		if strings.HasSuffix(line, `\\`) && !strings.Contains(line, `\multicolumn`) {
			if n := strings.Count(strings.ReplaceAll(line, `\&`, ""), "&"); n != 2 {
				t.Errorf("%d separators, want 2: %s", n, line)
			}
		}
	}
	if !strings.Contains(s, `\multicolumn{2}{c}{group \textless{}1\textgreater{}}`) || !strings.Contains(s, `\cmidrule(lr){2-3}`) {
		t.Error("no title of the group")
	}
}

func TestHTML(t *testing.T) {
	s := string(nastyTable().HTML())
	if strings.Contains(s, "<i>") || strings.Contains(s, "group <1>") {
		t.Errorf("not escaped:\n%s", s)
	}
	cells := 0
	d := xml.NewDecoder(strings.NewReader(s))
	for {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("not well formed: %v\n%s", err, s)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "td" {
			cells++
		}
	}
	if cells != 5 { // four numbers, and the corner above the names
		t.Errorf("%d cells, want 5", cells)
	}
}

func TestTableCheck(t *testing.T) {
	table := nastyTable()
	table.add("too", "few")
	if err := table.check(); err == nil {
		t.Error("a row that is too short passes")
	}
}

func TestNumbers(t *testing.T) {
	nan := func() float64 { z := 0.; return z / z }()
	for _, c := range []struct{ got, want string }{
		{rate(nan), missing}, {rate(.91249), "0.912"}, {rate(-.0001), "0.000"}, {difference(.02), "+0.020"}, {difference(-.02), "−0.020"},
		{weight(1 - .9), "0.1"}, {weight(1), "1"}, {weight(.75), "0.75"}, {probability(.001953125), "0.002"}, {probability(1e-9), "< 0.0001"},
		{interval(-.01, .02), "−0.010 to +0.020"}, {interval(nan, 1), missing}, {thousands(54000), "54,000"}, {listed([]string{"10", "9", "9"}), "9, 10"},
		{withCoverage("0.9", missing, 4, 10), "0.9 (4 of 10)"}, {withCoverage("0.9", "0.1", 10, 10), "0.9 ± 0.1"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
