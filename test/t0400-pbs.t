#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
test_description='the PBS hook, against a stub of the pbs module: OpenPBS is not in Debian'
. "${LODGE_TOP_SRCDIR:-$(dirname "$0")/..}/test/lib.sh"
lodge_prereq PYTHON 'python3 is not installed' command -v python3
lodge_skip_all_unless PYTHON

cat >pbs.py <<'EOT'
import os
QUEUEJOB, EXECJOB_BEGIN, EXECJOB_LAUNCH, EXECJOB_END = range(4)
class Job:
    id = "42.server"
    euser = None
    Resource_List = {"vm_profile": os.environ["PROFILE"]} if os.environ.get("PROFILE") else {}
class Event:
    type = int(os.environ["EVENT"])
    job = Job()
    progname, argv = "/bin/sh", ["sh", "-c", "echo hi"]
    def accept(self): print("accept", self.progname, *self.argv)
    def reject(self, why): print("reject", why)
_event = Event()
def event(): return _event
EOT
cat >lodge-stub <<'EOT'
#!/bin/sh
echo "$*" >>calls
case "$1 $2" in
"vm list") cat vms ;;
"profile show") test "$3" != nope || { echo "lodge: no profile 'nope'" >&2; exit 66; } ;;
esac
EOT
chmod +x lodge-stub
hook() { # EVENT PROFILE
    rm -f calls
    EVENT=$1 PROFILE=$2 LODGE=$PWD/lodge-stub LODGE_EXEC=/x/lodge-exec PYTHONPATH=$PWD \
        PYTHONDONTWRITEBYTECODE=1 python3 "$LODGE_TOP_SRCDIR/plugins/pbs/lodge_hook.py"
}
echo '{"data": []}' >vms

test_expect_success 'a job without a profile is let through, lodge is not called' '
    hook 0 "" >out && grep -q "^accept /bin/sh" out && test ! -e calls
'
test_expect_success 'queuejob takes a profile that exists and rejects another with the reason' '
    hook 0 p >out && grep -q ^accept out && grep -qx "profile show p" calls &&
    hook 0 nope >out && echo "reject lodge: no profile '"'nope'"'" >want && test_cmp want out
'
test_expect_success 'begin starts the machine once' '
    hook 1 p >out && grep -q ^accept out && grep -qx "vm start --name pbs-42 p" calls &&
    echo "{\"data\": [{\"name\": \"pbs-42\"}]}" >vms && hook 1 p && ! grep -q start calls
'
test_expect_success 'launch puts lodge-exec in the place of the program' '
    hook 2 p >out && echo "accept /x/lodge-exec /x/lodge-exec --vm pbs-42 -- /bin/sh -c echo hi" >want &&
    test_cmp want out
'
test_expect_success 'end takes it away, and is content when it is gone' '
    hook 3 p && grep -qx "vm destroy --force pbs-42" calls &&
    echo "{\"data\": []}" >vms && hook 3 p >out && grep -q ^accept out && ! grep -q destroy calls
'
test_expect_success 'a lodge that is missing is a rejection, not a crash' '
    rm lodge-stub && hook 1 p >out && grep -q "^reject lodge: " out
'
test_done
