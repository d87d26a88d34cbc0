#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='tables and errors on terminals: narrow ones, none, other letters, no colours'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"

cat >terminal.py <<'PY'
import fcntl, os, pty, struct, sys, termios
columns, command = int(sys.argv[1]), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    os.environ["TERM"] = "xterm"
    os.execvp(command[0], command)
out = b""
while True:
    try:
        piece = os.read(fd, 65536)
    except OSError:
        break
    if not piece:
        break
    out += piece
text = out.decode().replace("\r\n", "\n")
print(text, end="")
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
PY
on() { # COLUMNS COMMAND...
    python3 terminal.py "$@"
}
widest() { python3 -c 'import sys; print(max(len(l.rstrip("\n")) for l in sys.stdin))'; }
name=a-profile-with-a-rather-long-name-as-sites-like-them-2026

test_expect_success 'a long name and a long description: all columns are there at 80, nothing is cut' '
    cat >p.xml <<-END &&
	<profile><name>$name</name><type>fake</type><image>debian-fast</image>
	<description>Grüße aus Köln: a machine with quite a lot of memory, for tests of tables</description></profile>
	END
    lodge profile add p.xml 2>/dev/null &&
    NO_COLOR=1 on 80 lodge profile list "$name" -o name,type,image,description >out && cat out && test $(widest <out) -le 80 &&
    head -n 1 out | grep "^NAME .*TYPE .*IMAGE .*DESCRIPTION" &&
    tail -n +2 out | sed "s/ .*//" | tr -d "\n" >joined && test "$(cat joined)" = "$name" &&
    tail -n +2 out | cut -c 50- | tr -d "\n" >joined && cat joined && grep "^Grüße aus Köln: .* memory,.* of tables *$" joined
'
test_expect_success 'there is room, or no terminal: a line a row' '
    NO_COLOR=1 on 200 lodge profile list "$name" -o name,type,image,description >out && test $(wc -l <out) = 2 &&
    lodge profile list "$name" -o name,description >out && test $(wc -l <out) = 2 && grep "Grüße" out &&
    LC_ALL=C lodge profile list "$name" -o description >out && grep "Grüße" out
'
test_expect_success 'colours only where they are wanted; nothing there is said' '
    on 80 lodge op list >out && grep "$(printf "\033")" out &&
    NO_COLOR=1 on 80 lodge op list >out && ! grep "$(printf "\033")" out &&
    lodge op list >out && ! grep "$(printf "\033")" out &&
    on 80 lodge ckpt list >out && tail -n 1 out | grep -x "(none)" && lodge ckpt list >out && test $(wc -l <out) = 1 &&
    test_expect_code 66 lodge ckpt list ./nosuch
'
test_expect_success 'an error is one line, and says the way out' '
    while IFS="|" read args words; do
        echo "lodge $args"
        lodge $args >out 2>err </dev/null && return 1
        cat err && test $(wc -l <err) = 1 && grep -e "$words" err || return 1
    done <<-END
	vm list --node|--node is without its NODE
	vm lst|did you mean .list
	mv list|did you mean .vm
	vm list --jsno|did you mean .--json
	vm list -o nmae|did you mean .name
	profile show nope|lodge profile list
	ckpt show nope|lodge ckpt list
	op show 99|lodge op list
	vm start tiny --memory 1X|not a size like 512M
	vm start tiny --type qmeu|did you mean .qemu
	run nope -- true|lodge profile list
	END
'
test_expect_success 'options for a machine that is there are not passed over in silence' '
    lodge vm start debian-fake >/dev/null && test_expect_code 73 lodge vm start debian-fake --vcpus 2 2>err && cat err &&
    grep "stays what it is" err && lodge vm start debian-fake >out && grep "runs already" out &&
    lodge vm stop debian-fake && lodge vm start debian-fake >out && grep "started" out && lodge vm destroy -f debian-fake
'
test_expect_success ROOT 'a hostlist names machines' '
    lodge vm start debian-fake --name h1 && lodge vm start debian-fake --name h2 &&
    lodge vm wait "h[1-2]" && lodge vm pause "h[1-2]" >out && lodge vm resume "h[1-2]" &&
    test "$(grep -c "paused$" out)" = 2 &&
    test_expect_code 79 lodge vm wait h1 --ended --timeout 1s 2>err &&
    grep "vm .h1. has not ended after 1s" err &&
    lodge vm destroy -f "h[1-2]" && test -z "$(lodge vm list --noheader)"
'
test_done
