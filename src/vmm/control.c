/* SPDX-License-Identifier: Apache-2.0 */
/* The control thread: one epoll over the control socket and its clients, the machine's
 * end, signals, and the deadline of a stop. It sleeps until one of them speaks. Messages
 * are those of proto/rpc.h. Clients are nonblocking with bounded buffers: one that stalls
 * is dropped and hurts nobody. */
#include "vmm/control.h"
#include "vmm/ckpt.h"

#include "base/clock.h"
#include "base/fd.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { OUT_MAX = 1 << 20, STOP_MS = 30000 };

static void close_fds(struct client *k)
{
    while (k->nfds > 0)
        close(k->fds[--k->nfds]);
}

static void drop(struct control *c, struct client *k)
{
    if (k->fd < 0)
        return;
    epoll_ctl(c->epoll, EPOLL_CTL_DEL, k->fd, NULL);
    close(k->fd);
    rpc_lines_done(&k->in);
    close_fds(k);
    free(k->out);
    *k = (struct client){.fd = -1};
}

static void watch_client(struct control *c, struct client *k)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = k};
    if (k->out_len > k->out_done)
        e.events |= EPOLLOUT;
    epoll_ctl(c->epoll, EPOLL_CTL_MOD, k->fd, &e);
}

static void flush(struct control *c, struct client *k)
{
    if (k->out_done < k->out_len) {
        ssize_t n = fd_send_some(k->fd, k->out + k->out_done, k->out_len - k->out_done);
        if (n < 0) {
            drop(c, k);
            return;
        }
        k->out_done += (size_t)n;
    }
    if (k->out_done == k->out_len) {
        free(k->out);
        k->out = NULL;
        k->out_len = k->out_done = 0;
    }
    watch_client(c, k);
}

void control_send(struct control *c, struct client *k, json_t *line)
{
    AUTO_STR text = NULL;
    size_t len;
    int bad = !line || rpc_encode(line, &text, &len, NULL) < 0;
    json_decref(line);
    if (bad || k->fd < 0)
        return;
    size_t left = k->out_len - k->out_done;
    char *all = left + len > OUT_MAX ? NULL : malloc(left + len);
    if (!all) { /* it does not read: it is not worth our memory */
        drop(c, k);
        return;
    }
    if (left)
        memcpy(all, k->out + k->out_done, left);
    memcpy(all + left, text, len);
    free(k->out);
    k->out = all;
    k->out_len = left + len;
    k->out_done = 0;
    flush(c, k);
}

void vm_event(struct vm *vm, const char *name, json_t *data)
{
    struct control *c = vm->control;
    for (int i = 0; c && i < CONTROL_CLIENTS_MAX; i++)
        if (c->clients[i].fd >= 0 && c->clients[i].events)
            control_send(c, &c->clients[i], rpc_event(name, json_incref(data)));
    json_decref(data);
}

/* --- methods ------------------------------------------------------------------ */

static json_t *do_status(struct control *c, struct client *k, json_t *params,
                         struct err *err)
{
    struct vm *vm = c->vm;
    int end = atomic_load(&vm->end);
    json_t *rips = json_array();
    /* Where each vCPU stands, while they stand. */
    for (unsigned i = 0; vm->state == VM_PAUSED && i < vm->nvcpus; i++) {
        struct kvm_regs r;
        char text[24] = "?";
        if (ioctl(vm->vcpus[i].fd, KVM_GET_REGS, &r) == 0)
            snprintf(text, sizeof text, "0x%llx", (unsigned long long)r.rip);
        json_array_append_new(rips, json_string(text));
    }
    return json_pack(
        "{s:s, s:s, s:s, s:i, s:I, s:i, s:o, s:o, s:I}", "name", vm_name(vm), "state",
        vm_state_name(vm->state), "end", vm_end_name((enum vm_end)end), "vcpus",
        (int)vm->nvcpus, "memory_mib", (json_int_t)(vm->config->memory.size / MIB),
        "exits_disabled", (int)vm->exits_disabled, "rip", rips, "checkpoint",
        control_ckpt_status(vm), "up_ms",
        vm->entry_us ? (json_int_t)((clock_us() - vm->entry_us) / 1000) : 0);
}

