/* SPDX-License-Identifier: Apache-2.0 */
/* Methods about checkpoints. One is made at a time; who asked gets progress and, in the
 * end, the manifest that it shall commit (ckpt/ckpt.h). Its files come as descriptors:
 * a sandboxed machine has no paths. */
#include "vmm/ckpt.h"
#include "vmm/control.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { CUT_S = 60, LEVEL = 1 };

static struct client *saver(struct control *c)
{
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c->clients[i].fd >= 0 && c->clients[i].serial == c->saver)
            return &c->clients[i];
    return NULL;
}

static void tell(struct control *c, json_t *what)
{
    struct client *k = saver(c);
    if (k)
        control_send(c, k, rpc_progress(c->saver_id, what));
    else
        json_decref(what);
}

static int decode_parent(json_t *in, struct save_request *q, struct err *err)
{
    const char *id, *name;
    if (!in || json_is_null(in))
        return 0;
    if (rpc_unpack(in, err, "checkpoint: parent", "{s:s, s:s !}", "id", &id, "name",
                   &name) < 0)
        return -1;
    if (!ckpt_is_id(id) || !str_is_name(name))
        return err_set(err, E_INPUT,
                       "checkpoint: parent: wants an id of 32 hex digits and the name "
                       "of a directory");
    snprintf(q->parent, sizeof q->parent, "%s", id);
    snprintf(q->parent_name, sizeof q->parent_name, "%s", name);
    return 0;
}

/* Three different files of ours that can be written. */
static int take_files(struct client *k, struct ckpt_files *f, struct err *err)
{
    if (k->nfds < 3)
        return err_set(err, E_INPUT,
                       "checkpoint: send three descriptors with it: state, index, "
                       "memory");
    for (size_t i = 0; i < 3; i++) {
        struct stat st;
        if (fstat(k->fds[i], &st) < 0 || !S_ISREG(st.st_mode) ||
            (fcntl(k->fds[i], F_GETFL) & O_ACCMODE) != O_RDWR)
            return err_set(err, E_INPUT,
                           "checkpoint: descriptor %zu is not a file open for reading "
                           "and writing",
                           i);
    }
    *f = (struct ckpt_files){k->fds[0], k->fds[1], k->fds[2]};
    return 0;
}

static int decode(struct client *k, json_t *params, struct save_request *q, bool *hook,
                  struct err *err)
{
    const char *id, *mode = "stop";
    int track = 0, zstd = 0, wait = 0;
    json_t *parent = NULL;
    *q = (struct save_request){.files = {-1, -1, -1}};
    if (rpc_unpack(params, err, "checkpoint", "{s:s, s?s, s?o, s?b, s?b, s?b !}", "id",
                   &id, "mode", &mode, "parent", &parent, "track", &track, "zstd",
                   &zstd, "hook", &wait) < 0)
        return -1;
    if (!ckpt_is_id(id))
        return err_set(err, E_INPUT, "checkpoint: id: wants 32 hex digits");
    if (strcmp(mode, "stop") != 0 && strcmp(mode, "continue") != 0)
        return err_set(err, E_INPUT, "checkpoint: mode '%.20s' is not stop or continue",
                       mode);
    if (decode_parent(parent, q, err) < 0)
        return -1;
    snprintf(q->id, sizeof q->id, "%s", id);
    q->stop = strcmp(mode, "stop") == 0;
    q->track = track;
    q->level = zstd ? LEVEL : 0;
    *hook = wait;
    return take_files(k, &q->files, err);
}

/* Its disks are cut now, by whoever asked for that. */
static void stands_still(struct control *c)
{
    if (!c->hook) {
        (void)save_cut(c->vm, NULL, NULL);
        return;
    }
    const struct itimerspec t = {.it_value = {.tv_sec = CUT_S}};
    timerfd_settime(c->cut_timer, 0, &t, NULL);
    tell(c, json_pack("{s:s}", "phase", "cut"));
}

