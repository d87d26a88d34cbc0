/* SPDX-License-Identifier: Apache-2.0 */
/* From a reference to the files that boot it; see store.h. Reads only, takes no lock.
 */
#include "image/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/dirs.h"
#include "base/fd.h"
#include "base/str.h"
#include "image/files.h"
#include "image/manifest.h"

OWN_CLEANUP(json_t, json_decref)

static const char *const kind_names[] = {
    [IMAGE_GUEST] = "guest", [IMAGE_HOST] = "host", [IMAGE_DISK] = "disk"};

const char *image_kind_name(enum image_kind kind)
{
    return kind_names[kind];
}

void image_free(struct image *img)
{
    if (!img)
        return;
    char *owned[] = {img->name,    img->version, img->digest,    img->kernel,
                     img->bzimage, img->initrd,  img->root,      img->root_format,
                     img->append,  img->init,    img->root_mode, img->guest_marker};
    for (size_t i = 0; i < ARRAY_SIZE(owned); i++)
        free(owned[i]);
    free(img);
}

static char *copy(const char *s, bool *failed)
{
    char *c = s ? strdup(s) : NULL;
    *failed |= s && !c;
    return c;
}

static char *blob(const char *store, const char *sum, bool *failed)
{
    char *p = sum ? files_blob(store, sum) : NULL;
    *failed |= sum && !p;
    return p;
}

static int from_manifest(const char *store, const json_t *m, struct image **out,
                         struct err *err)
{
    AUTO(image) img = calloc(1, sizeof *img);
    if (!img)
        return err_oom(err);
    bool failed = false;
    const char *kind = manifest_text(m, "kind");
    for (size_t i = 0; i < ARRAY_SIZE(kind_names); i++)
        if (!strcmp(kind, kind_names[i]))
            img->kind = i;
    img->name = copy(manifest_text(m, "name"), &failed);
    img->version = copy(manifest_text(m, "version"), &failed);
    img->root_format = copy(manifest_text(m, "root_format"), &failed);
    img->append = copy(manifest_text(m, "append"), &failed);
    img->init = copy(manifest_text(m, "init"), &failed);
    img->root_mode = copy(manifest_text(m, "root_mode"), &failed);
    img->guest_marker = copy(manifest_text(m, "marker"), &failed);
    img->kernel = blob(store, manifest_output(m, "vmlinux"), &failed);
    img->bzimage = blob(store, manifest_output(m, "vmlinuz"), &failed);
    img->initrd = blob(store, manifest_output(m, "initramfs"), &failed);
    img->root = blob(store, manifest_output(m, img->root_format), &failed);
    if (failed || !(img->digest = manifest_digest(m)))
        return err_oom(err);
    char *const paths[] = {img->kernel, img->bzimage, img->initrd, img->root};
    for (size_t i = 0; i < ARRAY_SIZE(paths); i++)
        if (paths[i] && access(paths[i], R_OK) < 0)
            return err_sys(err,
                           "image '%s@%s' lacks '%s'; 'lodge image verify' tells more",
                           img->name, img->version, paths[i]);
    *out = move(img);
    return 0;
}

/* A file that somebody made: what is it? */
static int from_path(const char *path, struct image **out, struct err *err)
{
    AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_sys(err, "image '%s'", path);
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
        return err_set(err, E_INPUT, "image '%s' is neither a file nor a disk", path);
    char magic[4] = "";
    ssize_t n = pread(fd, magic, sizeof magic, 0);
    bool qcow2 = n == sizeof magic && !memcmp(magic, "QFI\xfb", sizeof magic);
    AUTO(image) img = calloc(1, sizeof *img);
    if (!img)
        return err_oom(err);
    const char *slash = strrchr(path, '/');
    img->kind = IMAGE_DISK;
    img->name = strdup(slash + 1);
    img->root = strdup(path);
    img->root_format = strdup(qcow2 ? "qcow2" : "raw");
    img->root_mode = strdup("plain");
    if (!img->name || !img->root || !img->root_format || !img->root_mode)
        return err_oom(err);
    *out = move(img);
    return 0;
}

int image_find(const char *ref, struct image **out, struct err *err)
{
    if (ref[0] == '/')
        return from_path(ref, out, err);
    AUTO_STR store = NULL;
    AUTO_STR path = NULL;
    AUTO_T(json_t) m = NULL;
    if (files_resolve(ref, &store, &path, err) < 0 || manifest_load(path, &m, err) < 0)
        return -1;
    return from_manifest(store, m, out, err);
}
