/* SPDX-License-Identifier: Apache-2.0 */
/* Prints the machines of this machine's agent as JSON, or what another method answers:
 *
 *   cc -o example example.c $(pkg-config --cflags --libs lodge)
 *   ./example                                   vm.list
 *   ./example vm.status '{"vm": "m"}'
 *   ./example --events                          one event a line, until interrupted */
#include <lodge.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const struct lodge_error *why)
{
    fprintf(stderr, "example: %s: %s\n", why->code, why->text);
    return why->status;
}

static int watch(struct lodge *agent)
{
    struct lodge_error why;
    if (lodge_call(agent, "events.subscribe", NULL, 10000, NULL, &why) < 0)
        return fail(&why);
    for (;;) {
        char *event;
        if (lodge_event(agent, 0, &event, &why) < 0)
            return fail(&why);
        printf("%s\n", event);
        fflush(stdout);
        free(event);
    }
}

int main(int argc, char **argv)
{
    struct lodge_error why;
    struct lodge *agent;
    char *result;
    if (lodge_open("agent", &agent, &why) < 0)
        return fail(&why);
    if (argc > 1 && !strcmp(argv[1], "--events"))
        return watch(agent);
    int r = lodge_call(agent, argc > 1 ? argv[1] : "vm.list", argc > 2 ? argv[2] : NULL,
                       30000, &result, &why);
    lodge_close(agent);
    if (r < 0)
        return fail(&why);
    printf("%s\n", result);
    free(result);
    return 0;
}
