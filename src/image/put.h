/* SPDX-License-Identifier: Apache-2.0 */
/* Writing to the store: see store.h for what is where. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* The writable store, made if missing; the caller's. */
int put_open(char **store, struct err *err);
/* The directories of a store at dir. */
int put_make(const char *dir, struct err *err);
/* Hold the store: shared to add, exclusive to remove. A descriptor or -1. */
int put_lock(const char *store, bool exclusive, struct err *err);
/* For who changes the versions of that name, whose directory is made: a descriptor, or -1. */
int put_lock_name(const char *store, const char *name, struct err *err);
/* A work directory of our own, locked while *lock is open. */
int put_work(const char *parent, char **dir, int *lock, struct err *err);
/* Take a file (on the store's file system) as a blob; its hash in hex. It is gone from
 * where it was. */
int put_blob(const char *store, const char *file, char hex[65], uint64_t *size,
             struct err *err);
/* The same for a file whose hash the caller has just found to be hex. */
int put_hashed(const char *store, const char *file, const char *hex, struct err *err);
/* A copy of a file that stays where it is. */
int put_copy(const char *store, const char *file, const char *work, char hex[65],
             uint64_t *size, struct err *err);
/* Put the manifest: content without "version" gets BASE, or BASE-N when that is another
 * image; *same when an equal image was there. The tag "latest" follows. *version is the
 * caller's. */
int put_manifest(const char *store, json_t *manifest, const char *base, char **version,
                 bool *same, struct err *err);
int put_tag(const char *store, const char *name, const char *tag, const char *version,
            struct err *err);
/* Remove work directories that nobody holds. */
int put_sweep(const char *parent, struct err *err);
