/* SPDX-License-Identifier: Apache-2.0 */
/* ticket.issue: may this user boot this profile (or virtual cluster) for a job, and does
 * it fit? If so, the resolved profile is signed for him (proto/ticket.h); nodes need ask
 * nobody. Also who may: profile.allow, profile.allowed.
 *
 * The grant in a ticket: {"profile": {...}, "vms": N a node, "digest": of the image or
 * absent, "own": the profile is the user's own, so what it names is opened as the user}.
 * Of a cluster, in the place of "profile" and "digest": {"cluster": NAME, "members":
 * [{"name", "count", "profile", "digest"?}], "placement", "per_node", "memory_mib",
 * "cpus", "networks"}: see place/members.h. */
#include "controller/handlers.h"

#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/conf.h"
#include "base/dirs.h"
#include "base/str.h"
#include "image/store.h"
#include "place/members.h"
#include "profile/document.h"
#include "proto/ticket.h"
#include "store/nodes.h"

OWN_CLEANUP(json_t, json_decref)

enum { VMS_MAX = 64, CPUS_MAX = 65536, GROUPS_MAX = 65536 };

/* --- who may ------------------------------------------------------------------------ */
static bool in_group(uid_t uid, gid_t gid)
{
    char buf[16384];
    struct passwd pw, *found = NULL;
    bool is = false;

    if (getpwuid_r(uid, &pw, buf, sizeof buf, &found) != 0 || !found)
        return false;
    int n = 0;
    getgrouplist(pw.pw_name, pw.pw_gid, NULL, &n);
    if (n < 1 || n > GROUPS_MAX)
        return pw.pw_gid == gid;
    gid_t *all = calloc((size_t)n, sizeof *all);
    if (all && getgrouplist(pw.pw_name, pw.pw_gid, all, &n) >= 0)
        for (int i = 0; i < n; i++)
            is |= all[i] == gid;
    free(all);
    return is;
}

static int may_boot(const struct dispatch_call *c, const char *profile, struct err *err)
{
    AUTO_T(json_t) rows = NULL;
    struct store *s;
    json_t *row;
    size_t i;

    if (c->uid == 0)
        return 0;
    if (dispatch_store(c, &s, err) < 0 || store_allowed(s, profile, &rows, err) < 0)
        return -1;
    if (json_array_size(rows) == 0)
        return 0;
    json_array_foreach (rows, i, row) {
        json_int_t id = json_integer_value(json_object_get(row, "id"));
        bool user = !strcmp(json_string_value(json_object_get(row, "kind")), "user");
        if (user ? id == (json_int_t)c->uid : in_group(c->uid, (gid_t)id))
            return 0;
    }
    return err_set(err, E_PERM,
                   "you may not boot profile '%s'; ask your administrator for 'lodge "
                   "profile allow %s --user you'",
                   profile, profile);
}

/* A user or group by number or name. */
static int id_of(const char *kind, const char *word, int64_t *id, struct err *err)
{
    if (str_to_i64(word, id) && *id >= 0 && *id < UINT32_MAX)
        return 0;
    if (!strcmp(kind, "user")) {
        struct passwd *pw = getpwnam(word);
        if (pw)
            *id = pw->pw_uid;
        return pw ? 0 : err_set(err, E_NOENT, "no user '%s' on this machine", word);
    }
    struct group *gr = getgrnam(word);
    if (gr)
        *id = gr->gr_gid;
    return gr ? 0 : err_set(err, E_NOENT, "no group '%s' on this machine", word);
}

static int profile_allow(const struct dispatch_call *c, json_t **result,
                         struct err *err)
{
    static const char *const names[] = {"name", "user", "group", "remove", NULL};
    const char *profile, *user, *group;
    struct store *s;
    bool gone;
    int64_t id;

    if (dispatch_only(c, names, err) < 0 ||
        dispatch_text(c, "name", true, &profile, err) < 0 ||
        dispatch_text(c, "user", false, &user, err) < 0 ||
        dispatch_text(c, "group", false, &group, err) < 0 ||
        dispatch_flag(c, "remove", &gone, err) < 0)
        return -1;
    if (c->uid != 0 && !c->embedded)
        return err_set(err, E_PERM, "only root may say who boots profile '%s'",
                       profile);
    if (!user == !group)
        return err_set(err, E_USAGE, "give one user or one group");
    if (dispatch_store(c, &s, err) < 0)
        return -1;
    const char *kind = user ? "user" : "group";
    if (id_of(kind, user ? user : group, &id, err) < 0 ||
        store_allow(s, profile, kind, (uint32_t)id, !gone, err) < 0)
        return -1;
    return store_allowed(s, profile, result, err);
}

static int profile_allowed(const struct dispatch_call *c, json_t **result,
                           struct err *err)
{
    static const char *const names[] = {"name", NULL};
    const char *profile;
    struct store *s;

