/* SPDX-License-Identifier: Apache-2.0 */
/* Making and taking checkpoints; see the header. */
#include "agent/snap.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/frozen.h"
#include "agent/owner.h"
#include "agent/plan.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/str.h"
#include "ckpt/ckpt.h"
#include "config.h"
#include "profile/types.h"
#include "proto/rpc.h"

/* --- the cut ------------------------------------------------------------------------ */

void snap_paused(struct snap *c)
{
    c->paused_us = clock_us();
}

void snap_goes_on(struct snap *c)
{
    if (c->paused_us)
        c->downtime_us += clock_us() - c->paused_us;
    c->paused_us = 0;
}

/* The data of a sparse file; holes stay holes. */
static int copy_data(struct snap *c, int from, int to, off_t size, const char *name,
                     struct err *err)
{
    off_t told = 0;
    for (off_t at = 0; at < size;) {
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0 && errno == ENXIO)
            break;
        off_t hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
        if (hole < 0)
            return err_sys(err, "disk '%s'", name);
        off_t out = data;
        while (data < hole) {
            ssize_t n = copy_file_range(from, &data, to, &out, hole - data, 0);
            if (n == 0)
                break;
            if (n < 0 && errno != EINTR)
                return err_sys(err, "copy of disk '%s'", name);
            if (data - told >= 64 << 20)
                snap_progress(c, name, told = data, size);
        }
        at = hole;
    }
    return 0;
}

/* Shares the blocks where the file system can, else copies; *shared says which. */
static int copy_file(struct snap *c, int from, int to, const char *name, bool *shared,
                     struct err *err)
{
    struct stat st;
    *shared = ioctl(to, FICLONE, from) == 0;
    if (*shared)
        return 0;
    if (fstat(from, &st) < 0)
        return err_sys(err, "disk '%s'", name);
    if (!S_ISREG(st.st_mode))
        return err_set(err, E_INPUT,
                       "disk '%s' is no file; only files are checkpointed", name);
    if (ftruncate(to, st.st_size) < 0)
        return err_sys(err, "copy of disk '%s'", name);
    return copy_data(c, from, to, st.st_size, name, err);
}

static bool is_cut(const struct plan_disk *d)
{
    return !d->readonly && !d->cdrom;
}

/* With the right of whose machine it is: scratch disks are theirs, too. */
static int open_disk(const struct vt_run *r, const struct plan_disk *d, struct err *err)
{
    struct owner_was was;
    if (owner_enter(r->vm->uid, r->vm->gid, &was, err) < 0)
        return -1;
    int fd = open(d->path, O_RDONLY | O_CLOEXEC);
    owner_leave(&was);
    return fd < 0 ? err_sys(err, "disk '%s'", d->serial) : fd;
}

int snap_cut_disks(struct vt_run *r, struct snap *c, struct err *err)
{
    AUTO(plan) plan = NULL;
    if (plan_make(r->vm, r->image, r->dir, &plan, err) < 0)
        return -1;
    if (json_object_set_new(c->manifest, "disks", c->disks = json_array()) < 0)
        return err_oom(err);
    for (size_t i = 0; i < plan->ndisks; i++) {
        const struct plan_disk *d = &plan->disks[i];
        bool shared;
        if (!is_cut(d))
            continue;
        AUTO_STR name = str_printf("disks/%s", d->serial);
        AUTO_FD from = open_disk(r, d, err);
        if (!name || from < 0)
            return name ? -1 : err_oom(err);
        AUTO_FD to = snap_file(c, name, err);
        if (to < 0 || copy_file(c, from, to, d->serial, &shared, err) < 0)
            return -1;
        json_array_append_new(c->disks,
                              json_pack("{s:s, s:s, s:s, s:b}", "id", d->serial, "file",
                                        name, "format", d->format, "reflink", shared));
    }
    return 0;
}

/* Behind the cut: the sums of what was cut. */
static int sum_disks(struct snap *c, struct err *err)
{
    size_t i;
    json_t *d;
    json_array_foreach (c->disks, i, d) {
        const char *name = json_string_value(json_object_get(d, "file"));
        AUTO_JSON sums = NULL;
        AUTO_FD fd = snap_open_file(c, name, err);
        if (fd < 0 || snap_sums(c, name, fd, &sums, err) < 0)
            return -1;
        if (fsync(fd) < 0)
            return err_sys(err, "'%s'", name);
        json_object_update(d, sums);
    }
    return 0;
}

/* --- the manifest -------------------------------------------------------------------- */

