/* SPDX-License-Identifier: Apache-2.0 */
/* From a ticket to the profile it grants. */
#include "agent/ticket.h"

#include <time.h>

#include "base/dirs.h"
#include "profile/profile.h"
#include "proto/ticket.h"

int agent_ticket(struct agent *a, const char *text, uid_t uid, const char *job,
                 struct profile **out, struct err *err)
{
    AUTO_STR keys_dir = dirs_path(DIRS_CONFIG, "keys");
    AUTO_STR claims = dirs_path(DIRS_STATE, "tickets");
    AUTO(ticket_keys) keys = NULL;
    AUTO(ticket) t = NULL;
    if (!keys_dir || !claims)
        return err_oom(err);
    if (ticket_keys_load(keys_dir, &keys, err) < 0 ||
        ticket_open(text, keys, time(NULL), uid, job, &t, err) < 0)
        return -1;
    if (job && ticket_claim(claims, t, job, time(NULL), err) < 0)
        return -1;
    json_t *profile = json_object_get(t->grant, "profile");
    if (!profile)
        return err_set(err, E_INPUT, "the ticket grants no profile");
    return profile_from_json(profile, out, err);
}
