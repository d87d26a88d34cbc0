/* SPDX-License-Identifier: Apache-2.0 */
/* Packages: which ones (resolved by apt against the configured mirrors, or a lock),
 * fetching them into the cache by their hash, and a local repository of them. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include "image/def.h"
#include "image/run.h"

#include <jansson.h>
#include <stdint.h>

struct pkg {
    char *name, *version, *arch, *uri, *sha256;
    uint64_t size;
};

struct pkgs {
    struct pkg *item; /* sorted by name */
    size_t count;
    struct pkg kernel; /* the package with the kernel; name NULL: none */
};

void pkgs_free(struct pkgs *p);
OWN_DEFINE(pkgs)

/* The lock: a line a package, "name version arch sha256 size uri", the kernel's after
 * "kernel ". Pure. */
char *pkgs_format(const struct pkgs *p);
int pkgs_parse(const char *text, const char *path, struct pkgs **out, struct err *err);

/* Ask apt which packages the definition needs. `cache` is the cache's directory. */
int pkgs_resolve(const struct image_def *def, const char *cache, bool offline,
                 const struct run *run, struct pkgs **out, struct err *err);
/* Bring every package into the cache, verified; E_UNAVAIL when offline. */
int pkgs_fetch(const struct pkgs *p, const char *cache, const char *work, bool offline,
               const struct run *run, struct err *err);
/* Write a repository of the packages (not the kernel) into dir. */
int pkgs_repo(const struct pkgs *p, const char *cache, const char *dir,
              const struct run *run, struct err *err);
/* The path of a package in the cache. */
char *pkg_path(const struct pkg *p, const char *cache);
/* Does the file have the SHA256 that the package is known by? */
int pkg_check(const struct pkg *p, const char *path, struct err *err);
