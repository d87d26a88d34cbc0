/* SPDX-License-Identifier: Apache-2.0 */
/* From a ticket to the profile it grants. */
#include "agent/ticket.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "agent/images.h"
#include "base/dirs.h"
#include "base/str.h"
#include "image/store.h"
#include "place/members.h"
#include "profile/profile.h"
#include "proto/ticket.h"

/* Array tasks, "42_7", share the ticket of job 42. */
static char *submission_of(const char *job)
{
    return strndup(job, strcspn(job, "_"));
}

static int count_of(struct agent *a, const char *job)
{
    struct vm *vm;
    int n = 0;
    list_each (vm, &a->vms, in)
        n += vm->job && !strcmp(vm->job, job) && state_is_live(vm->state);
    return n;
}

/* The very one of the ticket, by its digest: if the controller can be asked for it, the
 * machine waits where it would be staged. */
static int want_image(struct agent *a, struct profile *p, const char *digest,
                      const struct err *why, struct err *err)
{
    AUTO_STR ref = str_printf("%.*s@%s", (int)strcspn(p->image, "@"), p->image, digest);
    if (!ref)
        return err_oom(err);
    if (!images_want(a, ref))
        return err_set(err, why->code, "profile '%s': %s", p->name, why->text);
    free(p->image);
    p->image = move(ref);
    return 0;
}

/* The image must still be what it was at submission. */
static int same_image(struct agent *a, struct profile *p, const char *digest,
                      struct err *err)
{
    AUTO(image) img = NULL;
    struct err why = {0};
    if (!digest)
        return 0;
    if (image_find(p->image, &img, &why) < 0) {
        if (why.code == E_NOENT && *p->image != '/')
            return want_image(a, p, digest, &why, err);
        return err_set(err, why.code, "profile '%s': %s", p->name, why.text);
    }
    if (!img->digest || strcmp(img->digest, digest) != 0)
        return err_set(
            err, E_PERM,
            "image '%s' is not the one of submission any more; submit again, "
            "or name its version: --vm-image=NAME@VERSION",
            p->image);
    return 0;
}

/* Checked and claimed for this job. */
static int take(const char *text, uid_t uid, const char *job, struct ticket **out,
                struct err *err)
{
    AUTO_STR keys_dir = dirs_path(DIRS_CONFIG, "keys");
    AUTO_STR claims = dirs_path(DIRS_STATE, "tickets");
    AUTO_STR submission = job ? submission_of(job) : NULL;
    AUTO(ticket_keys) keys = NULL;
    AUTO(ticket) t = NULL;
    if (!keys_dir || !claims || (job && !submission))
        return err_oom(err);
    if (ticket_keys_load(keys_dir, &keys, err) < 0 ||
        ticket_open(text, keys, time(NULL), uid, submission, &t, err) < 0)
        return -1;
    if (submission && ticket_claim(claims, t, submission, time(NULL), err) < 0)
        return -1;
    *out = move(t);
    return 0;
}

/* The one profile of the grant, or that of the cluster's machine. */
static int granted(const json_t *grant, int64_t member, json_t **profile,
                   const char **digest, struct members **keep, struct err *err)
{
    bool cluster = json_object_get(grant, "cluster") != NULL;
    if (cluster != (member >= 0))
        return err_set(err, E_PERM, "the ticket is for a %s",
                       cluster ? "virtual cluster" : "profile");
    if (!cluster)
        return rpc_unpack((json_t *)grant, err, "ticket", "{s:o, s?s}", "profile",
                          profile, "digest", digest);
    if (members_place(grant, 0, keep, err) < 0)
        return -1;
    if ((uint64_t)member >= (*keep)->count)
        return err_set(err, E_PERM, "the ticket is for %zu machines", (*keep)->count);
    *profile = (*keep)->vm[member].profile;
    *digest = (*keep)->vm[member].digest;
    return 0;
}

