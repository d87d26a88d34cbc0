/* SPDX-License-Identifier: Apache-2.0 */
/* An archive that comes out of a guest: whatever it holds, nothing appears beside the
 * directory it is unpacked to. */
#include "fuzz.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "proto/tar_int.h"

const char fuzz_name[] = "tar";
const char *const fuzz_seeds[] = {NULL};

/* Sums are made right, so that mutations get past them. */
static void mend(uint8_t *data, size_t size)
{
    for (size_t at = 0; at + TAR_BLOCK <= size; at += TAR_BLOCK) {
        struct tar_header *h = (struct tar_header *)(data + at);
        if (memcmp(h->magic, "ustar", 5))
            continue;
        char sum[8];
        snprintf(sum, sizeof sum, "%06o", tar_sum(h));
        memcpy(h->sum, sum, 7);
        h->sum[7] = ' ';
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char dir[] = "/tmp/lodge-fuzz-XXXXXX", below[64], trap[64];
    struct stat st;
    if (!mkdtemp(dir))
        return 0;
    snprintf(below, sizeof below, "%s/in", dir);
    snprintf(trap, sizeof trap, "%s/in/out", dir);
    if (mkdir(below, 0700) < 0 || symlink("..", trap) < 0)
        abort();
    int fd = memfd_create("tar", MFD_CLOEXEC);
    uint8_t *copy = malloc(size + 1);
    if (fd < 0 || !copy)
        abort();
    memcpy(copy, data, size);
    mend(copy, size);
    if (write(fd, copy, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    struct err err;
    tar_unpack(fd, below, NULL, &err);
    close(fd);
    free(copy);
    /* In `dir` there is "in" and nothing else: three links, no file. */
    if (stat(dir, &st) < 0 || st.st_nlink > 3)
        abort();
    unlink(trap);
    chmod(below, 0700);
    if (fd_remove_tree(below, NULL) < 0 && system(NULL) < 0)
        abort();
    if (rmdir(dir) < 0)
        abort();
    return 0;
}
