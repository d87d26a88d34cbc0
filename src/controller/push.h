/* SPDX-License-Identifier: Apache-2.0 */
/* Sends images to nodes over their links, blob by blob, only what is missing there; goes on
 * where an earlier try ended. A few nodes at once, the others wait. */
#pragma once
#include "controller/hub.h"

/* Steps of operations with this method are done here and not by the agent alone. Their
 * params: {"image": NAME@sha256:..., "latest": bool} (push_params). */
#define PUSH_METHOD "image.push"

struct pusher;
int pusher_new(struct hub *hub, struct pusher **out, struct err *err);
/* What is under way ends with E_CANCELLED. After the hub. */
void pusher_free(struct pusher *p);
OWN_DEFINE(pusher)

/* The image (of our own store) as a step's params; E_NOENT if it is not here. */
int push_params(const char *ref, json_t **out, struct err *err);

/* done: as link_done_f, never called from inside. note: how far it is. */
typedef void (*push_note_f)(uint64_t sent, uint64_t total, void *arg);
int push_start(struct pusher *p, const char *node, json_t *params, link_done_f done,
               push_note_f note, void *arg, struct err *err);
/* Who asked with this arg wants it no more: it ends soon, with E_CANCELLED. */
void push_cancel(struct pusher *p, const void *arg);
