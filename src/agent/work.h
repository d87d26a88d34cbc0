/* SPDX-License-Identifier: Apache-2.0 */
/* Long work is a child: a function run in a fork of the agent, which reports by JSON
 * lines and can be killed at any time. A library that hangs (libvirt) hangs only there.
 *
 * The child shares nothing but memory as it was; all descriptors but its pipe and the
 * standard ones are closed; it dies with the agent. */
#pragma once
#include "base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <systemd/sd-event.h>

struct work;

/* In the child: tell the parent something before the end. Steals note. */
typedef void (*work_tell_f)(json_t *note);
/* In the child: do it; *out (may stay NULL) becomes the result. */
typedef int (*work_do_f)(void *arg, work_tell_f tell, json_t **out, struct err *err);
/* In the agent: a note; and the end (why NULL: done, result borrowed). The work is
 * freed after `done` returns. Never called after work_cancel(). */
typedef void (*work_note_f)(void *arg, json_t *note);
typedef void (*work_done_f)(void *arg, json_t *result, const struct err *why);

struct work_spec {
    sd_event *event;
    const char *what; /* for messages */
    work_do_f run;
    work_note_f note;
    work_done_f done;
    void *arg;      /* run's: read in the fork only */
    void *done_arg; /* note's and done's */
    unsigned timeout_ms;
};

int work_start(const struct work_spec *spec, struct work **out, struct err *err);
/* Kill it, forget it. NULL is fine. */
void work_cancel(struct work *w);
