/* SPDX-License-Identifier: Apache-2.0 */
/* liblodge: ask lodge-agent and lodged from a program of your own; see lodge(3).
 *
 * A request is a method and its parameters, an answer is a result, both JSON as text: read and
 * write it with what your program has. The methods are those of docs/protocol-agent.md. Who you are
 * is asked from the kernel; what you may not do is refused.
 *
 * A connection is for one thread at a time. No function prints, exits or keeps global state; a
 * closed connection is an error, never SIGPIPE. Functions that can fail return 0 or -1 and then fill in *why,
 * which may be NULL.
 *
 * Version 0: functions and members are only added while the library is called liblodge.so.0; another
 * number means that programs must be compiled again, and perhaps changed. */
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

struct lodge; /* a connection */

struct lodge_error {
    char code[24];  /* for programs: "not-found", "denied", ...: lodge(1) lists them */
    int status;     /* what `lodge` exits with for this code */
    char text[512]; /* one line for people */
};

/* The library's version, as in "lodge --version". */
const char *lodge_version(void);

/* Connect. where is "agent" (or NULL): the lodge-agent of this machine, found as `lodge` finds it but
 * never started; "controller": lodged; "node:NAME": the agent of that node, through lodged; or the
 * path of a unix socket, which has a slash. */
int lodge_open(const char *where, struct lodge **out, struct lodge_error *why);

/* Ask, and wait for the answer: timeout_ms, 0 for as long as it takes. params is a JSON object or
 * NULL; *result (if result is not NULL) is JSON text, to be given to free(). After a timeout
 * or when the other side has gone ("unavailable", "timeout") close the connection and open another: every
 * method may be asked again. Methods that turn the connection into a stream (vm.exec, vm.cp,
 * vm.console, vm.load, node.stream) are refused with "usage": run `lodge vm exec` and its like. */
int lodge_call(struct lodge *connection, const char *method, const char *params,
               int timeout_ms, char **result, struct lodge_error *why);

/* The next event, after "events.subscribe" was called: {"event": "vm.state", "data": {...}}, to be
 * given to free(). timeout_ms: 0 for as long as it takes. Events that come while an answer is waited for
 * are lost: use a connection for events alone. */
int lodge_event(struct lodge *connection, int timeout_ms, char **event,
                struct lodge_error *why);

/* NULL is fine. */
void lodge_close(struct lodge *connection);

#ifdef __cplusplus
}
#endif
