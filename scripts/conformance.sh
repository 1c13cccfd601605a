#!/usr/bin/env bash
# Runs one class of upstream's end-to-end tests on a cluster, and writes what they said into the table.
#
#   scripts/conformance.sh E2E_TEST KUBECONFIG CLASS [TABLE]
#
# E2E_TEST is the path of an `e2e.test` of your own (of Kubernetes 1.36: see docs/conformance.md); nothing
# is fetched or built here. CLASS is one of those in the table: a, b, c*, extra, ... TABLE is
# docs/conformance.tsv unless it is given. `kubectl` must be on the path.
#
#   E2E_TIMEOUT=40m   how long all of it may take
#   E2E_FOCUS=REGEX   of the class, only the tests with such a name
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

[ $# -ge 3 ] || die "say which e2e.test, which kubeconfig and which class: see the top of scripts/conformance.sh"
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
e2e_test=$(realpath "$1")
kubeconfig=$(realpath "$2")
class=$3
table=$(realpath "${4:-$scripts/../docs/conformance.tsv}")
[ -x "$e2e_test" ] || die "$e2e_test cannot be run"
have python3 || die "python3 is needed for the table"
kubectl=$(command -v kubectl) || die "kubectl is needed"

report=$(mktemp -d)
trap 'rm -rf "$report"' EXIT
focus=$(python3 "$scripts/conformance.py" focus "$table" "$class" "${E2E_FOCUS:-}")
# A namespace that a test leaves behind must not fail the next one, and nobody waits for its end.
KUBECONFIG=$kubeconfig "$e2e_test" --provider=skeleton --kubeconfig="$kubeconfig" --kubectl-path="$kubectl" \
    --num-nodes=0 --allowed-not-ready-nodes=-1 --e2e-verify-service-account=false --delete-namespace=false \
    --dump-logs-on-failure=false --report-dir="$report" --ginkgo.focus="$focus" \
    --ginkgo.timeout="${E2E_TIMEOUT:-60m}" --ginkgo.no-color --ginkgo.silence-skips </dev/null ||
    say "not all of them passed"
[ -e "$report/junit_01.xml" ] || die "e2e.test left no report"
python3 "$scripts/conformance.py" note "$table" "$report/junit_01.xml"
