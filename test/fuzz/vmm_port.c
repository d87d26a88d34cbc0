/* SPDX-License-Identifier: Apache-2.0 */
/* The console with three ports and the serial port under a hostile guest and peers that
 * send, stall and hang up. */
#include "vmm_guest.h"

const char fuzz_name[] = "vmm_port";
const char *const fuzz_seeds[] = {NULL};

enum { PEERS = 4 };
static int peer[PEERS];

static unsigned setup(struct vm *vm, uint8_t choice)
{
    char json[256];
    int fd[PEERS];
    for (unsigned i = 0; i < PEERS; i++)
        fuzz_pair(SOCK_STREAM, &fd[i], &peer[i]);
    snprintf(json, sizeof json,
             "{\"cols\": 80, \"rows\": %d, \"ports\": [{\"fd\": %d}, "
             "{\"name\": \"a\", \"fd\": %d}, {\"name\": \"b\", \"fd\": %d}]}",
             choice, fd[0], fd[1], fd[2]);
    (void)fake_device(vm, "console", json, NULL);
    snprintf(json, sizeof json, "{\"fd\": %d}", fd[3]);
    (void)fake_device(vm, "serial", json, NULL);
    return 1;
}

static void host(const struct fuzz_step *s)
{
    int *p = &peer[s->a % PEERS];
    if (s->a & 64)
        fuzz_drain(*p);
    if (s->a & 128 && *p >= 0) {
        close(*p);
        *p = -1;
    }
    fuzz_send(*p, s);
}

static void done(void)
{
    for (unsigned i = 0; i < PEERS; i++)
        if (peer[i] >= 0)
            close(peer[i]);
}

static const struct fuzz_machine machine = {.setup = setup, .host = host, .done = done};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_guest(&machine, data, size);
}