    if (dispatch_only(c, names, err) < 0 ||
        dispatch_text(c, "name", true, &profile, err) < 0 ||
        dispatch_store(c, &s, err) < 0)
        return -1;
    return store_allowed(s, profile, result, err);
}

/* --- a user's own document ------------------------------------------------------------ */
static bool open_network(const struct conf *conf, const char *bridge)
{
    const char *list = conf_text(conf, CONF_NETWORKS);
    size_t len = strlen(bridge);

    for (const char *at = list; (at = strstr(at, bridge)); at += len)
        if ((at == list || at[-1] == ',') && (!at[len] || at[len] == ','))
            return true;
    return false;
}

/* What only the site's profiles may ask for. Paths are no matter here: the agent opens
 * them as the user. */
static int check_own(const struct profile *p, struct err *err)
{
    AUTO(conf) conf = NULL;

    if (p->device_count)
        return err_set(err, E_PERM,
                       "your own profile may not pass devices through; ask for a site "
                       "profile that does");
    if (conf_load(NULL, &conf, err) < 0)
        return -1;
    for (size_t i = 0; i < p->nic_count; i++) {
        const struct profile_nic *n = &p->nics[i];
        bool own = n->type == PROFILE_NIC_USER || n->type == PROFILE_NIC_ISOLATED ||
                   n->type == PROFILE_NIC_NONE;
        const char *net = n->network ? n->network : n->option;
        if (!own && (!net || !open_network(conf, net)))
            return err_set(
                err, E_PERM,
                "your own profile may not use network '%s'; open ones are: %s",
                net ? net : profile_nic_type_names[n->type],
                *conf_text(conf, CONF_NETWORKS) ? conf_text(conf, CONF_NETWORKS)
                                                : "none but user and isolated");
    }
    return 0;
}

static int own_profile(const char *document, const char *path, struct profile **out,
                       struct err *err)
{
    struct profile_problems problems = {0};
    int rc = profile_parse(document, strlen(document), out, &problems);

    if (rc < 0 && profile_problems_err(&problems, path ? path : "profile", err) == 0)
        err_set(err, E_INPUT, "'%s' is no profile", path ? path : "it");
    profile_problems_done(&problems);
    return rc < 0 ? -1 : check_own(*out, err);
}

/* *own: it is a document of the user's, which gives him no more than a file would. */
static int site_profile(const struct dispatch_call *c, const char *name,
                        struct profile **out, bool *own, struct err *err)
{
    AUTO_T(json_t) q = json_pack("{s:s}", "name", name);
    AUTO_T(json_t) answer = NULL;

    if (!q)
        return err_oom(err);
    if (dispatch_call(c->dispatch, c->uid, c->embedded, "profile.show", q, &answer,
                      err) < 0)
        return -1;
    if (profile_from_json(json_object_get(answer, "profile"), out, err) < 0)
        return -1;
    const char *origin = json_string_value(json_object_get(answer, "origin"));
    *own = c->uid != 0 && origin && !strcmp(origin, "own");
    return *own ? check_own(*out, err) : may_boot(c, name, err);
}

/* --- does it fit -------------------------------------------------------------------- */
static int fits(const struct profile *p, int64_t vms, int64_t memory_mib, int64_t cpus,
                struct err *err)
{
    uint64_t need = (p->memory_bytes >> 20) * (uint64_t)vms;
    int64_t want = (int64_t)p->vcpus * vms;

    if (memory_mib && (uint64_t)memory_mib < need)
        return err_set(err, E_INPUT,
                       "profile '%s' needs %llu MiB a node, the job asks for %lld; use "
                       "--mem=%lluM",
                       p->name, (unsigned long long)need, (long long)memory_mib,
                       (unsigned long long)need + need / 32 + 16);
    if (cpus && cpus < want)
        return err_set(
            err, E_INPUT,
            "profile '%s' needs %lld CPUs a node, the job asks for %lld; use "
            "--cpus-per-task",
            p->name, (long long)want, (long long)cpus);
    return 0;
}

/* The image's digest, so that a node boots what was meant at submission; NULL for a disk
 * by its path, and for profiles that bring a kernel. */
static int digest_of(const struct profile *p, char **out, struct err *err)
{
    AUTO(image) img = NULL;

    if (p->type == PROFILE_FAKE || !p->image || *p->image == '/')
        return 0;
    if (image_find(p->image, &img, err) < 0)
        return err_at(err, "profile '%s'", p->name);
    if (img->digest && !(*out = strdup(img->digest)))
        return err_oom(err);
    return 0;
}

