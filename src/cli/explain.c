/* SPDX-License-Identifier: Apache-2.0 */
/* lodge explain: each stage from the request to what a node's agent would be told. All
 * stages but the look at this machine only compute; nothing is started. */
#include "cli/explain.h"

#include <string.h>
#include <unistd.h>

#include "base/dirs.h"
#include "base/hostlist.h"
#include "base/own.h"
#include "base/str.h"
#include "cli/document.h"
#include "cli/nouns.h"
#include "config.h"
#include "image/store.h"
#include "node/node.h"
#include "place/auto.h"
#include "profile/document.h"
#include "profile/types.h"

OWN_CLEANUP(json_t, json_decref)

struct explain_options explain_input;

const struct argp_option explain_options[] = {
    {"type", 't', "TYPE", 0, "as if the profile had this type"},
    {"nodes", 'N', "NODES", 0, "how many nodes, or a hostlist of them; 1 if not given"},
    {0},
};

error_t explain_parse(int key, char *arg, struct argp_state *state)
{
    struct explain_options *o = state->input;
    if (key == 't')
        o->type = arg;
    else if (key == 'N')
        o->nodes = arg;
    else
        return ARGP_ERR_UNKNOWN;
    return 0;
}

struct request {
    const char *ref;
    int type;               /* -1: the profile's */
    struct hostlist *nodes; /* never NULL */
};

static void done_request(struct request *r)
{
    hostlist_free(r->nodes);
}

static int read_request(const char *ref, struct request *r, struct err *err)
{
    uint64_t count = 1;
    const char *nodes = explain_input.nodes;
    *r = (struct request){.ref = ref, .type = -1};
    if (explain_input.type && (r->type = document_type(explain_input.type, err)) < 0)
        return -1;
    if (nodes && !str_to_u64(nodes, &count))
        return hostlist_parse(nodes, &r->nodes, err);
    if (!count || count > 65536)
        return err_set(err, E_USAGE, "--nodes: 1 to 65536, or names like n[01-16]");
    AUTO_STR text =
        count == 1 ? str_printf("node1") : str_printf("node[1-%u]", (unsigned)count);
    return text ? hostlist_parse(text, &r->nodes, err) : err_oom(err);
}

/* --- stages; each gives its JSON ----------------------------------------------------- */

static json_t *stage_request(const struct request *r)
{
    AUTO_STR nodes =
        hostlist_format((const char *const *)r->nodes->names, r->nodes->count);
    return json_pack("{s:s, s:s, s:s, s:i, s:i}", "profile", r->ref, "type",
                     r->type < 0 ? "as the profile says" : profile_type_names[r->type],
                     "nodes", nodes ? nodes : "", "count", (int)r->nodes->count, "uid",
                     (int)getuid());
}

static json_t *stage_checks(struct cli *cli, const char *text, const struct profile *p,
                            const json_t *resolved)
{
    struct profile_problems problems = {0};
    json_t *out = json_array();
    profile_check(p, &problems);
    document_check_host(resolved, &problems);
    for (size_t i = 0; i < problems.count; i++)
        json_array_append_new(
            out, json_sprintf("%s: %s",
                              problems.at[i].where ? problems.at[i].where : "profile",
                              problems.at[i].text));
    profile_problems_done(&problems);
    return out;
}

/* What this machine is; the agent of each node decides again by its own facts. */
static int local_facts(struct place_facts *f, struct err *err)
{
    AUTO(node_facts) facts = NULL;
    AUTO_STR vmm = dirs_path(DIRS_LIBEXEC, "lodge-vmm");
    if (node_facts_probe_some(1u << NODE_PROBE_KVM | 1u << NODE_PROBE_QEMU,
                              NODE_PROBE_MS, &facts, err) < 0)
        return -1;
    f->kvm = node_can_kvm(facts);
    f->no_kvm = facts->kvm.present ? "/dev/kvm cannot run a Linux guest"
                                   : "there is no /dev/kvm";
    f->vmm = vmm && access(vmm, X_OK) == 0;
#ifdef WITH_LIBVIRT
    f->qemu = *facts->qemu.path;
    f->no_qemu = "QEMU is not installed";
#else
    f->no_qemu = "built without libvirt";
#endif
    return 0;
}

static int stage_type(struct profile *p, json_t **out, struct err *err)
{
    char reason[512] = "as asked for";
    struct place_facts f = {0};
    enum profile_type type = p->type;
    enum profile_cap missing;
    struct err why = {0};
    if (type == PROFILE_AUTO) {
        if (local_facts(&f, err) < 0)
            return -1;
        if (place_auto(&f, p, &type, reason, sizeof reason, &why) < 0)
            snprintf(reason, sizeof reason, "no type fits this machine: %.400s",
                     why.text);
    } else if (!profile_type_fits(type, p, &missing)) {
        snprintf(reason, sizeof reason, "type '%s' cannot %s", profile_type_names[type],
                 profile_cap_texts[missing]);
    }
    p->type = type;
    *out = json_pack("{s:s, s:s}", "type", profile_type_names[type], "why", reason);
    return *out ? 0 : err_oom(err);
}

