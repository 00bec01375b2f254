#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installed to a directory of its own, the library is all a program needs: every C example is built against that and nothing else, with
# pkg-config (shared and static) and with CMake, and what can be seen of the library is what backstep.h declares.
set -eu
build=$(dirname "$BACKSTEP_BIN")
here="$BACKSTEP_SOURCE/tests/install"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
prefix=$work/prefix
strict='-Wall -Wextra -Wpedantic -Werror -O1'

fail() {
    printf 'install_test: %s\n' "$*" >&2
    exit 1
}

cmake --install "$build" --prefix "$prefix" >"$work/log" 2>&1 || fail "cmake --install: $(cat "$work/log")"
pc=$(find "$prefix" -name backstep.pc)
library=$(dirname "$(dirname "$pc")")
# It is another place than the build knew, and found all the same.
case $(pkg-config --cflags "$pc") in
-I"$work"/*) ;;
*) fail "pkg-config says $(pkg-config --cflags "$pc")" ;;
esac
export PKG_CONFIG_PATH="${pc%/*}" LD_LIBRARY_PATH="$library"

# Tab completion stands where the shells look for it.
for script in bash:bash-completion/completions/backstep zsh:zsh/site-functions/_backstep fish:fish/vendor_completions.d/backstep.fish; do
    "$prefix/bin/backstep" completion "${script%%:*}" | cmp - "$prefix/share/${script#*:}" || fail "completion of ${script%%:*}"
done

# So do the manual pages.
for page in man1/backstep.1 man1/backstep-start.1 man1/backstep-worker.1 man3/backstep.3 man3/backstep_register.3; do
    cmp "$build/man/$page" "$prefix/share/man/$page" || fail "the manual page $page"
done

# The header stands alone, in both languages.
for standard in c11 c17; do
    printf '#include <backstep.h>\nint main(void) { return backstep_version() == 0; }\n' |
        ${CC:-cc} -std=$standard $strict -Wstrict-prototypes $(pkg-config --cflags backstep) -xc - -o "$work/c" $(pkg-config --libs backstep) ||
        fail "a program in $standard"
    "$work/c" || fail "a program in $standard does not run"
done
if command -v "${CXX:-c++}" >/dev/null 2>&1; then
    for standard in c++11 c++20; do
        ${CXX:-c++} -std=$standard $strict $(pkg-config --cflags backstep) "$here/program.cc" -o "$work/cc" $(pkg-config --libs backstep) ||
            fail "a program in $standard"
        "$work/cc" run >"$work/out" || fail "a program in $standard does not run"
        grep -q '"success": true' "$work/out" || fail "a program in $standard printed $(cat "$work/out")"
    done
fi

# Every example, as a stranger would build it. A line "pkg-config: NAME ..." in it names what else it uses.
for source in "$BACKSTEP_SOURCE"/examples/*/*.c; do
    name=$(basename "$source" .c)
    # shellcheck disable=SC2046 # lists of words
    for linkage in '' archive; do
        others=$(sed -n 's/.*pkg-config: *\([a-z0-9. -]*[a-z0-9]\).*/\1/p' "$source")
        flags=$(pkg-config --cflags backstep $others)
        if [ -z "$linkage" ]; then
            libs=$(pkg-config --libs backstep)
        else # ours from the archive, everybody else's as they come
            libs="-L$library -l:libbackstep.a $(pkg-config --libs $(pkg-config --print-requires-private backstep)) $(sed -n 's/^Libs.private: //p' "$pc")"
        fi
        [ -z "$others" ] || libs="$libs $(pkg-config --libs $others)"
        ${CC:-cc} -std=c11 $strict $flags "$source" -o "$work/$name" $libs || fail "$source${linkage:+, from the archive}"
    done
    "$work/$name" --help >"$work/out" 2>&1 || true
    [ -s "$work/out" ] || fail "$name says nothing"
done

# The same with CMake, of a wrong version and of the right one.
mkdir "$work/project"
cp "$BACKSTEP_SOURCE/examples/quickstart/quickstart.c" "$work/project"
cat >"$work/project/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.16)
project(stranger LANGUAGES C)
find_package(backstep ${WANTED} REQUIRED)
add_executable(quickstart quickstart.c)
target_link_libraries(quickstart PRIVATE backstep::backstep)
END
version=$(pkg-config --modversion backstep)
if cmake -S "$work/project" -B "$work/other" -DWANTED=99.0 -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1; then
    fail 'find_package took version 99.0'
fi
cmake -S "$work/project" -B "$work/made" -DWANTED="$version" -DCMAKE_PREFIX_PATH="$prefix" >"$work/log" 2>&1 &&
    cmake --build "$work/made" >>"$work/log" 2>&1 || fail "find_package: $(cat "$work/log")"
"$work/made/quickstart" run | grep -q '"success": true' || fail 'the CMake project does not run'

# Names: the list, the library and the header are the same.
nm -D --defined-only "$library/libbackstep.so" | sed -n 's/.* [TDBR] \([^@]*\).*/\1/p' | LC_ALL=C sort -u >"$work/shown"
diff -u "$here/symbols" "$work/shown" >&2 || fail 'libbackstep.so does not show what tests/install/symbols lists'
nm -g --defined-only "$library/libbackstep.a" | sed -n 's/.* [TDBR] //p' | LC_ALL=C sort -u >"$work/static"
diff -u "$here/symbols" "$work/static" >&2 || fail 'libbackstep.a does not show what tests/install/symbols lists'
cat "$prefix"/include/*.h | tr '\n' ' ' | sed 's,/\*[^*]*\*\+\([^/*][^*]*\*\+\)*/,,g' | grep -oE '\bbackstep_[a-z_0-9]+\(' | tr -d '(' |
    LC_ALL=C sort -u >"$work/declared"
LC_ALL=C comm -13 "$work/declared" "$work/shown" >"$work/extra"
[ ! -s "$work/extra" ] || fail "shown, but in no header: $(cat "$work/extra")"
LC_ALL=C comm -23 "$work/declared" "$work/shown" | while IFS= read -r name; do
    grep -hE "^[^*]*\b$name\(" "$prefix"/include/*.h | grep -q 'static inline\|define' || echo "$name"
done >"$work/missing"
[ ! -s "$work/missing" ] || fail "declared, but not in the library: $(cat "$work/missing")"
