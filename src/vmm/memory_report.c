/* SPDX-License-Identifier: Apache-2.0 */
/* How the guest's RAM lies in the host's: page size, nodes, runs of neighbouring frames.
 * --report-memory and the control socket ask. */
#include "vmm/vm.h"

#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

struct runs {
    uint64_t pages, present, runs, longest, current, previous;
    bool known;
};

static void count_frames(struct vm *vm, const struct vm_memory *m, struct runs *r)
{
    enum { CHUNK = 512 };
    uint64_t entries[CHUNK], total = m->size / (4 * KIB);
    uint64_t step = vm->config->memory.page / (4 * KIB);
    r->pages = total / step;
    for (uint64_t p = 0; p < total;) {
        uint64_t want = step == 1 ? (total - p < CHUNK ? total - p : CHUNK) : 1;
        off_t at = (off_t)(((uintptr_t)m->hva / (4 * KIB) + p) * sizeof entries[0]);
        ssize_t n = pread(vm->pagemap, entries, want * sizeof entries[0], at);
        if (n < (ssize_t)sizeof entries[0])
            return;
        uint64_t got = (uint64_t)n / sizeof entries[0];
        for (uint64_t i = 0; i < got; i++) {
            uint64_t frame = entries[i] & ((1ull << 55) - 1);
            bool present = entries[i] >> 63;
            r->present += present;
            r->known |= present && frame != 0;
            if (!present || frame == 0) {
                r->previous = 0;
                continue;
            }
            bool next = r->previous && frame == r->previous + step;
            r->runs += !next;
            r->current = next ? r->current + 1 : 1;
            r->longest = r->current > r->longest ? r->current : r->longest;
            r->previous = frame;
        }
        p += step == 1 ? got : step;
    }
}

/* On which host nodes a sample of its pages lies: [{"node":0,"sampled":64}]. */
static json_t *sample_nodes(const struct vm_memory *m, uint64_t page)
{
    enum { SAMPLES = 64 };
    void *at[SAMPLES];
    int status[SAMPLES];
    uint64_t pages = m->size / page, n = pages < SAMPLES ? pages : SAMPLES;
    for (uint64_t i = 0; i < n; i++)
        at[i] = (char *)m->hva + pages * i / n * page;
    json_t *out = json_object();
    if (syscall(SYS_move_pages, 0, n, at, NULL, status, 0) < 0)
        return out;
    for (uint64_t i = 0; i < n; i++) {
        char key[16];
        if (status[i] < 0)
            continue;
        snprintf(key, sizeof key, "%d", status[i]);
        json_int_t was = json_integer_value(json_object_get(out, key));
        json_object_set_new(out, key, json_integer(was + 1));
    }
    return out;
}

json_t *memory_report(struct vm *vm)
{
    json_t *list = json_array();
    uint64_t page = vm->config->memory.page;
    for (size_t i = 0; i < vm->nmemory; i++) {
        const struct vm_memory *m = &vm->memory[i];
        if (!m->ram)
            continue;
        struct runs r = {0};
        if (vm->pagemap >= 0)
            count_frames(vm, m, &r);
        json_t *o =
            json_pack("{s:I, s:I, s:I, s:i, s:i, s:o, s:I, s:I}", "guest_address",
                      (json_int_t)m->gpa, "bytes", (json_int_t)m->size, "page_bytes",
                      (json_int_t)page, "guest_node", m->node, "bound_to_node",
                      vm->config->memory.nodes[m->node].host_node,
                      "pages_on_node_sampled", sample_nodes(m, page), "pages",
                      (json_int_t)r.pages, "present", (json_int_t)r.present);
        if (r.known) {
            json_object_set_new(o, "contiguous_runs", json_integer((json_int_t)r.runs));
            json_object_set_new(o, "longest_run_bytes",
                                json_integer((json_int_t)(r.longest * page)));
        } else {
            json_object_set_new(o, "contiguous_runs", json_null());
            json_object_set_new(o, "why",
                                json_string(r.present
                                                ? "frame numbers need CAP_SYS_ADMIN"
                                                : "no page is there yet"));
        }
        json_array_append_new(list, o);
    }
    return list;
}