static json_t *stage_plan(const struct profile *p, const struct request *r)
{
    return json_pack("{s:i, s:s, s:i, s:I, s:I, s:I}", "machines", (int)r->nodes->count,
                     "placement", "one a node", "node_vcpus", (int)p->vcpus,
                     "node_memory_bytes", (json_int_t)p->memory_bytes, "node_pages",
                     (json_int_t)(p->page_bytes ? p->memory_bytes / p->page_bytes : 0),
                     "node_scratch_bytes", (json_int_t)p->scratch_bytes);
}

static json_t *stage_image(const struct profile *p)
{
    AUTO(image) image = NULL;
    struct err err = {0};
    if (!p->image)
        return json_pack("{s:s}", "image", "none");
    if (image_find(p->image, &image, &err) < 0)
        return json_pack("{s:s, s:s}", "image", p->image, "problem", err.text);
    return json_pack("{s:s, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*}", "image",
                     image->name ? image->name : p->image, "version", image->version,
                     "digest", image->digest, "kernel",
                     p->kernel ? p->kernel : image->kernel, "initrd",
                     p->initrd ? p->initrd : image->initrd, "root", image->root,
                     "append", image->append, "init", p->init ? p->init : image->init);
}

static json_t *stage_message(const struct profile *p, const struct request *r)
{
    AUTO_STR name = str_printf("%s-%s", p->name, r->nodes->names[0]);
    return json_pack("{s:s, s:{s:s, s:o}}", "method", "vm.deploy", "params", "name",
                     name ? name : p->name, "profile", profile_to_json(p));
}

static int add_stage(json_t *stages, const char *name, json_t *what, struct err *err)
{
    if (!what || json_array_append_new(stages, json_pack("{s:s, s:o}", "stage", name,
                                                         "result", what)) < 0)
        return err_oom(err);
    return 0;
}

static int compute(struct cli *cli, const struct document *d, const struct request *r,
                   json_t *stages, struct err *err)
{
    AUTO(profile) p = NULL;
    AUTO_T(json_t) resolved = NULL;
    json_t *type = NULL;
    struct profile_problems problems = {0};
    int bad = profile_parse(d->text, strlen(d->text), &p, &problems);
    if (bad < 0)
        profile_problems_err(&problems, d->label, err);
    profile_problems_done(&problems);
    if (bad < 0)
        return -1;
    p->version = (uint32_t)json_integer_value(json_object_get(d->row, "version"));
    if (r->type >= 0)
        p->type = (enum profile_type)r->type;
    if (!(resolved = profile_to_json(p)))
        return err_oom(err);
    if (add_stage(stages, "request", stage_request(r), err) < 0 ||
        add_stage(stages, "profile", json_incref(resolved), err) < 0 ||
        add_stage(stages, "checks", stage_checks(cli, d->text, p, resolved), err) < 0 ||
        stage_type(p, &type, err) < 0 || add_stage(stages, "type", type, err) < 0 ||
        add_stage(stages, "plan", stage_plan(p, r), err) < 0 ||
        add_stage(stages, "image", stage_image(p), err) < 0 ||
        add_stage(stages, "message", stage_message(p, r), err) < 0)
        return -1;
    return 0;
}

/* Text as it is, sizes with their unit; what has parts is JSON. */
static void print_field(const char *key, const json_t *value)
{
    char size[24];
    AUTO_STR text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    const char *shown = json_is_string(value) ? json_string_value(value) : text;
    if (json_is_integer(value) && str_ends(key, "_bytes"))
        shown = str_from_bytes((uint64_t)json_integer_value(value), size, sizeof size);
    printf("  %-18s %s\n", key, shown ? shown : "");
}

/* Fields a line each. */
static void print_stage(const json_t *stage)
{
    const char *key;
    json_t *result = json_object_get(stage, "result"), *value;
    size_t i;
    printf("%s\n", json_string_value(json_object_get(stage, "stage")));
    json_array_foreach (result, i, value)
        printf("  %s\n", json_string_value(value));
    if (json_is_array(result) && !json_array_size(result))
        printf("  nothing is wrong\n");
    json_object_foreach (result, key, value)
        print_field(key, value);
}

int explain_run(struct cli *cli, int nargs, char **args, struct err *err)
{
    static const struct cli_column columns[] = {
        {"stage", CLI_TEXT, .help = "name of the stage"},
        {"result", CLI_TEXT, .help = "what it gives"},
        {0},
    };
    __attribute__((cleanup(done_request))) struct request r = {0};
    AUTO_T(json_t) stages = json_array();
    struct document d = {0};
    size_t i;
    json_t *stage;
    if (read_request(args[0], &r, err) < 0)
        return -1;
    /* As a verb of its own the noun is "explain": documents are profiles all the same. */
    struct cli_noun noun = *cli->noun;
    noun.name = "profile";
    cli->noun = &noun;
    int bad = document_get(cli, args[0], &d, err);
    if (bad == 0)
        bad = compute(cli, &d, &r, stages, err);
    document_done(&d);
    if (bad < 0)
        return -1;
    if (cli->json || cli->parsable || cli->raw || cli->columns)
        return cli_table(cli, columns, stages, err);
    json_array_foreach (stages, i, stage)
        print_stage(stage);
    return 0;
}

static const struct cli_verb verbs[] = {
    {"", "PROFILE|FILE", "print each stage from request to machine", 1, 1,
     explain_options, explain_parse, &explain_input, explain_run},
    {0},
};

const struct cli_noun cli_noun_explain = {
    "explain", "what would be done for a profile, stage by stage", verbs};
