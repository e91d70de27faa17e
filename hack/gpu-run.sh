#!/bin/bash
# run.sh, of a folder that hack/gpu-bundle.sh made: builds the core with the libtorch
# of this machine's Python, runs the tests on the CPU and on the GPU, measures, and
# writes results.json and log.txt.
#
#   ./run.sh                   all of it, about 10 minutes
#   ./run.sh core tests bench experiment    these parts
#   OUT=DIR                    where the results go, default the folder of this script
#   LIBTORCH=DIR|system        another libtorch; "system" is the distribution's
#   DEVICE=cuda:0              where the tests and measurements run; cpu tries this script
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
OUT=${OUT:-$here}
DEVICE=${DEVICE:-cuda:0}
work=${WORK:-${TMPDIR:-/tmp}/nlnctl-gpu}
parts=${*:-core tests bench experiment}
mkdir -p "$work" "$OUT"
exec > >(tee "$OUT/log.txt") 2>&1

# One line of the results: NAME SECONDS EXIT-STATUS [the last line it printed].
lines=()
step() {
	local name=$1 start=$SECONDS
	shift
	echo "== $name: $*"
	"$@" > >(tee "$work/last") 2>&1
	local status=$?
	sleep 0.2 # the last of tee
	lines+=("$(printf '{"step":"%s","seconds":%d,"status":%d,"last":%s}' "$name" $((SECONDS - start)) $status \
		"$(tail -n 1 "$work/last" | python3 -c 'import json,sys; print(json.dumps(sys.stdin.read().strip()))')")")
	echo "== $name: status $status, $((SECONDS - start)) s"
	return $status
}

finish() {
	{
		printf '{"device":"%s","machine":%s,\n"steps":[%s],\n' "$DEVICE" \
			"$(python3 -c 'import json,platform,subprocess
gpu = ""
try: gpu = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
except OSError: pass
print(json.dumps({"system": platform.platform(), "gpu": gpu}))')" "$(IFS=,; echo "${lines[*]}")"
		printf '"bench":%s}\n' "$(cat "$work/bench.json" 2>/dev/null || echo null)"
	} >"$OUT/results.json"
	echo "== results in $OUT/results.json"
}
trap 'finish; exec >&- 2>&-; wait' EXIT

sum=$(sha256sum <"$here/nlnctl.tar.xz")
[ "$(cat "$work/sum" 2>/dev/null)" = "$sum" ] || { rm -rf "$work/nlnctl"; python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2], filter="tar")' "$here/nlnctl.tar.xz" "$work" && echo "$sum" >"$work/sum"; } || exit
cd "$work/nlnctl" || exit
export LD_LIBRARY_PATH=$PWD/openblas${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export NLN_CORE=$PWD/build/lib/libnlncore.so NLN_TEST_DEVICE=$DEVICE
[ ! -d data ] || export NLN_DATA=$PWD/data

cuda=1
case ${LIBTORCH:-} in
'') LIBTORCH=$(python3 -c 'import torch; print(torch.__path__[0])') || exit ;;
system) LIBTORCH='' ;;
esac
[ "$DEVICE" != cpu ] || cuda=${CUDA:-}
# What of CUDA's headers pip does not have comes from the toolkit, beside its compiler.
if [ -z "${CUDA_HOME:-}" ] && nvcc=$(command -v nvcc || ls /usr/local/cuda*/bin/nvcc 2>/dev/null | tail -n 1); then
	home=$(dirname "$(dirname "$(readlink -f "$nvcc")")")
	for d in "$home" "$home"/targets/x86_64-linux; do
		[ ! -f "$d/include/crt/host_defines.h" ] || export CUDA_HOME=$d
	done
fi

build() {
	make -f hack/core.mk -j"$(nproc)" core CUDA=$cuda LIBTORCH="$LIBTORCH" FAISS="$PWD/faiss" BLAS="$PWD/openblas"
}

# tests DEVICE: the tests of all packages, each in its own folder.
tests() {
	export NLN_TEST_DEVICE=$1
	local status=0
	while read -r p; do
		(cd "$p" && ./package.test -test.v -test.timeout 10m 2>&1 | sed "s|^\(--- [A-Z]*: \)|\1$p |") || status=1
	done <packages >"$work/tests.$1"
	grep -a -A30 -e '^--- FAIL' -e '^panic' "$work/tests.$1" | head -n 200
	# Subtests are indented and not counted, as in the summaries of go test.
	echo "$1: $(grep -ac '^--- PASS' "$work/tests.$1") passed, $(grep -ac '^--- FAIL' "$work/tests.$1") failed, $(grep -ac '^--- SKIP' "$work/tests.$1") skipped"
	return $status
}

for part in $parts; do
	case $part in
	core)
		step core build || exit
		step doctor bin/nlnctl doctor
		;;
	tests)
		[ "$DEVICE" = cpu ] || step tests-cpu tests cpu
		step "tests-$DEVICE" tests "$DEVICE"
		;;
	bench) step bench bin/gpu -device "$DEVICE" -peers bench/peers -o "$work/bench.json" ;;
	experiment)
		[ -d data ] || bin/nlnctl data synth --format all -o data
		step experiment bin/nlnctl experiment run "${PLAN:-table6}" --budget "${BUDGET:-quick}" --data data --device "$DEVICE" -o "$work/run" &&
			step report bin/nlnctl experiment report "$work/run" && cp "$work"/run/report/report.html "$work"/run/report/results.csv "$OUT"
		;;
	*) echo "run.sh: unknown part $part: core, tests, bench or experiment" ;;
	esac
done
