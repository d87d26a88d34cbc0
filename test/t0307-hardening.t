#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='what is installed is linked and compiled hardened; its units are fenced'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

lodge_prereq READELF 'readelf is not installed' command -v readelf
lodge_prereq PLAIN 'built with sanitizers, which stand in for FORTIFY' \
    test -z "${LODGE_TEST_SANITIZERS:-}"
lodge_prereq OPTIMIZED 'built without -O, where FORTIFY does nothing' \
    grep -Eq '^CFLAGS = .*-O[1-3sg]' "$LODGE_TOP_BUILDDIR/Makefile"

# The programs of the build; lodge-stage1 and lodge-guest run in guests, static and stripped:
# the former has no libc, and what the latter may do is bounded by the machine around it.
for f in "$LODGE_TOP_BUILDDIR"/lodge*; do
    case $f in
    */lodge-stage1 | */lodge-guest) continue ;;
    esac
    test ! -x "$f" -o -d "$f" || echo "$f"
done >programs
find "$LODGE_TOP_BUILDDIR/src" "$LODGE_TOP_BUILDDIR/plugins" -name '*.so' >objects
cat programs >>objects

# each FILE...: its names are on standard input; say which fail.
each() {
    bad=0
    while read -r file; do
        "$@" "$file" >said 2>&1 || { echo "$1: $file" && cat said && bad=1; }
    done
    return $bad
}
relro() {
    readelf -lW "$1" | grep GNU_RELRO && readelf -dW "$1" | grep -E '\(FLAGS(_1)?\).*NOW'
}
no_exec_stack() {
    readelf -lW "$1" | grep -E 'GNU_STACK.* RW '
}
no_text_relocations() {
    ! readelf -dW "$1" | grep TEXTREL
}
no_run_path() {
    ! readelf -dW "$1" | grep -E 'RPATH|RUNPATH'
}
pie() {
    readelf -hW "$1" | grep -E 'Type: *DYN' && readelf -dW "$1" | grep -E 'FLAGS_1.*PIE'
}
protected() {
    readelf -sW "$1" | grep -E 'UND __stack_chk_fail'
}
fortified() {
    readelf -sW "$1" | grep -E 'UND __(read|f?printf|v?s?n?printf|v?f?printf|mem|str)[a-z]*_chk'
}

test_expect_success READELF 'there is something to look at' '
    cat objects && test $(wc -l <programs) -ge 6
'
test_expect_success READELF 'addresses are resolved at the start, then read-only' 'each relro <objects'
test_expect_success READELF 'no stack is executable' '
    printf "%s\n" "$LODGE_TOP_BUILDDIR/lodge-guest" "$LODGE_TOP_BUILDDIR/lodge-stage1" >guests &&
    cat objects guests | each no_exec_stack
'
test_expect_success READELF 'no text is written to' 'each no_text_relocations <objects'
test_expect_success READELF 'libraries are not looked for in odd places' 'each no_run_path <objects'
test_expect_success READELF 'programs are position independent' 'each pie <programs'
test_expect_success READELF 'stacks are protected' 'each protected <objects'
test_expect_success READELF,PLAIN,OPTIMIZED 'calls of libc are fortified' 'each fortified <objects'
test_expect_success READELF 'a program without all that is found' '
    echo "int main(void) { return 0; }" >plain.c &&
    ${CC:-cc} -no-pie -Wl,-z,lazy,-z,execstack,-rpath,/tmp -fno-stack-protector -o plain plain.c 2>err &&
    for check in relro no_exec_stack no_run_path pie protected fortified; do
        echo plain | test_must_fail each $check || return 1
    done
'
test_done
