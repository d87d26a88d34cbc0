/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to lodge-guest (docs/protocol-guest.md). */
#include "agent/identity.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <unistd.h>

#include "agent/agent.h"
#include "agent/plan.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/str.h"
#include "proto/rpc.h"

enum { GROUPS_MAX = 256, ENTROPY = 48 };

static void add_group(json_t *groups, gid_t gid, const char *member)
{
    struct group *g = getgrgid(gid);
    char name[24];
    snprintf(name, sizeof name, "g%u", (unsigned)gid);
    json_t *o =
        json_pack("{s:s, s:I}", "name", g ? g->gr_name : name, "gid", (json_int_t)gid);
    if (o && member)
        json_object_set_new(o, "members", json_pack("[s]", member));
    json_array_append_new(groups, o);
}

static json_t *user_of(uid_t uid, gid_t gid, char *name, size_t size)
{
    struct passwd *pw = getpwuid(uid);
    snprintf(name, size, "u%u", (unsigned)uid);
    if (pw)
        snprintf(name, size, "%s", pw->pw_name);
    return json_pack("{s:s, s:I, s:I, s:s, s:s}", "name", name, "uid", (json_int_t)uid,
                     "gid", (json_int_t)gid, "home", pw ? pw->pw_dir : "/", "shell",
                     pw && *pw->pw_shell ? pw->pw_shell : "/bin/sh");
}

static json_t *machine_id(void)
{
    unsigned char b[16];
    char text[33];
    if (getrandom(b, sizeof b, 0) != sizeof b)
        return NULL;
    for (size_t i = 0; i < sizeof b; i++)
        snprintf(text + 2 * i, 3, "%02x", b[i]);
    return json_string(text);
}

/* From a checkpoint: the same machine keeps its machine-id. A clone has the cards of the
 * one it was, which it knows by their old MACs. */
static int came_back(struct vt_run *r, json_t *id, struct err *err)
{
    json_t *from = r->from, *all = json_object_get(id, "interfaces"), *one;
    if (!json_is_true(json_object_get(from, "clone"))) {
        if (json_is_string(json_object_get(from, "machine_id")))
            json_object_set(id, "machine_id", json_object_get(from, "machine_id"));
        return 0;
    }
    AUTO_JSON list = all ? json_copy(all) : json_array();
    for (size_t n = 0; n < r->profile->nic_count; n++) {
        char mac[18];
        size_t i;
        json_t *found = NULL;
        if (r->profile->nics[n].type == PROFILE_NIC_NONE)
            continue;
        plan_mac(r->vm, n, mac);
        json_array_foreach (list, i, one)
            if (!strcasecmp(json_string_value(json_object_get(one, "mac")), mac))
                found = one;
        if (!found &&
            json_array_append_new(list, found = json_pack("{s:s}", "mac", mac)) < 0)
            return err_oom(err);
        json_object_set(found, "was", json_array_get(json_object_get(from, "macs"), n));
    }
    if (json_array_size(list) && json_object_set(id, "interfaces", list) < 0)
        return err_oom(err);
    return json_object_set_new(id, "clone", json_true()) < 0 ? err_oom(err) : 0;
}

int identity_make(struct vt_run *r, struct err *err)
{
    const struct vm *vm = r->vm;
    char name[64];
    json_t *user = user_of(vm->uid, vm->gid, name, sizeof name);
    gid_t gids[GROUPS_MAX];
    int n = GROUPS_MAX;
    if (getgrouplist(name, vm->gid, gids, &n) < 0 || n < 1) {
        gids[0] = vm->gid;
        n = 1;
    }
    AUTO_JSON groups = json_array();
    AUTO_JSON allowed = json_array();
    for (int i = 0; i < n; i++) {
        json_array_append_new(allowed, json_integer(gids[i]));
        if (gids[i])
            add_group(groups, gids[i], gids[i] == vm->gid ? NULL : name);
    }
    /* Root is the image's own; the guest's table keeps it. */
    AUTO_JSON users = vm->uid ? json_pack("[o]", user) : json_array();
    if (!vm->uid)
        json_decref(user);
    json_t *id =
        json_pack("{s:s, s:s, s:o, s:O, s:O}", "op", "identity", "hostname", vm->name,
                  "machine_id", machine_id(), "groups", groups, "users", users);
    static const char *const staged[] = {"mounts", "interfaces", "routes", "dns",
                                         "hosts"};
    for (size_t i = 0; id && i < ARRAY_SIZE(staged); i++) {
        json_t *part = json_object_get(r->vt, staged[i]);
        if (part)
            json_object_set(id, staged[i], part);
    }
    if (id && r->from && r->profile->type != PROFILE_FAKE &&
        came_back(r, id, err) < 0) {
        json_decref(id);
        return -1;
    }
    if (!id || json_object_set_new(r->vt, "identity", id) < 0 ||
        json_object_set(r->vt, "groups", allowed) < 0)
        return err_oom(err);
    return 0;
}

static json_t *entropy(void)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char b[ENTROPY];
    char text[ENTROPY / 3 * 4 + 1], *t = text;
    if (getrandom(b, sizeof b, 0) != sizeof b)
        return NULL;
    for (size_t i = 0; i < sizeof b; i += 3) {
        unsigned v = b[i] << 16 | b[i + 1] << 8 | b[i + 2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *t++ = digits[v >> shift & 63];
    }
    *t = '\0';
    return json_string(text);
}