static json_t *macs_of(const struct vm *vm)
{
    json_t *macs = json_array();
    for (size_t i = 0; i < vm->profile->nic_count; i++) {
        char mac[18];
        plan_mac(vm, i, mac);
        json_array_append_new(macs, json_string(mac));
    }
    return macs;
}

/* Disks that are only read are not saved: they must be the same again. NULL for an
 * error. */
static json_t *readonly_of(const struct plan *plan)
{
    struct owner_was was;
    if (owner_enter(plan->vm->uid, plan->vm->gid, &was, NULL) < 0)
        return NULL;
    json_t *list = json_array();
    for (size_t i = 0; i < plan->ndisks; i++) {
        const struct plan_disk *d = &plan->disks[i];
        struct stat st;
        if (!is_cut(d) && strcmp(d->serial, "lodge-root") && stat(d->path, &st) == 0)
            json_array_append_new(
                list, json_pack("{s:s, s:s, s:I, s:I}", "id", d->serial, "path",
                                d->path, "bytes", (json_int_t)st.st_size, "modified_us",
                                (json_int_t)st.st_mtim.tv_sec * 1000000 +
                                    st.st_mtim.tv_nsec / 1000));
    }
    owner_leave(&was);
    return list;
}

/* vendor and flags as the kernel shows them: what a guest may have found. */
static json_t *cpu_of_host(void)
{
    AUTO_STR text = NULL;
    if (fd_read_file("/proc/cpuinfo", 1 << 20, &text, NULL, NULL) < 0)
        return NULL;
    const char *vendor = strstr(text, "\nvendor_id"), *flags = strstr(text, "\nflags");
    vendor = vendor ? strchr(vendor, ':') : NULL;
    flags = flags ? strchr(flags, ':') : NULL;
    if (!vendor || !flags)
        return NULL;
    vendor += strspn(vendor, ": ");
    flags += strspn(flags, ": ");
    return json_pack("{s:s%, s:s%}", "vendor", vendor, strcspn(vendor, "\n"), "flags",
                     flags, strcspn(flags, "\n"));
}

static bool needs_cpu(enum profile_type type)
{
    return type == PROFILE_KVM; /* hpc: lodge-vmm tells and checks CPUID itself */
}

static int describe(struct vt_run *r, struct snap *c, struct err *err)
{
    AUTO(plan) plan = NULL;
    const struct vm *vm = r->vm;
    json_t *m = c->manifest;
    if (plan_make(vm, r->image, r->dir, &plan, err) < 0)
        return -1;
    json_t *identity = json_object_get(vm->vt, "identity");
    json_t *machine_id = json_object_get(identity, "machine_id");
    json_t *v =
        json_pack("{s:s, s:s, s:I, s:I, s:o, s:o, s:O*, s:s}", "name", vm->name, "id",
                  vm->id, "uid", (json_int_t)vm->uid, "gid", (json_int_t)vm->gid,
                  "profile", profile_to_json(vm->profile), "macs", macs_of(vm),
                  "machine_id", machine_id, "type", r->ops->name);
    if (!v || json_object_set_new(m, "vm", v) < 0 ||
        json_object_set_new(m, "agent", json_string(PACKAGE_VERSION)) < 0 ||
        json_object_set_new(m, "readonly_disks", readonly_of(plan)) < 0 ||
        json_object_set_new(m, "downtime_us", json_integer(c->downtime_us)) < 0)
        return err_oom(err);
    if (r->image)
        json_object_set_new(m, "image",
                            json_pack("{s:s, s:s, s:s}", "name", r->image->name,
                                      "version", r->image->version, "digest",
                                      r->image->digest));
    /* lodge-vmm gave these already where it made the checkpoint. */
    if (json_object_get(m, "format"))
        return 0;
    char id[CKPT_ID_MAX];
    if (ckpt_new_id(id, err) < 0)
        return -1;
    json_t *cpu = needs_cpu(r->profile->type) ? cpu_of_host() : json_object();
    json_t *head =
        json_pack("{s:s, s:i, s:s, s:s, s:n, s:I, s:o, s:{s:I, s:I}}", "format",
                  CKPT_FORMAT, "version", CKPT_VERSION, "lodge", PACKAGE_VERSION, "id",
                  id, "parent", "created_ms", (json_int_t)clock_wall_ms(), "cpu", cpu,
                  "machine", "vcpus", (json_int_t)r->profile->vcpus, "memory_mib",
                  (json_int_t)(r->profile->memory_bytes >> 20));
    return json_object_update_new(m, head) < 0 ? err_oom(err) : 0;
}

/* --- save ------------------------------------------------------------------------------- */

