/* SPDX-License-Identifier: Apache-2.0 */
/* Type hpc: lodge-vmm, one process a VM, with the owner's ids and in a session of its
 * own, so that it outlives the agent; spoken to by its control socket. In workers. */
#include "agent/vt.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "agent/plan.h"
#include "agent/sock.h"
#include "agent/stage.h"
#include "agent/vfio.h"
#include "agent/vt_hpc.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "place/memory.h"
#include "proto/client.h"

/* Memory that is filled or locked before the start takes its time. */
enum { START_MS = 30000, START_GIB_MS = 1000, CALL_MS = 10000 };

static int check(const struct profile *p, struct err *err)
{
    if (p->cdrom)
        return err_set(err, E_INPUT, "type 'hpc' has no CD-ROM drive");
    for (size_t i = 0; i < p->disk_count; i++)
        if (p->disks[i].format != PROFILE_DISK_RAW)
            return err_set(err, E_INPUT,
                           "type 'hpc' takes raw disks only; convert disk '%s' with "
                           "qemu-img convert -O raw",
                           p->disks[i].id);
    for (size_t i = 0; i < p->nic_count; i++)
        if (p->nics[i].type == PROFILE_NIC_USER)
            return err_set(err, E_INPUT,
                           "type 'hpc' has no nic of type 'user'; use "
                           "'isolated', 'tap-nat' or 'bridged-tap'");
    if (p->device_count > VFIO_DEVICES_MAX)
        return err_set(err, E_INPUT, "type 'hpc' passes at most %d devices through",
                       VFIO_DEVICES_MAX);
    return 0;
}

static const char *page_word(uint64_t bytes)
{
    return bytes == 1ull << 30 ? "1G" : bytes == 2ull << 20 ? "2M" : "4K";
}

/* --- plan -> configuration -------------------------------------------------------------- */

/* Memory that devices reach is locked: many threads fill it sooner than the kernel. */
static json_t *memory_json(const struct profile *p)
{
    json_t *m = json_pack(
        "{s:I, s:s, s:b}", "size_mib", (json_int_t)(p->memory_bytes >> 20), "page",
        page_word(p->page_bytes), "prealloc", p->prealloc || p->device_count);
    size_t n = p->numa_nodes.count;
    if (!m || !n || !place_memory_is_bound(p->numa_policy))
        return m;
    /* One guest node for each host node; the first takes what does not divide. */
    json_t *nodes = json_array();
    json_int_t all = p->memory_bytes >> 20, each = all / n;
    for (size_t i = 0; i < n; i++) {
        json_t *cpus = json_array();
        for (size_t c = i; c < p->vcpus; c += n)
            json_array_append_new(cpus, json_integer(c));
        json_array_append_new(
            nodes, json_pack("{s:I, s:I, s:o}", "size_mib",
                             i ? each : all - each * (json_int_t)(n - 1), "host_node",
                             (json_int_t)p->numa_nodes.at[i], "vcpus", cpus));
    }
    json_object_set_new(m, "nodes", nodes);
    return m;
}

static json_t *port(const char *name, const char *path)
{
    return json_pack("{s:s*, s:s}", "name", name, "path", path);
}

/* Each vCPU has its own queue of a disk, up to what one disk profits from. */
static json_int_t queues(const struct profile *p)
{
    enum { QUEUES_MAX = 4 };
    return p->vcpus < QUEUES_MAX ? (json_int_t)p->vcpus : QUEUES_MAX;
}

/* Their groups are the descriptors from 3 on, see start_vmm(). */
static void add_passed(json_t *d, const struct vfio *v)
{
    for (size_t i = 0; i < v->ndevices; i++) {
        char id[24];
        snprintf(id, sizeof id, "pci%zu", i);
        json_array_append_new(d, json_pack("{s:s, s:s, s:s, s:I}", "type", "vfio", "id",
                                           id, "address", v->address_of[i], "fd",
                                           (json_int_t)(3 + v->group_of[i])));
    }
}

