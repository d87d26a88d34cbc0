/* SPDX-License-Identifier: Apache-2.0 */
/* Programs and services: QEMU, libvirt, Slurm, munge, sshd. They are asked themselves:
 * a version by its option, a daemon by its socket. */
#include "node/probe.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/proc.h"
#include "base/str.h"

enum { RUN_MS = 2200, SSH_PORT = 22 };

/* Where the program is, by PATH and the places of daemons; "" if nowhere. */
static void find_program(const char *name, char *path, size_t size)
{
    const char *dirs = getenv("PATH");
    AUTO_STR all = str_printf("%s:/usr/local/sbin:/usr/sbin:/sbin:/usr/libexec",
                              dirs ? dirs : "/usr/local/bin:/usr/bin:/bin");
    *path = '\0';
    char *save = NULL;
    for (char *dir = all ? strtok_r(all, ":", &save) : NULL; dir;
         dir = strtok_r(NULL, ":", &save)) {
        snprintf(path, size, "%s/%s", dir, name);
        if (access(path, X_OK) == 0)
            return;
    }
    *path = '\0';
}

/* What `program arg1 arg2` prints; the caller's, or NULL. */
static char *ask(const char *program, const char *arg1, const char *arg2)
{
    const char *argv[] = {program, arg1, arg2, NULL};
    struct proc_spec spec = {.argv = argv, .die_with_us = true};
    char *out = NULL;
    if (proc_run(&spec, RUN_MS, &out, NULL) < 0) {
        free(out);
        return NULL;
    }
    return out;
}

/* The first word of text that begins with a digit: "slurm 22.05.8" -> "22.05.8". */
static void find_version(const char *text, char *version, size_t size)
{
    *version = '\0';
    for (const char *p = text; p && *p; p++)
        if (*p >= '0' && *p <= '9') {
            snprintf(version, size, "%.*s", (int)strspn(p, "0123456789."), p);
            return;
        }
}

void node_qemu_probe(struct node_qemu *q)
{
    find_program("qemu-system-x86_64", q->path, sizeof q->path);
    if (!*q->path)
        return;
    AUTO_STR version = ask(q->path, "-version", NULL);
    find_version(version, q->version, sizeof q->version);
    if (!version)
        return;
    AUTO_STR accels = ask(q->path, "-accel", "help");
    q->kvm = accels && strstr(accels, "\nkvm");
    q->tcg = accels && strstr(accels, "\ntcg");
}

void node_slurm_probe(struct node_slurm *s)
{
    static const char *const programs[] = {"slurmd", "sinfo", "slurmctld"};
    for (size_t i = 0; i < sizeof programs / sizeof *programs && !*s->version; i++) {
        char path[256];
        find_program(programs[i], path, sizeof path);
        if (!*path)
            continue;
        AUTO_STR out = ask(path, "-V", NULL);
        find_version(out, s->version, sizeof s->version);
    }
}

void node_munge_probe(struct node_munge *m)
{
    static const char *const sockets[] = {"/run/munge/munge.socket.2",
                                          "/var/run/munge/munge.socket.2"};
    char path[256];
    find_program("munged", path, sizeof path);
    if (!*path)
        return;
    AUTO_STR out = ask(path, "--version", NULL);
    find_version(out, m->version, sizeof m->version);
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets && !m->running; i++) {
        AUTO_FD fd = fd_unix_connect(sockets[i], NULL);
        m->running = fd >= 0;
    }
}

/* A daemon that hangs still has its socket, and the kernel connects to it. So ask the
 * first question of libvirt's own protocol (which ways to log in are there), whose
 * answer needs no rights: length, program, version, procedure 66, call, serial, status;
 * all words big-endian. */
static int ask_libvirt(int fd, struct err *err)
{
    enum { PROGRAM = 0x20008086, AUTH_LIST = 66, WORDS = 7 };
    const uint32_t call[WORDS] = {htonl(sizeof call), htonl(PROGRAM),    htonl(1),
                                  htonl(AUTH_LIST),   htonl(0 /*call*/), htonl(0),
                                  htonl(0 /*ok*/)};
    uint32_t reply[WORDS];
    if (fd_write_all(fd, call, sizeof call, err) < 0 ||
        fd_read_all(fd, reply, sizeof reply, err) < 0)
        return -1;
    if (ntohl(reply[1]) != PROGRAM || ntohl(reply[3]) != AUTH_LIST)
        return err_set(err, E_PROTO, "its answer is not libvirt's");
    return 0;
}

void node_libvirt_probe(struct node_libvirt *l)
{
    static const char *const sockets[] = {
        "/run/libvirt/libvirt-sock", "/run/libvirt/libvirt-sock-ro",
        "/run/libvirt/virtqemud-sock", "/run/libvirt/virtqemud-sock-ro"};
    char path[256];
    find_program("libvirtd", path, sizeof path);
    if (!*path)
        find_program("virtqemud", path, sizeof path);
    l->installed = *path;
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets && !l->reachable; i++) {
        struct err err = {0};
        if (access(sockets[i], F_OK) < 0)
            continue;
        snprintf(l->socket, sizeof l->socket, "%s", sockets[i]);
        AUTO_FD fd = fd_unix_connect(sockets[i], &err);
        struct timeval wait = {.tv_sec = 1, .tv_usec = 500000};
        if (fd >= 0)
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
        if (fd >= 0 && ask_libvirt(fd, &err) == 0) {
            l->reachable = true;
            *l->problem = '\0';
        } else {
            snprintf(l->problem, sizeof l->problem, "%s", err.text);
        }
    }
}

void node_sshd_probe(struct node_sshd *s)
{
    char path[256], banner[128] = "";
    find_program("sshd", path, sizeof path);
    s->installed = *path;
    AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons(SSH_PORT),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval wait = {.tv_sec = 1};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait) < 0 ||
        connect(fd, (struct sockaddr *)&to, sizeof to) < 0)
        return;
    s->listening = true;
    if (read(fd, banner, sizeof banner - 1) > 0 && str_starts(banner, "SSH-"))
        snprintf(s->version, sizeof s->version, "%.*s", (int)strcspn(banner, "\r\n"),
                 banner);
}
