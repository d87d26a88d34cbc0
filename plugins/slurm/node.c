/* SPDX-License-Identifier: Apache-2.0 */
/* On a node, as root.
 *
 * The prolog writes the node's record and looks whether the agent is there: a failure
 * here is the node's, drains it and requeues the job. The external step asks the agent
 * to boot, inside the job's control groups, and does not wait: the tasks do, in
 * lodge-exec, where a cancelled job can be ended at once. What is wrong with the job
 * itself is written into the record, and told to the user by the tasks. The epilog
 * takes everything back. */
#include "plugin.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/str.h"
#include "fault.h"
#include "proto/client.h"

enum {
    PROLOG_MS = 15000, /* for an agent that is being restarted */
    DEPLOY_MS = 20000,
    EPILOG_MS = 60000,
    END_MS = 120000,
    HELPER_MS = 10000,
    CONTROL_MAX = 120 * 1024,
};

/* Connect, trying again while the agent is away, for at most wait_ms. */
static int agent_connect(const struct plugin_args *a, unsigned wait_ms,
                         struct rpc_client **out, struct err *err)
{
    const struct timespec pause = {.tv_nsec = 200 * 1000000L};
    uint64_t end = clock_ms() + wait_ms;

    for (;;) {
        struct err why = {0};
        if (rpc_client_connect(a->agent, out, &why) == 0)
            return 0;
        if (clock_ms() >= end) {
            if (err)
                *err = why;
            return err_at(err, "lodge-agent does not answer");
        }
        nanosleep(&pause, NULL);
    }
}

/* One request, sent again while the agent is being restarted: all that is asked here may
 * be asked twice. Takes params. */
static int agent_call(const struct plugin_args *a, const char *method, json_t *params,
                      unsigned timeout_ms, unsigned wait_ms, json_t **answer,
                      struct err *err)
{
    const struct rpc_client_opts opts = {.timeout_ms = timeout_ms};
    AUTO_JSON owned = params;
    uint64_t end = clock_ms() + timeout_ms;
    struct err why = {0};

    for (;;) {
        AUTO(rpc_client) agent = NULL;
        if (agent_connect(a, wait_ms, &agent, err) < 0)
            return -1;
        if (rpc_client_call(agent, method, json_incref(owned), &opts, answer, &why) ==
            0)
            return 0;
        if (!str_ends(why.text, "closed the connection") || clock_ms() >= end) {
            if (err)
                *err = why;
            return -1;
        }
    }
}

/* A message to slurmctld by scontrol, in a process of its own with a deadline. */
static void helper(const struct plugin_args *a, const char *verb, uint32_t job,
                   const char *text)
{
    char number[16];
    const char *const argv[] = {a->helper, verb, number, text, NULL};
    const struct proc_spec spec = {.argv = argv, .die_with_us = true};
    struct err err = {0};

    snprintf(number, sizeof number, "%" PRIu32, job);
    if (proc_run(&spec, HELPER_MS, NULL, &err) < 0)
        slurm_error("lodge: %s: %s", verb, err.text);
}

/* What the user wrote, as the node believes it: only what has the right form. */
static json_t *record_of(const char *control, uint32_t job, uid_t uid, struct err *err)
{
    AUTO_JSON said = json_loads(control, JSON_REJECT_DUPLICATES, NULL);
    const char *ticket, *profile;
    int vms, host_script, keep, array, cluster = 0;
    const char *node = getenv("SLURMD_NODENAME");
    char host[64] = "node";

    if (strlen(control) > CONTROL_MAX || !said) {
        err_set(err, E_INPUT, "the job's " PLUGIN_ENV " is damaged");
        return NULL;
    }
    if (rpc_unpack(said, err, PLUGIN_ENV, "{s:s, s:s, s:i, s:b, s:b, s:b, s?b !}",
                   "ticket", &ticket, "profile", &profile, "vms", &vms, "host_script",
                   &host_script, "keep", &keep, "array", &array, "cluster",
                   &cluster) < 0)
        return NULL;
    if (vms < 1 || vms > PLUGIN_VMS_MAX) {
        err_set(err, E_INPUT, "%d machines a node: give 1 to %d", vms, PLUGIN_VMS_MAX);
        return NULL;
    }
    if (str_empty(node)) {
        gethostname(host, sizeof host - 1);
        host[strcspn(host, ".")] = '\0';
        node = host;
    }
    json_t *r =
        json_pack("{s:I, s:I, s:s, s:s, s:s, s:i, s:b, s:b, s:b, s:b}", "job",
                  (json_int_t)job, "uid", (json_int_t)uid, "node", node, "ticket",
                  ticket, "profile", profile, "vms", vms, "host_script", host_script,
                  "keep", keep, "array", array, "cluster", cluster);
    if (!r)
        err_oom(err);
    return r;
}

