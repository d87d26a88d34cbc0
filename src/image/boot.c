/* SPDX-License-Identifier: Apache-2.0 */
/* A trial boot; see the header. The image is only read. */
#include "image/boot.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/dirs.h"
#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"

OWN_CLEANUP(json_t, json_decref)

enum { CONSOLE_MAX = 1 << 20, ARGS = 48 };

struct machine {
    const char *v[ARGS];
    size_t n;
    char *own[8];
    size_t nown;
};

static void machine_free(struct machine *m)
{
    for (size_t i = 0; m && i < m->nown; i++)
        free(m->own[i]);
    free(m);
}
OWN_DEFINE(machine)

static void add(struct machine *m, const char *a, const char *b)
{
    m->v[m->n++] = a;
    if (b)
        m->v[m->n++] = b;
}

static const char *own(struct machine *m, char *s)
{
    return m->own[m->nown++] = s;
}

/* A comma inside a value of -drive is written twice. */
static char *drive_file(const char *path)
{
    AUTO_BUF b = {0};
    for (; *path; path++)
        str_buf_add(&b, *path == ',' ? ",," : path, *path == ',' ? 2 : 1);
    return str_buf_take(&b);
}

static int make(struct machine *m, const struct image *img,
                const struct boot_options *opt, const char *scratch, struct err *err)
{
    AUTO_STR file = img->root ? drive_file(img->root) : NULL;
    bool qcow2 = img->root_format && !strcmp(img->root_format, "qcow2");
    const char *memory = own(m, str_printf("%u", opt->memory_mib));
    const char *append = own(m, str_printf("%s %s", img->append ? img->append : "",
                                           opt->append ? opt->append : ""));
    const char *drive =
        file ? own(m, str_printf("if=none,id=root,file=%s,format=%s,%s", file,
                                 qcow2 ? "qcow2" : "raw",
                                 img->kernel && strcmp(img->root_mode, "plain")
                                     ? "readonly=on"
                                     : "snapshot=on"))
             : NULL;
    const char *second =
        scratch ? own(m, str_printf("if=none,id=scratch,file=%s,format=raw", scratch))
                : NULL;
    if (!memory || !append || (img->root && !drive) || (scratch && !second))
        return err_oom(err);
    bool kvm = opt->accel && access("/dev/kvm", R_OK | W_OK) == 0;
    add(m, "qemu-system-x86_64", "-nodefaults");
    add(m, "-machine", kvm ? "q35,accel=kvm:tcg" : "q35,accel=tcg");
    add(m, "-m", memory);
    add(m, "-display", "none");
    add(m, "-no-reboot", NULL);
    add(m, "-serial", "stdio");
    add(m, "-device", "virtio-rng-pci");
    if (img->kernel) {
        add(m, "-kernel", img->kernel);
        add(m, "-append", append);
    }
    if (img->kernel && img->initrd)
        add(m, "-initrd", img->initrd);
    if (drive) {
        add(m, "-drive", drive);
        add(m, "-device", "virtio-blk-pci,drive=root,serial=lodge-root");
    }
    if (second) {
        add(m, "-drive", second);
        add(m, "-device", "virtio-blk-pci,drive=scratch,serial=lodge-scratch");
    }
    return 0;
}

static json_t *vmm_disk(const char *path, const char *serial, bool readonly)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:b}", "type", "blk", "id", serial + 6,
                     "path", path, "serial", serial, "readonly", readonly);
}

/* lodge-vmm reads what it shall be from a descriptor, number 3 there. */
static int make_vmm(struct machine *m, const struct image *img,
                    const struct boot_options *opt, const char *scratch, int *config,
                    struct err *err)
{
    if (!img->kernel)
        return err_set(err, E_INPUT,
                       "lodge-vmm boots a kernel, and image '%s' has none", img->name);
    if (!strcmp(img->root_mode, "plain"))
        return err_set(
            err, E_INPUT,
            "image '%s' writes to its own root: a trial boot of it is done in "
            "QEMU, which keeps that apart",
            img->name);
    AUTO_STR line = str_printf("%s %s", img->append ? img->append : "",
                               opt->append ? opt->append : "");
    json_t *devices =
        json_pack("[{s:s, s:b}, {s:s}]", "type", "serial", "stdio", 1, "type", "rng");
    if (img->root)
        json_array_append_new(devices, vmm_disk(img->root, "lodge-root",
                                                strcmp(img->root_mode, "plain")));
    if (scratch)
        json_array_append_new(devices, vmm_disk(scratch, "lodge-scratch", false));
    AUTO_T(json_t)
    all = json_pack("{s:s, s:{s:i}, s:s, s:s, s:o}", "name", img->name, "memory",
                    "size_mib", (int)opt->memory_mib, "kernel", img->kernel, "cmdline",
                    line ? line : "", "devices", devices);
    if (!line || !all ||
        (img->initrd &&
         json_object_set_new(all, "initrd", json_string(img->initrd)) < 0))
        return err_oom(err);
    AUTO_STR text = json_dumps(all, JSON_COMPACT);
    const char *program = own(m, dirs_path(DIRS_LIBEXEC, "lodge-vmm"));
    if (!text || !program)
        return err_oom(err);
    if ((*config = fd_of_text("config", text, err)) < 0)
        return -1;
    add(m, program, NULL);
    add(m, "--config", "/proc/self/fd/3");
    return 0;
}

