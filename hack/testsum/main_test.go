package main

import (
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	tests := []struct {
		name, in, want, closing string
	}{
		{
			name: "passed tests are silent",
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"ok  \tp\t0.1s\n"}
{"Action":"pass","Package":"p"}
`,
			want:    "ok  \tp\t0.1s\n",
			closing: "1 passed, 0 failed, 0 skipped",
		},
		{
			name: "a failed test shows its output, a skipped one its reason",
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:9: got 1, want 2\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- FAIL: TestA (0.00s)\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:9: NLN_DATA is not set\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"fail","Package":"p"}
`,
			want: "    a_test.go:9: got 1, want 2\n--- FAIL: TestA (0.00s)\n" +
				"skip\tp.TestB\tb_test.go:9: NLN_DATA is not set\n",
			closing: "0 passed, 1 failed, 1 skipped",
		},
		{
			name: "a package that does not build is one failure",
			in: `{"ImportPath":"p","Action":"build-output","Output":"p/a.go:3:1: syntax error\n"}
{"ImportPath":"p","Action":"build-fail"}
{"Action":"output","Package":"p","Output":"FAIL\tp [build failed]\n"}
{"Action":"fail","Package":"p","FailedBuild":"p"}
`,
			want:    "p/a.go:3:1: syntax error\nFAIL\tp [build failed]\n",
			closing: "0 passed, 1 failed, 0 skipped",
		},
		{
			name: "tests cut off by the end of the program are failures",
			in: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"SIGSEGV\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
{"Action":"fail","Package":"p"}
`,
			want:    "FAIL\tp\t0.1s\nSIGSEGV\n",
			closing: "0 passed, 1 failed, 0 skipped",
		},
		{
			name:    "what is no event is kept",
			in:      "go: cannot find main module\n",
			want:    "go: cannot find main module\n",
			closing: "0 passed, 0 failed, 0 skipped",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			s := newSummary(&out)
			if err := s.read(strings.NewReader(tt.in)); err != nil {
				t.Fatal(err)
			}
			if out.String() != tt.want {
				t.Errorf("printed\n%q, want\n%q", out.String(), tt.want)
			}
			if s.String() != tt.closing {
				t.Errorf("closing line %q, want %q", s, tt.closing)
			}
		})
	}
}
