/* SPDX-License-Identifier: Apache-2.0 */
/* The agent: one process a node (or a user) that owns VMs. One thread, sd-event. */
#pragma once
#include "agent/vm.h"
#include "place/auto.h"
#include "proto/server.h"

#include <stdbool.h>

struct agent {
    sd_event *event;
    struct rpc_server *server;
    struct list vms;
    struct list asked;        /* answers that workers are making */
    char tag[VM_TAG_LEN + 1]; /* begins the id of each VM of this agent: see load.c */
    bool stay;                /* do not end when idle */
    unsigned idle_ms;         /* how long without VMs and calls until the end */
    sd_event_source *idle;
    struct place_facts facts;
    bool facts_known;
    const char *root; /* where /sys and /proc are looked for: "" on a node */
    unsigned busy;    /* calls and relays under way */
};

/* Read the rows and take up what was under way: adopt, clean, boot again. Then sweep
 * what belongs to nothing. */
int agent_load(struct agent *a, struct err *err);
/* Only read the rows. */
int agent_read(struct agent *a, struct err *err);
void agent_unload(struct agent *a);
/* Somebody asked something, or a VM went: think about ending later. */
void agent_touch(struct agent *a);
/* A name (among the VMs that uid may see) or an id. E_NOENT, E_EXISTS if it is not the
 * only one. Someone else's VM is as if it were not there. */
struct vm *agent_find(struct agent *a, uid_t uid, const char *name, struct err *err);
bool agent_may(const struct vm *vm, uid_t uid);
/* Who rules over all of it: root on a node, else whose agent it is. */
bool agent_is_master(uid_t uid);
/* Of events that only they hear: for rpc_server_emit(). */
bool agent_master_hears(uid_t uid, const json_t *data);
/* For type auto; valid until asked again. */
const struct place_facts *agent_facts(struct agent *a);
extern const struct rpc_method agent_methods[];