static json_t *devices_json(const struct plan *p, const struct vfio *passed,
                            const char *guest, const char *console)
{
    json_t *d = json_array();
    json_array_append_new(d, json_pack("{s:s, s:s, s:s}", "type", "serial", "id", "tty",
                                       "path", console));
    for (size_t i = 0; i < p->ndisks; i++) {
        char id[24];
        snprintf(id, sizeof id, "disk%zu", i);
        json_array_append_new(
            d, json_pack("{s:s, s:s, s:s, s:b, s:s, s:I}", "type", "blk", "id", id,
                         "path", p->disks[i].path, "readonly", p->disks[i].readonly,
                         "serial", p->disks[i].serial, "queues", queues(p->profile)));
    }
    for (size_t i = 0; i < p->nnics; i++) {
        char id[24];
        snprintf(id, sizeof id, "net%zu", i);
        json_array_append_new(d, json_pack("{s:s, s:s, s:s*, s:s, s:I}", "type", "net",
                                           "id", id, "tap", p->nics[i].tap, "mac",
                                           p->nics[i].mac, "queues",
                                           (json_int_t)p->nics[i].queues));
    }
    for (size_t i = 0; i < p->nshares; i++) {
        char id[24];
        snprintf(id, sizeof id, "fs%zu", i);
        json_array_append_new(d, json_pack("{s:s, s:s, s:s, s:s}", "type", "fs", "id",
                                           id, "tag", p->shares[i].tag, "socket",
                                           p->shares[i].socket));
    }
    add_passed(d, passed);
    json_array_append_new(d, json_pack("{s:s, s:s, s:[o]}", "type", "console", "id",
                                       "ports", "ports",
                                       port("org.lodge.guest.0", guest)));
    json_array_append_new(d, json_pack("{s:s, s:s}", "type", "rng", "id", "rng"));
    /* Changes when it comes back from a checkpoint: the kernel reseeds. */
    json_array_append_new(d, json_pack("{s:s}", "type", "vmgenid"));
    return d;
}

static json_t *config_json(const struct vt_run *r, const struct plan *p,
                           const struct vfio *passed, const char *dir)
{
    const struct profile *f = p->profile;
    AUTO_STR guest = str_printf("%s/own/guest.sock", dir);
    AUTO_STR console = str_printf("%s/own/console.sock", dir);
    AUTO_STR control = str_printf("%s/own/control.sock", dir);
    if (!guest || !console || !control)
        return NULL;
    json_t *c =
        json_pack("{s:s, s:I, s:o, s:s*, s:s*, s:s*, s:o, s:{s:s}, s:{s:b}}", "name",
                  p->vm->name, "vcpus", (json_int_t)f->vcpus, "memory", memory_json(f),
                  "kernel", p->kernel, "initrd", p->initrd, "cmdline", p->cmdline,
                  "devices", devices_json(p, passed, guest, console), "control", "path",
                  control, "sandbox", "enable", 1);
    if (c && f->cpu_pin.count) {
        json_t *pin = json_array();
        for (size_t i = 0; i < f->cpu_pin.count; i++)
            json_array_append_new(pin, json_integer(f->cpu_pin.at[i]));
        json_object_set_new(c, "cpu", json_pack("{s:o}", "pin", pin));
    }
    if (c && r->snap)
        json_object_set_new(c, "restore", vt_hpc_restore_json(r));
    return c;
}

static int config_fd(const struct vt_run *r, const struct plan *p,
                     const struct vfio *passed, const char *dir, struct err *err)
{
    AUTO_JSON config = config_json(r, p, passed, dir);
    AUTO_STR text = config ? json_dumps(config, JSON_COMPACT) : NULL;
    return text ? fd_of_text("lodge-vmm.json", text, err) : err_oom(err);
}

/* --- verbs ---------------------------------------------------------------------------------- */

/* In the child: devices that are passed through need all memory locked, and the
 * hypervisor's io_uring counts, too. */
static int allow_locked(void *arg)
{
    enum { BESIDE = 64 << 20 };
    const struct profile *p = arg;
    struct rlimit had, want = {p->memory_bytes + BESIDE, p->memory_bytes + BESIDE};
    if (!p->device_count || getrlimit(RLIMIT_MEMLOCK, &had) < 0 ||
        had.rlim_cur >= want.rlim_cur)
        return 0;
    if (want.rlim_max < had.rlim_max)
        want.rlim_max = had.rlim_max;
    (void)setrlimit(RLIMIT_MEMLOCK, &want); /* the hypervisor tells what it lacks */
    return 0;
}

