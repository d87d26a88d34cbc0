/* SPDX-License-Identifier: Apache-2.0 */
/* A hostile guest for the device targets: the input is a list of steps, each writing
 * memory, descriptors, config space, BARs or ports, kicking queues, or being the peer on
 * the host. A target gives the devices; their queues are brought up beforehand, so that
 * chains are reached without luck. */
#pragma once
#include "fuzz.h"
#include "vmm_fake.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

struct fuzz_step {
    uint8_t what, a;
    uint16_t b;
    uint32_t c;
    uint64_t d;
} __attribute__((packed));

struct fuzz_machine {
    /* Make the devices; `choice` is the input's first byte. Gives how many PCI slots
     * they have. */
    unsigned (*setup)(struct vm *vm, uint8_t choice);
    void (*host)(const struct fuzz_step *s); /* the peer's turn; optional */
    void (*each)(void);                      /* after each step; optional */
    void (*done)(void);                      /* optional */
};

/* Play the input against a new machine. */
int fuzz_guest(const struct fuzz_machine *m, const uint8_t *data, size_t size);

/* A pair of sockets, ours not blocking; -1 aborts. */
void fuzz_pair(int type, int *device, int *peer);
/* Write s->c % 4096 bytes made of s->d to the peer's end. */
void fuzz_send(int peer, const struct fuzz_step *s);
/* Throw away what waits there. */
void fuzz_drain(int peer);
/* A file in memory of this size. */
int fuzz_file(size_t size);
