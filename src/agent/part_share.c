/* SPDX-License-Identifier: Apache-2.0 */
/* Shares: one virtiofsd each, with the owner's ids, sandboxed as far as that allows; it
 * outlives the agent and ends with the VM. Containers bind-mount instead. */
#include "agent/parts.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/plan.h"
#include "agent/stage.h"
#include "agent/vt_xml.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "proto/rpc.h"

enum { START_MS = 10000, LIST_MAX = 65536 };

/* The site says below which directories shares may lie: a path a line in
 * CONFIG/shares.conf; without that file every directory the owner can open. */
static int allowed(const char *source, struct err *err)
{
    char real[PATH_MAX];
    AUTO_STR list = dirs_path(DIRS_CONFIG, "shares.conf");
    AUTO_STR text = NULL;
    if (!realpath(source, real))
        return err_sys(err, "share '%s'", source);
    if (!list || fd_read_file(list, LIST_MAX, &text, NULL, NULL) < 0)
        return 0;
    char *rest = text;
    for (char *line; (line = strsep(&rest, "\n"));) {
        size_t len = strlen(line);
        while (len > 1 && line[len - 1] == '/')
            line[--len] = '\0';
        if (*line == '/' && str_starts(real, line) &&
            (len == 1 || !real[len] || real[len] == '/'))
            return 0;
    }
    return err_set(err, E_PERM, "share '%s': this site allows only what '%s' lists",
                   source, list);
}

static const char *program(void)
{
    static const char *const at[] = {"/usr/libexec/virtiofsd",
                                     "/usr/lib/qemu/virtiofsd", "/usr/lib/virtiofsd"};
    for (size_t i = 0; i < ARRAY_SIZE(at); i++)
        if (access(at[i], X_OK) == 0)
            return at[i];
    return NULL;
}

static int serve(struct vt_run *r, const struct plan_share *s, size_t i,
                 struct err *err)
{
    const char *fsd = program();
    if (!fsd)
        return err_set(err, E_UNAVAIL,
                       "virtiofsd is not installed; on Debian: "
                       "apt-get install qemu-system-common");
    char leaf[16];
    snprintf(leaf, sizeof leaf, "fs%zu", i);
    AUTO_STR socket = str_printf("--socket-path=%s", s->socket);
    AUTO_STR source = str_printf("source=%s", s->source);
    if (!socket || !source)
        return err_oom(err);
    unlink(s->socket);
    const char *const argv[] = {
        fsd,  socket,
        "-o", source,
        "-o", "sandbox=chroot",
        "-o", s->readonly ? "readonly,cache=auto" : "cache=auto",
        NULL};
    struct stage_proc p = {.leaf = leaf, .argv = argv, .cwd = "/"};
    if (stage_spawn(r, &p, NULL, err) < 0)
        return err_at(err, "share '%s'", s->source);
    return stage_await_socket(r, leaf, s->socket, START_MS, err);
}

int share_make(struct vt_run *r, struct err *err)
{
    AUTO(plan) plan = NULL;
    const struct vt_dialect *d = vt_dialect_of(r->profile->type);
    if (!r->profile->share_count || r->profile->type == PROFILE_FAKE)
        return 0;
    if (plan_make(r->vm, r->image, r->dir, &plan, err) < 0)
        return -1;
    AUTO_JSON mounts = json_array();
    for (size_t i = 0; i < plan->nshares; i++) {
        const struct plan_share *s = &plan->shares[i];
        if (allowed(s->source, err) < 0)
            return -1;
        if (d && d->container)
            continue; /* libvirt binds it */
        if (serve(r, s, i, err) < 0)
            return -1;
        json_array_append_new(mounts, json_pack("{s:s, s:s, s:s, s:b}", "tag", s->tag,
                                                "target", s->target, "type", "virtiofs",
                                                "readonly", s->readonly));
    }
    return json_object_set(r->vt, "mounts", mounts);
}

int share_clear(struct vt_run *r, struct err *err)
{
    for (size_t i = 0; i < r->profile->share_count; i++) {
        char leaf[16];
        snprintf(leaf, sizeof leaf, "fs%zu", i);
        if (stage_kill(r, leaf, err) < 0)
            return -1;
    }
    return 0;
}
