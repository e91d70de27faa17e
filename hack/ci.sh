#!/bin/bash
# ci.sh runs everything that must hold before a change is taken, step after
# step, and sums up. A step that fails does not keep the others from running,
# but for the build. Set NLN_DATA to test on real data as well.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

logs=build/ci
rm -rf $logs
mkdir -p $logs
failed='' summary=''

step() {
	local name=$1 start=$SECONDS result=ok
	shift
	echo "== $name: $*"
	if ! "$@" 2>&1 | tee "$logs/$name.log"; then
		result=FAILED
		failed="$failed $name"
	fi
	summary="$summary$(printf '  %-6s %4ds  %s' $result $((SECONDS - start)) "$name")
"
	[ $result = ok ]
}

make="${MAKE:-make} --no-print-directory"
# shellcheck disable=SC2086 # make is a command with an argument
if step build $make all WERROR=-Werror; then
	export WERROR=-Werror # the same commands, or the core would be built again
	step lint $make lint
	step test $make test
	step race $make test-race
	step nocgo $make test-nocgo
	step asan $make test-asan
	step demo $make demo
fi

echo "== summary, ${SECONDS}s"
printf '%s' "$summary"
[ -z "$failed" ] || echo "failed steps:$failed"
cat $logs/*.log | awk '/^[a-z]+: [0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$/ { p += $2; f += $4; s += $6 }
	END { printf "total: %d passed, %d failed, %d skipped\n", p, f, s }'
[ -z "$failed" ]
