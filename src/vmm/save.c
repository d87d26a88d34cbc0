/* SPDX-License-Identifier: Apache-2.0 */
/* Saving. While the machine stands still: its state, and which pages. Then it either
 * stays so, or all of RAM is write-protected and it runs on: the worker copies chunk after
 * chunk, and who writes to one that it has not reached yet has the page put aside first
 * (in the file itself: no memory is needed, and who writes faster than the disk takes is
 * slowed down). Where memory cannot be protected, all of it is written while the machine
 * runs, with KVM's log of what it writes meanwhile, and only that again when it stands
 * still. Whatever fails, the guest goes on; there is just no checkpoint. */
#include "vmm/ckpt.h"
#include "vmm/uffd.h"

#include "base/clock.h"
#include "ckpt/writer.h"

#include <config.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

enum { TELL_BYTES = 32 << 20 };

static char *chunk_at(const struct vm *vm, uint64_t n)
{
    return (char *)vm->reserve + n * CKPT_CHUNK;
}

static uint64_t chunk_len(const struct vm *vm, uint64_t n)
{
    uint64_t left = vm->config->memory.size - n * CKPT_CHUNK;
    return left < CKPT_CHUNK ? left : CKPT_CHUNK;
}

/* --- protecting ------------------------------------------------------------------------ */

static int protect_piece(struct vm *vm, void *at, uint64_t len, void *arg)
{
    int fd = vm->ckpt->uffd;
    return uffd_register(fd, at, len, UFFD_PROTECT) < 0 ||
                   uffd_protect(fd, at, len, true) < 0
               ? -1
               : 0;
}

static int unprotect_piece(struct vm *vm, void *at, uint64_t len, void *arg)
{
    return uffd_protect(vm->ckpt->uffd, at, len, false);
}

static int release_piece(struct vm *vm, void *at, uint64_t len, void *arg)
{
    return uffd_unregister(vm->ckpt->uffd, at, len);
}

static int protect_all(struct vm *vm, struct err *err)
{
    struct save *s = &vm->ckpt->save;
    uint64_t size = vm->config->memory.size;
    s->saved = calloc(index_chunks(size), 1);
    s->spilled = calloc(index_chunks(size) * INDEX_WORDS, sizeof *s->spilled);
    s->buffer = aligned_alloc(CKPT_PAGE, CKPT_CHUNK);
    if (!s->saved || !s->spilled || !s->buffer)
        return err_oom(err);
    s->protects = true;
    if (ram_each(vm, 0, size, protect_piece, NULL) < 0) {
        err_sys(err, "checkpoint: protect the memory");
        s->protects = false;
        (void)ram_each(vm, 0, size, release_piece, NULL);
        return -1;
    }
    return 0;
}

static const uint64_t *wanted(const struct save *s, uint64_t n)
{
    return s->want ? s->want + n * INDEX_WORDS : NULL;
}

/* What a page (of the size that RAM has) holds of chunk n goes aside. */
static int spill(struct vm *vm, uint64_t n, uint64_t offset, uint64_t len)
{
    struct save *s = &vm->ckpt->save;
    const uint64_t *want = wanted(s, n);
    uint64_t *bits = s->spilled + n * INDEX_WORDS;
    if (s->saved[n])
        return 0;
    for (uint64_t at = offset; at < offset + len; at += CKPT_PAGE) {
        unsigned page = (unsigned)(at % CKPT_CHUNK / CKPT_PAGE);
        if (index_bit(bits, page) || (want && !index_bit(want, page)))
            continue;
        if (ckpt_writer_spill(s->writer, at, (char *)vm->reserve + at, CKPT_PAGE) < 0)
            return -1;
        index_set(bits, page);
    }
    return 0;
}

static void failed(struct save *s, const struct err *err)
{
    if (s->err.code == E_NONE)
        s->err = *err;
    atomic_store(&s->failed, true);
}

