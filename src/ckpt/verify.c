/* SPDX-License-Identifier: Apache-2.0 */
/* Every byte of a checkpoint and of its parents. */
#include "ckpt/ckpt.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A name below the directory: not empty, no "..", not absolute. */
static bool is_below(const char *name)
{
    if (!*name || *name == '/')
        return false;
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, "/");
        if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
            return false;
        p += n;
        p += *p == '/';
    }
    return true;
}

static int verify_disk(int dirfd, json_t *d, struct err *err)
{
    const char *file = NULL, *id = "?";
    json_t *sum = NULL;
    json_int_t bytes = -1;
    char got[17];
    uint64_t size;
    if (json_unpack(d, "{s?s, s?o, s?I, s?s}", "file", &file, "xxh64", &sum, "bytes",
                    &bytes, "id", &id) < 0)
        return err_set(err, E_INPUT, "manifest: disks: not as they must be");
    if (!file)
        return 0; /* it is elsewhere: whoever wrote that checks it */
    if (!is_below(file))
        return err_set(err, E_INPUT, "disk '%s': '%s' is not below the checkpoint", id,
                       file);
    AUTO_FD fd = openat(dirfd, file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return err_sys(err, "disk '%s'", id);
    const char *hash = json_string_value(sum);
    if (!hash) /* sums by chunk: lodge ckpt verify */
        return 0;
    if (ckpt_hash_fd(fd, got, &size, err) < 0)
        return err_at(err, "disk '%s'", id);
    if ((bytes >= 0 && size != (uint64_t)bytes) || strcmp(got, hash) != 0)
        return err_set(err, E_INPUT, "disk '%s': damaged (wrong size or hash)", id);
    return 0;
}

int ckpt_verify(int dirfd, ckpt_progress_f progress, void *arg, struct err *err)
{
    AUTO(ckpt) c = NULL;
    AUTO_STR chunk = malloc(CKPT_CHUNK);
    size_t i;
    json_t *d;
    if (!chunk)
        return err_oom(err);
    if (ckpt_open(dirfd, &c, err) < 0)
        return -1;
    if (ckpt_map_fd(c, NULL) >= 0 && ckpt_verify_memory(c, err) < 0)
        return -1;
    for (uint64_t n = 0; n < ckpt_chunks(c); n++) {
        if (ckpt_read_chunk(c, n, chunk, false, err) < 0)
            return -1;
        if (progress)
            progress(n + 1, ckpt_chunks(c), arg);
    }
    json_array_foreach (json_object_get(ckpt_manifest(c), "disks"), i, d) {
        if (verify_disk(dirfd, d, err) < 0)
            return -1;
    }
    return 0;
}
