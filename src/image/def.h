/* SPDX-License-Identifier: Apache-2.0 */
/* An image's definition: the XML document as a structure. Reading it touches nothing
 * but the document; lodge-image(5) describes the elements. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include "image/store.h"

#include <stdint.h>
#include <sys/types.h>

/* What a root is made from. */
enum image_from {
    FROM_DEBIAN,
    FROM_OCI,    /* an OCI layout: DIR[:TAG] */
    FROM_DOCKER, /* what "docker save" writes */
    FROM_TAR,
    FROM_DIR,
    FROM_DISK,  /* a raw disk with an ext4, whole or in a partition */
    FROM_QCOW2, /* the same as qcow2 */
    FROM_IMAGE, /* a file of one of our own root formats */
};

/* A NULL-terminated list of words. */
struct words {
    char **item;
    size_t count;
};

/* A file put into the root: content, or a copy of source, or a link to target. */
struct image_file {
    char *path;    /* absolute, no ".." */
    char *content; /* NULL: see the other two */
    char *source;  /* relative to the definition, or absolute */
    char *target;  /* symbolic link */
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

struct image_def {
    char *path; /* of the document, for messages and relative sources */
    char *name, *version, *description;
    enum image_kind kind;

    enum image_from from;
    char *suite;      /* FROM_DEBIAN: "bookworm" */
    char *mirror;     /* NULL: what this machine's apt uses */
    char *components; /* "main" */
    char *source;     /* the other kinds: path (OCI: LAYOUT[:TAG]) */
    struct words packages;
    struct words prune; /* classes, see prune.c */
    struct image_file *files;
    size_t nfiles;
    struct words enable, disable, mask; /* units */
    struct words *run;                  /* programs run in the root, in order */
    size_t nrun;

    char *kernel;           /* package; NULL: no kernel */
    char *append;           /* the definition's own words */
    struct words initramfs; /* modules loaded before the root is mounted */
    struct words load;      /* modules loaded from the root, before the init */
    struct words modules;   /* modules that are there for the asking; "all" */

    char *root_format; /* "erofs", "squashfs", "ext4", "none" */
    char *root_mode;   /* "tmpfs", "scratch", "plain" */
    char *verity;      /* NULL, "lazy" or "full" */
    char *init;
    char *marker;
    struct words outputs; /* more than the boot needs: "tar", "qcow2", ... */

    uint64_t max_bytes;   /* of the root; 0: any */
    struct words secrets; /* more paths that must not be in the root */
    bool reproducible;    /* build it twice, as with --check */
    bool boot;            /* boot it before it is kept */
};

/* Read the definition. Errors name file and line. *out is the caller's. */
int image_def_load(const char *path, struct image_def **out, struct err *err);
/* The same from memory; `path` is for messages. */
int image_def_parse(const char *text, size_t len, const char *path,
                    struct image_def **out, struct err *err);
void image_def_free(struct image_def *def);
OWN_DEFINE(image_def)

bool words_has(const struct words *w, const char *word);