void save_fault(struct vm_ckpt *k, uint64_t address)
{
    struct vm *vm = k->vm;
    struct save *s = &k->save;
    uint64_t page = vm->config->memory.page;
    uint64_t base = (address - (uintptr_t)vm->reserve) / page * page;
    pthread_mutex_lock(&k->lock);
    for (uint64_t at = base; s->protects && at < base + page;) {
        uint64_t n = at / CKPT_CHUNK, end = (n + 1) * CKPT_CHUNK;
        uint64_t len = (end < base + page ? end : base + page) - at;
        if (!atomic_load(&s->failed) && spill(vm, n, at, len) < 0) {
            struct err err = {0};
            err_sys(&err, "checkpoint: memory file");
            failed(s, &err);
        }
        at += len;
    }
    if (!s->protects || ram_each(vm, base, page, unprotect_piece, NULL) < 0)
        uffd_wake(k->uffd, (char *)vm->reserve + base, page);
    pthread_mutex_unlock(&k->lock);
}

/* --- the worker ------------------------------------------------------------------------- */

/* Nothing was ever written there: do not make pages by looking. */
static bool is_hole(const struct vm *vm, uint64_t n)
{
    if (vm->config->memory.page != CKPT_PAGE ||
        vm->config->restore.mode == CONFIG_RESTORE_MAP)
        return false;
    off_t at = (off_t)(n * CKPT_CHUNK), data = lseek(vm->memfd, at, SEEK_DATA);
    return data < 0 ? errno == ENXIO : data >= at + (off_t)chunk_len(vm, n);
}

/* A chunk of a machine that runs: as it was at the cut, into the buffer. false: all of
 * it is zero. */
static bool take(struct vm *vm, uint64_t n, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    struct save *s = &k->save;
    uint64_t len = chunk_len(vm, n), at = n * CKPT_CHUNK;
    const uint64_t *bits = s->spilled + n * INDEX_WORDS;
    pthread_mutex_lock(&k->lock);
    bool hole = is_hole(vm, n);
    if (!hole)
        memcpy(s->buffer, chunk_at(vm, n), len);
    s->saved[n] = 1;
    if (vm->config->memory.page <= CKPT_CHUNK)
        (void)ram_each(vm, at, len, unprotect_piece, NULL);
    pthread_mutex_unlock(&k->lock);
    if (hole)
        return false;
    for (unsigned i = 0; i < len / CKPT_PAGE; i++) {
        uint64_t page = (uint64_t)i * CKPT_PAGE;
        if (index_bit(bits, i) &&
            ckpt_writer_unspill(s->writer, at + page, s->buffer + page, CKPT_PAGE) < 0)
            err_sys(err, "checkpoint: memory file");
    }
    return true;
}

/* Has one been written that must be written again? */
static bool is_again(const struct save *s, uint64_t n)
{
    return s->ahead && s->saved && s->saved[n];
}

static int save_chunk(struct vm *vm, uint64_t n, struct err *err)
{
    struct save *s = &vm->ckpt->save;
    const uint64_t *want = wanted(s, n);
    const char *from = chunk_at(vm, n);
    bool some = true;
    if (want && index_count(want) == 0)
        return 0;
    if (s->protects) {
        some = take(vm, n, err);
        from = s->buffer;
    } else {
        some = !is_hole(vm, n);
        if (some && s->buffer)
            from = memcpy(s->buffer, from, chunk_len(vm, n));
    }
    if (err->code != E_NONE)
        return -1;
    if (is_again(s, n) && ckpt_writer_again(s->writer, n, err) < 0)
        return -1;
    if (s->ahead) /* which pages were written says only which chunks to look at */
        want = NULL;
    if (!some && !want) {
        ckpt_writer_hole(s->writer, n);
        return 0;
    }
    return ckpt_writer_chunk(s->writer, n, from, want, err);
}