static int sign(const struct dispatch_call *c, int64_t gid, json_t *grant, char **text,
                uint64_t *expires, struct err *err)
{
    AUTO_STR dir = dirs_path(DIRS_CONFIG, "keys");
    AUTO(ticket_key) key = NULL;
    AUTO(ticket) t = calloc(1, sizeof *t);
    AUTO(conf) conf = NULL;

    if (!dir || !t)
        return err_oom(err);
    if (conf_load(NULL, &conf, err) < 0 || ticket_key_open(dir, &key, err) < 0)
        return -1;
    t->uid = c->uid;
    t->gid = (gid_t)gid;
    t->not_before = (uint64_t)time(NULL);
    t->expires = t->not_before + conf_number(conf, CONF_TICKET_LIFE) / 1000;
    t->grant = json_incref(grant);
    *expires = t->expires;
    return ticket_issue(key, t, text, err);
}

struct asked {
    const char *profile, *cluster, *document, *path, *image;
    int64_t vms, gid, memory_mib, cpus, nodes;
};

static int read_asked(const struct dispatch_call *c, struct asked *a, struct err *err)
{
    static const char *const names[] = {"profile", "cluster", "document",   "path",
                                        "image",   "vms",     "memory_mib", "cpus",
                                        "nodes",   "gid",     NULL};

    if (dispatch_only(c, names, err) < 0 ||
        dispatch_text(c, "profile", false, &a->profile, err) < 0 ||
        dispatch_text(c, "cluster", false, &a->cluster, err) < 0 ||
        dispatch_number(c, "nodes", 0, MEMBERS_NODES_MAX, &a->nodes, err) < 0 ||
        dispatch_text(c, "document", false, &a->document, err) < 0 ||
        dispatch_text(c, "path", false, &a->path, err) < 0 ||
        dispatch_text(c, "image", false, &a->image, err) < 0 ||
        dispatch_number(c, "vms", 1, VMS_MAX, &a->vms, err) < 0 ||
        dispatch_number(c, "memory_mib", 0, INT64_MAX >> 20, &a->memory_mib, err) < 0 ||
        dispatch_number(c, "cpus", 0, CPUS_MAX, &a->cpus, err) < 0 ||
        dispatch_number(c, "gid", 0, UINT32_MAX - 1, &a->gid, err) < 0)
        return -1;
    if (!!a->profile + !!a->document + !!a->cluster != 1)
        return err_set(err, E_USAGE,
                       "give a profile's name, a document or a cluster's name");
    if (a->cluster && a->image)
        return err_set(err, E_USAGE, "a cluster's members have their own images");
    if (a->vms < 1)
        return err_set(err, E_USAGE, "at least one machine a node");
    return 0;
}

/* --- clusters ------------------------------------------------------------------------- */
/* One member of cluster.show's answer into the grant's form. */
static int grant_member(const struct dispatch_call *c, const json_t *member, bool *own,
                        json_t *members, struct err *err)
{
    const char *name = json_string_value(json_object_get(member, "name"));
    const char *profile = json_string_value(json_object_get(member, "profile"));
    json_t *resolved = json_object_get(member, "resolved");
    AUTO(profile) plain = NULL;
    AUTO(profile) p = NULL;
    AUTO_STR digest = NULL;
    bool its_own = false;

    if (!profile || !resolved)
        return err_set(err, E_NOENT, "its profile is not there");
    /* The right to boot it is the profile's; what the cluster changes is looked at when
     * either is the user's own. */
    if (site_profile(c, profile, &plain, &its_own, err) < 0 ||
        profile_from_json(resolved, &p, err) < 0)
        return -1;
    *own |= its_own;
    if ((*own && check_own(p, err) < 0) || digest_of(p, &digest, err) < 0)
        return -1;
    json_t *m = json_pack("{s:s, s:O, s:O, s:s*}", "name", name ? name : profile,
                          "count", json_object_get(member, "count"), "profile",
                          resolved, "digest", digest);
    return !m || json_array_append_new(members, m) < 0 ? err_oom(err) : 0;
}

