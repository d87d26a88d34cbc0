/* SPDX-License-Identifier: Apache-2.0 */
/* Pieces in munge credentials; see the header. */
#include "transport/seal.h"

#include <inttypes.h>
#include <munge.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/own.h"
#include "base/str.h"

static void ctx_done(struct munge_ctx **c)
{
    if (*c)
        munge_ctx_destroy(*c);
}
#define AUTO_CTX __attribute__((cleanup(ctx_done))) struct munge_ctx *

void seal_nonce(char out[SEAL_NONCE + 1])
{
    static const char hex[] = "0123456789abcdef";
    unsigned char b[SEAL_NONCE];
    while (getrandom(b, sizeof b, 0) != sizeof b)
        ;
    for (int i = 0; i < SEAL_NONCE; i++)
        out[i] = hex[b[i] & 15];
    out[SEAL_NONCE] = '\0';
}

static int context(struct munge_ctx **out, struct err *err)
{
    const char *path = getenv("LODGE_MUNGE_SOCKET");
    struct munge_ctx *c = munge_ctx_create();
    if (!c)
        return err_oom(err);
    *out = c;
    if (!str_empty(path) && munge_ctx_set(c, MUNGE_OPT_SOCKET, path) != EMUNGE_SUCCESS)
        return err_set(err, E_CONFIG, "munge: '%s': %s", path, munge_ctx_strerror(c));
    return 0;
}

/* What stands before the data of a piece. */
static int head(const struct seal *s, bool from_server, uint64_t n, char *to,
                size_t size)
{
    return snprintf(to, size, "lodge-gate 1 %s %c %" PRIu64 "\n", s->session,
                    from_server ? 's' : 'c', n);
}

int seal_wrap(struct seal *s, const void *data, size_t len, char **out, struct err *err)
{
    AUTO_CTX c = NULL;
    AUTO_STR piece = malloc(len + 160);
    char *credential = NULL;
    if (!piece)
        return err_oom(err);
    if (context(&c, err) < 0)
        return -1;
    munge_ctx_set(c, MUNGE_OPT_UID_RESTRICTION, s->only);
    int n = head(s, s->server, s->sent, piece, 160);
    if (len)
        memcpy(piece + n, data, len);
    munge_err_t e = munge_encode(&credential, c, piece, n + (int)len);
    if (e != EMUNGE_SUCCESS)
        return err_set(err, E_UNAVAIL, "munge: %s; is munged running here?",
                       munge_strerror(e));
    s->sent++;
    *out = credential;
    return 0;
}

static int refuse(munge_err_t e, struct err *err)
{
    static const struct {
        munge_err_t code;
        const char *text;
    } texts[] = {
        {EMUNGE_BAD_CRED, "this is no munge credential"},
        {EMUNGE_CRED_INVALID, "the credential is altered, or of another site's key"},
        {EMUNGE_CRED_EXPIRED, "the credential has expired; compare the clocks"},
        {EMUNGE_CRED_REWOUND, "the credential is from the future; compare the clocks"},
        {EMUNGE_CRED_REPLAYED, "the credential was used before: a replay"},
        {EMUNGE_CRED_UNAUTHORIZED, "the credential is for somebody else"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        if (texts[i].code == e)
            return err_set(err, E_PERM, "%s", texts[i].text);
    return err_set(err, E_UNAVAIL, "munge: %s", munge_strerror(e));
}

/* Is it the piece that must come now? */
static int check(const struct seal *s, const char *piece, size_t len, size_t *at,
                 uid_t uid, struct err *err)
{
    char want[160];
    const char *end = memchr(piece, '\n', len);
    size_t n = (size_t)head(s, !s->server, s->got, want, sizeof want);
    if (len < 13 || memcmp(piece, "lodge-gate 1 ", 13) || !end)
        return err_set(err, E_PERM, "the credential was not made for lodge");
    if ((size_t)(end - piece) < 13 + strlen(s->session) ||
        memcmp(piece + 13, s->session, strlen(s->session)))
        return err_set(err, E_PERM, "the credential is of another connection");
    if (len < n || memcmp(piece, want, n))
        return err_set(err, E_PERM, "a credential is missing or out of order");
    if (s->known && uid != s->uid)
        return err_set(err, E_PERM,
                       "the credential is of uid %u, the connection of uid %u",
                       (unsigned)uid, (unsigned)s->uid);
    *at = n;
    return 0;
}

int seal_open(struct seal *s, const char *credential, char **data, size_t *len,
              struct err *err)
{
    AUTO_CTX c = NULL;
    void *piece = NULL;
    int total = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    size_t at = 0;
    if (context(&c, err) < 0)
        return -1;
    munge_err_t e = munge_decode(credential, c, &piece, &total, &uid, &gid);
    AUTO_STR own = piece; /* also given for credentials that are refused */
    if (e != EMUNGE_SUCCESS)
        return refuse(e, err);
    if (!own || check(s, own, (size_t)total, &at, uid, err) < 0)
        return own ? -1 : err_set(err, E_PERM, "the credential is empty");
    s->got++;
    s->known = true;
    s->uid = uid;
    s->gid = gid;
    *len = (size_t)total - at;
    memmove(own, own + at, *len);
    own[*len] = '\0';
    *data = move(own);
    return 0;
}