/* Array tasks share one submission and one ticket: their name, "42_7", says so. Slurm 22.05
 * tells neither prolog nor external step, so slurmctld is asked; for arrays only, and it
 * is believed, not the user. */
static char *job_name(const struct plugin_args *a, uint32_t job, bool array)
{
    char number[16];
    const char *const argv[] = {a->helper, "name", number, NULL};
    const struct proc_spec spec = {.argv = argv, .die_with_us = true};
    struct err err = {0};
    AUTO_STR text = NULL;

    snprintf(number, sizeof number, "%" PRIu32, job);
    if (!array)
        return strdup(number);
    if (proc_run(&spec, HELPER_MS, &text, &err) < 0) {
        slurm_error("lodge: name of job %s: %s", number, err.text);
        return strdup(number);
    }
    return strndup(text, strcspn(text, "\n"));
}

static int set_failed(json_t *record, const char *text)
{
    return json_object_set_new(record, "failed", json_string(text));
}

int node_prolog(spank_t sp, const struct plugin_args *a, struct err *err)
{
    const char *control = getenv(PLUGIN_ENV_PROLOG);
    AUTO(rpc_client) agent = NULL;
    struct err why = {0};
    uint32_t job = 0;
    uid_t uid = (uid_t)-1;

    if (!control)
        return 0;
    if (spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS ||
        spank_get_item(sp, S_JOB_UID, &uid) != ESPANK_SUCCESS)
        return err_set(err, E_BUG, "Slurm tells the prolog no job id or uid");
    AUTO_JSON record = record_of(control, job, uid, &why);
    if (!record)
        record = json_pack("{s:I, s:I, s:s, s:i, s:s}", "job", (json_int_t)job, "uid",
                           (json_int_t)uid, "node", "", "vms", 0, "failed", why.text);
    AUTO_STR name = job_name(a, job, json_is_true(json_object_get(record, "array")));
    if (!record || !name || json_object_set_new(record, "name", json_string(name)) < 0)
        return err_oom(err);
    if (record_write(a->record, job, record, err) < 0)
        return -1;
    if (agent_connect(a, PROLOG_MS, &agent, err) < 0) {
        helper(a, "drain", job, err->text);
        record_remove(a->record, job, NULL);
        return -1;
    }
    return 0;
}

/* --- the external step -------------------------------------------------------------
 */
/* What the job has on this node, and how it is shared: by a machine's part of the whole. */
struct share {
    uint64_t memory_mib, cpus; /* the job's here; 0: not known */
    uint64_t memory_part, memory_whole, cpus_part, cpus_whole;
};

/* It becomes the guest's host name. */
static char *vm_name(const char *first, const char *job, int i, int vms)
{
    char *name = vms == 1 ? str_printf("%s-%s", first, job)
                          : str_printf("%s-%s-%d", first, job, i);

    for (char *p = name; p && *p; p++)
        if (*p == '_')
            *p = '-';
    return name;
}

static json_t *deployment(spank_t sp, const json_t *record, const char *name,
                          const char *job, json_t *groups, const struct share *share,
                          struct err *err)
{
    uint32_t id = (uint32_t)json_integer_value(json_object_get(record, "job"));
    uint32_t restarts = 0;
    uid_t uid = 0;
    gid_t gid = 0;

