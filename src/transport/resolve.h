/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting a TCP socket by name without ever blocking the loop: the name is looked up
 * in a short-lived child, the addresses are tried in turn. */
#pragma once
#include "base/err.h"

#include <stdint.h>
#include <systemd/sd-event.h>

struct resolve;
/* `done` is called once: fd ≥ 0 is a connected, nonblocking socket (the callee's), or
 * -1 with err. Not called after resolve_free(). */
typedef void (*resolve_done_f)(int fd, const struct err *err, void *arg);

int resolve_connect(sd_event *event, const char *host, uint16_t port,
                    resolve_done_f done, void *arg, struct resolve **out,
                    struct err *err);
void resolve_free(struct resolve *r);
