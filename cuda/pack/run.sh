#!/usr/bin/env bash
# Tests and times the CUDA backend from a pack (pack.mjs) on a machine with a GPU: what is worth most comes first, each
# stage within a limit of seconds, all of them within BUDGET (default 570).
#   OUT=results bash run.sh [STAGE …]        default: all stages, in order
# Writes to $OUT: stages.jsonl ({stage, status, seconds}, a line as each ends; status 124: it took too long), gpu.json (the
# bench's result, after every case), tests.json (vitest's), log.txt. Other settings: DEVICE (cuda:0), PYTHON (python3, with
# torch), WORK (where it unpacks; a folder that is there is used again), REBUILD=1 (the addon anew, for this GPU).
set -uo pipefail
pack=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
OUT=${OUT:-$PWD/results}
WORK=${WORK:-$(mktemp -d)}
DEVICE=${DEVICE:-cuda:0}
PYTHON=${PYTHON:-python3}
BUDGET=${BUDGET:-570}
mkdir -p "$OUT" "$WORK"
OUT=$(cd "$OUT" && pwd)
tree=$WORK/tree
failed=0

# stage NAME SECONDS COMMAND…
stage() {
  local name=$1 limit=$2 begin=$SECONDS
  shift 2
  local left=$((BUDGET - SECONDS))
  [ "$limit" -le "$left" ] || limit=$left
  if [ "$limit" -lt 5 ]; then
    printf '{"stage":"%s","status":"skipped, no time left","seconds":0}\n' "$name" | tee -a "$OUT/stages.jsonl"
    failed=1
    return 1
  fi
  printf '\n== %s (%s s at most)\n' "$name" "$limit" >> "$OUT/log.txt"
  timeout -k 5 "$limit" "$@" >> "$OUT/log.txt" 2>&1
  local status=$?
  [ $status -eq 0 ] || failed=1
  printf '{"stage":"%s","status":%s,"seconds":%s}\n' "$name" "$status" $((SECONDS - begin)) | tee -a "$OUT/stages.jsonl"
  return $status
}

unpack() {
  [ -x "$WORK/bin/node" ] && [ -d "$tree" ] && return 0
  mkdir -p "$WORK/bin" "$tree" || return 1
  local python='import lzma, shutil, sys; shutil.copyfileobj(lzma.open(sys.stdin.buffer), sys.stdout.buffer)'
  # Python has xz where the system has not.
  local xz=("$PYTHON" -c "$python")
  command -v xz > /dev/null && xz=(xz -dc)
  "${xz[@]}" < "$pack/node.xz" > "$WORK/bin/node" && chmod +x "$WORK/bin/node" &&
    "${xz[@]}" < "$pack/tree.tar.xz" | tar -xf - -C "$tree"
}

# Where torch's packages have the vendors' libraries.
vendor_folders() {
  "$PYTHON" - <<'PY' 2> /dev/null
import glob, importlib.util, os
site = os.path.dirname(os.path.dirname(importlib.util.find_spec("torch").origin))
print(*sorted(glob.glob(f"{site}/nvidia/*/lib")), sep=":")
PY
}

build() {
  cd "$tree" || return 1
  if [ -z "${REBUILD:-}" ]; then
    node -e '
      const addon = process.env.LATENT_EDGE_ADDON || "./cuda/build/latent_edge.node";
      if (!require(addon).devices().some(({ id }) => id === process.env.DEVICE)) process.exit(1);' && return 0
    # A driver older than the toolkit that made it, for one: the toolkit here goes with the driver here.
    echo "the addon of the pack does not load here, or knows no $DEVICE: it is built"
  fi
  rm -f cuda/build/latent_edge.node
  node cuda/build.mjs --gpu && node cuda/resources.mjs
}

main='import("./dist/sidecar/cli/index.js").then(async ({ main }) => { process.exitCode = await main(process.argv.slice(1)); })'
doctor() {
  cd "$tree" && node -e "$main" doctor --device "$DEVICE"
}
tests() { # FILES…: into $OUT/tests-NAME.json
  local name=$1
  shift
  cd "$tree" && node node_modules/vitest/vitest.mjs run --project gpu "$@" --reporter=dot --reporter=json \
    --outputFile.json="$OUT/tests-$name.json"
}
bench() {
  cd "$tree" && node dist/bench/main.js gpu --device "$DEVICE" --resume --json "$OUT/gpu.json" "$@"
}
# The op table's quick cases, each kernel watched by compute-sanitizer.
sanitize() { # TOOL
  cd "$tree" || return 1
  local sanitizer
  sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  "$sanitizer" --tool "$1" --error-exitcode 9 --target-processes all node -e "$main" doctor --device "$DEVICE"
}

export -f unpack vendor_folders build doctor tests bench sanitize
export pack OUT WORK DEVICE PYTHON tree main REBUILD=${REBUILD:-}
export LATENT_EDGE_TEST_DEVICE=$DEVICE PATH=$WORK/bin:$PATH
LATENT_EDGE_COMMIT=$(cat "$pack/commit")
LD_LIBRARY_PATH=$(vendor_folders)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export LATENT_EDGE_COMMIT LD_LIBRARY_PATH

run() {
  case $1 in
    unpack) stage unpack 120 bash -c unpack ;;
    build) stage build 400 bash -c build ;;
    doctor) stage doctor 60 bash -c doctor ;;
    ops) stage ops 150 bash -c 'tests ops test/gpu/ops' ;;
    bench) stage bench 200 bash -c bench ;;
    memory) stage memory 60 bash -c 'tests memory test/gpu/program' ;;
    golden) stage golden 90 bash -c 'tests golden test/gpu/golden' ;;
    torch) stage torch 150 bash -c 'bench --python "$PYTHON" --torch eager' ;;
    memcheck) stage memcheck 120 bash -c 'sanitize memcheck' ;;
    racecheck) stage racecheck 120 bash -c 'sanitize racecheck' ;;
    compile) stage compile 600 bash -c 'bench --python "$PYTHON" --torch-seconds 240' ;;
    *)
      echo "Expected stages of unpack build doctor ops bench memory golden torch memcheck racecheck compile but received $1" >&2
      return 2
      ;;
  esac
}

: > "$OUT/stages.jsonl"
stages=("$@")
[ $# -gt 0 ] || stages=(doctor ops bench torch memory golden memcheck racecheck compile)
run unpack && run build || exit 1
for name in "${stages[@]}"; do run "$name"; done
exit $failed