    if (spank_get_item(sp, S_JOB_UID, &uid) != ESPANK_SUCCESS ||
        spank_get_item(sp, S_JOB_GID, &gid) != ESPANK_SUCCESS) {
        err_set(err, E_BUG, "Slurm does not tell whose job this is");
        return NULL;
    }
    spank_get_item(sp, S_SLURM_RESTART_COUNT, &restarts);
    AUTO_STR request =
        str_printf("slurm-%" PRIu32 "-%" PRIu32 "-%s", id, restarts, name);
    json_t *d = json_pack("{s:s, s:s, s:s, s:O, s:I, s:I, s:b, s:b}", "name", name,
                          "job", job, "request", request ? request : "", "ticket",
                          json_object_get(record, "ticket"), "uid", (json_int_t)uid,
                          "gid", (json_int_t)gid, "boot", 1, "wait", 0);
    if (d && json_object_size(groups))
        json_object_set(d, "cgroups", groups);
    uint64_t memory =
        (share->memory_mib << 20) / share->memory_whole * share->memory_part;
    uint64_t cpus = share->cpus * share->cpus_part / share->cpus_whole;
    if (d && share->memory_mib)
        json_object_set_new(d, "memory_bytes", json_integer((json_int_t)memory));
    if (d && share->cpus)
        json_object_set_new(d, "vcpus", json_integer(cpus ? (json_int_t)cpus : 1));
    if (!d)
        err_oom(err);
    return d;
}

/* Takes d. */
static int deploy_one(const struct plugin_args *a, json_t *d, const char *name,
                      json_t *names, struct err *err)
{
    if (!d || agent_call(a, "vm.deploy", d, DEPLOY_MS, PROLOG_MS, NULL, err) < 0)
        return -1;
    json_array_append_new(names, json_string(name));
    return 0;
}

static int deploy_alike(spank_t sp, const struct plugin_args *a, json_t *record,
                        const char *job, json_t *groups, struct share *share,
                        json_t *names, struct err *err)
{
    const char *node = json_string_value(json_object_get(record, "node"));
    int vms = (int)json_integer_value(json_object_get(record, "vms"));

    share->memory_part = share->cpus_part = 1;
    share->memory_whole = share->cpus_whole = (uint64_t)vms;
    for (int i = 0; i < vms; i++) {
        AUTO_STR name = vm_name(node ? node : "node", job, i, vms);
        if (!name)
            return err_oom(err);
        json_t *d = deployment(sp, record, name, job, groups, share, err);
        if (deploy_one(a, d, name, names, err) < 0)
            return -1;
    }
    return 0;
}

static uint64_t part(const json_t *machine, const char *what)
{
    return (uint64_t)json_integer_value(json_object_get(machine, what));
}

/* Of a virtual cluster, this node's machines, as the agent finds them in the ticket. */
static int deploy_cluster(spank_t sp, const struct plugin_args *a, json_t *record,
                          const char *job, json_t *groups, struct share *share,
                          json_t *names, struct err *err)
{
    uint32_t node = 0, nodes = 0;
    AUTO_JSON plan = NULL;
    json_t *machine;
    size_t i;

    if (spank_get_item(sp, S_JOB_NODEID, &node) != ESPANK_SUCCESS ||
        spank_get_item(sp, S_JOB_NNODES, &nodes) != ESPANK_SUCCESS)
        return err_set(err, E_BUG, "Slurm does not tell which of the nodes this is");
    json_t *q = json_pack("{s:O, s:s, s:O, s:I, s:I}", "ticket",
                          json_object_get(record, "ticket"), "job", job, "uid",
                          json_object_get(record, "uid"), "node", (json_int_t)node,
                          "nodes", (json_int_t)nodes);
    if (!q || agent_call(a, "ticket.plan", q, DEPLOY_MS, PROLOG_MS, &plan, err) < 0)
        return -1;
    json_t *machines = json_object_get(plan, "machines");
    json_array_foreach (machines, i, machine) {
        share->memory_whole += part(machine, "memory_bytes") >> 20;
        share->cpus_whole += part(machine, "vcpus");
    }
    json_array_foreach (machines, i, machine) {
        const char *member = json_string_value(json_object_get(machine, "name"));
        AUTO_STR name = vm_name(member ? member : "vm", job, 0, 1);
        if (!name)
            return err_oom(err);
        share->memory_part = part(machine, "memory_bytes") >> 20;
        share->cpus_part = part(machine, "vcpus");
        json_t *d = deployment(sp, record, name, job, groups, share, err);
        if (d)
            json_object_set(d, "member", json_object_get(machine, "member"));
        if (deploy_one(a, d, name, names, err) < 0)
            return -1;
    }
    return 0;
}