static json_t *state_event(struct vm *vm)
{
    vm_event(vm, "state", json_pack("{s:s}", "state", vm_state_name(vm->state)));
    return json_pack("{s:s}", "state", vm_state_name(vm->state));
}

static json_t *do_pause(struct control *c, struct client *k, json_t *params,
                        struct err *err)
{
    return vm_pause(c->vm, err) < 0 ? NULL : state_event(c->vm);
}

static json_t *do_resume(struct control *c, struct client *k, json_t *params,
                         struct err *err)
{
    return vm_resume(c->vm, err) < 0 ? NULL : state_event(c->vm);
}

static json_t *do_stop(struct control *c, struct client *k, json_t *params,
                       struct err *err)
{
    json_int_t ms = STOP_MS;
    if (rpc_unpack(params, err, "stop", "{s?I !}", "deadline_ms", &ms) < 0)
        return NULL;
    if (ms < 0 || ms > 86400000)
        return err_set(err, E_INPUT, "stop: deadline_ms: wants 0 to 86400000"), NULL;
    if (c->vm->state != VM_RUNNING)
        return err_set(err, E_STATE, "stop: the machine is %s: resume it, or kill it",
                       vm_state_name(c->vm->state)),
               NULL;
    ms = ms ? ms : 1;
    const struct itimerspec t = {
        .it_value = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}};
    timerfd_settime(c->timer, 0, &t, NULL);
    vm_ged_raise(c->vm, LAYOUT_GED_POWER_BUTTON);
    return json_pack("{s:I}", "deadline_ms", ms);
}

static json_t *do_kill(struct control *c, struct client *k, json_t *params,
                       struct err *err)
{
    vm_end(c->vm, VM_END_KILLED);
    return json_object();
}

static json_t *do_stats(struct control *c, struct client *k, json_t *params,
                        struct err *err)
{
    return stats_json(c->vm);
}

static json_t *do_devices(struct control *c, struct client *k, json_t *params,
                          struct err *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < c->vm->ndevices; i++)
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:b}", "id", c->vm->devices[i].id,
                                        "type", c->vm->devices[i].ops->name, "set",
                                        c->vm->devices[i].ops->set != NULL));
    return list;
}

static json_t *do_report(struct control *c, struct client *k, json_t *params,
                         struct err *err)
{
    return memory_report(c->vm);
}

static json_t *do_subscribe(struct control *c, struct client *k, json_t *params,
                            struct err *err)
{
    k->events = true;
    return json_object();
}

static json_t *set_device(struct control *c, const char *id, json_t *params,
                          struct err *err)
{
    for (size_t i = 0; i < c->vm->ndevices; i++) {
        struct device *d = &c->vm->devices[i];
        if (strcmp(d->id, id) != 0)
            continue;
        if (!d->ops->set)
            return err_set(err, E_UNAVAIL, "set: device '%s' has nothing to set", id),
                   NULL;
        json_t *rest = json_copy(params);
        json_object_del(rest, "device");
        int r = d->ops->set(d, rest, err);
        json_decref(rest);
        return r < 0 ? NULL : json_object();
    }
    return err_set(err, E_NOENT, "set: no device '%s'", id), NULL;
}

/* What can change live: KVM's halt polling, a vCPU's CPUs, a device's own. */
static json_t *do_set(struct control *c, struct client *k, json_t *params,
                      struct err *err)
{
    const char *device = json_string_value(json_object_get(params, "device"));
    json_int_t poll = -1, vcpu = -1;
    json_t *cpus = NULL;
    if (device)
        return set_device(c, device, params, err);
    if (rpc_unpack(params, err, "set", "{s?I, s?I, s?o !}", "halt_poll_ns", &poll,
                   "vcpu", &vcpu, "cpus", &cpus) < 0)
        return NULL;
    int n = vcpu < 0 ? -1 : vcpu > INT_MAX ? INT_MAX : (int)vcpu;
    if (vm_set_live(c->vm, poll, n, cpus, err) < 0)
        return NULL;
    return json_object();
}

