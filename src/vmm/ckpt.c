/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/ckpt.h"
#include "vmm/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* --- opening ------------------------------------------------------------------------ */

static int open_source(struct vm *vm, struct err *err)
{
    const struct config *c = vm->config;
    const struct device_file *f = &c->restore.dir;
    AUTO_FD dir = f->path ? open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                          : fcntl(f->fd, F_DUPFD_CLOEXEC, 3);
    if (dir < 0)
        return err_sys(err, "restore: %s", f->path ? f->path : "descriptor");
    if (ckpt_open(dir, &vm->ckpt->from, err) < 0)
        return err_at(err, "restore");
    if (ckpt_ram_bytes(vm->ckpt->from) != c->memory.size)
        return err_set(err, E_CONFIG,
                       "restore: it has %llu MiB of memory, the configuration %llu",
                       (unsigned long long)(ckpt_ram_bytes(vm->ckpt->from) / MIB),
                       (unsigned long long)(c->memory.size / MIB));
    return 0;
}

int vm_ckpt_open(struct vm *vm, struct err *err)
{
    const struct config *c = vm->config;
    struct vm_ckpt *k = calloc(1, sizeof *k);
    if (!k)
        return err_oom(err);
    vm->ckpt = k;
    k->vm = vm;
    k->guard_wake = k->work_wake = k->told = k->uffd = -1;
    pthread_mutex_init(&k->lock, NULL);
    k->guard_wake = eventfd(0, EFD_CLOEXEC);
    k->work_wake = eventfd(0, EFD_CLOEXEC);
    k->told = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (k->guard_wake < 0 || k->work_wake < 0 || k->told < 0)
        return err_sys(err, "eventfd");
    k->uffd = uffd_open(&k->protects);
    if (c->restore.mode == CONFIG_RESTORE_NONE)
        return 0;
    if (c->restore.mode == CONFIG_RESTORE_UFFD && k->uffd < 0)
        return err_sys(err, "restore: mode 'uffd' needs userfaultfd (root, or sysctl "
                            "vm.unprivileged_userfaultfd=1); 'read' does without");
    return open_source(vm, err);
}

int vm_ckpt_map_fd(struct vm *vm, struct err *err)
{
    const struct config *c = vm->config;
    for (size_t i = 0; i < c->ndevices; i++)
        if (strcmp(c->devices[i].ops->name, "fs") == 0)
            return err_set(err, E_CONFIG,
                           "restore: mode 'map' cannot share memory with the file "
                           "server of device '%s'; use 'read'",
                           c->devices[i].id);
    int fd = ckpt_map_fd(vm->ckpt->from, err);
    if (fd < 0)
        return err_at(err, "restore: mode 'map'");
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return fd < 0 ? err_sys(err, "restore") : fd;
}

/* --- threads ------------------------------------------------------------------------ */

static void *guard(void *arg)
{
    struct vm_ckpt *k = arg;
    struct pollfd p[] = {{.fd = k->uffd, .events = POLLIN},
                         {.fd = k->guard_wake, .events = POLLIN}};
    for (;;) {
        uint64_t address;
        bool protect;
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            _exit(70);
        if (atomic_load(&k->exit))
            return NULL;
        while (uffd_next(k->uffd, &address, &protect)) {
            if (protect)
                save_fault(k, address);
            else
                thaw_fault(k, address);
        }
    }
}

static void *worker(void *arg)
{
    struct vm_ckpt *k = arg;
    for (;;) {
        uint64_t n;
        if (read(k->work_wake, &n, sizeof n) < 0 && errno != EINTR)
            _exit(70);
        if (atomic_load(&k->exit))
            return NULL;
        int job = atomic_exchange(&k->job, JOB_NONE);
        if (job == JOB_FILL)
            thaw_fill(k);
        else if (job == JOB_AHEAD)
            save_ahead(k);
        else if (job == JOB_SAVE)
            save_memory(k);
    }
}

int vm_ckpt_start(struct vm *vm, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    if (vm_thread(vm, "worker", worker, k, &k->worker, err) < 0)
        return -1;
    k->worker_on = true;
    if (k->uffd < 0)
        return 0;
    if (vm_thread(vm, "guard", guard, k, &k->guard, err) < 0)
        return -1;
    k->guard_on = true;
    return 0;
}

void vm_ckpt_job(struct vm_ckpt *k, enum ckpt_job job)
{
    atomic_store(&k->job, (int)job);
    eventfd_write(k->work_wake, 1);
}

/* The guard last: the worker, and whoever else is to end, may wait for it. */
void vm_ckpt_stop(struct vm *vm)
{
    struct vm_ckpt *k = vm->ckpt;
    if (!k)
        return;
    atomic_store(&k->save.cancel, true);
    atomic_store(&k->filling, false);
    if (k->worker_on) {
        atomic_store(&k->exit, true);
        eventfd_write(k->work_wake, 1);
        pthread_join(k->worker, NULL);
        k->worker_on = false;
    }
    if (k->guard_on) {
        atomic_store(&k->exit, true);
        eventfd_write(k->guard_wake, 1);
        pthread_join(k->guard, NULL);
        k->guard_on = false;
    }
}

void vm_ckpt_done(struct vm *vm)
{
    struct vm_ckpt *k = vm->ckpt;
    if (!k)
        return;
    vm_ckpt_stop(vm);
    if (k->save.phase != SAVE_NONE)
        json_decref(save_end(vm, NULL));
    ckpt_free(k->from);
    free(k->filled);
    free(k->fill_buffer);
    free(k->map);
    int fds[] = {k->uffd, k->guard_wake, k->work_wake, k->told};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free(k);
    vm->ckpt = NULL;
}

int ram_each(struct vm *vm, uint64_t offset, uint64_t len,
             int (*fn)(struct vm *vm, void *at, uint64_t len, void *arg), void *arg)
{
    uint64_t end = offset + len;
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        uint64_t from = m->offset > offset ? m->offset : offset;
        uint64_t to = m->offset + m->size < end ? m->offset + m->size : end;
        if (!m->ram || from >= to)
            continue;
        if (fn(vm, (char *)m->hva + (from - m->offset), to - from, arg) < 0)
            return -1;
    }
    return 0;
}
