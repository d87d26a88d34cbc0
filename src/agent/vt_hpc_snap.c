/* SPDX-License-Identifier: Apache-2.0 */
/* Checkpoints of type hpc: lodge-vmm writes memory and state into descriptors of ours
 * (it has no paths), stops at the cut for us to cut the disks, and tells the manifest. */
#include "agent/vt_hpc.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "agent/owner.h"
#include "agent/stage.h"
#include "base/fd.h"
#include "base/str.h"
#include "ckpt/ckpt.h"
#include "profile/profile.h"
#include "proto/rpc.h"

struct cutting {
    struct vt_run *run;
    struct snap *snap;
    bool cut; /* the disks are, or could not be */
    struct err why;
};

/* The machine stands still until it hears of the disks: on another connection, as this
 * one waits for the answer. */
static void cut_disks(struct cutting *x)
{
    struct err none;
    x->cut = true;
    snap_paused(x->snap);
    int r = snap_cut_disks(x->run, x->snap, &x->why);
    json_t *word = r == 0 ? json_pack("{s:b}", "ok", 1)
                          : json_pack("{s:b, s:s%}", "ok", 0, "reason", x->why.text,
                                      strlen(x->why.text) < 200 ? strlen(x->why.text)
                                                                : (size_t)200);
    if (vt_hpc_call(x->run, "checkpoint.cut", word, NULL, NULL, &none) < 0 &&
        !x->why.code)
        x->why = none;
    snap_goes_on(x->snap);
}

static void on_note(const char *event, json_t *data, void *arg)
{
    struct cutting *x = arg;
    const char *phase = json_string_value(json_object_get(data, "phase"));
    if (event || !phase)
        return;
    if (!strcmp(phase, "cut") && !x->cut)
        cut_disks(x);
    else
        snap_progress(x->snap, "memory",
                      json_integer_value(json_object_get(data, "done")),
                      json_integer_value(json_object_get(data, "total")));
}

static json_t *request(const struct snap *c, const char *id, bool stop)
{
    json_t *q = json_pack("{s:s, s:s, s:b, s:b, s:b}", "id", id, "mode",
                          stop ? "stop" : "continue", "hook", 1, "track", c->track,
                          "zstd", c->compress);
    if (q && c->parent_name)
        json_object_set_new(
            q, "parent",
            json_pack("{s:s, s:s}", "id", c->parent, "name", c->parent_name));
    return q;
}

static int ask(struct cutting *x, const struct ckpt_files *f, const char *id, bool stop,
               json_t **got, struct err *err)
{
    const int fds[] = {f->state, f->index, f->memory};
    struct rpc_client_opts opts = {.fds = fds, .nfds = 3, .note = on_note, .arg = x};
    int r =
        vt_hpc_call(x->run, "checkpoint", request(x->snap, id, stop), &opts, got, err);
    if (r < 0 && x->why.code && err)
        *err = x->why; /* of the disks */
    return r;
}

/* Where a user may not watch memory while it is written (Debian's default for others
 * than root), the machine waits until all is out. */
static int save(struct cutting *x, const struct ckpt_files *f, const char *id,
                json_t **got, struct err *err)
{
    struct err why = {0};
    bool paused = json_is_true(json_object_get(x->run->vm->cut, "paused"));
    bool stay = x->snap->stop || paused;
    if (ask(x, f, id, stay, got, &why) == 0)
        return 0;
    if (stay || why.code != E_UNAVAIL || x->cut) {
        *err = why;
        return -1;
    }
    if (ask(x, f, id, true, got, err) < 0)
        return -1;
    return vt_hpc_call(x->run, "resume", NULL, NULL, NULL, err);
}