static const struct {
    const char *name;
    method_f call;
} methods[] = {
    {"status", do_status},
    {"pause", do_pause},
    {"resume", do_resume},
    {"stop", do_stop},
    {"kill", do_kill},
    {"stats", do_stats},
    {"devices", do_devices},
    {"set", do_set},
    {"report-memory", do_report},
    {"events.subscribe", do_subscribe},
    {"checkpoint", control_checkpoint},
    {"checkpoint.cut", control_cut},
    {"checkpoint.cancel", control_cancel},
};

/* NULL: it comes later. */
static json_t *answer(struct control *c, struct client *k, json_t *request)
{
    const char *id = NULL, *method = NULL;
    json_t *params = NULL;
    struct err err = {0};
    if (rpc_unpack(request, &err, "request", "{s:s, s:s, s?o !}", "id", &id, "method",
                   &method, "params", &params) < 0)
        return rpc_refusal(id ? id : "", &err);
    if (params && !json_is_object(params)) {
        err_set(&err, E_PROTO, "%s: params wants an object", method);
        return rpc_refusal(id, &err);
    }
    json_t *none = params ? NULL : json_object();
    c->request_id = id;
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++)
        if (strcmp(methods[i].name, method) == 0) {
            json_t *result = methods[i].call(c, k, params ? params : none, &err);
            json_decref(none);
            return result               ? rpc_answer(id, result)
                   : err.code != E_NONE ? rpc_refusal(id, &err)
                                        : NULL;
        }
    json_decref(none);
    err_set(&err, E_PROTO, "no method '%s'", method);
    return rpc_refusal(id, &err);
}

/* --- the loop ------------------------------------------------------------------ */

static int add_fd(struct control *c, int fd, void *tag, struct err *err)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = tag};
    return epoll_ctl(c->epoll, EPOLL_CTL_ADD, fd, &e) < 0 ? err_sys(err, "control") : 0;
}

/* Takes fd. */
static void add_client(struct control *c, int fd)
{
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
        struct client *k = &c->clients[i];
        if (k->fd >= 0)
            continue;
        *k = (struct client){.fd = fd, .serial = ++c->next_serial};
        if (fd_set_nonblock(fd, true, NULL) < 0 || add_fd(c, fd, k, NULL) < 0) {
            close(fd);
            k->fd = -1;
            return;
        }
        control_send(c, k, rpc_hello("lodge-vmm"));
        return;
    }
    close(fd); /* too many */
}

static void read_client(struct control *c, struct client *k)
{
    char *room = rpc_lines_room(&k->in, 4096);
    size_t nfds = ARRAY_SIZE(k->fds) - k->nfds;
    ssize_t n = room ? fd_recv(k->fd, room, 4096, k->fds + k->nfds, &nfds, NULL) : 0;
    if (n < 0 && errno == EAGAIN)
        return;
    k->nfds += n >= 0 ? nfds : 0;
    if (n <= 0) {
        drop(c, k);
        return;
    }
    rpc_lines_added(&k->in, (size_t)n);
    for (;;) {
        json_t *request = NULL;
        struct err err = {0};
        int got = k->fd < 0 ? 0 : rpc_lines_next(&k->in, &request, &err);
        if (got == 0)
            return;
        if (got < 0) {
            control_send(c, k, rpc_refusal("", &err));
            drop(c, k);
            return;
        }
        uint64_t serial = k->serial;
        json_t *line = answer(c, k, request);
        json_decref(request);
        if (k->fd >= 0 && k->serial == serial) {
            close_fds(k); /* what the method did not take */
            if (line)
                control_send(c, k, line);
        } else {
            json_decref(line);
            return;
        }
    }
}

