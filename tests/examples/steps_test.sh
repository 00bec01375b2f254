#!/bin/sh
# Drives the step programs of examples/ directly, as a worker would, without
# Kafka or any program of ours: one line a check, exit 1 if one of them fails.
set -u
export LC_ALL=C

top=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
room=$(mktemp -d "${TMPDIR:-/tmp}/steps_test.XXXXXX") || exit 1
trap 'rm -rf "$room"' EXIT
trap 'exit 1' HUP INT TERM
failures=0

check() { # SENTENCE COMMAND...: the command must succeed
    sentence=$1
    shift
    if "$@" >"$room/check" 2>&1; then
        printf 'ok    %s\n' "$sentence"
    else
        failures=$((failures + 1))
        printf 'FAIL  %s\n' "$sentence"
        sed 's/^/      /' "$room/check" "$room/stderr"
    fi
}

# A run: its id, its parameters, and what its steps have said so far.
begin() { # RUN PIPELINE PARAMS
    run=$1 pipeline=$2 params=$3 steps='{}'
    results=$room/results/$run
    mkdir -p "$results"
}

job() { # STEP DIRECTION INPUT
    result=null
    if [ "$2" = rollback ] && [ -e "$results/$1" ]; then result=$(cat "$results/$1"); fi
    jq -cn --arg run "$run" --arg pipeline "$pipeline" --arg step "$1" --arg direction "$2" --argjson input "$3" \
        --argjson params "$params" --argjson steps "$steps" --argjson result "$result" \
        '{run_id: $run, $pipeline, $step, $direction, attempt: 1, idempotency_key: "\($run)/\($step)/0/\($direction)",
          $input, $params, $steps, shared: {}, $result}'
}

# Runs one program; leaves its exit status in $status, its reason in $reason.
call() { # STEP DIRECTION [INPUT]
    job "$1" "$2" "${3-null}" >"$room/job"
    env BACKSTEP_RUN_ID="$run" BACKSTEP_PIPELINE="$pipeline" BACKSTEP_STEP="$1" BACKSTEP_DIRECTION="$2" \
        BACKSTEP_ATTEMPT=1 BACKSTEP_IDEMPOTENCY_KEY="$run/$1/0/$2" \
        "$top/examples/$pipeline/steps/$1" "$2" <"$room/job" >"$room/stdout" 2>"$room/stderr"
    status=$?
    reason=$(grep . "$room/stderr" | tail -n 1)
    # What it printed must be JSON; of that the steps so far and the result, a line each.
    jq -cs --argjson steps "$steps" --arg step "$1" --arg status "$status" --arg error "$reason" '
        (map(select(.data)) | last) as $said
        | if $status == "0" then $steps + {($step): $said.data}, {success: true, data: $said.data, rollback_data: $said.rollback_data}
          else $steps, {success: false, error: $error} end' "$room/stdout" >"$room/told" 2>/dev/null ||
        { status=garbage reason=$(cat "$room/stdout"); }
    [ "$2" = execute ] || return 0
    { read -r steps && cat >"$results/$1"; } <"$room/told"
}

ends() { # STATUS [REASON]: how the last call ended
    [ "$status" = "$1" ] || { printf 'exit status %s, reason: %s\n' "$status" "$reason"; return 1; }
    case $reason in *"${2-}"*) ;; *) printf 'reason: %s\n' "$reason"; return 1 ;; esac
}

is() { [ "$1" = "$2" ] || { printf '%s\ninstead of\n%s\n' "$1" "$2"; return 1; }; }
is_gone() { [ ! -e "$1" ] && [ ! -L "$1" ]; }
listing() { (cd "$1" && find . | sort); }
upload_params() { jq -cn --arg source "$1" --arg target "$2" --arg fail_at "${3-}" '{$source, $target, pause: 0, $fail_at}'; }
forward() { for step in "$@"; do call "$step" execute || return; [ "$status" = 0 ] || return; done; }
back() { for step in "$@"; do call "$step" rollback; case $status in 0 | 77) ;; *) return ;; esac; done; }