/* What is no checkpoint's to keep: told before anything is paused. */
int snap_may(const struct vm *vm, struct err *err)
{
    const struct profile *p = vm->profile;
    if (p->device_count)
        return err_set(err, E_STATE,
                       "VM '%s' has a device of the host passed through, "
                       "which cannot be checkpointed",
                       vm->name);
    bool remount = p->checkpoint_shares == PROFILE_CKPT_SHARES_REMOUNT;
    for (size_t i = 0; i < p->share_count; i++)
        if (p->type != PROFILE_FAKE && (!remount || p->type != PROFILE_HPC))
            return err_set(err, E_STATE,
                           "VM '%s' has the host's directory '%s' mounted, whose state "
                           "is not the machine's alone; use a profile without shares, "
                           "or of type hpc with <checkpoint shares=\"remount\"/>",
                           vm->name, p->shares[i].source);
    for (size_t i = 0; i < p->disk_count; i++)
        if (p->disks[i].shared && !p->disks[i].readonly)
            return err_set(
                err, E_STATE,
                "disk '%s' is shared with other machines, which may write it "
                "while it is cut",
                p->disks[i].id);
    return 0;
}

/* The one that was there before goes. */
static int make_frozen_room(const char *path, struct err *err)
{
    AUTO_STR parent = strndup(path, strrchr(path, '/') - path);
    if (!parent)
        return err_oom(err);
    return fd_remove_tree(path, err) < 0 ? -1 : fd_mkdirs(parent, 0755, err);
}

int snap_save(struct vt_run *r, const json_t *args, work_tell_f tell, json_t **out,
              struct err *err)
{
    const char *to = NULL, *parent = NULL;
    int stop = 0, track = 0, compress = 0;
    json_int_t uid = 0, gid = 0;
    bool freeze = json_is_true(json_object_get(args, "freeze"));
    AUTO(snap) c = NULL;
    uint64_t start = clock_us();
    if (json_unpack((json_t *)args, "{s:s, s:b, s:I, s:I, s?s, s?b, s?b}", "to", &to,
                    "stop", &stop, "uid", &uid, "gid", &gid, "parent", &parent, "track",
                    &track, "compress", &compress) < 0)
        return err_set(err, E_BUG, "checkpoint: arguments");
    if (r->ops->needs_image && r->profile->image &&
        image_find(r->profile->image, &r->image, err) < 0)
        return -1;
    if (r->image && r->image->kind == IMAGE_DISK)
        return err_set(err, E_STATE,
                       "image '%s' is a disk that the machine writes; import it with "
                       "'lodge image import', or add it as a disk",
                       r->profile->image);
    if (freeze && make_frozen_room(to, err) < 0)
        return -1;
    if (snap_make(to, uid, gid, &c, err) < 0)
        return -1;
    c->stop = stop;
    c->track = track;
    c->compress = compress;
    c->tell = tell;
    r->snap = c;
    int ret = parent ? snap_find_parent(c, parent, err) : 0;
    if (ret == 0)
        ret = r->ops->checkpoint(r, c, err);
    if (ret == 0)
        ret = sum_disks(c, err);
    if (ret == 0)
        ret = describe(r, c, err);
    if (ret == 0)
        ret = snap_done(c, err);
    if (ret == 0 && freeze)
        ret = frozen_open_to_all(c, err);
    r->snap = NULL;
    if (ret < 0) {
        snap_drop(c);
        return -1;
    }
    uint64_t bytes = 0;
    size_t i;
    json_t *d;
    const char *k;
    json_array_foreach (c->disks, i, d)
        bytes += json_integer_value(json_object_get(d, "stored_bytes"));
    json_object_foreach (json_object_get(c->manifest, "files"), k, d)
        bytes += json_integer_value(json_object_get(
            d, json_object_get(d, "stored_bytes") ? "stored_bytes" : "bytes"));
    *out = json_pack("{s:s, s:O, s:I, s:I, s:I}", "path", c->path, "id",
                     json_object_get(c->manifest, "id"), "downtime_us",
                     (json_int_t)c->downtime_us, "stored_bytes", (json_int_t)bytes,
                     "took_us", (json_int_t)(clock_us() - start));
    return *out ? 0 : err_oom(err);
}

/* --- restore ---------------------------------------------------------------------------- */

static const json_t *disk_entry(const struct snap *c, const char *id)
{
    size_t i;
    json_t *d;
    json_array_foreach (c->disks, i, d) {
        const char *s = json_string_value(json_object_get(d, "id"));
        if (s && !strcmp(s, id))
            return d;
    }
    return NULL;
}

