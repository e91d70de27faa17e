#!/bin/bash
# demo.sh shows the program at work: it learns what is normal from images of one
# class, measures how well the nine others are told apart, and scores images one
# by one. DATA=DIR takes MNIST from DIR (the four idx files); without it the
# program draws images of its own. Everything is left in build/demo.
set -euo pipefail
cd "$(dirname "$0")/.."

nlnctl=${NLNCTL:-build/bin/nlnctl}
out=build/demo
rm -rf $out
mkdir -p $out

run() {
	echo
	echo "\$ nlnctl $*"
	"$nlnctl" "$@"
}

data=${DATA:-}
if [ -z "$data" ]; then
	data=$out/glyphs
	run data synth --format idx -o $data
fi
run train --data "mnist:$data" --protocol simo --class 0 --steps 300 -o $out/zero.nln
run eval -m $out/zero.nln --data "mnist:$data" --protocol simo --class 0
run score -m $out/zero.nln "mnist:$data" -o $out/scores.csv
echo
echo "the first rows of $out/scores.csv:"
head -n 4 $out/scores.csv
