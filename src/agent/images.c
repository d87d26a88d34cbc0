/* SPDX-License-Identifier: Apache-2.0 */
/* image.offer, image.part, image.commit: see image/cache.h. What reads whole images runs in
 * a worker. */
#include "agent/images.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent/methods.h"
#include "base/base64.h"
#include "base/conf.h"
#include "base/str.h"
#include "image/cache.h"
#include "image/part.h"
#include "profile/profile.h"
#include "proto/rpc.h"

enum { WORK_MS = 1800000 };

struct order {
    json_t *manifest;
    bool latest, commit;
    uint64_t limit;
};

static int may(struct rpc_call *call, struct err *err)
{
    return agent_is_master(rpc_call_uid(call))
               ? 0
               : err_set(err, E_PERM, "only root may put images on a node");
}

static int work(void *arg, work_tell_f tell, json_t **out, struct err *err)
{
    const struct order *o = arg;
    return o->commit ? cache_commit(o->manifest, o->latest, err)
                     : cache_offer(o->manifest, o->latest, o->limit, out, err);
}

static void run(struct rpc_call *call, json_t *params, struct agent *a, bool commit)
{
    struct err err;
    struct order o = {.commit = commit};
    int latest = 0;
    AUTO(conf) conf = NULL;
    if (may(call, &err) < 0 || conf_load(NULL, &conf, &err) < 0 ||
        rpc_unpack(params, &err, rpc_call_method(call), "{s:o, s?b !}", "manifest",
                   &o.manifest, "latest", &latest) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    o.latest = latest;
    o.limit = conf_number(conf, CONF_IMAGE_CACHE);
    agent_answer_by_worker(
        call, a,
        (struct work_spec){
            .what = "image", .run = work, .arg = &o, .timeout_ms = WORK_MS});
}

void images_offer(struct rpc_call *call, json_t *params, void *arg)
{
    run(call, params, arg, false);
}

void images_commit(struct rpc_call *call, json_t *params, void *arg)
{
    run(call, params, arg, true);
}

void images_part(struct rpc_call *call, json_t *params, void *arg)
{
    struct err err;
    const char *sum, *text;
    json_int_t offset;
    int packed = 0;
    size_t len;
    uint64_t have;
    if (may(call, &err) < 0 ||
        rpc_unpack(params, &err, "image.part", "{s:s, s:I, s:s, s?b !}", "sha256", &sum,
                   "offset", &offset, "data", &text, "zstd", &packed) < 0) {
        rpc_call_fail(call, &err);
        return;
    }
    AUTO_STR data = base64_decode(text, &len);
    AUTO_STR plain = NULL;
    bool bad = !data || offset < 0;
    if (bad)
        err_set(&err, E_INPUT, "image.part: the data is not base64");
    if (!bad && packed)
        bad = part_unpack(data, len, &plain, &len, &err) < 0;
    if (bad || cache_part(sum, offset, plain ? plain : data, len, &have, &err) < 0)
        rpc_call_fail(call, &err);
    else
        rpc_call_answer(call, json_pack("{s:I}", "have", (json_int_t)have));
}

/* After the start it is known which version it was; a tag may name another by now. */
static char *ref_of(const struct vm *vm)
{
    const char *image = vm->profile->image;
    const char *digest = json_string_value(json_object_get(vm->vt, "image"));
    if (!image || *image == '/')
        return NULL;
    return digest ? str_printf("%.*s@%s", (int)strcspn(image, "@"), image, digest)
                  : strdup(image);
}

bool images_want(struct agent *a, const char *ref)
{
    return a->server &&
           rpc_server_emit(a->server, "image.wanted", json_pack("{s:s}", "image", ref),
                           agent_master_hears) > 0;
}

int images_await(const struct vm *vm, struct err *err)
{
    enum { QUIET_S = 30 };
    const char *image = vm->profile->image;
    if (!vm->job || !image || !strstr(image, "@sha256:"))
        return 0;
    return cache_await(image, QUIET_S, IMAGES_AWAIT_MS / 1000, err);
}

void images_hold(struct vm *vm)
{
    AUTO_STR ref = ref_of(vm);
    if (vm->held || !ref)
        return;
    int fd = cache_use(ref, NULL);
    vm->held = fd < 0 ? 0 : fd;
}

void images_release(struct vm *vm)
{
    if (vm->held > 0)
        close(vm->held);
    vm->held = 0;
}
