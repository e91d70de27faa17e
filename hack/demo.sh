#!/bin/bash
# demo.sh shows the program at work: it learns nine classes of symbols, measures
# how well the tenth, which it has never seen, is told apart from them, and
# scores images one by one. DATA=DIR takes MNIST from DIR (the four idx files);
# without it the program draws symbols of its own. All is left in build/demo.
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

if [ -n "${DATA:-}" ]; then
	data=mnist:$DATA
	class=2
else
	data=mnist:$out/glyphs
	class=3
	run data synth --format idx -o $out/glyphs
fi
run train --data "$data" --protocol miso --class $class --steps 300 --lr 1e-3 --loss bce -o $out/model.nln
run eval -m $out/model.nln --html $out/page.html --png $out/picture.png
run score -m $out/model.nln "$data" -o $out/scores.jsonl
echo
echo "look at  $out/page.html  (curves, examples, what was missed)"
echo "         $out/scores.jsonl  (a row for each image, with the nearest normal ones)"
