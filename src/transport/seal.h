/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes between a submit host and the controller: each piece travels inside a munge
 * credential, encrypted and authenticated by the site's munge key. A piece says in which
 * connection, in which direction and at which place it stands, so that none can be taken
 * out, moved or played again; munge itself refuses a credential that was seen before. */
#pragma once
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SEAL_MAX = 64 << 10, SEAL_LINE_MAX = 256 << 10, SEAL_NONCE = 32 };

struct seal {
    char session[2 * SEAL_NONCE + 2]; /* both sides' nonces, "SERVER:CLIENT" */
    bool server;
    uint64_t sent, got; /* pieces */
    uid_t only;         /* who may open what we send */
    bool known;         /* the other side has shown who it is */
    uid_t uid;
    gid_t gid;
};

void seal_nonce(char out[SEAL_NONCE + 1]);
/* The next piece as a credential; *out is the caller's. len ≤ SEAL_MAX. */
int seal_wrap(struct seal *s, const void *data, size_t len, char **out,
              struct err *err);
/* The next piece of the other side; *data is the caller's. E_PERM, each refusal with its
 * own sentence. */
int seal_open(struct seal *s, const char *credential, char **data, size_t *len,
              struct err *err);
