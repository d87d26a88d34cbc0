/* SPDX-License-Identifier: Apache-2.0 */
/* A command in the guest, as exec.c (its life) and exec_flow.c (its flows) see it. */
#pragma once
#include "guest/exec.h"
#include "guest/guest.h"
#include "guest/loop.h"
#include "proto/chan.h"
#include "proto/command.h"

enum { FLOWS = CHAN_FLOWS };

/* An output of the command. With a token, bytes not yet consumed by the client are
 * kept: those of offsets base..sent, at offset modulo CHAN_WINDOW. */
struct output {
    struct exec *exec;
    int flow, fd;
    struct watch *watch;
    bool ended;
    int64_t left; /* after the exit: bytes of the command itself; -1: unknown */
    char *kept;
    uint64_t base, sent;
};

struct exec {
    struct list in;
    struct guest *guest;
    struct command *command;
    uint32_t stream; /* 0: none */
    int control;
    struct watch *control_watch;
    struct output out[FLOWS]; /* 1 and 2 */

    int input; /* where flow 0 goes; -1: closed */
    struct watch *input_watch;
    char *queue; /* bytes that did not fit yet: queue[queue_at..queue_len) */
    size_t queue_at, queue_len, queue_size;
    uint64_t input_got;
    bool input_ended;

    bool exited, told;
    int status;
    int64_t pid;
    char text[200]; /* why it could not start */
    uint64_t give_up_at;
    uint64_t progress_at;
};

/* exec.c */
void exec_send_json(struct exec *e, json_t *what);
void exec_close_output(struct output *o);
void exec_close_input(struct exec *e);
void exec_tell_exit(struct exec *e);

/* exec_flow.c */
void exec_end_output(struct output *o);
void exec_pump_outputs(struct exec *e);
void exec_on_output(struct watch *w, uint32_t events, void *arg);
void exec_consumed(struct exec *e, size_t n);
void exec_pump_input(struct exec *e);
void exec_on_input(struct watch *w, uint32_t events, void *arg);
void exec_take_data(struct exec *e, const char *data, size_t len);
