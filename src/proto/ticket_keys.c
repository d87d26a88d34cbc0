/* SPDX-License-Identifier: Apache-2.0 */
/* Keys of tickets and the node's book of claims, both plain files in a directory. */
#include "proto/ticket_keys.h"
#include "proto/rpc.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/str.h"

#define SIGNING "signing.key"

struct ticket_key {
    char id[TICKET_KEY_ID + 1];
    unsigned char public[crypto_sign_PUBLICKEYBYTES];
    unsigned char secret[crypto_sign_SECRETKEYBYTES];
};
struct trusted {
    char id[TICKET_KEY_ID + 1];
    unsigned char public[crypto_sign_PUBLICKEYBYTES];
};
struct ticket_keys {
    struct trusted *at;
    size_t count;
};

static int ready(struct err *err)
{
    return sodium_init() < 0 ? err_set(err, E_SYS, "libsodium does not start") : 0;
}

static void id_of(const unsigned char public[crypto_sign_PUBLICKEYBYTES],
                  char id[TICKET_KEY_ID + 1])
{
    unsigned char hash[crypto_generichash_BYTES];

    crypto_generichash(hash, sizeof hash, public, crypto_sign_PUBLICKEYBYTES, NULL, 0);
    sodium_bin2hex(id, TICKET_KEY_ID + 1, hash, TICKET_KEY_ID / 2);
}

void ticket_key_free(struct ticket_key *k)
{
    if (!k)
        return;
    sodium_memzero(k, sizeof *k);
    free(k);
}

const char *ticket_key_id(const struct ticket_key *k)
{
    return k->id;
}

void ticket_key_sign(const struct ticket_key *k, const void *data, size_t len,
                     unsigned char sig[crypto_sign_BYTES])
{
    crypto_sign_detached(sig, NULL, data, len, k->secret);
}

/* Hex of exactly `size` bytes with nothing but a newline behind it. */
static bool from_hex(const char *hex, unsigned char *bin, size_t size)
{
    size_t len = 0;
    const char *end;

    return sodium_hex2bin(bin, size, hex, strlen(hex), NULL, &len, &end) == 0 &&
           len == size && (!*end || strcmp(end, "\n") == 0);
}

static int write_hex(const char *dir, const char *leaf, const unsigned char *bin,
                     size_t size, mode_t mode, struct err *err)
{
    char hex[2 * crypto_sign_SECRETKEYBYTES + 2];
    AUTO_STR path = str_printf("%s/%s", dir, leaf);
    int rc;

    if (!path)
        return err_oom(err);
    sodium_bin2hex(hex, sizeof hex, bin, size);
    hex[2 * size] = '\n';
    rc = fd_replace_file(path, hex, 2 * size + 1, mode, err);
    sodium_memzero(hex, sizeof hex);
    return rc;
}

/* A new key in the directory. The public half is written first: a key that signs is
 * always one that is trusted. */
static int make_key(const char *dir, struct ticket_key **out, struct err *err)
{
    AUTO(ticket_key) k = calloc(1, sizeof *k);
    unsigned char seed[crypto_sign_SEEDBYTES];
    char leaf[TICKET_KEY_ID + 8];
    int rc;

    if (!k)
        return err_oom(err);
    randombytes_buf(seed, sizeof seed);
    crypto_sign_seed_keypair(k->public, k->secret, seed);
    id_of(k->public, k->id);
    snprintf(leaf, sizeof leaf, "%s.pub", k->id);
    rc = write_hex(dir, leaf, k->public, sizeof k->public, 0644, err);
    if (rc == 0)
        rc = write_hex(dir, SIGNING, seed, sizeof seed, 0600, err);
    sodium_memzero(seed, sizeof seed);
    if (rc == 0)
        *out = move(k);
    return rc;
}