static int deploy_all(spank_t sp, const struct plugin_args *a, json_t *record,
                      const char *job, json_t *groups, struct err *err)
{
    struct share share = {0};
    uint16_t cpus = 0;
    json_t *names = json_array();

    if (!names || json_object_set_new(record, "names", names) < 0)
        return err_oom(err);
    spank_get_item(sp, S_JOB_ALLOC_MEM, &share.memory_mib);
    spank_get_item(sp, S_JOB_NCPUS, &cpus);
    share.cpus = cpus;
    bool cluster = json_is_true(json_object_get(record, "cluster"));
    return (cluster ? deploy_cluster : deploy_alike)(sp, a, record, job, groups, &share,
                                                     names, err);
}

/* A child of this stepd, in its tracking group, for suspend and resume: see the helper.
 */
static void sentinel(const struct plugin_args *a, uint32_t job, const char *name,
                     const char *profile)
{
    char number[16];
    const char *const argv[] = {a->helper, "sentinel", number, name,
                                a->agent,  profile,    NULL};
    const int fds[] = {-1, -1, -1};
    const struct proc_spec spec = {.argv = argv, .fds = fds, .nfds = 3};
    struct err err = {0};
    AUTO_FD pidfd = -1;

    snprintf(number, sizeof number, "%" PRIu32, job);
    if (proc_spawn(&spec, &pidfd, NULL, &err) < 0)
        slurm_error("lodge: sentinel: %s; this job's machines do not suspend",
                    err.text);
}

int node_extern(spank_t sp, const struct plugin_args *a, struct err *err)
{
    AUTO_JSON record = NULL;
    struct err why = {0};
    uint32_t job = 0, node = 0;
    int rc;

    if (spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS)
        return 0;
    rc = record_read(a->record, job, &record, err);
    if (rc <= 0)
        return rc;
    if (json_object_get(record, "failed"))
        return 0;
    const char *name = json_string_value(json_object_get(record, "name"));
    if (!name)
        return err_set(err, E_BUG, "the record of job %" PRIu32 " has no name", job);
    spank_get_item(sp, S_JOB_NODEID, &node);
    AUTO_JSON groups = cgroups_of_job(getpid(), job);
    json_object_set(record, "cgroups", groups);
    /* Written before the deed: the epilog of a crashed node knows what to look for. */
    if (record_write(a->record, job, record, err) < 0)
        return -1;
    AUTO_JSON inside = cgroups_for_vm(groups);
    rc = deploy_all(sp, a, record, name, inside, &why);
    if (rc < 0)
        set_failed(record, why.text);
    if (rc < 0 && fault_of_request(why.code))
        json_object_set_new(record, "fault", json_true());
    if (record_write(a->record, job, record, err) < 0)
        return -1;
    if (rc < 0 && fault_of_request(why.code))
        helper(a, "requeue", job, why.text);
    if (rc == 0)
        sentinel(a, job, name,
                 node == 0 ? json_string_value(json_object_get(record, "profile"))
                           : "");
    return 0;
}

/* --- the epilog ----------------------------------------------------------------------
 */
int node_epilog(spank_t sp, const struct plugin_args *a, struct err *err)
{
    AUTO_JSON record = NULL;
    uint32_t job = 0;
    int rc;

    if (spank_get_item(sp, S_JOB_ID, &job) != ESPANK_SUCCESS)
        return 0;
    rc = record_read(a->record, job, &record, err);
    if (rc == 0)
        return 0;
    const char *name = json_string_value(json_object_get(record, "name"));
    AUTO_STR plain = str_printf("%" PRIu32, job);
    if (!name)
        name = plain ? plain : "";
    rc = agent_call(a, "job.end", json_pack("{s:s}", "job", name), END_MS, EPILOG_MS,
                    NULL, err);
    if (rc < 0) {
        err_at(err, "job %s: its machines may still be here", name);
        helper(a, "drain", job, err->text);
        return -1;
    }
    cgroups_remove(json_object_get(record, "cgroups"));
    return record_remove(a->record, job, err);
}
