/* SPDX-License-Identifier: Apache-2.0 */
/* A build under way and its steps; inside src/image. The table of steps (build.c) has
 * them in order; those of the second half run inside the sandbox. */
#pragma once
#include "image/build.h"
#include "image/kernel.h"
#include "image/pkg.h"
#include "image/run.h"

/* Every time stamp in an image: 2024-01-01. The same content is the same bytes. */
#define BUILD_EPOCH      1704067200
#define BUILD_EPOCH_TEXT "1704067200"

struct build {
    const struct image_def *def;
    const struct build_options *opt;
    struct run run;
    int wlock, clock; /* hold work and ctmp */
    char *store;
    char *cache; /* shared by builds */
    char *ctmp;  /* ours, on the file system of the cache */
    char *work;  /* ours, on the file system of the store */
    char *fs;    /* work/fs: a tmpfs inside the sandbox */
    char *root;  /* work/fs/root */
    char *out;   /* work/out: what is kept */
    char *layer; /* the root as packages made it, a tar in the cache; or the source */
    char *list;  /* of the files of an image that is unpacked; may be NULL */
    struct pkgs *pkgs;
    struct kernel *kernel;
    char *verity; /* "HASH,BLOCKS,SALT[,full]" */
    char uuid[40];
};

/* A place to build in: work directories, locked, and the log. Closing removes them. */
int build_open(const struct image_def *def, const struct build_options *opt,
               struct build **out, struct err *err);
void build_close(struct build *b);
static inline void own_build_cleanup(struct build **b)
{
    build_close(*b);
}

/* In the sandbox: from the layer to the finished root, in order. */
int step_bootstrap(struct build *b, struct err *err);
int unpack_check_qcow2(struct build *b, const char *path, struct err *err);
int step_unpack(struct build *b, struct err *err);
int step_modules(struct build *b, struct err *err);
int step_files(struct build *b, struct err *err);
int step_units(struct build *b, struct err *err);
int step_run(struct build *b, struct err *err);
int step_guest(struct build *b, struct err *err);
int step_prune(struct build *b, struct err *err);
int step_secrets(struct build *b, struct err *err);
/* In the sandbox: what is written to work/out. */
/* One format ("erofs", "tar" ...) of b->root into out/FORMAT. */
int output_make(struct build *b, const char *format, struct err *err);
int step_list(struct build *b, struct err *err);
int step_initramfs(struct build *b, struct err *err);
int step_root(struct build *b, struct err *err);
int step_outputs(struct build *b, struct err *err);

int root_mount_points(struct build *b, struct err *err);
/* The path on this machine of a path in the root. Links in its directories are resolved
 * within the root, so that none leads out of it. create: missing directories are made,
 * else they are E_NOENT. The caller's. */
int root_path(const struct build *b, const char *path, bool create, char **out,
              struct err *err);
