/* SPDX-License-Identifier: Apache-2.0 */
/* /etc/passwd and /etc/group of the guest, read and written without NSS. */
#pragma once
#include "base/err.h"

#include <jansson.h>
#include <sys/types.h>

struct user {
    char name[64], home[256], shell[256];
};
/* The user of uid; what is not known is "uid UID", "/", "/bin/sh". */
void users_find(uid_t uid, struct user *out);
/* Merge the lists of an identity into /etc/group and /etc/passwd: a line with the same
 * name is replaced, others stay. Homes that are missing are made. */
int users_apply(const json_t *groups, const json_t *users, json_t *warnings,
                struct err *err);