/* 1: read it; 0: there is none. */
static int read_key(const char *dir, struct ticket_key **out, struct err *err)
{
    AUTO_STR path = str_printf("%s/" SIGNING, dir);
    AUTO_STR hex = NULL;
    unsigned char seed[crypto_sign_SEEDBYTES];
    struct stat st;

    if (!path)
        return err_oom(err);
    if (stat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(err, "key '%s'", path);
    if (st.st_mode & 077)
        return err_set(
            err, E_CONFIG,
            "key '%s' can be read by others (mode %04o): take that away with "
            "chmod 600, or make a new key",
            path, st.st_mode & 07777);
    if (fd_read_file(path, 1024, &hex, NULL, err) < 0)
        return -1;
    AUTO(ticket_key) k = calloc(1, sizeof *k);
    if (!k)
        return err_oom(err);
    if (!from_hex(hex, seed, sizeof seed))
        return err_set(err, E_CONFIG, "key '%s' is damaged: restore or remove it",
                       path);
    sodium_memzero(hex, strlen(hex));
    crypto_sign_seed_keypair(k->public, k->secret, seed);
    sodium_memzero(seed, sizeof seed);
    id_of(k->public, k->id);
    *out = move(k);
    return 1;
}

/* The directory with a lock on it, made if it is missing. */
static int lock_dir(const char *dir, struct err *err)
{
    if (ready(err) < 0 || fd_mkdirs(dir, 0755, err) < 0)
        return -1;
    AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        return err_sys(err, "directory of keys '%s'", dir);
    return move_fd(fd);
}

int ticket_key_open(const char *dir, struct ticket_key **out, struct err *err)
{
    int rc;

    if (ready(err) < 0)
        return -1;
    rc = read_key(dir, out, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    AUTO_FD lock = lock_dir(dir, err);
    if (lock < 0)
        return -1;
    rc = read_key(dir, out, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    return make_key(dir, out, err);
}

int ticket_key_roll(const char *dir, struct ticket_key **out, struct err *err)
{
    AUTO_FD lock = lock_dir(dir, err);

    return lock < 0 ? -1 : make_key(dir, out, err);
}

int ticket_key_retire(const char *dir, const char *id, struct err *err)
{
    AUTO_STR path = str_printf("%s/%s.pub", dir, id);

    if (!path)
        return err_oom(err);
    if (strlen(id) != TICKET_KEY_ID || strspn(id, "0123456789abcdef") != TICKET_KEY_ID)
        return err_set(err, E_USAGE, "'%s' is not the name of a key", id);
    if (unlink(path) < 0)
        return err_sys(err, "key '%s'", path);
    return 0;
}

void ticket_keys_free(struct ticket_keys *k)
{
    if (!k)
        return;
    free(k->at);
    free(k);
}

size_t ticket_keys_count(const struct ticket_keys *k)
{
    return k->count;
}

static int add_trusted(struct ticket_keys *k, const char *dir, const char *leaf,
                       struct err *err)
{
    AUTO_STR path = str_printf("%s/%s", dir, leaf);
    AUTO_STR hex = NULL;
    struct trusted t;

    if (!path)
        return err_oom(err);
    if (fd_read_file(path, 1024, &hex, NULL, err) < 0)
        return -1;
    if (!from_hex(hex, t.public, sizeof t.public))
        return err_set(err, E_CONFIG, "key '%s' is damaged: copy it again", path);
    id_of(t.public, t.id);
    if (strncmp(t.id, leaf, TICKET_KEY_ID) != 0)
        return err_set(err, E_CONFIG, "key '%s' is in fact key %s: copy it again", path,
                       t.id);
    struct trusted *at = reallocarray(k->at, k->count + 1, sizeof *at);
    if (!at)
        return err_oom(err);
    k->at = at;
    k->at[k->count++] = t;
    return 0;
}

int ticket_keys_load(const char *dir, struct ticket_keys **out, struct err *err)
{
    AUTO(ticket_keys) k = calloc(1, sizeof *k);
    struct dirent *e;
    DIR *d;
    int rc = 0;

    if (!k)
        return err_oom(err);
    if (ready(err) < 0)
        return -1;
    d = opendir(dir);
    if (!d && errno != ENOENT)
        return err_sys(err, "directory of keys '%s'", dir);
    while (d && rc == 0 && (e = readdir(d)))
        if (str_ends(e->d_name, ".pub") && strlen(e->d_name) == TICKET_KEY_ID + 4)
            rc = add_trusted(k, dir, e->d_name, err);
    if (d)
        closedir(d);
    if (rc == 0)
        *out = move(k);
    return rc;
}

int ticket_keys_verify(const struct ticket_keys *keys, const char *id, const void *data,
                       size_t len, const unsigned char sig[crypto_sign_BYTES])
{
    for (size_t i = 0; i < keys->count; i++)
        if (strcmp(keys->at[i].id, id) == 0)
            return crypto_sign_verify_detached(sig, data, len, keys->at[i].public) == 0;
    return -1;
}

/* --- claims ------------------------------------------------------------------------
 */
/* One file a ticket: NONCE, with "EXPIRES JOB\nUID\n" in it. */
static int forget_expired(const char *dir, uint64_t now, struct err *err)
{
    DIR *d = opendir(dir);
    struct dirent *e;

    if (!d)
        return err_sys(err, "book of tickets '%s'", dir);
    while ((e = readdir(d))) {
        AUTO_STR path = str_printf("%s/%s", dir, e->d_name);
        AUTO_STR text = NULL;
        char *end;

        if (strlen(e->d_name) != TICKET_NONCE || !path ||
            fd_read_file(path, 4096, &text, NULL, NULL) < 0)
            continue;
        uint64_t expires = strtoull(text, &end, 10);
        if (end != text && expires < now)
            unlink(path);
    }
    closedir(d);
    return 0;
}

int ticket_claim(const char *dir, const struct ticket *t, const char *job, uint64_t now,
                 struct err *err)
{
    AUTO_STR path = str_printf("%s/%s", dir, t->nonce);
    AUTO_STR line =
        str_printf("%" PRIu64 " %s\n%u\n", t->expires, job, (unsigned)t->uid);
    AUTO_STR had = NULL;
    struct err why = {0};

    if (!path || !line)
        return err_oom(err);
    AUTO_FD lock = lock_dir(dir, err);
    if (lock < 0)
        return -1;
    if (fd_read_file(path, 4096, &had, NULL, &why) == 0) {
        char *word = strchr(had, ' ');
        size_t len = word ? strcspn(word + 1, "\n") : 0;

        if (word && len == strlen(job) && strncmp(word + 1, job, len) == 0)
            return 0;
        return err_set(
            err, E_PERM,
            "the ticket was used before, for job %.*s: each job needs its own",
            word ? (int)len : 1, word ? word + 1 : "?");
    }
    if (why.sys != ENOENT) {
        if (err)
            *err = why;
        return -1;
    }
    if (forget_expired(dir, now, err) < 0)
        return -1;
    return fd_replace_file(path, line, strlen(line), 0600, err);
}

int ticket_claims(const char *dir, json_t **out, struct err *err)
{
    AUTO_T(json_t) list = json_array();
    DIR *d = opendir(dir);
    struct dirent *e;

    if (!list || (!d && errno != ENOENT)) {
        if (d)
            closedir(d);
        return list ? err_sys(err, "book of tickets '%s'", dir) : err_oom(err);
    }
    while (d && (e = readdir(d))) {
        AUTO_STR path = str_printf("%s/%s", dir, e->d_name);
        AUTO_STR text = NULL;
        unsigned long long expires;
        unsigned uid;
        char job[256];

        if (strlen(e->d_name) == TICKET_NONCE && path &&
            fd_read_file(path, 4096, &text, NULL, NULL) == 0 &&
            sscanf(text, "%llu %255[^\n]\n%u", &expires, job, &uid) == 3)
            json_array_append_new(list,
                                  json_pack("{s:s, s:s, s:I, s:I}", "ticket", e->d_name,
                                            "job", job, "expires", (json_int_t)expires,
                                            "uid", (json_int_t)uid));
    }
    if (d)
        closedir(d);
    *out = move(list);
    return 0;
}
