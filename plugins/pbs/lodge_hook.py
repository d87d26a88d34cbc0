# SPDX-License-Identifier: Apache-2.0
"""OpenPBS hook: jobs with -l vm_profile=NAME run in machines of their own.

Thin on purpose: each event becomes one call of `lodge`. Import it for queuejob,
execjob_begin, execjob_launch and execjob_end; the resource is made once by
    qmgr -c "create resource vm_profile type=string,flag=m"

    queuejob        does the profile exist, may this user boot it? else reject with why
    execjob_begin   start the machine, as the job's owner
    execjob_launch  the task's program becomes lodge-exec, which runs it in the guest
    execjob_end     take the machine away; fine when there is none
"""
import json
import os
import subprocess

LODGE = os.environ.get("LODGE", "/usr/bin/lodge")
EXEC = os.environ.get("LODGE_EXEC", "/usr/libexec/lodge/lodge-exec")
TIMEOUT_S = 120


class Refused(Exception):
    """lodge said no; its own sentence."""


def lodge(*words, user=None):
    """Run lodge with these words, as the user if one is given (hooks are root); its
    output, or Refused with its last line."""
    try:
        done = subprocess.run([LODGE, *words], user=user, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused("lodge: %s" % error) from error
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Refused(lines[-1] if lines else "lodge: status %d" % done.returncode)
    return done.stdout.decode(errors="replace")


def profile_of(job):
    """What the job asked for, or None."""
    return job.Resource_List["vm_profile"] if "vm_profile" in job.Resource_List else None


def vm_name(job):
    """The machine's name: from the job's id alone, so that every event finds it."""
    return "pbs-" + "".join(c if c.isalnum() else "-" for c in job.id.split(".")[0])


def queuejob(job):
    """Does it exist? One line back to the user's qsub if not."""
    lodge("profile", "show", profile_of(job))


def begin(job):
    """The machine of this job on this host; nothing to do when it is there."""
    shown = json.loads(lodge("vm", "list", "--json", user=job.euser)).get("data", [])
    if not any(vm.get("name") == vm_name(job) for vm in shown):
        lodge("vm", "start", "--name", vm_name(job), profile_of(job), user=job.euser)


def launch(event, job):
    """lodge-exec in the program's place; argv as it was behind it."""
    program, argv = event.progname, list(event.argv)
    event.progname = EXEC
    event.argv = [EXEC, "--vm", vm_name(job), "--", program] + argv[1:]


def end(job):
    """Gone is what we want: that it is gone already is no fault."""
    shown = json.loads(lodge("vm", "list", "--json", user=job.euser)).get("data", [])
    if any(vm.get("name") == vm_name(job) for vm in shown):
        lodge("vm", "destroy", "--force", vm_name(job), user=job.euser)


def handle(pbs):
    """Called by PBS; `pbs` is its module (a stub in tests)."""
    event = pbs.event()
    job = event.job
    if not profile_of(job):
        event.accept()
        return
    try:
        if event.type == pbs.QUEUEJOB:
            queuejob(job)
        elif event.type == pbs.EXECJOB_BEGIN:
            begin(job)
        elif event.type == pbs.EXECJOB_LAUNCH:
            launch(event, job)
        elif event.type == pbs.EXECJOB_END:
            end(job)
    except Refused as why:
        event.reject(str(why))
        return
    event.accept()


try:
    import pbs as _pbs
except ImportError:
    _pbs = None
if _pbs is not None:
    handle(_pbs)