# Names that a careless program trips over.
odd=$room/odd
mkdir -p "$odd/a dir/déjà vu" "$odd/-n"
for name in "plain.txt" " leading and trailing .txt " "it's \"quoted\".txt" 'back\slash\n.txt' '$(touch oops) `id`.txt' \
    '-rf' '*.txt' '[a].txt' 'a%sb.txt' 'tab	tab.txt	' 'a dir/déjà vu/日本語.txt' '-n/-e' "$(printf 'latin\351.txt')" '&1' '#' '~'; do
    printf 'the contents of %s\n' "$name" >"$odd/$name"
done
: >"$odd/empty"
chmod 400 "$odd/plain.txt"

printf '%s\n' '# upload: odd names'
begin odd-names upload "$(upload_params "$odd" "$room/store")"
forward init
check 'init makes a manifest of every file' ends 0
check 'it says how many files there are' is "$(printf %s "$steps" | jq .init.files)" 17
check 'its checksums are those of the files' sh -c '
    cd "$1" && while IFS= read -r line; do
        rest=${line#* }; printf "%s %d %s\n" "$(sha256sum <"${rest#* }" | cut -d" " -f1)" "$(wc -c <"${rest#* }")" "${rest#* }"
    done <"$2" | cmp - "$2"' sh "$odd" "$room/store/.backstep/odd-names/manifest"
forward validate
check 'validate has no rules unless it is given some' ends 0
forward upload
check 'upload copies them' ends 0
check 'the last progress is all of all' is "$(jq -cs 'map(.progress // empty) | last' "$room/stdout")" '[17,17]'
check 'progress is told once a file' is "$(grep -c progress "$room/stdout")" 17
forward cleanup
check 'cleanup ends well' ends 0
check 'the target is the source, file by file, and nothing else' diff -r "$odd" "$room/store"
forward cleanup
check 'cleanup called again does no harm' ends 0
check 'and the files stay' diff -r "$odd" "$room/store"
call upload rollback
check 'a rollback after cleanup owns up that it cannot tell the files' ends 1 'cleanup has forgotten'

printf '%s\n' '# upload: rollback'
begin undone upload "$(upload_params "$odd" "$room/undone" cleanup)"
forward init validate upload cleanup
check 'cleanup fails when asked to' ends 65 'asked to fail here'
check 'everything had been copied' test -e "$room/undone/a dir/déjà vu/日本語.txt"
call upload rollback
check 'upload is undone' ends 0
check 'it says how many it removed' is "$(jq -cs 'last.data' "$room/stdout")" '{"removed":17,"kept":0}'
call upload rollback
check 'upload is undone a second time' ends 77
back validate init
check 'init is undone' ends 0
check 'the target that init made is gone' is_gone "$room/undone"
call init rollback
check 'init is undone a second time' ends 77

mkdir "$room/kept"
printf 'older\n' >"$room/kept/older.txt"
mkdir "$room/kept/a dir"
before=$(listing "$room/kept")
begin kept upload "$(upload_params "$odd" "$room/kept" upload)"
forward init validate upload
check 'upload fails half way when asked to' ends 65 'after 9 of 17 files'
back upload validate init
check 'half a work is undone' ends 0
check 'what was in the target before is there, and nothing else' is "$(listing "$room/kept")" "$before"

begin never upload "$(upload_params "$odd" "$room/kept")"
call upload rollback
check 'upload that never began has nothing to undo, init neither' ends 77
call init rollback
check 'init that never began has nothing to undo' ends 77
forward init validate
call upload rollback
check 'upload that never began after init has nothing to undo' ends 77
back init
check 'nothing is left of that' is "$(listing "$room/kept")" "$before"

printf '%s\n' '# upload: what was there before'
printf 'mine\n' >"$room/kept/plain.txt"
before=$(listing "$room/kept")
begin foreign upload "$(upload_params "$odd" "$room/kept")"
forward init validate
check 'validate refuses to overwrite' ends 65 "'plain.txt': the target has one already"
forward upload
check 'so does upload, should the file have come later' ends 65 "has a 'plain.txt' already"
back upload validate init
check 'all else is undone' is "$(listing "$room/kept")" "$before"
check 'and the file is untouched' is "$(cat "$room/kept/plain.txt")" mine

begin replaced upload "$(upload_params "$odd" "$room/replaced")"
forward init validate upload
rm -f "$room/replaced/plain.txt"
printf 'a later one\n' >"$room/replaced/plain.txt"
printf 'new\n' >"$room/replaced/a dir/new.txt"
forward cleanup
check 'cleanup notices a file that is another now' ends 65 "'plain.txt' has gone"
back upload validate init
check 'rollback bears that' ends 0
check 'rollback leaves what others put there since' is "$(listing "$room/replaced")" '.
./a dir
./a dir/new.txt
./plain.txt'

printf '%s\n' '# upload: crashes'
begin crash upload "$(upload_params "$odd" "$room/crash")"
forward init validate
params=$(upload_params "$odd" "$room/crash" upload)
call upload execute
params=$(upload_params "$odd" "$room/crash")
printf 'half a co' >"$room/crash/.backstep/crash/part"
rm -f "$room/crash/$(sed -n '3{s/^[^ ]* [^ ]* //;p;}' "$room/crash/.backstep/crash/manifest")" # noted, not yet put
forward upload cleanup
check 'the next attempt goes on where the last one broke off' ends 0
check 'and does not mistake its own copies for others' diff -r "$odd" "$room/crash"

# Every-crash: each command that changes something is counted, and the one whose
# turn it is kills its whole program instead, until a run gets through.
mkdir "$room/shims" "$room/few" "$room/few/sub" "$room/few/sub/deeper"
for name in a.txt sub/b.txt sub/deeper/c.txt; do printf '%s\n' "$name" >"$room/few/$name"; done
for command in cp mv rm rmdir mkdir link; do
    cat >"$room/shims/$command" <<EOF
#!/bin/sh
n=\$((\$(cat "$room/turn") - 1))
echo \$n >"$room/turn"
[ \$n -ne 0 ] || kill -KILL 0
exec $(command -v "$command") "\$@"
EOF
    chmod +x "$room/shims/$command"
done

crash_at() { # TURN STEP DIRECTION: true if it was killed
    echo "$1" >"$room/turn"
    job "$2" "$3" null >"$room/job"
    env PATH="$room/shims:$PATH" BACKSTEP_RUN_ID="$run" BACKSTEP_STEP="$2" \
        setsid -w "$top/examples/upload/steps/$2" "$3" <"$room/job" >"$room/stdout" 2>"$room/stderr"
    [ $? -eq 137 ] && printf '{"success":false,"error":"lost"}' >"$results/$2"
}

crash_everywhere() { # STEP DIRECTION
    turn=1
    while
        begin "crash-$1-$2-$turn" upload "$(upload_params "$room/few" "$room/crashed")"
        case $1-$2 in
        init-execute) ;;
        upload-execute) forward init ;;
        *) forward init upload ;;
        esac
        [ "$1-$2" != init-rollback ] || call upload rollback
        crash_at $turn "$1" "$2"
    do
        [ "$2" = rollback ] || [ $((turn % 2)) = 0 ] || call "$1" execute # an odd one is tried again
        case $1-$2 in upload-*) back upload init ;; *) back init ;; esac
        { ends 77 || ends 0; } >/dev/null && is_gone "$room/crashed" && is_gone "$room/crashed.$run.new" || {
            printf 'turn %d: %s\n' "$turn" "$reason"
            find "$room/crashed"
            rm -rf "$room/crashed"
            return 1
        }
        turn=$((turn + 1))
    done
    rm -rf "$room/crashed"
    points=$((${points-0} + turn - 1))
    [ "$turn" -gt 3 ]
}
check 'init killed before any command of its: undone without a trace' crash_everywhere init execute
check 'upload killed before any command of its: undone without a trace' crash_everywhere upload execute
check 'the rollback of upload killed anywhere: the next one finishes it' crash_everywhere upload rollback
check 'the rollback of init killed anywhere: the next one finishes it' crash_everywhere init rollback
printf '      %d crash points\n' "${points-0}"