json_t *control_checkpoint(struct control *c, struct client *k, json_t *params,
                           struct err *err)
{
    struct save_request q;
    bool hook = false;
    if (decode(k, params, &q, &hook, err) < 0)
        return NULL;
    char *id = strdup(c->request_id);
    if (!id)
        return err_oom(err), NULL;
    if (save_begin(c->vm, &q, err) < 0) {
        free(id);
        return NULL;
    }
    /* The files are the save's now. */
    memmove(k->fds, k->fds + 3, (k->nfds -= 3) * sizeof k->fds[0]);
    free(c->saver_id);
    c->saver_id = id;
    c->saver = k->serial;
    c->hook = hook;
    if (c->vm->ckpt->save.phase == SAVE_CUT)
        stands_still(c);
    return NULL;
}

json_t *control_cut(struct control *c, struct client *k, json_t *params,
                    struct err *err)
{
    int ok = 0;
    const char *reason = "no reason given";
    if (rpc_unpack(params, err, "checkpoint.cut", "{s:b, s?s !}", "ok", &ok, "reason",
                   &reason) < 0)
        return NULL;
    return save_cut(c->vm, ok ? NULL : reason, err) < 0 ? NULL : json_object();
}

json_t *control_cancel(struct control *c, struct client *k, json_t *params,
                       struct err *err)
{
    if (rpc_unpack(params, err, "checkpoint.cancel", "{!}") < 0)
        return NULL;
    if (c->vm->ckpt->save.phase == SAVE_NONE)
        return err_set(err, E_STATE, "checkpoint.cancel: none is being made"), NULL;
    save_cancel(c->vm);
    return json_object();
}

void control_cut_late(struct control *c)
{
    uint64_t n;
    char why[48];
    snprintf(why, sizeof why, "no word within %d s", CUT_S);
    if (read(c->cut_timer, &n, sizeof n) > 0)
        (void)save_cut(c->vm, why, NULL);
}

static json_t *numbers(const struct vm *vm)
{
    return json_pack("{s:s, s:I, s:I}", "phase", "memory", "done",
                     (json_int_t)atomic_load(&vm->ckpt->save.done), "total",
                     (json_int_t)vm->config->memory.size);
}

void control_ckpt_told(struct control *c)
{
    struct vm *vm = c->vm;
    struct save *s = &vm->ckpt->save;
    eventfd_t n;
    (void)eventfd_read(vm->ckpt->told, &n);
    if (s->phase != SAVE_MEMORY && s->phase != SAVE_AHEAD)
        return;
    save_go_on(vm);
    if (!atomic_load(&s->ended)) {
        tell(c, numbers(vm));
        return;
    }
    struct err err = {0};
    if (s->phase == SAVE_AHEAD) {
        if (save_still(vm, &err) == 0)
            stands_still(c);
        return;
    }
    json_int_t dirty = (json_int_t)save_dirty_bytes(vm);
    json_t *m = save_end(vm, &err), *line;
    json_int_t down = json_integer_value(json_object_get(m, "downtime_us"));
    json_t *memory = json_object_get(json_object_get(m, "files"), "memory");
    json_int_t stored = json_integer_value(json_object_get(memory, "stored_bytes"));
    line = m ? rpc_answer(c->saver_id, json_pack("{s:o, s:I, s:I, s:I}", "manifest", m,
                                                 "downtime_us", down, "written_bytes",
                                                 stored, "dirty_bytes", dirty))
             : rpc_refusal(c->saver_id, &err);
    struct client *k = saver(c);
    c->saver = 0;
    if (k)
        control_send(c, k, line);
    else
        json_decref(line);
}

json_t *control_ckpt_status(const struct vm *vm)
{
    const struct save *s = &vm->ckpt->save;
    if (s->phase == SAVE_NONE)
        return json_null();
    json_t *j = numbers(vm);
    if (j && s->phase == SAVE_CUT)
        json_object_set_new(j, "phase", json_string("cut"));
    if (j)
        json_object_set_new(j, "id", json_string(s->q.id));
    return j;
}

bool control_ckpt_busy(const struct vm *vm)
{
    return vm->ckpt->save.phase != SAVE_NONE;
}
