#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Tab completion in the shells themselves: commands, options, values, and the ids of runs. zsh and fish where they are installed
# (.ci/packages test).
. "$(dirname "$0")/checks"
step one <<'END2'
#!/bin/sh
# rollback: nothing
END2
printf 'name: short\nsteps: [{name: one}]\n' >"$work/short.yaml"
backstep dev --steps "$work/steps" --address-file "$work/address" >"$work/dev.out" 2>"$work/dev.err" &
started=$!
check "a broker" wait_for 20 test -s "$work/address"
b=$(cat "$work/address")
for id in alpha-1 alpha-2 beta-1; do
    run timeout 60 backstep start "$work/short.yaml" -b "$b" --id $id --wait
done
check "runs to complete" is "$code" 0
for shell in bash zsh fish; do
    run backstep completion $shell
    check "completion $shell: exit 0" is "$code" 0
    cp "$work/out" "$work/backstep.$shell"
done
run backstep completion tcsh
check "another shell: exit 2" is "$code" 2
check "... with those there are" has "$work/err" "bash, zsh or fish"

# Each of these prints what would be offered after the words, sorted: "backstep lo" → "logs".
cat >"$work/ask.bash" <<'END2'
. "$1"
COMP_LINE=$2 COMP_POINT=${#2}
# As readline does: `=` and `:` are words of their own.
read -ra COMP_WORDS <<<"$(sed 's/[=:]/ & /g' <<<"$2")"
[[ $2 != *[\ =] ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_backstep
[ ${#COMPREPLY[@]} -eq 0 ] || printf '%s\n' "${COMPREPLY[@]}"
END2
in_bash() { bash "$work/ask.bash" "$work/backstep.bash" "$1" | LC_ALL=C sort | tr '\n' ' '; }
in_fish() { fish --no-config -c 'source $argv[1]; complete -C $argv[2]' "$work/backstep.fish" "$1" | cut -f 1 | LC_ALL=C sort | tr '\n' ' '; }
offers() { is "$("$1" "$2")" "$3"; }

shells=in_bash
if command -v fish >/dev/null; then
    shells="$shells in_fish"
else
    echo "fish is not installed: not looked at"
fi
for shell in $shells; do
    check "$shell: a command" offers $shell "backstep lo" "logs "
    check "$shell: several" offers $shell "backstep w" "watch workers "
    check "$shell: every command" is "$($shell "backstep " | tr ' ' '\n' | grep -cv -e '^--' -e '^$')" \
        "$(backstep completion fish | grep -c -e '__backstep_no_command -a')"
    check "$shell: an option" offers $shell "backstep logs --fo" "--follow "
    check "$shell: options of this command only" offers $shell "backstep status --fo" ""
    check "$shell: values of an option" offers $shell "backstep logs --level " "debug error info warn "
    check "$shell: ... and of --option=" is "$($shell "backstep logs --level=w" | sed 's/--level=//')" "warn "
    check "$shell: words of an argument" offers $shell "backstep completion " "bash fish zsh "
    check "$shell: ids of runs" offers $shell "backstep status -b $b alpha" "alpha-1 alpha-2 "
    check "$shell: ... of the prefix that was named" offers $shell "backstep status -b $b --prefix none alpha" ""
    check "$shell: a file" offers $shell "backstep check $work/sh" "$work/short.yaml "
    check "$shell: a directory" offers $shell "backstep dev --steps $work/st" "$work/steps$([ $shell = in_bash ] || echo /) "
done

# zsh completes in its line editor only: type there, on a terminal of its own, and see what becomes of the line.
cat >"$work/type.zsh" <<'END2'
zmodload zsh/zpty
zpty shell "TERM=dumb zsh -f -i"
zpty -w shell "PS1=; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -D -u; source $1; echo READ''Y"
zpty -r shell seen '*READY*'
zpty -w -n shell "$2"$'\t'
zpty -r shell seen "*$3*"
zpty -d shell
END2
becomes() { timeout 20 zsh -f "$work/type.zsh" "$work/backstep.zsh" "$1" "$2" || { echo "'$1' does not become '$2'"; return 1; }; }
if command -v zsh >/dev/null; then
    check "zsh: a command" becomes "backstep lo" "backstep logs "
    check "zsh: an option" becomes "backstep logs --fo" "backstep logs --follow"
    check "zsh: a value" becomes "backstep logs --level w" "backstep logs --level warn"
    check "zsh: a word" becomes "backstep completion f" "backstep completion fish"
    check "zsh: the id of a run" becomes "backstep status -b $b be" "backstep status -b $b beta-1"
    check "zsh: a file" becomes "backstep check $work/sh" "backstep check $work/short.yaml"
else
    echo "zsh is not installed: not looked at"
fi
done_checking
