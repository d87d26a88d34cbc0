/* SPDX-License-Identifier: Apache-2.0 */
/* A profile's document to struct profile: load, walk, complete, check, validate. */
#include "profile/document.h"

#include <string.h>

#include "base/fd.h"
#include "base/str.h"
#include "profile/schemas.h"
#include "profile/xml.h"

/* V3M gave a machine 128 MiB when its profile did not say. */
#define V3M_MEMORY (UINT64_C(128) << 20)

static void complete(xmlDocPtr doc, struct xml_walk *w, struct profile *p)
{
    if (xml_is_v3m(doc) && !xml_place_find(&w->places, "memory_bytes"))
        p->memory_bytes = V3M_MEMORY;
    if (!p->name && !xml_place_find(&w->places, "name"))
        profile_problem(w->problems, xml_line(xmlDocGetRootElement(doc)), "profile",
                        "has no <name>");
    if (profile_name_parts(p) < 0)
        profile_problem(w->problems, 0, NULL, "out of memory");
}

static bool read_root(xmlDocPtr doc, struct xml_walk *w, struct profile *p)
{
    xmlNodePtr root = xmlDocGetRootElement(doc);
    if (strcmp((const char *)root->name, "profile")) {
        profile_problem(w->problems, xml_line(root), (const char *)root->name,
                        "a profile begins with <profile>%s",
                        strcmp((const char *)root->name, "cluster")
                            ? ""
                            : "; for a cluster use 'lodge cluster'");
        return false;
    }
    w->places.line = xml_line(root);
    for (xmlAttrPtr a = root->properties; a; a = a->next)
        profile_problem(w->problems, xml_line(root), "profile",
                        "unknown attribute '%.60s'; it has none", a->name);
    xml_walk_profile(w, root, p, NULL);
    complete(doc, w, p);
    return true;
}

static int parse(const char *text, size_t len, bool validate, struct profile **out,
                 struct profile_problems *problems)
{
    struct xml_walk w = {.problems = problems};
    AUTO(profile) p = profile_new();
    xmlDocPtr doc = xml_load(text, len, problems);
    if (!p)
        profile_problem(problems, 0, NULL, "out of memory");
    if (doc && p) {
        if (read_root(doc, &w, p))
            profile_check_at(p, &w.places, problems);
        if (validate && !problems->errors)
            xml_validate(doc, schema_profile_xsd, problems);
    }
    xmlFreeDoc(doc);
    xml_places_done(&w.places);
    profile_problems_sort(problems);
    if (problems->errors)
        return -1;
    *out = move(p);
    return 0;
}

int profile_parse(const char *text, size_t len, struct profile **out,
                  struct profile_problems *problems)
{
    return parse(text, len, true, out, problems);
}

int profile_parse_stored(const char *text, size_t len, struct profile **out,
                         struct profile_problems *problems)
{
    return parse(text, len, false, out, problems);
}

int profile_parse_file(const char *path, struct profile **out,
                       struct profile_problems *problems, struct err *err)
{
    AUTO_STR text = NULL;
    size_t len;
    if (fd_read_file(path, XML_BYTES_MAX, &text, &len, err) < 0)
        return -1;
    if (profile_parse(text, len, out, problems) < 0)
        return profile_problems_err(problems, path, err);
    return 0;
}

bool profile_is_cluster(const char *text, size_t len)
{
    for (size_t i = 0; i + 8 < len; i++) {
        if (text[i] != '<')
            continue;
        if (!strncmp(text + i, "<!--", 4)) {
            const char *end = memmem(text + i, len - i, "-->", 3);
            if (!end)
                return false;
            i = (size_t)(end - text);
        } else if (text[i + 1] != '?' && text[i + 1] != '!') {
            return !strncmp(text + i, "<cluster", 8);
        }
    }
    return false;
}