int vt_hpc_checkpoint(struct vt_run *r, struct snap *c, struct err *err)
{
    struct cutting x = {.run = r, .snap = c};
    struct ckpt_files files = {-1, -1, -1};
    struct owner_was was;
    AUTO_JSON got = NULL;
    char id[CKPT_ID_MAX];
    if (ckpt_new_id(id, err) < 0 || owner_enter(c->uid, c->gid, &was, err) < 0)
        return -1;
    int ret = ckpt_create(c->dir, &files, err);
    owner_leave(&was);
    if (ret == 0)
        ret = save(&x, &files, id, &got, err);
    ckpt_files_close(&files);
    if (ret < 0)
        return -1;
    json_t *manifest = json_object_get(got, "manifest");
    if (!json_is_object(manifest) || !c->disks)
        return err_set(err, E_PROTO, "lodge-vmm told of no cut");
    c->downtime_us = json_integer_value(json_object_get(got, "downtime_us"));
    return json_object_update_missing(c->manifest, manifest) < 0 ? err_oom(err) : 0;
}

static bool is_running(struct vt_run *r)
{
    AUTO_JSON status = NULL;
    if (vt_hpc_call(r, "status", NULL, NULL, &status, NULL) < 0)
        return false;
    const char *state = json_string_value(json_object_get(status, "state"));
    return state && !strcmp(state, "running");
}

int vt_hpc_recover(struct vt_run *r, struct err *err)
{
    vt_hpc_call(r, "checkpoint.cancel", NULL, NULL, NULL, NULL);
    if (json_is_true(json_object_get(r->vm->cut, "paused")) || is_running(r) ||
        vt_hpc_call(r, "resume", NULL, NULL, NULL, err) == 0 || is_running(r))
        return 0;
    return -1;
}

json_t *vt_hpc_restore_json(const struct vt_run *r)
{
    /* A frozen image's memory is the site's, and shared until it is written. */
    bool frozen = json_is_true(json_object_get(r->from, "frozen"));
    const char *mode = json_string_value(json_object_get(r->from, "mode"));
    if (!mode)
        /* A file server of a share sees only memory that is shared with it. */
        mode = frozen && r->profile->page_bytes <= 4096 && !r->profile->share_count
                   ? "map"
                   : "read";
    return json_pack("{s:s, s:s, s:b}", "path", r->snap->path, "mode", mode, "verify",
                     !frozen);
}

/* Its last line: "DATE lodge-vmm: error: TEXT". */
static int last_words(struct vt_run *r, struct err *err)
{
    enum { LOG_MAX = 1 << 20, END_MS = 3000, NAP_MS = 20 };
    static const char mark[] = "error: ";
    AUTO_STR path = str_printf("%s/vmm.log", r->dir);
    AUTO_STR text = NULL;
    const char *found = NULL;
    /* They are written after the socket is closed: when it is gone they are there. */
    for (int i = 0; i < END_MS && stage_signal(r, "vmm", 0, NULL) == 0; i += NAP_MS)
        usleep(NAP_MS * 1000);
    if (path && fd_read_file(path, LOG_MAX, &text, NULL, NULL) == 0)
        for (const char *at = text; (at = strstr(at, mark));)
            found = at += strlen(mark);
    if (!found)
        return -1; /* err keeps what was noticed */
    return err_set(err, E_INPUT, "checkpoint '%s': %.*s", r->snap->path,
                   (int)strcspn(found, "\n"), found);
}

/* It listens before it has read its memory, but answers only afterwards. */
int vt_hpc_await(struct vt_run *r, const char *control, struct err *err)
{
    enum { RESTORE_MS = 280000, NAP_MS = 20 };
    const struct rpc_client_opts opts = {.timeout_ms = RESTORE_MS};
    struct err why = {0};
    int ret = stage_await_socket(r, "vmm", control, RESTORE_MS, &why);
    /* Between its bind() and its listen() the socket is there, and refuses. */
    while (ret == 0 && (ret = vt_hpc_call(r, "status", NULL, &opts, NULL, &why)) < 0 &&
           why.sys == ECONNREFUSED && stage_signal(r, "vmm", 0, NULL) == 0) {
        usleep(NAP_MS * 1000);
        ret = 0;
    }
    if (ret == 0)
        return 0;
    *err = why;
    last_words(r, err);
    return -1;
}
