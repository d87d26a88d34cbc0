/* SPDX-License-Identifier: Apache-2.0 */
/* Hostlists as Slurm writes them: "n[01-16,20],login1" <-> names. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <stddef.h>

struct hostlist {
    char **names; /* count names, then NULL */
    size_t count;
};

/* Expand text. Several brackets in a name multiply; the widths of numbers are kept. At
 * most 65536 names, else E_INPUT. *out is the caller's, for hostlist_free(). */
int hostlist_parse(const char *text, struct hostlist **out, struct err *err);
/* The shortest bracketed form of names, in the order of first appearance of each
 * prefix; the caller's to free, NULL without memory. */
char *hostlist_format(const char *const *names, size_t count);
void hostlist_free(struct hostlist *h);
OWN_DEFINE(hostlist)
