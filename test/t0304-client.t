#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='liblodge as programs of others see it: header, pkg-config, its few functions'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

lodge_prereq PKGCONFIG 'pkg-config or make is not installed' sh -c 'pkg-config --version && make --version'
# A library with sanitizers wants them in the program too.
cc="${CC:-cc} ${LODGE_TEST_SANITIZERS:-}"
unset MAKEFLAGS MAKELEVEL MFLAGS
root=$LODGE_TEST_TMP/root # no blanks in it, as make install wants it
example=$LODGE_TOP_SRCDIR/src/client/example.c

test_expect_success PKGCONFIG 'it is installed with header, pkg-config file and example' '
    make -C "$LODGE_TOP_BUILDDIR" DESTDIR="$root" install-libLTLIBRARIES \
        install-includeHEADERS install-pkgconfigDATA install-dist_exampleDATA >install.out 2>&1 ||
        { cat install.out; false; } &&
    find "$root" -type f -o -type l | sort && pc=$(find "$root" -name lodge.pc) && test -f "$pc" &&
    PKG_CONFIG_PATH=${pc%/*} PKG_CONFIG_SYSROOT_DIR=$root &&
    PKG_CONFIG_ALLOW_SYSTEM_CFLAGS=1 PKG_CONFIG_ALLOW_SYSTEM_LIBS=1 &&
    export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR PKG_CONFIG_ALLOW_SYSTEM_CFLAGS PKG_CONFIG_ALLOW_SYSTEM_LIBS &&
    lib=$(find "$root" -name liblodge.so.0) && LD_LIBRARY_PATH=${lib%/*} && export LD_LIBRARY_PATH &&
    pkg-config --modversion lodge && test "lodge $(pkg-config --modversion lodge)" = "$(lodge --version)"
'
test_expect_success PKGCONFIG 'only what the header names is exported' '
    grep -oE "\blodge_[a-z]+\(" "$LODGE_TOP_SRCDIR/src/client/lodge.h" | tr -d "(" | sort -u >promised &&
    nm -D --defined-only "$lib" | sed -n "s/.* T \([a-z_]*\).*/\1/p" | sort -u >exported &&
    test_cmp promised exported
'
test_expect_success PKGCONFIG 'the header stands alone, in C and in C++' '
    echo "#include <lodge.h>" >alone.c && cp alone.c alone.cc &&
    $cc -std=c99 -Wall -Wextra -pedantic -Werror $(pkg-config --cflags lodge) -c -o alone.o alone.c &&
    { ! command -v g++ || g++ -Wall -Wextra -Werror $(pkg-config --cflags lodge) -c -o alone.o alone.cc; }
'
test_expect_success PKGCONFIG 'the example is built by pkg-config and lists machines' '
    $cc -Wall -Wextra -Werror -o example "$example" $(pkg-config --cflags --libs lodge) &&
    echo "<profile><name>m</name><type>fake</type><image>none</image><memory>64M</memory></profile>" >m.xml &&
    lodge vm start m.xml && ./example >out && cat out &&
    jq -e ".vms[0].name == \"m\" and .vms[0].state == \"running\"" out &&
    ./example vm.status "{\"vm\": \"m\"}" >out && jq -e ".name == \"m\" or .vms[0].name == \"m\"" out
'
test_expect_success PKGCONFIG 'errors have a code, a status and a line' '
    test_expect_code 66 ./example vm.status "{\"vm\": \"nobody\"}" 2>err && grep "^example: not-found: .*nobody" err &&
    test_expect_code 64 ./example vm.exec "{\"vm\": \"m\"}" 2>err && grep "makes a stream" err &&
    test_expect_code 65 ./example vm.list "{" 2>err && grep "parameters of .vm.list." err &&
    test_expect_code 65 ./example vm.list "[1]" 2>err && grep "no JSON object" err &&
    test_expect_code 69 env LODGE_AGENT_SOCKET="$PWD/none" ./example 2>err && grep "no lodge-agent answers" err
'
test_expect_success PKGCONFIG 'events come' '
    mkfifo events && { ./example --events >events & } && watcher=$! && exec 8<events &&
    lodge vm start --name second m.xml && read -r line <&8 && kill $watcher && echo "$line" &&
    echo "$line" | jq -e ".event and .data"
'
cat >others.c <<'EOT'
#include <lodge.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(int argc, char **argv)
{
    struct lodge *l = NULL;
    struct lodge_error why;
    char *text = NULL;
    lodge_close(NULL);
    if (!*lodge_version() || lodge_open("elsewhere", &l, &why) != -1 || l || why.status != 64)
        return 1;
    if (lodge_open("elsewhere", &l, NULL) != -1 || lodge_open("/", &l, &why) != -1)
        return 2;
    if (lodge_open(argv[1], &l, &why) < 0)
        return puts(why.text), 3;
    if (lodge_call(l, "ping", NULL, 5000, NULL, NULL) < 0)
        return 4;
    if (lodge_event(l, 50, &text, &why) != -1 || strcmp(why.code, "timeout"))
        return 5;
    if (lodge_call(l, "agent.info", "{}", 0, &text, &why) < 0 || text[0] != '{')
        return 6;
    free(text);
    lodge_close(l);
    return 0;
}
EOT
test_expect_success PKGCONFIG 'a path, a timeout, nothing wanted back' '
    $cc -o others others.c $(pkg-config --cflags --libs lodge) && ./others "$LODGE_RUN_DIR/agent.sock"
'
lodge vm destroy -f m second >/dev/null 2>&1
test_done
