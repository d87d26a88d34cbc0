/* SPDX-License-Identifier: Apache-2.0 */
/* Rows: struct vm <-> JSON <-> file. */
#include "agent/vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/agent.h"
#include "base/clock.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "profile/profile.h"
#include "proto/rpc.h"

static const char *const stage_names[] = {
#define X(stage, name) [stage] = name,
    VM_STAGES(X)
#undef X
};

void vm_free(struct vm *vm)
{
    if (!vm)
        return;
    free(vm->name);
    free(vm->job);
    free(vm->request);
    profile_free(vm->profile);
    json_decref(vm->cgroups);
    json_decref(vm->vt);
    if (vm->held > 0)
        close(vm->held);
    json_decref(vm->from);
    json_decref(vm->cut);
    sd_event_source_disable_unref(vm->pid_watch);
    sd_event_source_disable_unref(vm->timer);
    sd_event_source_disable_unref(vm->lease);
    sd_event_source_disable_unref(vm->limit);
    free(vm);
}

static json_t *stages_to_json(const struct vm *vm)
{
    json_t *o = json_object();
    for (size_t i = 0; o && i < STAGE_COUNT; i++)
        if (vm->stages[i])
            json_object_set_new(o, stage_names[i], json_integer(vm->stages[i]));
    return o;
}

static json_t *why_to_json(const struct vm *vm)
{
    return vm->why.code ? json_pack("{s:s, s:s%}", "code", err_code_name(vm->why.code),
                                    "text", vm->why.text, strlen(vm->why.text))
                        : NULL;
}

json_t *vm_to_json(const struct vm *vm)
{
    return json_pack(
        "{s:i, s:s, s:s, s:I, s:I, s:s*, s:s*, s:o, s:O*, s:s, s:b, s:b, s:b, s:o*, "
        "s:I, s:I, s:O, s:o, s:O*, s:O*}",
        "row", 1, "id", vm->id, "name", vm->name, "uid", (json_int_t)vm->uid, "gid",
        (json_int_t)vm->gid, "job", vm->job, "request", vm->request, "profile",
        profile_to_json(vm->profile), "cgroups", vm->cgroups, "state",
        state_name(vm->state), "leased", vm->leased, "doomed", vm->doomed, "failing",
        vm->failing, "why", why_to_json(vm), "pid", (json_int_t)vm->pid, "pid_start",
        (json_int_t)vm->pid_start, "vt", vm->vt, "stages", stages_to_json(vm), "from",
        vm->from, "cut", vm->cut);
}

static bool is_id(const char *id)
{
    return strlen(id) == VM_ID_LEN && strspn(id, "0123456789abcdef") == VM_ID_LEN;
}

static char *dup_or_null(const char *s)
{
    return s ? strdup(s) : NULL;
}

int vm_from_json(json_t *row, struct vm **out, struct err *err)
{
    const char *id, *name, *job = NULL, *request = NULL, *state;
    json_t *profile, *cgroups = NULL, *why = NULL, *vt, *stages, *from = NULL,
                     *cut = NULL;
    json_int_t uid, gid, pid, pid_start;
    int version, leased, doomed, failing;
    if (rpc_unpack(row, err, "VM row",
                   "{s:i, s:s, s:s, s:I, s:I, s?s, s?s, s:o, s?o, s:s, s:b, s:b, s:b, "
                   "s?o, s:I, s:I, s:o, s:o, s?o, s?o !}",
                   "row", &version, "id", &id, "name", &name, "uid", &uid, "gid", &gid,
                   "job", &job, "request", &request, "profile", &profile, "cgroups",
                   &cgroups, "state", &state, "leased", &leased, "doomed", &doomed,
                   "failing", &failing, "why", &why, "pid", &pid, "pid_start",
                   &pid_start, "vt", &vt, "stages", &stages, "from", &from, "cut",
                   &cut) < 0)
        return -1;
    if (version != 1 || !is_id(id) || state_parse(state) == VM_STATE_COUNT ||
        !json_is_object(vt) || !json_is_object(stages) ||
        (cgroups && !json_is_object(cgroups)) || (why && !json_is_object(why)))
        return err_set(err, E_INPUT, "VM row '%s': state '%s' or id is not one of ours",
                       id, state);
    AUTO(vm) vm = calloc(1, sizeof *vm);
    if (!vm)
        return err_oom(err);
    list_init(&vm->in);
    list_init(&vm->waiters);
    memcpy(vm->id, id, VM_ID_LEN);
    vm->name = strdup(name);
    vm->job = dup_or_null(job);
    vm->request = dup_or_null(request);
    vm->uid = uid;
    vm->gid = gid;
    vm->cgroups = json_incref(cgroups);
    vm->vt = json_incref(vt);
    vm->from = json_incref(from);
    vm->cut = json_incref(cut);
    vm->state = state_parse(state);
    vm->leased = leased;
    vm->doomed = doomed;
    vm->failing = failing;
    vm->pid = pid;
    vm->pid_start = pid_start;
    if (why) {
        const char *code = json_string_value(json_object_get(why, "code"));
        const char *text = json_string_value(json_object_get(why, "text"));
        err_set(&vm->why, code ? err_code_parse(code) : E_FAIL, "%s", text ? text : "");
    }
    for (size_t i = 0; i < STAGE_COUNT; i++)
        vm->stages[i] = json_integer_value(json_object_get(stages, stage_names[i]));
    if (!vm->name || (job && !vm->job) || (request && !vm->request))
        return err_oom(err);
    if (profile_from_json(profile, &vm->profile, err) < 0)
        return -1;
    *out = move(vm);
    return 0;
}

static char *row_path(const struct vm *vm)
{
    return dirs_path(DIRS_STATE, "agent/%s.json", vm->id);
}

int vm_save(const struct vm *vm, struct err *err)
{
    AUTO_JSON row = vm_to_json(vm);
    AUTO_STR text = row ? json_dumps(row, JSON_INDENT(1)) : NULL;
    AUTO_STR path = row_path(vm);
    if (!text || !path)
        return err_oom(err);
    return fd_replace_file(path, text, strlen(text), 0600, err);
}

void vm_forget(const struct vm *vm)
{
    AUTO_STR path = row_path(vm);
    if (path)
        unlink(path);
}

json_t *vm_show(const struct vm *vm)
{
    const struct profile *p = vm->profile;
    json_t *o = json_pack(
        "{s:s, s:s, s:I, s:s*, s:s, s:s, s:s*, s:I, s:I, s:o*, s:o, s:I, s:b}", "id",
        vm->id, "name", vm->name, "uid", (json_int_t)vm->uid, "job", vm->job, "type",
        profile_type_names[p->type], "state", state_name(vm->state), "image", p->image,
        "vcpus", (json_int_t)p->vcpus, "memory_bytes", (json_int_t)p->memory_bytes,
        "why", why_to_json(vm), "stages", stages_to_json(vm), "pid",
        (json_int_t)vm->pid, "leased", vm->leased);
    static const char *const told[] = {"reason", "addresses", "start", NULL};
    for (const char *const *k = told; o && *k; k++)
        if (json_object_get(vm->vt, *k))
            json_object_set(o, *k, json_object_get(vm->vt, *k));
    return o;
}

char *vm_path(const struct vm *vm, const char *leaf)
{
    return leaf ? dirs_path(DIRS_RUN, "vms/%s/%s", vm->id, leaf)
                : dirs_path(DIRS_RUN, "vms/%s", vm->id);
}
