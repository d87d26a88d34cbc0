/* SPDX-License-Identifier: Apache-2.0 */
/* Network cards (one and two queue pairs, a socket in place of the tap) and shared
 * directories, whose server answers what the input says, under a hostile guest. */
#include "vmm_guest.h"

#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>

const char fuzz_name[] = "vmm_net";
const char *const fuzz_seeds[] = {NULL};

static int tap[3], server;

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, ...);

/* What a tap would say. */
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list ap;
    va_start(ap, request);
    void *arg = va_arg(ap, void *);
    va_end(ap);
    switch (request) {
    case TUNGETIFF:
        ((struct ifreq *)arg)->ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
        return 0;
    case TUNSETVNETHDRSZ:
    case TUNSETOFFLOAD:
    case TUNSETQUEUE:
        return 0;
    default:
        return __real_ioctl(fd, request, arg);
    }
}

int __real_poll(struct pollfd *p, nfds_t n, int ms);
int __wrap_poll(struct pollfd *p, nfds_t n, int ms);

/* Nobody waits: what is not here yet will not come. */
int __wrap_poll(struct pollfd *p, nfds_t n, int ms)
{
    return __real_poll(p, n, 0);
}

/* A server's answer of 8 bytes. */
static void answer(uint32_t request, uint64_t value)
{
    struct {
        uint32_t request, flags, size;
        uint64_t value;
    } __attribute__((packed)) m = {request, 5, 8, value};
    (void)!send(server, &m, sizeof m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static unsigned setup(struct vm *vm, uint8_t choice)
{
    char json[128];
    int fd[3], fs;
    for (unsigned i = 0; i < 3; i++)
        fuzz_pair(SOCK_SEQPACKET, &fd[i], &tap[i]);
    snprintf(json, sizeof json, "{\"fd\": %d, \"mac\": \"02:00:00:00:00:01\"}", fd[0]);
    (void)fake_device(vm, "net", json, NULL);
    snprintf(json, sizeof json, "{\"fds\": [%d, %d]}", fd[1], fd[2]);
    (void)fake_device(vm, "net", json, NULL);
    fuzz_pair(SOCK_STREAM, &fs, &server);
    answer(1, 1ull << 30 | 1ull << 32 | 3ull << 28);
    answer(15, choice);
    for (unsigned i = 0; i < 4 * (choice & 7u); i++)
        answer(11, (uint64_t)i << 32 | i);
    if (choice & 8)
        (void)shutdown(server, SHUT_WR);
    snprintf(json, sizeof json, "{\"fd\": %d, \"tag\": \"t\", \"queues\": 2}", fs);
    (void)fake_device(vm, "fs", json, NULL);
    return 3;
}

static void each(void)
{
    fuzz_drain(server);
}

static void host(const struct fuzz_step *s)
{
    for (unsigned i = 0; i < 3; i++)
        fuzz_drain(tap[i]);
    if (s->a & 64)
        answer(s->a & 128 ? 11 : (uint8_t)s->b, s->d);
    fuzz_send(tap[s->a % 3], s);
}

static void done(void)
{
    for (unsigned i = 0; i < 3; i++)
        close(tap[i]);
    close(server);
}

static const struct fuzz_machine machine = {
    .setup = setup, .host = host, .each = each, .done = done};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return fuzz_guest(&machine, data, size);
}
