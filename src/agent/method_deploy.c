/* SPDX-License-Identifier: Apache-2.0 */
/* vm.deploy: a profile or a ticket becomes a VM of this node. */
#include "agent/methods.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "agent/networks.h"
#include "agent/plan.h"
#include "agent/reserve.h"
#include "agent/ticket.h"
#include "agent/vt.h"
#include "base/conf.h"
#include "base/str.h"
#include "profile/document.h"
#include "profile/types.h"

void agent_new_id(const struct agent *a, char id[VM_ID_LEN + 1])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char b[VM_ID_LEN];
    do {
        if (getrandom(b, sizeof b, 0) != sizeof b)
            memset(b, 0, sizeof b);
        for (int i = 0; i < VM_ID_LEN; i++)
            id[i] = i < VM_TAG_LEN ? a->tag[i] : hex[b[i] & 15];
        id[VM_ID_LEN] = '\0';
    } while (agent_find((struct agent *)a, 0, id, NULL));
}

struct vm *agent_find_own(struct agent *a, uid_t uid, const char *name)
{
    struct vm *vm;
    list_each (vm, &a->vms, in)
        if (vm->uid == uid && !strcmp(vm->name, name))
            return vm;
    return NULL;
}

static char *free_name(struct agent *a, uid_t uid, const char *base)
{
    for (unsigned i = 1;; i++) {
        char *name = i == 1 ? strdup(base) : str_printf("%.50s-%u", base, i);
        if (!name || !agent_find_own(a, uid, name))
            return name;
        free(name);
    }
}

struct deploy {
    const char *name, *job, *request, *ticket;
    json_t *profile, *cgroups;
    json_int_t uid, gid;
    json_int_t memory_bytes, vcpus; /* the job's own size; 0: the profile's */
    json_int_t member; /* which machine of the ticket's cluster; -1: no cluster */
    bool own;          /* the profile is the user's own */
    int boot, wait, leased;
    int fresh; /* not from a frozen image */
};

static int deploy_decode(struct rpc_call *call, json_t *params, struct deploy *d,
                         struct err *err)
{
    *d = (struct deploy){
        .uid = rpc_call_uid(call), .gid = rpc_call_gid(call), .boot = 1, .member = -1};
    if (rpc_unpack(params, err, "vm.deploy",
                   "{s?s, s?s, s?s, s?s, s?o, s?o, s?I, s?I, s?I, s?I, s?I, s?b, s?b, "
                   "s?b, s?b !}",
                   "name", &d->name, "job", &d->job, "request", &d->request, "ticket",
                   &d->ticket, "profile", &d->profile, "cgroups", &d->cgroups, "uid",
                   &d->uid, "gid", &d->gid, "memory_bytes", &d->memory_bytes, "vcpus",
                   &d->vcpus, "member", &d->member, "boot", &d->boot, "wait", &d->wait,
                   "leased", &d->leased, "fresh", &d->fresh) < 0)
        return -1;
    if (d->name && !str_is_name(d->name))
        return err_set(err, E_INPUT,
                       "'%s' cannot name a VM: use at most 63 letters, digits, . _ -",
                       d->name);
    if (agent_may_act_for(call, d->uid, d->gid, err) < 0 ||
        agent_may_name_job(call, d->job, d->cgroups, err) < 0)
        return -1;
    if ((d->memory_bytes || d->vcpus) && !agent_is_master(rpc_call_uid(call)))
        return err_set(err, E_PERM, "only root may change the size of a profile");
    if (d->memory_bytes < 0 || d->vcpus < 0 || d->vcpus > UINT32_MAX)
        return err_set(err, E_INPUT, "vm.deploy: memory_bytes or vcpus out of bounds");
    return 0;
}

/* The profile of the request: from a ticket, or as given. */
static int deploy_profile(struct agent *a, struct rpc_call *call, struct deploy *d,
                          struct profile **out, struct err *err)
{
    if (d->ticket)
        return agent_ticket(a, d->ticket, d->uid, d->job, d->member, out, &d->own, err);
    if (!d->profile)
        return err_set(err, E_INPUT, "vm.deploy: neither a profile nor a ticket");
    return profile_from_json(d->profile, out, err);
}

/* Who sends one need not have read it from a document, where all this is asked first. */
static int check(const struct profile *p, struct err *err)
{
    struct profile_problems problems = {0};
    profile_check(p, &problems);
    int r = profile_problems_err(&problems, "profile", err);
    profile_problems_done(&problems);
    return r;
}

int agent_admit(struct agent *a, struct vm *vm, json_int_t memory_bytes,
                json_int_t vcpus, struct err *err)
{
    char reason[200] = "";
    if (vm->profile->type == PROFILE_AUTO &&
        place_auto(agent_facts(a), vm->profile, &vm->profile->type, reason,
                   sizeof reason, err) < 0)
        return -1;
    if (check(vm->profile, err) < 0 ||
        agent_fit(vm->profile, memory_bytes, vcpus, err) < 0)
        return err_at(err, "profile '%s'", vm->profile->name);
    const struct vt_ops *ops = vt_find(vm->profile->type);
    if (!ops)
        return err_set(err, E_UNAVAIL, "this agent has no type '%s'",
                       profile_type_names[vm->profile->type]);
    enum profile_cap missing;
    if (!profile_type_fits(vm->profile->type, vm->profile, &missing))
        return err_set(err, E_INPUT, "profile '%s': type '%s' cannot %s",
                       vm->profile->name, ops->name, profile_cap_texts[missing]);
    if (reserve_check(a, vm, err) < 0 || ops->check(vm->profile, err) < 0)
        return err_at(err, "profile '%s'", vm->profile->name);
    if (*reason)
        json_object_set_new(vm->vt, "reason", json_string(reason));
    return 0;
}

