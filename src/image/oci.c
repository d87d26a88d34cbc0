/* SPDX-License-Identifier: Apache-2.0 */
/* Writing OCI layouts (OCI image-spec 1.0: image-layout, index, manifest, config). Times
 * are fixed, keys sorted: equal roots give equal digests. */
#include "image/oci.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/str.h"
#include "image/hash.h"

OWN_CLEANUP(json_t, json_decref)

#define CREATED "2024-01-01T00:00:00Z"
#define TYPE    "application/vnd.oci.image."

static int write_blob(const char *dir, const json_t *doc, char hex[HASH_HEX_SIZE],
                      size_t *size, struct err *err)
{
    AUTO_STR text = doc ? json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!text)
        return err_oom(err);
    *size = strlen(text);
    hash_bytes(text, *size, hex);
    AUTO_STR path = str_printf("%s/blobs/sha256/%s", dir, hex);
    return path ? fd_replace_file(path, text, *size, 0644, err) : err_oom(err);
}

static int copy_file(const char *from, const char *to, struct err *err)
{
    AUTO_FD in = open(from, O_RDONLY | O_CLOEXEC);
    AUTO_FD out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (in < 0 || out < 0)
        return err_sys(err, "'%s'", in < 0 ? from : to);
    AUTO_STR part = malloc(1 << 20);
    if (!part)
        return err_oom(err);
    for (ssize_t n; (n = read(in, part, 1 << 20)) != 0;) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return err_sys(err, "'%s'", from);
        if (fd_write_all(out, part, n, err) < 0)
            return err_at(err, "'%s'", to);
    }
    return 0;
}

static int write_file(const char *dir, const char *leaf, const json_t *doc,
                      struct err *err)
{
    AUTO_STR path = str_printf("%s/%s", dir, leaf);
    AUTO_STR text = doc ? json_dumps(doc, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    if (!path || !text)
        return err_oom(err);
    return fd_replace_file(path, text, strlen(text), 0644, err);
}

static int write_documents(const char *dir, const char *layer, uint64_t layer_size,
                           const char *tag, struct err *err)
{
    char hex[HASH_HEX_SIZE];
    size_t size;
    AUTO_STR diff = str_printf("sha256:%s", layer);
    if (!diff)
        return err_oom(err);
    AUTO_T(json_t)
    config = json_pack(
        "{s:s, s:s, s:s, s:{s:[s], s:[s]}, s:{s:s, s:[s]}, s:[{s:s, s:s}]}",
        "architecture", "amd64", "os", "linux", "created", CREATED, "config", "Env",
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "Cmd",
        "/bin/sh", "rootfs", "type", "layers", "diff_ids", diff, "history", "created",
        CREATED, "created_by", "lodge image export");
    if (write_blob(dir, config, hex, &size, err) < 0)
        return -1;
    AUTO_STR config_digest = str_printf("sha256:%s", hex);
    AUTO_T(json_t)
    manifest =
        json_pack("{s:i, s:s, s:{s:s, s:s, s:I}, s:[{s:s, s:s, s:I}]}", "schemaVersion",
                  2, "mediaType", TYPE "manifest.v1+json", "config", "mediaType",
                  TYPE "config.v1+json", "digest", config_digest ? config_digest : "",
                  "size", (json_int_t)size, "layers", "mediaType", TYPE "layer.v1.tar",
                  "digest", diff, "size", (json_int_t)layer_size);
    if (write_blob(dir, manifest, hex, &size, err) < 0)
        return -1;
    AUTO_STR digest = str_printf("sha256:%s", hex);
    AUTO_T(json_t)
    index = json_pack("{s:i, s:s, s:[{s:s, s:s, s:I, s:{s:s}, s:{s:s, s:s}}]}",
                      "schemaVersion", 2, "mediaType", TYPE "index.v1+json",
                      "manifests", "mediaType", TYPE "manifest.v1+json", "digest",
                      digest ? digest : "", "size", (json_int_t)size, "annotations",
                      "org.opencontainers.image.ref.name", tag, "platform",
                      "architecture", "amd64", "os", "linux");
    AUTO_T(json_t) layout = json_pack("{s:s}", "imageLayoutVersion", "1.0.0");
    return write_file(dir, "index.json", index, err) < 0 ||
                   write_file(dir, "oci-layout", layout, err) < 0
               ? -1
               : 0;
}

int oci_write(const char *tar, const char *dir, const char *tag, struct err *err)
{
    char hex[HASH_HEX_SIZE];
    uint64_t size;
    AUTO_STR beside = str_printf("%s.new.%d", dir, (int)getpid());
    AUTO_STR blobs = beside ? str_printf("%s/blobs/sha256", beside) : NULL;
    if (!blobs)
        return err_oom(err);
    if (hash_file(tar, hex, &size, err) < 0 || fd_mkdirs(blobs, 0755, err) < 0)
        return -1;
    AUTO_STR layer = str_printf("%s/%s", blobs, hex);
    int r = layer ? copy_file(tar, layer, err) : err_oom(err);
    if (r == 0)
        r = write_documents(beside, hex, size, tag, err);
    if (r == 0 && rename(beside, dir) < 0)
        r = err_sys(err, "'%s'", dir);
    if (r < 0)
        fd_remove_tree(beside, NULL);
    return r;
}