/* One round through all chunks; gives up when it is told to. */
static void save_round(struct vm_ckpt *k, struct err *err)
{
    struct vm *vm = k->vm;
    struct save *s = &k->save;
    uint64_t chunks = index_chunks(vm->config->memory.size), told = 0;
    atomic_store(&s->done, 0);
    for (uint64_t n = 0; n < chunks && err->code == E_NONE; n++) {
        if (atomic_load(&s->failed))
            return;
        if (atomic_load(&s->cancel))
            err_set(err, E_CANCELLED, "checkpoint: given up");
        else
            (void)save_chunk(vm, n, err);
        uint64_t done = atomic_fetch_add(&s->done, chunk_len(vm, n));
        if (done / TELL_BYTES != told) {
            told = done / TELL_BYTES;
            eventfd_write(k->told, 1);
        }
    }
}

/* While it runs: what a page says may be old when it is written; KVM's log tells. The
 * copy is taken first, so that hash and bytes are of one moment. */
void save_ahead(struct vm_ckpt *k)
{
    struct save *s = &k->save;
    struct vm *vm = k->vm;
    struct err err = {0};
    uint64_t chunks = index_chunks(vm->config->memory.size);
    save_round(k, &err);
    for (uint64_t n = 0; n < chunks; n++)
        s->saved[n] = 1;
    /* So that little is left to flush when it stands still. */
    if (fdatasync(s->q.files.memory) < 0 && err.code == E_NONE)
        err_sys(&err, "checkpoint: flush");
    if (err.code != E_NONE)
        failed(s, &err);
    atomic_store(&s->ended, true);
    eventfd_write(k->told, 1);
}

void save_memory(struct vm_ckpt *k)
{
    struct vm *vm = k->vm;
    struct save *s = &k->save;
    struct err err = {0};
    save_round(k, &err);
    atomic_store(&s->copied, true);
    if (s->ahead)
        eventfd_write(k->told, 1);
    pthread_mutex_lock(&k->lock);
    if (s->protects)
        (void)ram_each(vm, 0, vm->config->memory.size, release_piece, NULL);
    s->protects = false;
    if (err.code != E_NONE)
        failed(s, &err);
    pthread_mutex_unlock(&k->lock);
    if (!atomic_load(&s->failed) &&
        ckpt_writer_finish(s->writer, s->state.buf.data, s->state.buf.len, &s->files,
                           &err) < 0)
        failed(s, &err);
    if (s->q.stop)
        s->downtime_us = clock_us() - s->paused_us;
    atomic_store(&s->ended, true);
    eventfd_write(k->told, 1);
}

/* --- beginning ---------------------------------------------------------------------------- */

/* Shared memory and huge pages can be; a mapped file cannot. */
static bool can_protect(const struct vm *vm)
{
    return vm->ckpt->protects && vm->config->restore.mode != CONFIG_RESTORE_MAP;
}

static int check(struct vm *vm, const struct save_request *q, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    if (vm->state != VM_RUNNING && vm->state != VM_PAUSED)
        return err_set(err, E_STATE, "checkpoint: the machine is %s",
                       vm_state_name(vm->state));
    if (k->save.phase != SAVE_NONE)
        return err_set(err, E_BUSY, "checkpoint: another one is being made");
    if (atomic_load(&k->filling))
        return err_set(err, E_BUSY,
                       "checkpoint: its memory is still coming back from one");
    if (q->parent[0] && strcmp(q->parent, k->tracked) != 0)
        return err_set(
            err, E_STATE,
            "checkpoint: what was written since '%s' is not known; make that "
            "one with \"track\", or this one without a parent",
            q->parent);
    bool ahead = !q->stop && !can_protect(vm);
    if (ahead && q->parent[0])
        return err_set(err, E_UNAVAIL,
                       "checkpoint: a child in mode 'continue' needs userfaultfd with "
                       "write protection (Linux 5.19, and root or sysctl "
                       "vm.unprivileged_userfaultfd=1); 'stop' does without");
    for (size_t i = 0; i < vm->ndevices; i++)
        if (!vm->devices[i].ops->save)
            return err_set(
                err, E_UNAVAIL,
                "checkpoint: device '%s' is the host's, passed through: what "
                "is in it cannot be saved",
                vm->devices[i].id);
    for (size_t i = 0; (q->track || q->parent[0] || ahead) && i < vm->ndevices; i++) {
        struct device *d = &vm->devices[i];
        if (d->ops->untracked && d->ops->untracked(d))
            return err_set(err, E_UNAVAIL,
                           "checkpoint: device '%s' lets others write to the memory "
                           "(vhost), and nobody can tell what: no child, and no mode "
                           "'continue' without userfaultfd",
                           d->id);
    }
    return 0;
}

