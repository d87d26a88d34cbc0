/* SPDX-License-Identifier: Apache-2.0 */
/* XML taken in safely, also for definitions of images (src/image); the rest is inside
 * src/profile: the walker of elements by tables. */
#pragma once
#include "profile/fields.h"
#include "profile/problems.h"
#include "profile/profile.h"

#include <libxml/tree.h>

enum {
    XML_BYTES_MAX = 1 << 20,
    XML_ELEMENTS_MAX = 8192,
    XML_DEPTH_MAX = 12,
    XML_NICS_MAX = 32
};

/* A tree of elements, text and comments only: no entities, nothing fetched, no more
 * than the limits above. NULL with at least one problem noted. The caller's:
 * xmlFreeDoc(). */
xmlDocPtr xml_load(const char *text, size_t len, struct profile_problems *problems);
/* Did it name V3M's document type? */
bool xml_is_v3m(xmlDocPtr doc);
/* Against a schema, the text of an XSD; what it refuses is noted. Only worth calling when all else was
 * well: its messages are poorer. */
void xml_validate(xmlDocPtr doc, const char *xsd, struct profile_problems *problems);

/* An attribute or the text of an element goes into a field. */
struct xml_attr {
    const char *name;
    const char *field;
    bool mib; /* a bare number counts mebibytes, as in V3M */
};
struct xml_element {
    const char *name;
    const char *field;              /* of its text; NULL: it has none */
    bool mib;                       /* the same of its text */
    const struct xml_attr *attrs;   /* ends with a NULL name; may be NULL */
    const char *list;               /* a FIELD_LIST ... */
    const struct xml_element *item; /* ... of these child elements */
};
/* In the order in which they are written; ends with a NULL name. nic1 and so on are not
 * in it. */
extern const struct xml_element xml_profile_elements[];

struct xml_walk;
/* Where a field was given: for messages of check.c. */
struct xml_place {
    char key[40];   /* "memory_bytes", "nics[1]" */
    char where[40]; /* "memory", "nic2" */
    unsigned line;
};
struct xml_places {
    struct xml_place *at;
    size_t count;
    unsigned line; /* where all else comes from; 0: nowhere */
};
void xml_place_add(struct xml_walk *w, const char *key, const char *where,
                   unsigned line);
void xml_places_done(struct xml_places *places);
/* Of "nics[1].mac" if it is known, else of "nics[1]", else of "nics", else NULL. */
const struct xml_place *xml_place_find(const struct xml_places *places,
                                       const char *key);

struct xml_walk {
    struct profile_problems *problems;
    struct xml_places places;
};
/* All child elements of `node` into p by the table; `skip` (may be NULL) is a list of
 * names that are somebody else's. */
void xml_walk_profile(struct xml_walk *w, xmlNodePtr node, struct profile *p,
                      const char *const *skip);
/* One element into the structure at base, by its row. */
void xml_walk_element(struct xml_walk *w, xmlNodePtr node,
                      const struct xml_element *row, const struct profile_field *fields,
                      void *base);
void xml_walk_items(struct xml_walk *w, xmlNodePtr node, const struct xml_element *item,
                    const struct profile_field *list, void *base);
/* "unknown element" with the nearest of names. */
void xml_unknown(struct xml_walk *w, xmlNodePtr node, const char *const *names);
/* The text without blanks around it; the caller's. A child element is a problem. */
char *xml_text(struct xml_walk *w, xmlNodePtr node);
unsigned xml_line(xmlNodePtr node);

/* check.c, with places (may be NULL). */
void profile_check_at(const struct profile *p, const struct xml_places *places,
                      struct profile_problems *problems);