int snap_disk_back(struct snap *c, const char *id, const char *path, struct err *err)
{
    const json_t *entry = disk_entry(c, id);
    const char *file = json_string_value(json_object_get(entry, "file"));
    if (!file)
        return err_set(err, E_INPUT, "checkpoint '%s' has no disk '%s'", c->path, id);
    AUTO_FD from = snap_open_file(c, file, err);
    if (from < 0)
        return -1;
    AUTO_FD to = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    AUTO_STR buf = malloc(SNAP_CHUNK);
    if (to < 0)
        return err_sys(err, "disk '%s'", path);
    if (!buf)
        return err_oom(err);
    json_int_t bytes = json_integer_value(json_object_get(entry, "bytes"));
    bool shared = ioctl(to, FICLONE, from) == 0;
    if (ftruncate(to, bytes) < 0)
        return err_sys(err, "disk '%s'", path);
    ssize_t n;
    for (size_t i = 0;
         (n = snap_read_chunk(entry, shared ? to : from, i, buf, err)) > 0; i++) {
        const char *sum =
            json_string_value(json_array_get(json_object_get(entry, "xxh64"), i));
        if (shared || !strcmp(sum, "0"))
            continue;
        if (fd_write_at(to, buf, n, (uint64_t)i * SNAP_CHUNK) < 0)
            return err_sys(err, "disk '%s'", path);
    }
    return n < 0 ? err_at(err, "checkpoint '%s'", c->path) : 0;
}

static int cpu_fits(const struct snap *c, struct err *err)
{
    const char *vendor = NULL, *flags = NULL, *here_vendor = "", *here = "";
    AUTO_JSON host = cpu_of_host();
    json_unpack(json_object_get(c->manifest, "cpu"), "{s:s, s:s}", "vendor", &vendor,
                "flags", &flags);
    json_unpack(host, "{s:s, s:s}", "vendor", &here_vendor, "flags", &here);
    if (!vendor || !flags)
        return err_set(err, E_INPUT, "it does not say which CPU it was made on");
    if (strcmp(vendor, here_vendor))
        return err_set(err, E_INPUT,
                       "it was made on a CPU of %.20s, and this node's is "
                       "of %.20s",
                       vendor, here_vendor);
    AUTO_STR words = strdup(flags);
    AUTO_STR have = str_printf(" %s ", here);
    char *rest = words;
    for (char *w; have && rest && (w = strsep(&rest, " "));) {
        AUTO_STR want = str_printf(" %s ", w);
        if (*w && want && !strstr(have, want))
            return err_set(err, E_INPUT,
                           "this node's CPU has no '%.30s', which the one "
                           "it was made on has",
                           w);
    }
    return words && have ? 0 : err_oom(err);
}

static int readonly_fits(const struct snap *c, struct err *err)
{
    size_t i;
    json_t *d;
    json_array_foreach (json_object_get(c->manifest, "readonly_disks"), i, d) {
        const char *path = NULL;
        json_int_t bytes = 0, modified = 0;
        struct stat st;
        if (json_unpack(d, "{s:s, s:I, s:I}", "path", &path, "bytes", &bytes,
                        "modified_us", &modified) < 0)
            return err_set(err, E_INPUT, "its 'readonly_disks' are wrong");
        if (stat(path, &st) < 0)
            return err_sys(err, "its disk '%s'", path);
        if (st.st_size != bytes ||
            (json_int_t)st.st_mtim.tv_sec * 1000000 + st.st_mtim.tv_nsec / 1000 !=
                modified)
            return err_set(err, E_INPUT, "its disk '%s' has changed since", path);
    }
    return 0;
}

static int fits(struct vt_run *r, struct err *err)
{
    const struct snap *c = r->snap;
    const char *type = NULL, *digest = NULL;
    json_unpack(c->manifest, "{s:{s:s}, s?{s?s}}", "vm", "type", &type, "image",
                "digest", &digest);
    if (!type || strcmp(type, r->ops->name))
        return err_set(err, E_INPUT, "it is of type '%s', not '%s'", type ? type : "?",
                       r->ops->name);
    if (r->image && (!digest || strcmp(digest, r->image->digest)))
        return err_set(err, E_INPUT,
                       "it was made with another content of image '%s' "
                       "(%.19s..., here is %.19s...)",
                       r->profile->image, digest ? digest : "none", r->image->digest);
    if (needs_cpu(r->profile->type) && cpu_fits(c, err) < 0)
        return -1;
    struct owner_was was;
    if (owner_enter(r->vm->uid, r->vm->gid, &was, err) < 0)
        return -1;
    int ret = readonly_fits(c, err);
    owner_leave(&was);
    return ret;
}

int snap_fits(struct vt_run *r, struct err *err)
{
    return fits(r, err) < 0 ? err_at(err, "checkpoint '%s'", r->snap->path) : 0;
}