begin changed upload "$(upload_params "$room/source" "$room/changed")"
mkdir "$room/source"
printf 'one\n' >"$room/source/one.txt"
forward init validate
printf 'two\n' >"$room/source/one.txt"
forward upload
check 'a file that changed since init is refused' ends 65 "'one.txt' has changed"
back upload validate init
check 'and nothing arrives' is_gone "$room/changed"

printf '%s\n' '# upload: what is refused'
refused() { # SENTENCE REASON SOURCE TARGET
    begin "refused-$((count = ${count-0} + 1))" upload "$(upload_params "$3" "$4")"
    call init execute
    check "$1" ends 65 "$2"
    call init rollback
    case $status in 0 | 77) ;; *) check "$1: and undone" ends 77 ;; esac
}
refused 'a source that is not there' 'is no directory' "$room/nowhere" "$room/t"
refused 'an empty source' 'there are no files' "$(mkdir "$room/nothing" && echo "$room/nothing")" "$room/t"
refused 'a target inside the source' 'lies inside the source' "$room/source" "$room/source/store"
check 'which leaves the source alone' is "$(listing "$room/source")" '.
./one.txt'
refused 'a target that is the source' 'lies inside the source' "$room/source" "$room/source/"
refused 'a target without a parent' 'there is no directory' "$room/source" "$room/no/such/place"
refused 'an empty target' "'target' must name" "$room/source" ''
mkdir "$room/links" "$room/breaks"
ln -s one "$room/links/two"
printf x >"$room/breaks/a
b.txt"
refused 'a link in the source' "'two' is neither a file nor a directory" "$room/links" "$room/t"
refused 'a line break in a name' "'a?b.txt' has a line break" "$room/breaks" "$room/t"
check 'no refusal leaves a target behind' is_gone "$room/t"

