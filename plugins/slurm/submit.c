/* SPDX-License-Identifier: Apache-2.0 */
/* At submission: the controller says whether the profile exists, whether this user may
 * have it and whether it fits; its ticket goes with the job in the control environment,
 * which Slurm hands to every node's prolog. */
#include "plugin.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/own.h"
#include "base/proc.h"
#include "base/str.h"
#include "proto/client.h"

enum { ANSWER_MS = 10000, DOCUMENT_MAX = 256 * 1024 };

/* A name has no slash and does not end in .xml; all else is the user's own file. */
static bool is_file(const char *profile)
{
    return strchr(profile, '/') || str_ends(profile, ".xml");
}

static json_t *ask(const struct plugin_options *o, const struct plugin_request *r,
                   struct err *err)
{
    AUTO_JSON q = json_pack("{s:I}", "gid", (json_int_t)getgid());
    AUTO_STR text = NULL;

    if (!q)
        goto oom;
    if (o->cluster) {
        if (json_object_set_new(q, "cluster", json_string(o->cluster)) < 0 ||
            (r->nodes && json_object_set_new(q, "nodes", json_integer(r->nodes)) < 0))
            goto oom;
    } else if (is_file(o->profile)) {
        if (fd_read_file(o->profile, DOCUMENT_MAX, &text, NULL, err) < 0) {
            err_at(err, "--vm-profile");
            return NULL;
        }
        if (json_object_set_new(q, "document", json_string(text)) < 0 ||
            json_object_set_new(q, "path", json_string(o->profile)) < 0) {
            err_set(err, E_INPUT, "--vm-profile: '%s' is not a text in UTF-8",
                    o->profile);
            return NULL;
        }
    } else if (json_object_set_new(q, "profile", json_string(o->profile)) < 0) {
        goto oom;
    }
    if ((o->image && json_object_set_new(q, "image", json_string(o->image)) < 0) ||
        (o->vms && json_object_set_new(q, "vms", json_integer(o->vms)) < 0) ||
        (r->memory_mib &&
         json_object_set_new(q, "memory_mib", json_integer((json_int_t)r->memory_mib)) <
             0) ||
        (r->cpus && json_object_set_new(q, "cpus", json_integer(r->cpus)) < 0))
        goto oom;
    return move(q);
oom:
    err_oom(err);
    return NULL;
}

/* No lodged on this machine: the command line does the same on the user's own store. */
static int issue_embedded(const struct plugin_args *a, const json_t *q, json_t **answer,
                          struct err *err)
{
    AUTO_STR params = json_dumps(q, JSON_COMPACT);
    AUTO_STR text = NULL;
    const char *const argv[] = {a->lodge, "ticket", "issue", params, NULL};
    const struct proc_spec spec = {.argv = argv, .die_with_us = true};

    if (!params)
        return err_oom(err);
    if (proc_run(&spec, ANSWER_MS, &text, err) < 0)
        return -1;
    *answer = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    return *answer ? 0 : err_set(err, E_PROTO, "'%s' gave no ticket", a->lodge);
}

static int issue(const struct plugin_args *a, json_t *q, json_t **answer,
                 struct err *err)
{
    const struct rpc_client_opts opts = {.timeout_ms = ANSWER_MS};
    AUTO(rpc_client) c = NULL;

    if (access(a->lodged, F_OK) < 0 && access(a->lodge, X_OK) == 0)
        return issue_embedded(a, q, answer, err);
    if (rpc_client_connect(a->lodged, &c, err) < 0)
        return err_at(err, "lodged does not answer; tell your administrator");
    return rpc_client_call(c, "ticket.issue", json_incref(q), &opts, answer, err);
}

/* What the nodes are told. The ticket is signed; the rest is the user's to choose. */
static char *control(const struct plugin_options *o, bool array, const json_t *answer)
{
    AUTO_JSON job =
        json_pack("{s:O, s:O, s:O, s:b, s:b, s:b, s:b}", "ticket",
                  json_object_get(answer, "ticket"), "profile",
                  json_object_get(answer, "profile"), "vms",
                  json_object_get(answer, "vms"), "host_script", o->host_script, "keep",
                  o->keep, "array", array, "cluster", o->cluster != NULL);

    return job ? json_dumps(job, JSON_COMPACT) : NULL;
}

static const char *image_of(const json_t *from)
{
    const char *image = json_string_value(json_object_get(from, "image"));
    return image ? image : "none";
}

static int mib_of(const json_t *from)
{
    return (int)(json_integer_value(json_object_get(from, "memory_bytes")) >> 20);
}

/* For people: a line a machine of a cluster, or one for all of a profile. */
static void show_plan(const json_t *answer)
{
    json_t *machines = json_object_get(answer, "machines"), *m;
    size_t i;

    json_array_foreach (machines, i, m)
        slurm_spank_log("lodge: would boot on the job's node %d: '%s', image %s; at "
                        "least %d CPUs and %d MiB",
                        (int)json_integer_value(json_object_get(m, "node")),
                        json_string_value(json_object_get(m, "name")), image_of(m),
                        (int)json_integer_value(json_object_get(m, "vcpus")),
                        mib_of(m));
    if (!machines)
        slurm_spank_log(
            "lodge: would boot on each node: %d of profile '%s', type %s, "
            "image %s; at least %d CPUs and %d MiB each",
            (int)json_integer_value(json_object_get(answer, "vms")),
            json_string_value(json_object_get(answer, "profile")),
            json_string_value(json_object_get(answer, "type")), image_of(answer),
            (int)json_integer_value(json_object_get(answer, "vcpus")), mib_of(answer));
}

int plugin_submit(spank_t sp, const struct plugin_args *a, struct err *err)
{
    struct plugin_options o;
    struct plugin_request r = {0};
    AUTO_JSON answer = NULL;
    AUTO_STR text = NULL;

    if (plugin_options_get(&o, err) < 0)
        return -1;
    if (!o.profile && !o.cluster)
        return 0;
    /* srun inside a job: a step runs where its job's machines are. */
    if (spank_context() == S_CTX_LOCAL && getenv("SLURM_JOB_ID"))
        return 0;
    plugin_request_get(&r);
    AUTO_JSON q = ask(&o, &r, err);
    if (!q || issue(a, q, &answer, err) < 0)
        return -1;
    if (o.dry_run) {
        show_plan(answer);
        return err_set(err, E_CANCELLED, "nothing was submitted (--vm-dry-run)");
    }
    if (!json_is_string(json_object_get(answer, "ticket")) ||
        !json_is_integer(json_object_get(answer, "vms")) ||
        !(text = control(&o, r.array, answer)))
        return err_set(err, E_PROTO, "lodged's answer has no ticket");
    if (spank_job_control_setenv(sp, PLUGIN_ENV, text, 1) != ESPANK_SUCCESS)
        return err_set(err, E_FAIL, "the ticket cannot be put into the job");
    return 0;
}