static int start_vmm(struct vt_run *r, const struct plan *plan,
                     const struct vfio *passed, struct err *err)
{
    AUTO_STR program = dirs_path(DIRS_LIBEXEC, "lodge-vmm");
    AUTO_FD config = program ? config_fd(r, plan, passed, r->dir, err) : err_oom(err);
    if (config < 0)
        return -1;
    const char *const argv[] = {program, "--config", "-", NULL};
    struct stage_proc p = {.leaf = "vmm",
                           .argv = argv,
                           .input = &config,
                           .fds = passed->fd,
                           .nfds = passed->ngroups,
                           .device = "/dev/kvm",
                           .cwd = "/",
                           .before_ids = allow_locked,
                           .arg = (void *)r->profile};
    return stage_spawn(r, &p, &r->pid, err);
}

static unsigned start_ms(const struct profile *p)
{
    return START_MS + START_GIB_MS * (unsigned)(p->memory_bytes >> 30);
}

static int boot(struct vt_run *r, struct err *err)
{
    AUTO(plan) plan = NULL;
    AUTO_STR control = str_printf("%s/own/control.sock", r->dir);
    AUTO_STR guest = str_printf("%s/own/guest.sock", r->dir);
    AUTO_STR console = str_printf("%s/own/console.sock", r->dir);
    if (!control || !guest || !console)
        return err_oom(err);
    if (plan_make(r->vm, r->image, r->dir, &plan, err) < 0)
        return -1;
    if (!plan->kernel)
        return err_set(err, E_INPUT,
                       "type 'hpc' boots a kernel, and image '%s' has "
                       "none; name one in the profile",
                       r->profile->image);
    struct vfio passed;
    if (vfio_open(r->profile, &passed, err) < 0)
        return -1;
    int started = start_vmm(r, plan, &passed, err);
    vfio_close(&passed);
    if (started < 0)
        return -1;
    if (r->snap ? vt_hpc_await(r, control, err) < 0
                : stage_await_socket(r, "vmm", control, start_ms(r->profile), err) < 0)
        return -1;
    json_object_set_new(r->vt, "guest", json_string(guest));
    json_object_set_new(r->vt, "console", json_string(console));
    return 0;
}

static int destroy(struct vt_run *r, struct err *err)
{
    return stage_kill(r, "vmm", err);
}

int vt_hpc_call(struct vt_run *r, const char *method, json_t *params,
                const struct rpc_client_opts *opts, json_t **result, struct err *err)
{
    AUTO_STR path = str_printf("%s/own/control.sock", r->dir);
    AUTO(rpc_client) c = NULL;
    const struct rpc_client_opts soon = {.timeout_ms = CALL_MS};
    int fd = path ? sock_open(path, err) : err_oom(err);
    if (fd < 0 || rpc_client_open(fd, "lodge-vmm", &c, err) < 0) {
        json_decref(params);
        return -1;
    }
    return rpc_client_call(c, method, params, opts ? opts : &soon, result, err);
}

static int call(struct vt_run *r, const char *method, json_t **result, struct err *err)
{
    return vt_hpc_call(r, method, NULL, NULL, result, err);
}

static int pause_(struct vt_run *r, struct err *err)
{
    return call(r, "pause", NULL, err);
}

static int resume(struct vt_run *r, struct err *err)
{
    return call(r, "resume", NULL, err);
}

static int stats(struct vt_run *r, struct err *err)
{
    json_t *got = NULL;
    if (call(r, "stats", &got, err) < 0)
        return -1;
    return json_object_set_new(r->vt, "stats", got);
}

const struct vt_ops vt_hpc = {
    .name = "hpc",
    .needs_image = true,
    .check = check,
    .boot = boot,
    .destroy = destroy,
    .pause = pause_,
    .resume = resume,
    .stats = stats,
    .checkpoint = vt_hpc_checkpoint,
    .restore = boot,
    .recover = vt_hpc_recover,
};