rules='{"max_size_mb": 0.00001, "types": ["png", "txt", "JPG"]}'
ruled() { # SENTENCE REASON FILE CONTENTS
    rm -rf "$room/ruled"
    mkdir "$room/ruled"
    printf "$4" >"$room/ruled/$3"
    begin "ruled-$((count = count + 1))" upload "$(upload_params "$room/ruled" "$room/t")"
    forward init
    call validate execute "$rules"
    check "$1" ends "${5-65}" "$2"
    back validate init
}
ruled 'a type that is not allowed' "files of type 'exe' are not allowed" 'a b.EXE' x
ruled 'a name without a type' 'it has no type' README x
ruled 'a hidden file has no type' 'it has no type' .txt x
ruled 'a file that is too large' "its 11 bytes are more than the 10 allowed" a.txt 12345678901
ruled 'a picture that is none' 'not those of a png file' a.png hello
ruled 'a type in capitals is the same type' '' A.Txt x 0
ruled 'a picture that begins like one' '' a.jpg '\377\330\377\340' 0

printf '%s\n' '# training'
begin lesson training "$(jq -cn --arg models "$room/models" '{$models, rows: 200, seed: 7, pause: 0, fail_at: ""}')"
lesson='{"epochs": 60, "rate": 0.3}'
forward dataset
check 'dataset makes rows' ends 0
call train execute "$lesson"
check 'train trains' ends 0
check 'it tells each epoch' is "$(jq -cs 'map(.progress // empty) | length, last' "$room/stdout" | tr '\n' ' ')" '60 [60,60] '
check 'the loss goes down' jq -es 'map(.metrics.loss // empty) | first > 10 * last' "$room/stdout"
check 'the model explains what it has not seen' is "$(printf %s "$steps" | jq '.train.r2 > 0.9')" true
forward upload_model
check 'upload_model puts the model in place' ends 0
check 'the model is JSON' jq -e .weights "$room/models/lesson.json"
call upload_model rollback
check 'it can be taken back' ends 0
call upload_model rollback
check 'twice' ends 77
back train dataset
check 'what upload_model has cleared away is not missed' ends 77
check 'no model is left' is "$(listing "$room/models")" .
begin failing training "$(jq -cn --arg models "$room/models" '{$models, rows: 20, seed: 7, pause: 0, fail_at: "upload_model"}')"
forward dataset
call train execute "$lesson"
forward upload_model
check 'upload_model fails when asked to, with the model in place' ends 65 'asked to fail here'
back upload_model train dataset
check 'all of it is undone' ends 0
back upload_model train dataset
check 'twice' ends 77
check 'nothing is left' is "$(listing "$room/models")" .

if [ "$failures" -gt 0 ]; then
    printf '%d checks failed\n' "$failures"
    exit 1
fi