/* The end of the console, on one line. */
static void console_end(const char *text, char *out, size_t size)
{
    size_t len = strlen(text), from = len > 300 ? len - 300 : 0, n = 0;
    bool blank = true;
    for (size_t i = from; i < len && n + 4 < size; i++) {
        unsigned char c = text[i];
        if (c == '\n' && !blank)
            n += snprintf(out + n, size - n, " | ");
        else if (isprint(c))
            out[n++] = c;
        blank = c == '\n' || (blank && isspace(c));
    }
    out[n] = '\0';
}

/* Read the console until the marker, the end or the deadline. 1: seen. */
static int watch(int from, const char *marker, const struct boot_options *opt,
                 struct str_buf *console, struct err *err)
{
    uint64_t end = clock_ms() + opt->timeout_ms;
    char part[4096], tail[340];
    for (;;) {
        struct pollfd p = {.fd = from, .events = POLLIN};
        int64_t left = (int64_t)(end - clock_ms());
        int n = left > 0 ? poll(&p, 1, (int)left) : 0;
        if (n < 0 && errno == EINTR)
            continue;
        ssize_t got = n > 0 ? read(from, part, sizeof part) : 0;
        if (n <= 0 || got <= 0) {
            console_end(console->data ? console->data : "", tail, sizeof tail);
            return n <= 0 ? err_set(err, E_TIMEOUT,
                                    "'%s' was not on the console within %d s; its end: "
                                    "%s",
                                    marker, opt->timeout_ms / 1000, tail)
                          : err_set(err, E_FAIL,
                                    "the machine ended before '%s' was on its console; "
                                    "its end: %s",
                                    marker, tail);
        }
        if (opt->show)
            fd_write_all(STDERR_FILENO, part, got, NULL);
        for (ssize_t i = 0; i < got; i++) /* a NUL would hide what follows */
            if (!part[i])
                part[i] = ' ';
        if (console->len < CONSOLE_MAX)
            str_buf_add(console, part, got);
        if (console->failed)
            return err_oom(err);
        if (strstr(console->data, marker))
            return 0;
    }
}

static int make_scratch(char *path, struct err *err)
{
    AUTO_FD fd = mkstemp(path);
    if (fd < 0 || ftruncate(fd, 1 << 30) < 0)
        return err_sys(err, "scratch disk '%s'", path);
    const char *const argv[] = {"mke2fs", "-F",           "-q", "-t", "ext4",
                                "-O",     "^has_journal", path, NULL};
    const struct proc_spec spec = {.argv = argv, .die_with_us = true};
    if (proc_run(&spec, 60000, NULL, err) == 0)
        return 0;
    unlink(path);
    return -1;
}

static int run_machine(const struct image *img, const struct boot_options *opt,
                       const char *scratch, unsigned *ms, struct err *err)
{
    AUTO(machine) m = calloc(1, sizeof *m);
    int ends[2];
    if (!m)
        return err_oom(err);
    AUTO_FD config = -1;
    if ((opt->vmm ? make_vmm(m, img, opt, scratch, &config, err)
                  : make(m, img, opt, scratch, err)) < 0)
        return -1;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return err_sys(err, "pipe");
    AUTO_FD from = ends[0];
    AUTO_FD to = ends[1];
    AUTO_FD pidfd = -1;
    AUTO_BUF console = {0};
    const struct proc_spec spec = {.argv = m->v,
                                   .fds = (int[]){-1, to, to, config},
                                   .nfds = config < 0 ? 3 : 4,
                                   .die_with_us = true};
    uint64_t start = clock_ms();
    if (proc_spawn(&spec, &pidfd, NULL, err) < 0)
        return opt->vmm ? -1 : err_at(err, "Debian package qemu-system-x86");
    close(move_fd(to));
    int r = watch(from, img->guest_marker, opt, &console, err), status;
    *ms = clock_ms() - start;
    proc_kill(pidfd, SIGKILL, NULL);
    proc_wait(pidfd, 10000, &status, NULL);
    return r;
}

int image_boot(const struct image *img, const struct boot_options *opt, unsigned *ms,
               struct err *err)
{
    if (!img->guest_marker)
        return err_set(err, E_INPUT,
                       "image '%s' has no marker: nobody can tell when it is up",
                       img->name);
    const char *tmp = getenv("TMPDIR");
    AUTO_STR scratch = NULL;
    if (img->kernel && !strcmp(img->root_mode, "scratch")) {
        scratch = str_printf("%s/lodge-scratch.XXXXXX", str_empty(tmp) ? "/tmp" : tmp);
        if (!scratch)
            return err_oom(err);
        if (make_scratch(scratch, err) < 0)
            return -1;
    }
    int r = run_machine(img, opt, scratch, ms, err);
    if (scratch)
        unlink(scratch);
    return r < 0 ? err_at(err, "boot '%s'", img->name) : 0;
}