static int save_all_but_memory(struct vm *vm, struct err *err)
{
    struct save *s = &vm->ckpt->save;
    s->was_running = vm->state == VM_RUNNING;
    s->paused_us = clock_us();
    if (s->was_running && vm_pause(vm, err) < 0)
        return -1;
    if (vm_save(vm, &s->state, err) == 0)
        return 0;
    if (s->was_running)
        vm_resume(vm, NULL);
    return -1;
}

static void forget(struct save *s)
{
    ckpt_writer_free(s->writer);
    state_done(&s->state);
    json_decref(s->files);
    free(s->want);
    free(s->saved);
    free(s->spilled);
    free(s->buffer);
    ckpt_files_close(&s->q.files);
    memset(s, 0, sizeof *s);
}

/* Log what is written from now on, then write all of it. */
static int begin_ahead(struct vm *vm, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    struct save *s = &k->save;
    uint64_t chunks = index_chunks(vm->config->memory.size);
    s->ahead = true;
    s->saved = calloc(chunks, 1);
    s->buffer = aligned_alloc(CKPT_PAGE, CKPT_CHUNK);
    s->want = calloc(chunks * INDEX_WORDS, sizeof *s->want);
    if (!s->saved || !s->buffer || !s->want)
        return err_oom(err);
    memset(s->want, 0xff, chunks * INDEX_WORDS * sizeof *s->want);
    k->tracked[0] = 0; /* one log, one user */
    if (memory_dirty_log(vm, true, err) < 0)
        return -1;
    s->phase = SAVE_AHEAD;
    vm_ckpt_job(k, JOB_AHEAD);
    return 0;
}

int save_still(struct vm *vm, struct err *err)
{
    struct save *s = &vm->ckpt->save;
    uint64_t words = index_chunks(vm->config->memory.size) * INDEX_WORDS;
    atomic_store(&s->ended, false);
    if (atomic_load(&s->failed) || save_all_but_memory(vm, err) < 0) {
        if (err->code != E_NONE)
            failed(s, err);
        s->phase = SAVE_MEMORY;
        vm_ckpt_job(vm->ckpt, JOB_SAVE); /* ends it */
        return -1;
    }
    memset(s->want, 0, words * sizeof *s->want);
    s->phase = SAVE_CUT;
    return 0;
}

int save_begin(struct vm *vm, const struct save_request *q, struct err *err)
{
    struct save *s = &vm->ckpt->save;
    if (check(vm, q, err) < 0)
        return -1;
    *s = (struct save){.q = *q};
    bool ahead = !q->stop && !can_protect(vm);
    if (ckpt_writer_new(&q->files, vm->config->memory.size, !q->parent[0], q->level,
                        &s->writer, err) < 0 ||
        (ahead ? begin_ahead(vm, err) : save_all_but_memory(vm, err)) < 0) {
        s->q.files = (struct ckpt_files){-1, -1, -1}; /* still the caller's */
        forget(s);
        return -1;
    }
    if (!ahead)
        s->phase = SAVE_CUT;
    return 0;
}