static int grant_cluster(const struct dispatch_call *c, const struct asked *a,
                         json_t **grant, struct err *err)
{
    AUTO_T(json_t) q = json_pack("{s:s}", "name", a->cluster);
    AUTO_T(json_t) answer = NULL;
    AUTO_T(json_t) members = json_array();
    json_t *member;
    size_t i;

    if (!q || !members)
        return err_oom(err);
    if (dispatch_call(c->dispatch, c->uid, c->embedded, "cluster.show", q, &answer,
                      err) < 0)
        return -1;
    const char *origin = json_string_value(json_object_get(answer, "origin"));
    bool own = c->uid != 0 && origin && !strcmp(origin, "own");
    json_t *cluster = json_object_get(answer, "cluster");
    json_array_foreach (json_object_get(cluster, "members"), i, member)
        if (grant_member(c, member, &own, members, err) < 0)
            return err_at(err, "cluster '%s', member '%s'", a->cluster,
                          json_string_value(json_object_get(member, "name"))
                              ? json_string_value(json_object_get(member, "name"))
                              : "?");
    bool networks = json_array_size(json_object_get(cluster, "networks")) > 0;
    if (networks && a->nodes > 1)
        return err_set(err, E_INPUT,
                       "cluster '%s' has networks of its own, which do not reach from "
                       "node to node; ask for one node",
                       a->cluster);
    *grant = json_pack(
        "{s:s, s:O, s:O, s:O, s:I, s:I, s:b, s:b}", "cluster", a->cluster, "members",
        members, "placement", json_object_get(cluster, "placement"), "per_node",
        json_object_get(cluster, "per_node"), "memory_mib", (json_int_t)a->memory_mib,
        "cpus", (json_int_t)a->cpus, "networks", networks, "own", own);
    return *grant ? 0 : err_oom(err);
}

/* The machines are checked on as many nodes as are asked for; when that was not told, the
 * nodes do it. */
static int issue_cluster(const struct dispatch_call *c, const struct asked *a,
                         json_t **result, struct err *err)
{
    AUTO_T(json_t) grant = NULL;
    AUTO(members) m = NULL;
    AUTO_STR text = NULL;
    uint64_t expires = 0;

    if (grant_cluster(c, a, &grant, err) < 0)
        return -1;
    if (members_place(grant, (uint32_t)a->nodes, &m, err) < 0)
        return err_at(err, "cluster '%s'", a->cluster);
    if (json_object_set_new(grant, "vms", json_integer((json_int_t)m->count)) < 0)
        return err_oom(err);
    AUTO_T(json_t) machines = json_array();
    for (size_t i = 0; i < m->count; i++) {
        const struct members_vm *vm = &m->vm[i];
        json_array_append_new(machines,
                              json_pack("{s:s, s:O?, s:I, s:I, s:I}", "name", vm->name,
                                        "image", json_object_get(vm->profile, "image"),
                                        "vcpus", (json_int_t)vm->vcpus, "memory_bytes",
                                        (json_int_t)vm->memory_bytes, "node",
                                        (json_int_t)vm->node));
    }
    if (sign(c, a->gid, grant, &text, &expires, err) < 0)
        return -1;
    *result = json_pack("{s:s, s:s, s:s, s:i, s:O, s:I}", "ticket", text, "profile",
                        a->cluster, "cluster", a->cluster, "vms", 1, "machines",
                        machines, "expires", (json_int_t)expires);
    return *result ? 0 : err_oom(err);
}

static int ticket_issue_method(const struct dispatch_call *c, json_t **result,
                               struct err *err)
{
    struct asked a;
    AUTO(profile) p = NULL;
    AUTO_STR digest = NULL;
    AUTO_STR text = NULL;
    uint64_t expires = 0;
    bool own = true;

    if (read_asked(c, &a, err) < 0)
        return -1;
    if (a.cluster)
        return issue_cluster(c, &a, result, err);
    if ((a.profile ? site_profile(c, a.profile, &p, &own, err)
                   : own_profile(a.document, a.path, &p, err)) < 0)
        return -1;
    if (a.image) {
        free(p->image);
        if (!(p->image = strdup(a.image)))
            return err_oom(err);
    }
    if (fits(p, a.vms, a.memory_mib, a.cpus, err) < 0 || digest_of(p, &digest, err) < 0)
        return -1;
    AUTO_T(json_t) json = profile_to_json(p);
    AUTO_T(json_t)
    grant = json_pack("{s:O, s:I, s:b}", "profile", json, "vms", (json_int_t)a.vms,
                      "own", own || a.image != NULL);
    if (!grant ||
        (digest && json_object_set_new(grant, "digest", json_string(digest)) < 0))
        return err_oom(err);
    if (sign(c, a.gid, grant, &text, &expires, err) < 0)
        return -1;
    *result = json_pack(
        "{s:s, s:s, s:s, s:s?, s:I, s:I, s:I, s:s?, s:I}", "ticket", text, "profile",
        p->name, "type", profile_type_names[p->type], "image", p->image, "vms",
        (json_int_t)a.vms, "vcpus", (json_int_t)p->vcpus, "memory_bytes",
        (json_int_t)p->memory_bytes, "digest", digest, "expires", (json_int_t)expires);
    return *result ? 0 : err_oom(err);
}

const struct dispatch_method dispatch_ticket[] = {
    {"ticket.issue", ticket_issue_method,
     .help = "the right to boot a profile for a job"},
    {"profile.allow", profile_allow, .changes = true, .help = "who may boot a profile"},
    {"profile.allowed", profile_allowed, .help = "who may boot a profile"},
    {0},
};
