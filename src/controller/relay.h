/* SPDX-License-Identifier: Apache-2.0 */
/* Joins a client's connection to the agent of a node, byte for byte, with back-pressure
 * both ways: so everything the agent speaks works through the controller unchanged. */
#pragma once
#include "transport/transport.h"

#include <sys/types.h>

/* Takes fd (nonblocking). `spec` is where to; the stream acts as uid and gid there
 * unless uid is 0. `rest` is what the client already sent. The relay frees itself when
 * either side ends; `ended` (may be NULL) is then called. */
struct relay;
int relay_start(sd_event *event, int fd, const struct transport_spec *spec, uid_t uid,
                gid_t gid, const void *rest, size_t rest_len, void (*ended)(void *arg),
                void *arg, struct relay **out, struct err *err);
/* Break it off; `ended` is not called. */
void relay_stop(struct relay *r);