int agent_ticket_plan(const char *text, uid_t uid, const char *job, uint32_t node,
                      uint32_t nodes, json_t **out, struct err *err)
{
    AUTO(ticket) t = NULL;
    AUTO(members) m = NULL;
    if (take(text, uid, job, &t, err) < 0)
        return -1;
    const char *name = json_string_value(json_object_get(t->grant, "cluster"));
    if (!name)
        return err_set(err, E_PERM, "the ticket is for a profile");
    if (nodes > 1 && json_is_true(json_object_get(t->grant, "networks")))
        return err_set(err, E_INPUT,
                       "cluster '%s' has networks of its own, which do not reach from "
                       "node to node; ask for one node",
                       name);
    if (members_place(t->grant, nodes, &m, err) < 0)
        return err_at(err, "cluster '%s'", name);
    AUTO_JSON list = json_array();
    for (size_t i = 0; list && i < m->count; i++)
        if (m->vm[i].node == node)
            json_array_append_new(
                list, json_pack("{s:I, s:s, s:I, s:I}", "member", (json_int_t)i, "name",
                                m->vm[i].name, "vcpus", (json_int_t)m->vm[i].vcpus,
                                "memory_bytes", (json_int_t)m->vm[i].memory_bytes));
    *out = json_pack("{s:O}", "machines", list);
    return *out ? 0 : err_oom(err);
}

/* The controller sees whether another node's job has the same ticket. */
static void tell_claim(struct agent *a, const struct ticket *t, const char *job)
{
    AUTO_STR submission = submission_of(job);
    if (submission && a->server)
        rpc_server_emit(a->server, "ticket.claim",
                        json_pack("{s:s, s:s, s:I, s:I}", "ticket", t->nonce, "job",
                                  submission, "uid", (json_int_t)t->uid, "expires",
                                  (json_int_t)t->expires),
                        agent_master_hears);
}

int agent_ticket_claims(json_t **out, struct err *err)
{
    AUTO_STR dir = dirs_path(DIRS_STATE, "tickets");
    return dir ? ticket_claims(dir, out, err) : err_oom(err);
}

bool agent_ticket_is_of(const char *job, const char *submission)
{
    size_t n = strcspn(job, "_");
    return strlen(submission) == n && !strncmp(job, submission, n);
}

int agent_ticket(struct agent *a, const char *text, uid_t uid, const char *job,
                 int64_t member, struct profile **out, bool *own, struct err *err)
{
    AUTO(ticket) t = NULL;
    AUTO(members) keep = NULL;
    AUTO(profile) p = NULL;
    const char *digest = NULL;
    json_t *profile = NULL;
    int vms, users = 0;
    if (take(text, uid, job, &t, err) < 0 ||
        rpc_unpack(t->grant, err, "ticket", "{s:i, s?b}", "vms", &vms, "own", &users) <
            0 ||
        granted(t->grant, member, &profile, &digest, &keep, err) < 0 ||
        profile_from_json(profile, &p, err) < 0)
        return -1;
    *own = users;
    if (job)
        tell_claim(a, t, job);
    if (job && count_of(a, job) >= vms)
        return err_set(err, E_PERM, "the ticket is for %d machine%s a node", vms,
                       vms == 1 ? "" : "s");
    if (same_image(a, p, digest, err) < 0)
        return -1;
    *out = move(p);
    return 0;
}

/* --- the job's size ----------------------------------------------------------------- */

enum { MIB = 1 << 20 };

/* What a hypervisor takes besides the guest's memory: itself, and page tables. */
static uint64_t overhead(enum profile_type type, uint64_t job)
{
    switch (type) {
    case PROFILE_FAKE:
    case PROFILE_LXC:
        return 0;
    case PROFILE_HPC:
        return 12 * MIB + job / 128;
    default:
        return 96 * MIB + job / 128;
    }
}

int agent_fit(struct profile *p, uint64_t memory_bytes, uint32_t vcpus, struct err *err)
{
    if (memory_bytes) {
        uint64_t unit = p->page_bytes > MIB ? p->page_bytes : 2 * MIB;
        uint64_t takes = overhead(p->type, memory_bytes);
        uint64_t left = memory_bytes > takes ? memory_bytes - takes : 0;
        left -= left % unit;
        if (left < p->memory_bytes)
            return err_set(err, E_INPUT,
                           "it needs %llu MiB and its hypervisor %llu MiB, but the job "
                           "has %llu MiB for it here; ask for more with --mem",
                           (unsigned long long)p->memory_bytes / MIB,
                           (unsigned long long)overhead(p->type, p->memory_bytes) / MIB,
                           (unsigned long long)memory_bytes / MIB);
        /* Huge pages come from a pool of the node, not from the job's memory. */
        if (p->page_bytes <= 4096)
            p->memory_bytes = left;
    }
    if (vcpus) {
        if (vcpus < p->vcpus)
            return err_set(err, E_INPUT,
                           "it needs %u CPUs, but the job has %u for it here; ask for "
                           "more with --cpus-per-task",
                           p->vcpus, vcpus);
        if (!p->cpu_pin.count)
            p->vcpus = vcpus;
    }
    return 0;
}
