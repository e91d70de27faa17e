#!/bin/bash
# dist-test.sh makes the archive twice, compares the bytes, and tries what is in it in two
# folders, one with a space in its name, by themselves: neither the repository nor
# NLN_CORE is there for them to find.
set -euo pipefail
cd "$(dirname "$0")/.."

die() {
	echo "dist-test: $*" >&2
	exit 1
}

make=${MAKE:-make}
file=$($make --no-print-directory dist | tail -n 1)
sum=$(sha256sum "$file")
$make --no-print-directory dist >/dev/null
[ "$sum" = "$(sha256sum "$file")" ] || die "two runs differ"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
file=$PWD/$file
name=$(basename "$file" .tar.gz)
unset NLN_CORE
for dir in "$work/a" "$work/b c"; do
	mkdir "$dir"
	tar -C "$dir" -xzf "$file"
	cd "$dir"
	# The first folder is gone when the second is tried.
	[ "$dir" = "$work/a" ] || rm -rf "$work/a"
	nlnctl=$dir/$name/bin/nlnctl
	"$nlnctl" doctor >found || { cat found; die "doctor fails in $dir"; }
	grep -qF "$dir/$name/lib/libnlncore.so" found || { cat found; die "another core is loaded in $dir"; }
	"$nlnctl" data synth --format idx -o glyphs >/dev/null
	"$nlnctl" train -q --data mnist:glyphs --protocol miso --class 3 --steps 5 -o m.nln >log 2>&1 || { cat log; die "train fails in $dir"; }
	"$nlnctl" score -q -m m.nln mnist:glyphs -o rows.jsonl
	[ "$(wc -l <rows.jsonl)" -gt 100 ] || die "$(wc -l <rows.jsonl) rows were scored"
	"$nlnctl" completion bash | cmp - "$name/share/bash-completion/completions/nlnctl"
	[ -s "$name/share/man/man1/nlnctl-score.1" ] || die "no page about score"
	ln -s "$nlnctl" link
	./link doctor >/dev/null || die "doctor fails through a link"
done
du -h "$file" | sed 's/\t.*\// /'
echo "dist-test: ok: $(tar -tzf "$file" | wc -l) entries, $(echo "$sum" | cut -c1-16)"
