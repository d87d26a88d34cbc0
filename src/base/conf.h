/* SPDX-License-Identifier: Apache-2.0 */
/* The site's configuration: lodge.conf below DIRS_CONFIG, lines of "key = value". One table
 * gives each key its default, its kind and its help; 'lodge site init' writes the commented
 * file from it, lodge.conf(5) is checked against it, and unknown keys are refused with
 * the nearest known one. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CONF_KEYS(X)                                                                   \
    /* key, name in the file, kind, default, help */                                   \
    X(CONF_LISTEN, "listen", CONF_TEXT, "",                                            \
      "address:port where lodged serves submit hosts (munge); empty: only this "       \
      "machine")                                                                       \
    X(CONF_CONTROLLER, "controller", CONF_TEXT, "",                                    \
      "on submit hosts: address:port of lodged; empty: the socket of this machine")    \
    X(CONF_TICKET_LIFE, "ticket_life", CONF_MS, "30d",                                 \
      "how long a job may wait in the queue with its right to boot")                   \
    X(CONF_HEARTBEAT, "heartbeat", CONF_MS, "4s",                                      \
      "lodged asks a silent node after this, and gives it up after twice this")        \
    X(CONF_SHARES, "shares", CONF_TEXT, "/",                                           \
      "directories, separated by ':', below which users may share what they can read") \
    X(CONF_NETWORKS, "networks", CONF_TEXT, "",                                        \
      "bridges, separated by ',', that users may name in their own profiles; "         \
      "BRIDGE=FIRST-LAST/BITS@GATEWAY: with addresses that this node gives")           \
    X(CONF_OUTSIDE_JOBS, "outside_jobs", CONF_YES_NO, "yes",                           \
      "users may start machines that no job asked for; 'no' where a batch system "     \
      "shares out the nodes: then only jobs and root may")                             \
    X(CONF_SCRATCH, "scratch", CONF_TEXT, "",                                          \
      "directory of the scratch disks of VMs; empty: below the state directory")       \
    X(CONF_SCRATCH_LIMIT, "scratch_limit", CONF_BYTES, "1T",                           \
      "all scratch disks of a node together")                                          \
    X(CONF_IMAGE_CACHE, "image_cache", CONF_BYTES, "100G",                             \
      "images a node keeps; the ones not used for longest go first")                   \
    X(CONF_AGENT_IDLE, "agent_idle", CONF_MS, "60s",                                   \
      "an agent started on demand ends after this long without a VM")

enum conf_kind { CONF_TEXT, CONF_YES_NO, CONF_MS, CONF_BYTES };
enum conf_key {
#define X(key, name, kind, value, help) key,
    CONF_KEYS(X)
#undef X
        CONF_COUNT
};

/* What a value of the kind looks like, for messages and the manual. */
extern const char *const conf_wants[];

struct conf;
/* Read the file; NULL: the usual one, and if that is missing all is default. All its errors
 * are of the form "lodge.conf:3: ...". */
int conf_load(const char *path, struct conf **out, struct err *err);
void conf_free(struct conf *c);
OWN_DEFINE(conf)

const char *conf_text(const struct conf *c, enum conf_key key);
uint64_t conf_number(const struct conf *c, enum conf_key key); /* ms or bytes */
bool conf_yes(const struct conf *c, enum conf_key key);
/* May users start machines that no job asked for (CONF_OUTSIDE_JOBS)? E_PERM, which says
 * what to do instead, if not. */
int conf_outside_jobs(const struct conf *c, struct err *err);
bool conf_is_default(const struct conf *c, enum conf_key key);
const char *conf_name(enum conf_key key);
/* The commented file with all keys at their defaults. */
void conf_write_template(FILE *to);