/* A container's clock is the host's, and so is fake's. */
static bool has_clock(const struct vm *vm)
{
    return vm->profile->type != PROFILE_LXC && vm->profile->type != PROFILE_FAKE;
}

json_t *identity_clock(const struct vm *vm)
{
    return has_clock(vm) ? json_pack("{s:s, s:I}", "op", "identity", "clock_us",
                                     (json_int_t)clock_wall_ms() * 1000)
                         : NULL;
}

json_t *identity_request(const struct vm *vm)
{
    json_t *made = json_object_get(vm->vt, "identity");
    json_t *id = made ? json_copy(made) : json_pack("{s:s}", "op", "identity");
    if (!id)
        return NULL;
    if (has_clock(vm))
        json_object_set_new(id, "clock_us", json_integer(clock_wall_ms() * 1000));
    json_object_set_new(id, "entropy", entropy());
    return id;
}

int identity_answer(const json_t *message, struct err *err)
{
    if (rpc_error_of(message, err) < 0)
        return -1;
    return json_object_get(message, "result")
               ? 0
               : err_set(err, E_PROTO, "it answered with neither result nor error");
}

json_t *identity_shutdown(void)
{
    return json_pack("{s:s, s:s}", "op", "shutdown", "how", "poweroff");
}

static bool has_gid(const json_t *allowed, const json_t *gid)
{
    size_t i;
    json_t *one;
    json_array_foreach (allowed, i, one)
        if (json_integer_value(one) == json_integer_value(gid))
            return true;
    return false;
}

/* Others than root are who they are: the VM's owner, in groups the owner is in. */
static int force_ids(const struct vm *vm, json_t *request, struct err *err)
{
    const json_t *allowed = json_object_get(vm->vt, "groups");
    json_t *uid = json_object_get(request, "uid"),
           *gid = json_object_get(request, "gid");
    if (uid && json_integer_value(uid) != (json_int_t)vm->uid)
        return err_set(err, E_PERM, "only root may run commands as another user");
    if (!gid || !has_gid(allowed, gid))
        json_object_set_new(request, "gid", json_integer(vm->gid));
    AUTO_JSON groups = json_array();
    size_t i;
    json_t *one;
    json_array_foreach (json_object_get(request, "groups"), i, one)
        if (has_gid(allowed, one))
            json_array_append(groups, one);
    if (json_object_get(request, "groups"))
        json_object_set(request, "groups", groups);
    return 0;
}

/* What a job's command is told of the networks: its machine's first address, and NAME=ADDRESS
 * of all its machines on this node. *request has a copy of the caller's list. */
static int tell_addresses(const struct vm *vm, json_t *request, struct err *err)
{
    json_t *env = json_object_get(request, "env");
    const char *own =
        json_string_value(json_array_get(json_object_get(vm->vt, "addresses"), 0));
    const struct vm *other;
    AUTO_BUF all = {0};
    if (!vm->job || !own || !json_is_array(env))
        return 0;
    list_each (other, &vm->agent->vms, in) {
        const char *at = json_string_value(
            json_array_get(json_object_get(other->vt, "addresses"), 0));
        if (at && other->job && !strcmp(other->job, vm->job) && other->uid == vm->uid)
            str_buf_printf(&all, "%s%s=%s", all.len ? "," : "", other->name, at);
    }
    AUTO_JSON longer = json_copy(env);
    AUTO_STR one = str_printf("LODGE_ADDRESS=%s", own);
    AUTO_STR each = str_printf("LODGE_ADDRESSES_ON_NODE=%s", all.data ? all.data : "");
    if (!longer || !one || !each || all.failed)
        return err_oom(err);
    json_array_append_new(longer, json_string(one));
    json_array_append_new(longer, json_string(each));
    json_object_set(request, "env", longer);
    return 0;
}

int identity_exec(const struct vm *vm, uid_t caller, const char *op, json_t *params,
                  json_t **out, struct err *err)
{
    static const char *const passed[] = {
        "argv", "env",   "cwd",       "uid", "gid",  "groups", "umask", "rlimits",
        "pty",  "token", "linger_ms", "die", "path", "script", NULL};
    AUTO_JSON request = json_pack("{s:s}", "op", op);
    if (!request)
        return err_oom(err);
    for (const char *const *k = passed; *k; k++)
        if (json_object_get(params, *k))
            json_object_set(request, *k, json_object_get(params, *k));
    json_t *attach = json_object_get(params, "attach");
    if (attach) {
        AUTO_JSON again = json_copy(attach);
        if (!json_is_object(attach) || !again)
            return err_set(err, E_INPUT, "attach must be an object");
        json_object_set_new(again, "op", json_string("attach"));
        /* A stranger's token opens nothing: the guest compares the owner too. */
        json_object_set_new(again, "uid", json_integer(caller ? caller : vm->uid));
        *out = json_incref(again);
        return 0;
    }
    if (caller != 0 && force_ids(vm, request, err) < 0)
        return -1;
    if (!json_object_get(request, "uid"))
        json_object_set_new(request, "uid", json_integer(vm->uid));
    if (!json_object_get(request, "gid"))
        json_object_set_new(request, "gid", json_integer(vm->gid));
    if (!json_object_get(request, "groups") && json_object_get(vm->vt, "groups"))
        json_object_set(request, "groups", json_object_get(vm->vt, "groups"));
    if (tell_addresses(vm, request, err) < 0)
        return -1;
    *out = json_incref(request);
    return 0;
}
