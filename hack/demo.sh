#!/bin/bash
# demo.sh shows the program at work: it trains on normal pictures, measures how
# well novel ones are told apart, and scores them. DATA=DIR takes MNIST from DIR
# (the four idx files), with one digit as normal; without it the program draws
# its pictures itself. Everything is left in build/demo.
set -euo pipefail
cd "$(dirname "$0")/.."

nlnctl=${NLNCTL:-build/bin/nlnctl}
out=build/demo
rm -rf $out
mkdir -p $out

run() {
	echo "\$ nlnctl $*"
	"$nlnctl" "$@"
}

if [ -n "${DATA:-}" ]; then
	data=mnist:$DATA
	split=(--protocol miso --class 1)
else
	data=$out/data
	split=()
	run data synth -o "$data"
fi
run train --data "$data" "${split[@]}" --steps 200 -o $out/bundle
run eval -m $out/bundle --data "$data" "${split[@]}"
run score -m $out/bundle "$data" -o $out/scores.csv
head -n 5 $out/scores.csv
