/* SPDX-License-Identifier: Apache-2.0 */
/* In a task's process, as the user, just before Slurm would execve the command: become
 * lodge-exec, which runs the same command in the guest. */
#include "plugin.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"

enum { OUR_WORDS = 12, REQUEUE_S = 20 };
#define REQUEUE_WAIT "20"

/* Where the task finds its machines: for people and for MPI start scripts. */
static void tell_names(spank_t sp, const json_t *record, const char *vm)
{
    AUTO_BUF all = {0};
    size_t i;
    json_t *name;

    json_array_foreach (json_object_get(record, "names"), i, name)
        str_buf_printf(&all, "%s%s", i ? "," : "", json_string_value(name));
    AUTO_STR list = str_buf_take(&all);
    spank_setenv(sp, "LODGE_VM", vm, 1);
    spank_setenv(sp, "LODGE_VMS_ON_NODE", list ? list : vm, 1);
    spank_setenv(sp, "LODGE_PROFILE",
                 json_string_value(json_object_get(record, "profile")), 1);
    if (json_is_true(json_object_get(record, "cluster")))
        spank_setenv(sp, "LODGE_CLUSTER",
                     json_string_value(json_object_get(record, "profile")), 1);
    spank_setenv(sp, "LODGE_NODE", json_string_value(json_object_get(record, "node")),
                 1);
}

/* lodge-exec --socket SOCKET --vm NAME [--script FILE] -- COMMAND...; *out is ours. */
static char **words(spank_t sp, const struct plugin_args *a, const json_t *record,
                    const char *vm, uint32_t step, struct err *err)
{
    char **argv = NULL;
    int argc = 0, n = 0;
    bool batch = step == STEP_BATCH;

    if (spank_get_item(sp, S_JOB_ARGV, &argc, &argv) != ESPANK_SUCCESS || argc < 1) {
        err_set(err, E_BUG, "Slurm does not tell the task's command");
        return NULL;
    }
    char **out = calloc((size_t)argc + OUR_WORDS + 1, sizeof *out);
    if (!out) {
        err_oom(err);
        return NULL;
    }
    if (batch && json_is_true(json_object_get(record, "keep"))) {
        out[n++] = (char *)a->helper;
        out[n++] = "keep";
    }
    out[n++] = (char *)a->exec;
    out[n++] = "--socket";
    out[n++] = (char *)a->agent;
    out[n++] = "--vm";
    out[n++] = (char *)vm;
    out[n++] = "--requeue-wait";
    out[n++] = REQUEUE_WAIT;
    if (batch || step == STEP_INTERACTIVE)
        out[n++] = "--calls";
    if (batch) {
        out[n++] = "--script";
        out[n++] = argv[0];
    }
    out[n++] = "--";
    memcpy(out + n, argv, (size_t)argc * sizeof *argv);
    return out;
}

int task_init(spank_t sp, const struct plugin_args *a, struct err *err)
{
    AUTO_JSON record = NULL;
    uint32_t job = 0, step = 0;
    int local = 0, rc;
    char **env = NULL;

    if (spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS ||
        spank_get_item(sp, S_JOB_STEPID, &step) != ESPANK_SUCCESS ||
        step == STEP_EXTERN)
        return 0;
    rc = record_read(a->record, job, &record, err);
    if (rc <= 0)
        return rc;
    if (step == STEP_BATCH && json_is_true(json_object_get(record, "host_script")))
        return 0;
    const char *failed = json_string_value(json_object_get(record, "failed"));
    if (failed) {
        const struct timespec wait = {.tv_sec = REQUEUE_S};
        /* The node's fault: the job is being requeued, and shall not fail before. */
        if (json_is_true(json_object_get(record, "fault")))
            nanosleep(&wait, NULL);
        return err_set(err, E_FAIL, "%s", failed);
    }
    json_t *names = json_object_get(record, "names");
    size_t count = json_array_size(names);
    if (!count)
        return err_set(err, E_UNAVAIL,
                       "no machine was booted for this job here; PrologFlags of "
                       "slurm.conf must have Contain");
    spank_get_item(sp, S_TASK_ID, &local);
    const char *vm = json_string_value(
        json_array_get(names, (size_t)(local > 0 ? local : 0) % count));
    tell_names(sp, record, vm);
    if (spank_get_item(sp, S_JOB_ENV, &env) != ESPANK_SUCCESS)
        return err_set(err, E_BUG, "Slurm does not tell the task's environment");
    char **argv = words(sp, a, record, vm, step, err);
    if (!argv)
        return -1;
    execve(argv[0], argv, env);
    err_sys(err, "'%s'", argv[0]);
    free(argv);
    return -1;
}
