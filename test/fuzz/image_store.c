/* SPDX-License-Identifier: Apache-2.0 */
/* What the store, a lock or another's disk says. The first byte chooses: a manifest, a
 * lock, or a disk with partition tables. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/disk.h"
#include "image/manifest.h"
#include "image/pkg.h"

const char fuzz_name[] = "image_store";
const char *const fuzz_seeds[] = {NULL};

static void manifest(const char *text, size_t len)
{
    json_t *m = NULL;
    struct err err = {0};
    if (manifest_parse(text, len, "fuzz", &m, &err) < 0)
        return;
    char *digest = manifest_digest(m);
    const char *sum = manifest_output(m, "erofs");
    if (!digest || strlen(digest) != 71 || !manifest_text(m, "name") ||
        (sum && strlen(sum) != 64))
        abort();
    free(digest);
    json_decref(m);
}

/* What was read is the same when it was written and read again. */
static void lock(const char *text)
{
    struct pkgs *p = NULL, *again = NULL;
    struct err err = {0};
    if (pkgs_parse(text, "fuzz", &p, &err) < 0)
        return;
    char *one = pkgs_format(p);
    if (!one || pkgs_parse(one, "again", &again, &err) < 0)
        abort();
    char *two = pkgs_format(again);
    if (!two || strcmp(one, two))
        abort();
    free(one);
    free(two);
    pkgs_free(p);
    pkgs_free(again);
}

static void disk(const char *data, size_t len)
{
    struct err err = {0};
    off_t at = 0;
    int fd = memfd_create("disk", MFD_CLOEXEC);
    if (fd < 0 || write(fd, data, len) != (ssize_t)len ||
        (disk_find_ext4(fd, &at, &err) == 0 && (at < 0 || (size_t)at > len)))
        abort();
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char *text = malloc(size);
    if (!text)
        abort();
    memcpy(text, data + 1, size - 1);
    text[size - 1] = '\0';
    if (*data % 3 == 0)
        manifest(text, size - 1);
    else if (*data % 3 == 1)
        lock(text);
    else
        disk(text, size - 1);
    free(text);
    return 0;
}