/* Whoever comes without a ticket: if the site lets users start machines outside of jobs,
 * and then without the host's devices, and only at bridges that it gives to users. */
int agent_may_start(struct agent *a, const struct vm *vm, struct err *err)
{
    enum { MACHINES_MAX = 256 };
    AUTO(conf) conf = NULL;
    const struct vm *other;
    unsigned n = 0;
    if (conf_load(NULL, &conf, err) < 0 || conf_outside_jobs(conf, err) < 0)
        return -1;
    list_each (other, &a->vms, in)
        n += other->uid == vm->uid && !other->job;
    if (n >= MACHINES_MAX)
        return err_set(err, E_BUSY,
                       "uid %u has %u machines here already; destroy some first",
                       (unsigned)vm->uid, n);
    if (vm->profile->device_count)
        return err_set(err, E_PERM,
                       "devices are passed through in jobs only, by a profile of the "
                       "site's");
    for (size_t i = 0; i < vm->profile->nic_count; i++) {
        enum profile_nic_type type = vm->profile->nics[i].type;
        struct network net;
        char bridge[16];
        if (type != PROFILE_NIC_BRIDGED_TAP && type != PROFILE_NIC_VLAN)
            continue;
        plan_bridge(vm, i, bridge);
        int found = network_find(bridge, &net, err);
        if (found < 0)
            return -1;
        if (!found)
            return err_set(err, E_PERM,
                           "nic %zu: this site does not give bridge '%s' to users "
                           "(networks in lodge.conf)",
                           i + 1, bridge);
    }
    return 0;
}

static int deploy_make(struct agent *a, struct rpc_call *call, struct deploy *d,
                       struct vm **out, struct err *err)
{
    AUTO(vm) vm = calloc(1, sizeof *vm);
    if (!vm)
        return err_oom(err);
    list_init(&vm->in);
    list_init(&vm->waiters);
    if (deploy_profile(a, call, d, &vm->profile, err) < 0)
        return -1;
    agent_new_id(a, vm->id);
    vm->name = d->name ? strdup(d->name) : free_name(a, d->uid, vm->profile->name);
    vm->job = d->job ? strdup(d->job) : NULL;
    vm->request = d->request ? strdup(d->request) : NULL;
    vm->uid = d->uid;
    vm->gid = d->gid;
    vm->leased = d->leased;
    vm->cgroups = json_incref(d->cgroups);
    vm->vt = json_object();
    if (!vm->name || !vm->vt)
        return err_oom(err);
    if (!d->ticket && !agent_is_master(rpc_call_uid(call)) &&
        agent_may_start(a, vm, err) < 0)
        return -1;
    if (d->fresh)
        json_object_set_new(vm->vt, "fresh", json_true());
    if (agent_admit(a, vm, d->memory_bytes, d->vcpus, err) < 0)
        return -1;
    /* What a site's profile finds missing is the node's fault; a user's own may ask for
     * what there never was. */
    if (reserve_can_run(a, vm->profile->type, err) < 0) {
        if (d->own && err)
            err->code = E_INPUT;
        return err_at(err, "profile '%s'", vm->profile->name);
    }
    *out = move(vm);
    return 0;
}

/* What the request left open was decided when `made` was. */
static void leave_open(struct profile *wanted, const struct profile *made)
{
    if (wanted->type == PROFILE_AUTO)
        wanted->type = made->type;
    if (!wanted->numa_nodes.count && made->numa_nodes.count) {
        size_t bytes = made->numa_nodes.count * sizeof *wanted->numa_nodes.at;
        if ((wanted->numa_nodes.at = malloc(bytes))) {
            memcpy(wanted->numa_nodes.at, made->numa_nodes.at, bytes);
            wanted->numa_nodes.count = made->numa_nodes.count;
        }
    }
    for (size_t i = 0; i < wanted->device_count && i < made->device_count; i++)
        if (!wanted->devices[i].address && made->devices[i].address)
            wanted->devices[i].address = strdup(made->devices[i].address);
}

/* Is this the request that made `old`, sent again? */
static bool same_deploy(const struct vm *old, const struct deploy *d)
{
    if (d->request && old->request)
        return !strcmp(d->request, old->request);
    AUTO(profile) wanted = NULL;
    if (!d->profile || profile_from_json(d->profile, &wanted, NULL) < 0)
        return false;
    leave_open(wanted, old->profile);
    AUTO_JSON a = profile_to_json(wanted);
    AUTO_JSON b = profile_to_json(old->profile);
    return state_is_live(old->state) && a && b && json_equal(a, b);
}

void method_deploy(struct rpc_call *call, json_t *params, void *arg)
{
    struct agent *a = arg;
    struct deploy d;
    struct err err;
    struct vm *vm = NULL;
    if (deploy_decode(call, params, &d, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    struct vm *old = d.name ? agent_find_own(a, d.uid, d.name) : NULL;
    if (old && !same_deploy(old, &d)) {
        err_set(&err, E_EXISTS,
                "there is a VM '%s' already (%s); destroy it first or "
                "take another name",
                d.name, state_name(old->state));
        rpc_call_fail(call, &err);
        return;
    }
    if (old) {
        vm = old; /* the same request again */
    } else if (deploy_make(a, call, &d, &vm, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    } else if (life_define(a, vm, &err) < 0) {
        vm_free(vm);
        rpc_call_fail(call, &err);
        return;
    } else if (d.boot && life_boot(vm, &err) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    if (d.leased && !d.wait)
        life_lease_wait(vm);
    if (d.wait && d.boot)
        agent_answer_when(call, vm, UNTIL_READY, d.leased);
    else
        rpc_call_answer(call, vm_show(vm));
}
