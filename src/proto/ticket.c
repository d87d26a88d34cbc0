/* SPDX-License-Identifier: Apache-2.0 */
/* Tickets: sign, verify, claim. Called by the controller (issue), the agent (open,
 * claim) and the plugin's tests. Nothing here asks another machine. */
#include "proto/ticket.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <string.h>

#include "base/str.h"
#include "proto/rpc.h"
#include "proto/ticket_keys.h"

static const char magic[] = "lodge1.";
static const char domain[] = "lodge ticket 1\n";
enum { BASE64 = sodium_base64_VARIANT_URLSAFE_NO_PADDING, GRACE_S = 60 };

void ticket_free(struct ticket *t)
{
    if (!t)
        return;
    free(t->job);
    json_decref(t->grant);
    free(t);
}

/* The bytes that are signed: *out is the caller's. */
static int signed_bytes(const void *payload, size_t len, unsigned char **out,
                        size_t *out_len, struct err *err)
{
    size_t head = sizeof domain - 1;
    unsigned char *b = malloc(head + len);

    if (!b)
        return err_oom(err);
    memcpy(b, domain, head);
    memcpy(b + head, payload, len);
    *out = b;
    *out_len = head + len;
    return 0;
}

static json_t *payload_of(const struct ticket *t)
{
    json_t *p = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:O}", "key", t->key, "nonce",
                          t->nonce, "uid", (json_int_t)t->uid, "gid",
                          (json_int_t)t->gid, "not_before", (json_int_t)t->not_before,
                          "expires", (json_int_t)t->expires, "grant", t->grant);

    if (p && t->job && json_object_set_new(p, "job", json_string(t->job)) < 0) {
        json_decref(p);
        return NULL;
    }
    return p;
}

static void add_base64(struct str_buf *b, const unsigned char *bin, size_t len)
{
    size_t room = sodium_base64_encoded_len(len, BASE64);
    AUTO_STR text = malloc(room);

    if (text)
        sodium_bin2base64(text, room, bin, len, BASE64);
    else
        b->failed = true;
    if (text)
        str_buf_puts(b, text);
}

int ticket_issue(const struct ticket_key *k, struct ticket *t, char **text,
                 struct err *err)
{
    unsigned char nonce[TICKET_NONCE / 2], sig[crypto_sign_BYTES];
    unsigned char *body = NULL;
    size_t body_len = 0;

    randombytes_buf(nonce, sizeof nonce);
    sodium_bin2hex(t->nonce, sizeof t->nonce, nonce, sizeof nonce);
    memcpy(t->key, ticket_key_id(k), sizeof t->key);

    AUTO_JSON payload = payload_of(t);
    AUTO_STR json = payload ? json_dumps(payload, JSON_COMPACT) : NULL;
    if (!json)
        return err_oom(err);
    if (signed_bytes(json, strlen(json), &body, &body_len, err) < 0)
        return -1;
    ticket_key_sign(k, body, body_len, sig);
    free(body);

    AUTO_BUF b = {0};
    str_buf_puts(&b, magic);
    add_base64(&b, (const unsigned char *)json, strlen(json));
    str_buf_puts(&b, ".");
    add_base64(&b, sig, sizeof sig);
    if (b.failed)
        return err_oom(err);
    if (b.len > TICKET_MAX)
        return err_set(err, E_INPUT,
                       "the profile is too large for a ticket (%zu bytes, at most %d)",
                       b.len, TICKET_MAX);
    *text = str_buf_take(&b);
    return *text ? 0 : err_oom(err);
}

/* --- reading one ------------------------------------------------------------------ */
static int not_a_ticket(struct err *err, const char *why)
{
    return err_set(err, E_INPUT, "this is not a ticket of Lodge: %s", why);
}

/* Split and decode; *payload (NUL-terminated) is the caller's. */
static int decode(const char *text, char **payload, size_t *len,
                  unsigned char sig[crypto_sign_BYTES], struct err *err)
{
    const char *dot, *end;
    size_t total = strnlen(text, TICKET_MAX + 1), sig_len = 0;

    if (total > TICKET_MAX)
        return not_a_ticket(err, "too long");
    if (!str_starts(text, magic))
        return not_a_ticket(err, "it does not begin with 'lodge1.'");
    text += sizeof magic - 1;
    dot = strchr(text, '.');
    if (!dot)
        return not_a_ticket(err, "it has no signature");
    AUTO_STR p = malloc((size_t)(dot - text) + 1);
    if (!p)
        return err_oom(err);
    if (sodium_base642bin((unsigned char *)p, (size_t)(dot - text), text,
                          (size_t)(dot - text), NULL, len, &end, BASE64) != 0 ||
        end != dot)
        return not_a_ticket(err, "its first part is damaged");
    p[*len] = '\0';
    if (sodium_base642bin(sig, crypto_sign_BYTES, dot + 1, strlen(dot + 1), NULL,
                          &sig_len, &end, BASE64) != 0 ||
        *end || sig_len != crypto_sign_BYTES)
        return not_a_ticket(err, "its signature is damaged");
    *payload = move(p);
    return 0;
}

