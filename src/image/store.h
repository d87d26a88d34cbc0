/* SPDX-License-Identifier: Apache-2.0 */
/* The store of images: a directory that any number of processes may use at once.
 *
 *   blobs/sha256/HEX             contents, named by their hash, mode 0444
 *   manifests/NAME/VERSION.json  one version of an image: see manifest.h
 *   tags/NAME/TAG                versions the tag has named, one a line, last is now
 *   work/                        builds under way, each with a lock; gc sweeps it
 *   lock                         shared by whoever adds, exclusive by gc and rm
 *
 * A blob or manifest appears by rename, complete, so a reader needs no lock. Searched
 * are DIRS_STATE/images, the site's /var/lib/lodge/images and the directories of
 * $LODGE_IMAGE_PATH (colons between), in this order; only the first is written. */
#pragma once
#include "base/err.h"
#include "base/own.h"

#include <stdbool.h>

enum image_kind {
    IMAGE_GUEST, /* runs in a VM */
    IMAGE_HOST,  /* boots a node */
    IMAGE_DISK   /* a disk of somebody else's making: no kernel of its own */
};

/* What is needed to boot an image. Paths are absolute and point into the store; they
 * are read-only for everybody. A member that does not apply is NULL. */
struct image {
    char *name;    /* "debian-fast" */
    char *version; /* "12.1", or "12.1-3" for the third build of it */
    char *digest;  /* "sha256:HEX" of what the image is (see manifest.h) */
    enum image_kind kind;
    char *kernel;      /* an ELF vmlinux with a PVH entry, not compressed */
    char *bzimage;     /* the same kernel as the distribution ships it */
    char *initrd;      /* stage-1, lodge-guest and the modules */
    char *root;        /* disk 0 (virtio-blk serial "lodge-root"), read-only */
    char *root_format; /* "erofs", "squashfs", "ext4", "raw", "qcow2" or "none" */
    char *append;      /* kernel command line: complete, lodge.* words included */
    char *init;        /* program that stage-1 hands over to */
    char *root_mode;   /* "tmpfs", "scratch" (give a disk "lodge-scratch") or "plain" */
    char *guest_marker; /* appears on the console when the guest is up */
};

void image_free(struct image *img);
OWN_DEFINE(image)

/* The image that ref names: NAME (its tag "latest"), NAME@VERSION, NAME@TAG,
 * NAME@sha256:HEX (or the beginning of it), or an absolute path of a disk file.
 * *out is the caller's. E_NOENT says what was searched. */
int image_find(const char *ref, struct image **out, struct err *err);

/* A descriptor (or -1) that keeps this version from being removed while it is open: for
 * whoever runs a machine from it. It dies with its process, so nothing is left over. */
int image_hold(const char *ref, struct err *err);

const char *image_kind_name(enum image_kind kind);
