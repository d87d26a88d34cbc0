/* SPDX-License-Identifier: Apache-2.0 */
/* Frozen images; see the header. */
#include "agent/frozen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include "base/dirs.h"
#include "base/str.h"
#include "config.h"
#include "proto/rpc.h"

/* What of a profile does not shape the machine inside. */
static const char *const outside[] = {
    "name",       "description",     "version",
    "ready_ms",   "time_ms",         "checkpoint",
    "on_failure", "checkpoint_keep", "checkpoint_shares",
    "cpu_share",  "cpu_pin",         "checkpoint_ms",
    "numa_nodes", "numa_policy",     "image",
    "prealloc",   "image_size_bytes"};

static json_t *shape_of(const struct profile *p)
{
    json_t *shape = profile_to_json(p), *nic;
    size_t i;
    for (i = 0; shape && i < ARRAY_SIZE(outside); i++)
        json_object_del(shape, outside[i]);
    json_array_foreach (json_object_get(shape, "nics"), i, nic) {
        json_object_del(nic, "mac");
        json_object_del(nic, "network");
        json_object_del(nic, "option");
        json_object_del(nic, "type");
    }
    return shape;
}

char *frozen_path(const struct profile *p, const char *digest)
{
    AUTO_JSON shape = shape_of(p);
    AUTO_STR text =
        shape && digest ? json_dumps(shape, JSON_SORT_KEYS | JSON_COMPACT) : NULL;
    AUTO_STR all = text ? str_printf("%s %s", digest, text) : NULL;
    if (!all)
        return NULL;
    return dirs_path(DIRS_STATE, "images/frozen/%016llx",
                     (unsigned long long)XXH64(all, strlen(all), 0));
}

int frozen_may(const struct vm *vm, struct err *err)
{
    const struct profile *p = vm->profile;
    for (size_t i = 0; i < p->disk_count; i++)
        if (p->disks[i].path)
            return err_set(err, E_INPUT,
                           "disk '%s' is a file of its own; a frozen image has only "
                           "disks that start empty",
                           p->disks[i].id);
    if (p->kernel || p->initrd || p->cdrom)
        return err_set(err, E_INPUT,
                       "a frozen image boots the image's own kernel, and "
                       "has no CD-ROM");
    return 0;
}

static void say(struct vt_run *r, const char *how, const char *why)
{
    json_object_set_new(r->vt, "start",
                        json_sprintf("%s%s%s", how, why ? ": " : "", why ? why : ""));
}

void frozen_drop(struct vt_run *r, const struct err *why)
{
    say(r, "booted, not thawed", why->text);
    snap_free(r->snap);
    json_decref(r->from);
    r->snap = NULL;
    r->from = NULL;
}

void frozen_look(struct vt_run *r)
{
    struct err why = {0};
    AUTO_STR path =
        r->image && r->ops->restore ? frozen_path(r->profile, r->image->digest) : NULL;
    AUTO_STR manifest = path ? str_printf("%s/manifest.json", path) : NULL;
    struct stat st;
    json_object_del(r->vt, "start");
    if (!manifest || json_is_true(json_object_get(r->vt, "fresh")) ||
        frozen_may(r->vm, NULL) < 0 || stat(manifest, &st) < 0)
        return;
    /* Only the store's owner makes them. */
    if (st.st_uid != geteuid() || (st.st_mode & 0022))
        err_set(&why, E_PERM, "'%s' is not the store's own", path);
    else if (snap_load(path, geteuid(), getegid(), &r->snap, &why) == 0) {
        const char *by = json_string_value(json_object_get(r->snap->manifest, "agent"));
        json_t *vm = json_object_get(r->snap->manifest, "vm");
        r->from = json_pack("{s:s, s:b, s:b, s:O}", "path", path, "clone", 1, "frozen",
                            1, "macs", json_object_get(vm, "macs"));
        if (!r->from)
            err_oom(&why);
        else if (!by || strcmp(by, PACKAGE_VERSION))
            err_set(&why, E_INPUT, "it was frozen by version %.40s; freeze it again",
                    by ? by : "?");
        else
            snap_fits(r, &why);
    }
    if (why.code)
        frozen_drop(r, &why);
    else
        say(r, "thawed", NULL);
}

int frozen_open_to_all(struct snap *c, struct err *err)
{
    static const char *const files[] = {"manifest.json", "state", "index",
                                        "memory",        "qemu",  "fake"};
    for (size_t i = 0; i < ARRAY_SIZE(files); i++)
        if (fchmodat(c->dir, files[i], 0444, 0) < 0 && errno != ENOENT)
            return err_sys(err, "'%s'", files[i]);
    return fchmod(c->dir, 0755) < 0 ? err_sys(err, "'%s'", c->path) : 0;
}