int control_init(struct vm *vm, struct err *err)
{
    struct control *c = calloc(1, sizeof *c);
    if (!c)
        return err_oom(err);
    vm->control = c;
    c->vm = vm;
    c->listen = c->signals = c->timer = c->cut_timer = -1;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        c->clients[i].fd = -1;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    c->epoll = epoll_create1(EPOLL_CLOEXEC);
    c->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    c->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    c->cut_timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (c->epoll < 0 || c->signals < 0 || c->timer < 0 || c->cut_timer < 0)
        return err_sys(err, "control");
    if (add_fd(c, c->signals, &c->signals, err) < 0 ||
        add_fd(c, c->timer, &c->timer, err) < 0 ||
        add_fd(c, c->cut_timer, &c->cut_timer, err) < 0 ||
        add_fd(c, vm->ckpt->told, &vm->ckpt->told, err) < 0 ||
        add_fd(c, vm->end_fd, &vm->end_fd, err) < 0)
        return -1;
    const struct config *g = vm->config;
    int listening = 0;
    socklen_t len = sizeof listening;
    if (g->control_path) {
        c->listen = fd_unix_listen(g->control_path, 0600, err);
        if (c->listen < 0)
            return err_at(err, "control");
        c->path = strdup(g->control_path);
    } else if (g->control_fd >= 0) {
        if (getsockopt(g->control_fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) < 0)
            return err_sys(err, "control: descriptor %d", g->control_fd);
        if (!listening)
            add_client(c, g->control_fd);
        else
            c->listen = g->control_fd;
    }
    if (c->listen >= 0 && (fd_set_nonblock(c->listen, true, err) < 0 ||
                           add_fd(c, c->listen, &c->listen, err) < 0))
        return -1;
    return 0;
}

static void dispatch(struct control *c, const struct epoll_event *e)
{
    struct vm *vm = c->vm;
    void *tag = e->data.ptr;
    if (tag == &c->signals) {
        struct signalfd_siginfo si;
        if (read(c->signals, &si, sizeof si) == (ssize_t)sizeof si)
            vm_end(vm, VM_END_KILLED);
    } else if (tag == &c->timer) {
        uint64_t n;
        if (read(c->timer, &n, sizeof n) > 0)
            vm_end(vm, VM_END_STOPPED);
    } else if (tag == &c->listen) {
        int fd = accept4(c->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0)
            add_client(c, fd);
    } else if (tag == &c->cut_timer) {
        control_cut_late(c);
    } else if (tag == &vm->ckpt->told) {
        control_ckpt_told(c);
    } else if (tag == &vm->end_fd) {
        uint64_t n;
        (void)!read(vm->end_fd, &n, sizeof n);
    } else {
        struct client *k = tag;
        if (k->fd >= 0 && e->events & EPOLLOUT)
            flush(c, k);
        if (k->fd >= 0 && e->events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            read_client(c, k);
    }
}

int control_run(struct vm *vm, struct err *err)
{
    struct control *c = vm->control;
    /* A guest that ends by itself has its checkpoint written out first. */
    while (atomic_load(&vm->end) == VM_END_NONE ||
           (atomic_load(&vm->end) != VM_END_KILLED && control_ckpt_busy(vm))) {
        /* One at a time: handling one may drop another. */
        struct epoll_event e;
        int n = epoll_wait(c->epoll, &e, 1, -1);
        if (n < 0 && errno != EINTR)
            return err_sys(err, "control");
        if (n == 1)
            dispatch(c, &e);
    }
    vm_threads_join(vm);
    vm_event(
        vm, "end",
        json_pack("{s:s}", "end", vm_end_name((enum vm_end)atomic_load(&vm->end))));
    return 0;
}

void control_done(struct vm *vm)
{
    struct control *c = vm->control;
    if (!c)
        return;
    for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
        drop(c, &c->clients[i]);
    int fds[] = {c->epoll, c->listen, c->signals, c->timer, c->cut_timer};
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (c->path)
        unlink(c->path);
    free(c->path);
    free(c->saver_id);
    free(c);
    vm->control = NULL;
}
