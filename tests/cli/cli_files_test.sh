#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Files nobody should have written: refused before anything is started, with the place and the reason.
. "$(dirname "$0")/checks"
step ok <<'END'
#!/bin/sh
# rollback: nothing
END

refuses() {
    run timeout 20 backstep "$1" "$2"
    check "$1 $3: exit 2" is "$code" 2
    check "... names the file" has "$work/err" "$2"
    check "... says why" has "$work/err" "$4"
    check "... nothing on standard output" empty "$work/out"
}

: >"$work/empty.yaml"
head -c 5000 /bin/ls >"$work/binary.yaml"
head -c 10485760 /dev/zero | tr '\0' 'a' >"$work/big.yaml"
printf 'name: c\nsteps:\n  - {name: a, uses: ok, needs: [b]}\n  - {name: b, uses: ok, needs: [a]}\n' >"$work/circle.yaml"
printf 'name: c\nsteps:\n  - {name: ok, needs: [nothing]}\n' >"$work/unknown.yaml"
printf 'name: c\nsteps:\n  - {name: ok, need: []}\n' >"$work/slip.yaml"
printf 'name: c\nsteps: &all\n  - {name: ok}\nmore: *all\n' >"$work/alias.yaml"
printf 'name: c\nsteps:\n  - {name: ok, when: "x"}\n' >"$work/later.yaml"
mkdir "$work/directory.yaml"
for command in run check plan; do
    refuses $command "$work/missing.yaml" "a file that is not there" "No such file"
    refuses $command "$work/directory.yaml" "a directory" "directory"
    refuses $command "$work/empty.yaml" "an empty file" "empty"
    refuses $command "$work/binary.yaml" "a binary file" ""
    refuses $command "$work/big.yaml" "10 MB" "256 KiB"
    refuses $command "$work/circle.yaml" "steps in a circle" "circle"
    refuses $command "$work/unknown.yaml" "a need for what is not there" "nothing"
    refuses $command "$work/slip.yaml" "a slip" "did you mean 'needs'?"
    refuses $command "$work/alias.yaml" "an alias" ":"
    refuses $command "$work/later.yaml" "a field of a later version" "when"
done

printf 'name: c\nsteps:\n  - {name: ok, weight: -1}\n  - {name: ok2, timeout: 2 parsecs}\n' >"$work/two.yaml"
run backstep check "$work/two.yaml" "$work/slip.yaml"
check "check names every mistake" is "$(grep -c yaml: "$work/err" "$work/out" | awk -F: '{n += $NF} END {print n}')" 3
printf 'name: c\nsteps:\n  - {name: ok}\n' >"$work/fine.yaml"
run backstep check "$work/fine.yaml" --steps "$work/steps"
check "check of a good file: exit 0" is "$code" 0
printf '\357\273\277name: c\nsteps:\n  - {name: ok}\n' >"$work/marked.yaml"
run backstep check "$work/marked.yaml"
check "a byte order mark at the beginning is passed over" is "$code" 0
step twice <<'END'
#!/bin/sh
echo again
END
printf 'name: c\nsteps:\n  - {name: twice}\n' >"$work/twice.yaml"
run backstep check "$work/twice.yaml" --steps "$work/steps"
check "check warns of a program that would act twice" has "$work/err" "twice"
printf 'name: c\nsteps:\n  - {name: absent}\n' >"$work/absent.yaml"
run backstep check "$work/absent.yaml" --steps "$work/steps"
check "check names a handler that no program serves" has "$work/err" "absent"
check "... exit 2" is "$code" 2
run backstep check "$work/absent.yaml" --steps "$work/steps" -o json
check "... with -o json as an object" json '[.file, .line, .field, (.problem | startswith("no program in "))]' "[\"$work/absent.yaml\",3,\"steps[0]\",true]"
check "... and nothing beside" [ ! -s "$work/err" ]

cat >"$work/diamond.yaml" <<'YAML'
name: diamond
params: {x: {default: 7}}
steps:
  - {name: begin, weight: 20}
  - {name: left, weight: 30, needs: [begin], when: ".params.x > 1"}
  - {name: right, weight: 30, needs: [begin]}
  - {name: aside, weight: 0, needs: []}
  - {name: join, weight: 20, needs: [left, right], rollback: none}
YAML
cat >"$work/wanted" <<'YAML'
diamond  5 steps

   20 %  / begin
    0 %  \ aside
   30 %  / left   after begin  when .params.x > 1
   30 %  \ right  after begin
   20 %  - join   rollback none
YAML
run env LC_ALL=C backstep plan "$work/diamond.yaml"
check "plan draws branches and joins" diff "$work/wanted" "$work/out"
run env LC_ALL=C.UTF-8 backstep plan "$work/diamond.yaml"
check "... with better lines where the locale has them" has "$work/out" "└ right"
run backstep plan "$work/diamond.yaml" -o json
check "plan -o json keeps the params" json .params.x.default 7
cp "$work/out" "$work/again.json"
for command in check plan; do
    run backstep $command "$work/slip.yaml" -o json
    check "$command -o json of a wrong file: exit 2" is "$code" 2
    check "... an object for each mistake" json '[.file, (.line > 0), (.field | type), (.problem | type)]' "[\"$work/slip.yaml\",true,\"string\",\"string\"]"
    check "... and nothing beside" [ ! -s "$work/err" ]
done
run backstep plan "$work/again.json" -o json
check "... and reads what it prints, to the same" diff "$work/again.json" "$work/out"
done_checking
