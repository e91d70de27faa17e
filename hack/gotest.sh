#!/bin/bash
# gotest.sh LABEL ARG... runs "go test ARG...", prints what go test prints and,
# last, "LABEL: N passed, N failed, N skipped". Exit status 0 only if no test
# failed and at least one ran. A package has 30 minutes and not go's ten, which the
# trainings in tests exceed on a machine with much else to do.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

label=$1
shift
# Built and not run with "go run", which would hide the exit status; and for
# this machine, whatever the tests are built for.
mkdir -p build/bin
CGO_ENABLED=0 hack/go.sh build -buildvcs=false -o build/bin/testsum ./hack/testsum || exit
hack/go.sh test -json -timeout 30m "$@" | build/bin/testsum "$label"
