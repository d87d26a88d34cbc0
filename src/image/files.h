/* SPDX-License-Identifier: Apache-2.0 */
/* Names in the store, and from a reference to a manifest's path. Inside src/image. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <stdbool.h>

/* The stores searched, the writable one first; a NULL-terminated array. */
struct files_stores {
    char **dirs;
};
int files_stores(struct files_stores **out, struct err *err);
void files_stores_free(struct files_stores *s);
OWN_DEFINE(files_stores)

/* The path of a blob; the caller's, NULL without memory. */
char *files_blob(const char *store, const char *sum);

/* "NAME@WHAT" in two; *what is NULL without '@'. Both are the caller's. */
int files_split(const char *ref, char **name, char **what, struct err *err);

/* The store and the path of the manifest that ref names. Both are the caller's. */
int files_resolve(const char *ref, char **store, char **path, struct err *err);

/* The current version a tag names in this store; the caller's. E_NOENT if none. */
int files_tag(const char *store, const char *name, const char *tag, char **version,
              struct err *err);
