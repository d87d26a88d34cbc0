/* SPDX-License-Identifier: Apache-2.0 */
/* Coming back: RAM read, mapped, or filled in behind the running guest; then the state of
 * the machine. Nothing of the guest runs before all of this has gone well; only what a
 * fill finds damaged ends a machine that runs already. */
#include "vmm/ckpt.h"
#include "vmm/uffd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

static char *chunk_at(const struct vm *vm, uint64_t n)
{
    return (char *)vm->reserve + n * CKPT_CHUNK;
}

static uint64_t chunk_len(const struct vm *vm, uint64_t n)
{
    uint64_t left = vm->config->memory.size - n * CKPT_CHUNK;
    return left < CKPT_CHUNK ? left : CKPT_CHUNK;
}

static int read_all(struct vm *vm, struct err *err)
{
    struct ckpt *c = vm->ckpt->from;
    for (uint64_t n = 0; n < ckpt_chunks(c); n++)
        if (!ckpt_chunk_is_zero(c, n) &&
            ckpt_read_chunk(c, n, chunk_at(vm, n), true, err) < 0)
            return err_at(err, "restore");
    return 0;
}

/* --- behind the guest ----------------------------------------------------------------- */

static int watch_piece(struct vm *vm, void *at, uint64_t len, void *arg)
{
    return uffd_register(vm->ckpt->uffd, at, len, UFFD_MISSING);
}

static int unwatch_piece(struct vm *vm, void *at, uint64_t len, void *arg)
{
    return uffd_unregister(vm->ckpt->uffd, at, len);
}

static int watch_all(struct vm *vm, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    k->filled = calloc(ckpt_chunks(k->from), 1);
    k->fill_buffer = aligned_alloc(CKPT_PAGE, CKPT_CHUNK);
    if (!k->filled || !k->fill_buffer)
        return err_oom(err);
    if (ram_each(vm, 0, vm->config->memory.size, watch_piece, NULL) < 0)
        return err_sys(err, "restore: userfaultfd");
    atomic_store(&k->filling, true);
    return 0;
}

static int copy_piece(struct vm *vm, void *at, uint64_t len, void *arg)
{
    const char *from = vm->ckpt->fill_buffer + ((char *)at - (char *)arg);
    return uffd_copy(vm->ckpt->uffd, at, from, len) < 0 && errno != EEXIST ? -1 : 0;
}

/* Under the lock. */
static int fill_chunk(struct vm_ckpt *k, uint64_t n, struct err *err)
{
    struct vm *vm = k->vm;
    uint64_t len = chunk_len(vm, n);
    memset(k->fill_buffer, 0, len);
    if (ckpt_read_chunk(k->from, n, k->fill_buffer, true, err) < 0)
        return err_at(err, "restore");
    if (ram_each(vm, n * CKPT_CHUNK, len, copy_piece, chunk_at(vm, n)) < 0)
        return err_sys(err, "restore: userfaultfd");
    k->filled[n] = 1;
    return 0;
}

void thaw_fault(struct vm_ckpt *k, uint64_t address)
{
    struct vm *vm = k->vm;
    struct err err = {0};
    uint64_t page = vm->config->memory.page;
    char *at = (char *)(address & ~(page - 1));
    uint64_t n = (uint64_t)(at - (char *)vm->reserve) / CKPT_CHUNK;
    pthread_mutex_lock(&k->lock);
    bool small = page == CKPT_PAGE;
    int r = 0;
    if (!k->from || k->filled[n]) {
        /* Who waits looks again; what is not there by now is zero. */
        if (small && uffd_zero(k->uffd, at, page) < 0)
            uffd_wake(k->uffd, at, page);
        else if (!small)
            uffd_wake(k->uffd, at, page);
    } else if (small && ckpt_chunk_is_zero(k->from, n)) {
        if (uffd_zero(k->uffd, at, page) < 0)
            uffd_wake(k->uffd, at, page);
    } else {
        r = fill_chunk(k, n, &err);
        uffd_wake(k->uffd, at, page);
    }
    pthread_mutex_unlock(&k->lock);
    if (r < 0) {
        vm_fail(vm, &err);
        /* Let nobody wait for ever: the machine is ending. */
        (void)ram_each(vm, 0, vm->config->memory.size, unwatch_piece, NULL);
    }
}

void thaw_fill(struct vm_ckpt *k)
{
    struct vm *vm = k->vm;
    struct err err = {0};
    uint64_t chunks = ckpt_chunks(k->from);
    bool small = vm->config->memory.page == CKPT_PAGE;
    int r = 0;
    for (uint64_t n = 0; n < chunks && r == 0 && atomic_load(&k->filling); n++) {
        pthread_mutex_lock(&k->lock);
        if (!k->filled[n] && !(small && ckpt_chunk_is_zero(k->from, n)))
            r = fill_chunk(k, n, &err);
        pthread_mutex_unlock(&k->lock);
    }
    /* The kernel gives zeros for the rest from here on. */
    pthread_mutex_lock(&k->lock);
    (void)ram_each(vm, 0, vm->config->memory.size, unwatch_piece, NULL);
    ckpt_free(k->from);
    k->from = NULL;
    pthread_mutex_unlock(&k->lock);
    if (r < 0)
        vm_fail(vm, &err);
    atomic_store(&k->filling, false);
    eventfd_write(k->told, 1);
}

int vm_thaw(struct vm *vm, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    size_t len;
    const void *state = ckpt_state(k->from, &len);
    enum config_restore_mode mode = vm->config->restore.mode;
    if (mode == CONFIG_RESTORE_MAP && vm->config->restore.verify &&
        ckpt_verify_memory(k->from, err) < 0)
        return err_at(err, "restore");
    if (mode == CONFIG_RESTORE_READ && read_all(vm, err) < 0)
        return -1;
    if (mode == CONFIG_RESTORE_UFFD && watch_all(vm, err) < 0)
        return -1;
    if (vm_restore(vm, state, len, err) < 0)
        return -1;
    if (mode == CONFIG_RESTORE_UFFD) {
        vm_ckpt_job(k, JOB_FILL);
        return 0;
    }
    ckpt_free(k->from);
    k->from = NULL;
    return 0;
}