/* --- the cut -------------------------------------------------------------------------------- */

/* Which pages a child has to have, and what its child will have. */
static int cut_tracking(struct vm *vm, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    struct save *s = &k->save;
    uint64_t words = index_chunks(vm->config->memory.size) * INDEX_WORDS;
    bool on = k->tracked[0] != 0;
    if (!k->map && (s->q.track || on) && !(k->map = calloc(words, sizeof *k->map)))
        return err_oom(err);
    if (on && memory_dirty_fetch(vm, k->map, err) < 0)
        return -1;
    if (on && s->q.parent[0]) { /* the one that is tracked: may_save() */
        s->want = malloc(words * sizeof *s->want);
        if (!s->want)
            return err_oom(err);
        memcpy(s->want, k->map, words * sizeof *s->want);
    }
    return s->q.track && !on ? memory_dirty_log(vm, true, err) : 0;
}

static int go_on(struct vm *vm, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    struct save *s = &k->save;
    if (s->ahead) {
        uint64_t words = index_chunks(vm->config->memory.size) * INDEX_WORDS;
        if (s->q.track && !k->map && !(k->map = calloc(words, sizeof *k->map)))
            return err_oom(err);
        return memory_dirty_fetch(vm, s->want, err); /* the worker lets it run on */
    }
    if (cut_tracking(vm, err) < 0)
        return -1;
    if (s->q.stop)
        return 0;
    if (protect_all(vm, err) < 0)
        return -1;
    if (s->was_running && vm_resume(vm, err) < 0)
        return -1;
    s->downtime_us = s->was_running ? clock_us() - s->paused_us : 0;
    return 0;
}

void save_go_on(struct vm *vm)
{
    struct save *s = &vm->ckpt->save;
    if (!s->ahead || !atomic_load(&s->copied) || !s->was_running ||
        vm->state != VM_PAUSED || atomic_load(&s->failed) || s->downtime_us)
        return;
    if (vm_resume(vm, NULL) == 0)
        s->downtime_us = clock_us() - s->paused_us;
}

int save_cut(struct vm *vm, const char *why, struct err *err)
{
    struct vm_ckpt *k = vm->ckpt;
    struct save *s = &k->save;
    struct err bad = {0};
    if (s->phase != SAVE_CUT)
        return err_set(err, E_STATE, "checkpoint: nobody waits for a cut of the disks");
    if (why)
        err_set(&bad, E_FAIL, "checkpoint: the disks were not cut: %s", why);
    else
        (void)go_on(vm, &bad);
    s->phase = SAVE_MEMORY;
    if (bad.code != E_NONE) /* the worker lets go of what was protected */
        failed(s, &bad);
    vm_ckpt_job(k, JOB_SAVE);
    return 0;
}

void save_cancel(struct vm *vm)
{
    struct save *s = &vm->ckpt->save;
    atomic_store(&s->cancel, true);
    if (s->phase == SAVE_CUT)
        (void)save_cut(vm, "given up", NULL);
}

/* --- the end ---------------------------------------------------------------------------------- */

static const char *page_word(uint64_t page)
{
    return page == GIB ? "1G" : page == 2 * MIB ? "2M" : "4K";
}

static json_t *machine_json(const struct vm *vm)
{
    const struct config *c = vm->config;
    json_t *nodes = json_array(), *devices = json_array();
    for (unsigned i = 0; i < c->memory.nnodes; i++)
        json_array_append_new(
            nodes, json_integer((json_int_t)(c->memory.nodes[i].size / MIB)));
    for (size_t i = 0; i < vm->ndevices; i++)
        json_array_append_new(devices,
                              json_pack("{s:s, s:s}", "type", vm->devices[i].ops->name,
                                        "id", vm->devices[i].id));
    return json_pack("{s:i, s:I, s:s, s:o, s:o}", "vcpus", (int)vm->nvcpus,
                     "memory_mib", (json_int_t)(c->memory.size / MIB), "page",
                     page_word(c->memory.page), "nodes", nodes, "devices", devices);
}

