module github.com/nlnctl/nlnctl

go 1.26.0
