/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets: what a user may have booted for a job, signed by the controller at
 * submission and checked by each node alone, without asking anybody (Ed25519,
 * libsodium).
 *
 *   lodge1.BASE64URL(payload).BASE64URL(signature)
 *   payload {"key", "nonce", "uid", "gid", "not_before", "expires", "job"?, "grant":
 * {}}
 *
 * The grant is opaque here: the resolved profile, image digest, number of VMs (see
 * controller/ticket.c). The signature covers a fixed prefix and the payload's bytes, so
 * that it can be taken for nothing else. A ticket is not a secret: it names the uid.
 *
 * Keys live in one directory: signing.key (0600; only where tickets are issued) and
 * KEYID.pub, one a line of hex, for each key that is trusted. Rolling over makes a new
 * signing key and leaves the old public one until tickets signed by it have expired. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { TICKET_KEY_ID = 16, TICKET_NONCE = 32, TICKET_MAX = 96 * 1024 };

struct ticket_key;  /* signs */
struct ticket_keys; /* verifies: all that are trusted */

/* The signing key of the directory; made, with the directory, if there is none. Two
 * that do so at once get the same key. */
int ticket_key_open(const char *dir, struct ticket_key **out, struct err *err);
void ticket_key_free(struct ticket_key *k);
OWN_DEFINE(ticket_key)
const char *ticket_key_id(const struct ticket_key *k);
/* Make a new signing key; the old one is trusted for what it signed already. Then give
 * all nodes the new KEYID.pub. */
int ticket_key_roll(const char *dir, struct ticket_key **out, struct err *err);
/* Trust the key no more: what it signed is refused from now on. */
int ticket_key_retire(const char *dir, const char *id, struct err *err);

int ticket_keys_load(const char *dir, struct ticket_keys **out, struct err *err);
void ticket_keys_free(struct ticket_keys *k);
OWN_DEFINE(ticket_keys)
size_t ticket_keys_count(const struct ticket_keys *k);

struct ticket {
    char key[TICKET_KEY_ID + 1];
    char nonce[TICKET_NONCE + 1];
    uid_t uid;
    gid_t gid;
    uint64_t not_before, expires; /* seconds since 1970 */
    char *job; /* the only job it is for; NULL: the first that uses it */
    json_t *grant;
};
void ticket_free(struct ticket *t);
OWN_DEFINE(ticket)

/* Sign t (its key and nonce are set here). *text is the caller's. */
int ticket_issue(const struct ticket_key *k, struct ticket *t, char **text,
                 struct err *err);

/* Is this text a ticket that uid may use for this job now? Each refusal has its own
 * sentence; E_PERM, or E_INPUT for what is no ticket at all. job may be NULL when it is
 * not known yet. *out is the caller's. */
int ticket_open(const char *text, const struct ticket_keys *keys, uint64_t now,
                uid_t uid, const char *job, struct ticket **out, struct err *err);

/* All that stand in dir: [{"ticket": nonce, "job", "expires", "uid"}]. */
int ticket_claims(const char *dir, json_t **out, struct err *err);
/* Remember on this node, in dir, that job uses the ticket; E_PERM if another job did.
 * Again for the same job is fine (requeue, restarted agent). Entries of expired tickets
 * go. Survives a power cut. */
int ticket_claim(const char *dir, const struct ticket *t, const char *job, uint64_t now,
                 struct err *err);