static json_t *cpu_json(const struct vm *vm)
{
    char vendor[13] = {0}, hash[17];
    for (uint32_t i = 0; i < vm->cpuid->nent; i++) {
        const struct kvm_cpuid_entry2 *e = &vm->cpuid->entries[i];
        if (e->function != 0)
            continue;
        memcpy(vendor, &e->ebx, 4);
        memcpy(vendor + 4, &e->edx, 4);
        memcpy(vendor + 8, &e->ecx, 4);
    }
    for (char *p = vendor; *p; p++)
        if (*p < ' ' || *p > '~')
            *p = '?';
    ckpt_hash(vm->cpuid->entries, vm->cpuid->nent * sizeof vm->cpuid->entries[0], hash);
    return json_pack("{s:s, s:s, s:I}", "vendor", vendor, "cpuid_xxh64", hash,
                     "tsc_khz", (json_int_t)vm->tsc_khz);
}

static json_t *manifest(struct vm *vm)
{
    struct save *s = &vm->ckpt->save;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    json_t *words = json_pack("[s]", "sparse");
    if (s->q.level)
        json_array_append_new(words, json_string("zstd"));
    if (s->q.parent[0])
        json_array_append_new(words, json_string("incremental"));
    json_t *parent = s->q.parent[0] ? json_pack("{s:s, s:s}", "id", s->q.parent, "name",
                                                s->q.parent_name)
                                    : json_null();
    return json_pack("{s:s, s:i, s:o, s:s, s:s, s:o, s:I, s:o, s:o, s:O, s:I}",
                     "format", CKPT_FORMAT, "version", CKPT_VERSION, "features", words,
                     "lodge", PACKAGE_VERSION, "id", s->q.id, "parent", parent,
                     "created_ms",
                     (json_int_t)now.tv_sec * 1000 + now.tv_nsec / 1000000, "cpu",
                     cpu_json(vm), "machine", machine_json(vm), "files", s->files,
                     "downtime_us", (json_int_t)s->downtime_us);
}

/* What was remembered belongs to the new one from now on; or still to the old one. */
static void end_tracking(struct vm *vm, bool good)
{
    struct vm_ckpt *k = vm->ckpt;
    struct save *s = &k->save;
    if (good && s->q.track) {
        memcpy(k->tracked, s->q.id, sizeof k->tracked);
        memset(k->map, 0,
               index_chunks(vm->config->memory.size) * INDEX_WORDS * sizeof *k->map);
    } else if (good || ((s->q.track || s->ahead) && !k->tracked[0])) {
        k->tracked[0] = 0;
        (void)memory_dirty_log(vm, false, NULL);
    }
}

uint64_t save_dirty_bytes(const struct vm *vm)
{
    const struct save *s = &vm->ckpt->save;
    uint64_t pages = 0;
    if (!s->q.parent[0] || !s->want)
        return vm->config->memory.size;
    for (uint64_t n = 0; n < index_chunks(vm->config->memory.size); n++)
        pages += index_count(s->want + n * INDEX_WORDS);
    return pages * CKPT_PAGE;
}

json_t *save_end(struct vm *vm, struct err *err)
{
    struct save *s = &vm->ckpt->save;
    bool good = !atomic_load(&s->failed) && s->files;
    json_t *out = good ? manifest(vm) : NULL;
    if (!out) {
        if (s->err.code == E_NONE)
            err_set(&s->err, E_CANCELLED, "checkpoint: given up");
        if (err)
            *err = s->err;
        if (s->was_running && vm->state == VM_PAUSED)
            vm_resume(vm, NULL);
    }
    if (vm->state != VM_ENDED)
        end_tracking(vm, out != NULL);
    forget(s);
    return out;
}