static int take_payload(json_t *root, struct ticket *t, struct err *err)
{
    const char *key, *nonce, *job = NULL;
    json_int_t uid, gid, from, till;
    json_t *grant;

    if (rpc_unpack(root, err, "ticket", "{s:s, s:s, s:I, s:I, s:I, s:I, s?s, s:o !}",
                   "key", &key, "nonce", &nonce, "uid", &uid, "gid", &gid, "not_before",
                   &from, "expires", &till, "job", &job, "grant", &grant) < 0)
        return -1;
    if (strlen(nonce) != TICKET_NONCE ||
        strspn(nonce, "0123456789abcdef") != TICKET_NONCE)
        return not_a_ticket(err, "it has no number");
    if (uid < 0 || gid < 0 || uid > UINT32_MAX - 1 || gid > UINT32_MAX - 1 ||
        from < 0 || till < 0 || !json_is_object(grant))
        return not_a_ticket(err, "a value is out of bounds");
    memcpy(t->key, key, sizeof t->key);
    memcpy(t->nonce, nonce, sizeof t->nonce);
    t->uid = (uid_t)uid;
    t->gid = (gid_t)gid;
    t->not_before = (uint64_t)from;
    t->expires = (uint64_t)till;
    if (job && !(t->job = strdup(job)))
        return err_oom(err);
    t->grant = json_incref(grant);
    return 0;
}

/* Read, then check the signature. The key's name is read from bytes nobody vouches for
 * yet: it only chooses which trusted key must fit. */
static int authentic(const char *text, const struct ticket_keys *keys, struct ticket *t,
                     struct err *err)
{
    unsigned char sig[crypto_sign_BYTES], *body = NULL;
    AUTO_STR payload = NULL;
    size_t len, body_len = 0;
    json_error_t je;
    int fits;

    if (decode(text, &payload, &len, sig, err) < 0)
        return -1;
    AUTO_JSON root = json_loadb(payload, len, JSON_REJECT_DUPLICATES, &je);
    if (!root)
        return err_set(err, E_PERM,
                       "the ticket was altered: its content is no longer readable; "
                       "submit the job again");
    const char *key = json_string_value(json_object_get(root, "key"));
    if (!key || strlen(key) != TICKET_KEY_ID ||
        strspn(key, "0123456789abcdef") != TICKET_KEY_ID)
        return not_a_ticket(err, "it names no key");
    if (signed_bytes(payload, len, &body, &body_len, err) < 0)
        return -1;
    fits = ticket_keys_verify(keys, key, body, body_len, sig);
    free(body);
    if (fits < 0)
        return err_set(
            err, E_PERM,
            "the ticket is signed by key %s, which this node does not trust; "
            "a forgery, or the controller's new key is not here yet",
            key);
    if (fits == 0)
        return err_set(err, E_PERM,
                       "the ticket was altered: its signature does not fit; submit the "
                       "job again");
    return take_payload(root, t, err);
}

int ticket_open(const char *text, const struct ticket_keys *keys, uint64_t now,
                uid_t uid, const char *job, struct ticket **out, struct err *err)
{
    AUTO(ticket) t = calloc(1, sizeof *t);

    if (!t)
        return err_oom(err);
    if (authentic(text, keys, t, err) < 0)
        return -1;
    if (t->uid != uid)
        return err_set(err, E_PERM, "the ticket is for uid %u, not for uid %u",
                       (unsigned)t->uid, (unsigned)uid);
    if (now + GRACE_S < t->not_before)
        return err_set(err, E_PERM,
                       "the ticket is not valid for another %" PRIu64
                       " s; compare this node's clock with the controller's",
                       t->not_before - now);
    if (now > t->expires)
        return err_set(err, E_PERM,
                       "the ticket expired %" PRIu64 " s ago; submit the job again",
                       now - t->expires);
    if (t->job && job && strcmp(t->job, job) != 0)
        return err_set(err, E_PERM, "the ticket is for job %s, not for job %s", t->job,
                       job);
    *out = move(t);
    return 0;
}
