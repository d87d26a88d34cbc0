/* SPDX-License-Identifier: Apache-2.0 */
/* The table of a profile's fields: kind, place in the structure, bounds, default, help.
 * Inside src/profile, and for `profile show` and tests. */
#pragma once
#include "profile/profile.h"

enum profile_kind {
    FIELD_STR,   /* char *; NULL is "not given" */
    FIELD_NAME,  /* char *, str_is_name() */
    FIELD_PATH,  /* char *, absolute */
    FIELD_IMAGE, /* char *, NAME[@VERSION] or absolute path */
    FIELD_MAC,   /* char * */
    FIELD_U32,
    FIELD_U64,
    FIELD_BYTES, /* uint64_t, shown with a unit */
    FIELD_MS,    /* uint64_t, shown with a unit */
    FIELD_BOOL,
    FIELD_ENUM, /* int-sized, words in `words` */
    FIELD_U32S, /* struct profile_u32s */
    FIELD_STRS, /* struct profile_strs */
    FIELD_LIST, /* pointer to structures at `offset`, their count at `count_offset` */
};

struct profile_field {
    const char *name; /* in JSON */
    enum profile_kind kind;
    size_t offset;
    uint64_t min, max; /* of numbers; max items of lists; max length of texts */
    const char *def;   /* text of the default, NULL: nothing */
    const char *help;
    const char *const *words; /* FIELD_ENUM */
    const struct profile_field
        *fields;                    /* FIELD_LIST: of each item, ends in NULL name */
    size_t count_offset, item_size; /* FIELD_LIST */
};

extern const struct profile_field profile_fields[]; /* ends with a NULL name */
extern const struct profile_field profile_disk_fields[];

/* Put text into the field of the object at base, checked against the field. Not for
 * lists of structures. `what` names the field in messages. Frees what was there. */
int profile_field_set(const struct profile_field *f, void *base, const char *text,
                      const char *what, struct err *err);
/* The value as text ("512M", "2m", "yes", "1,2"); the caller's to free; "" when nothing
 * is given. NULL without memory, and for FIELD_LIST. */
char *profile_field_text(const struct profile_field *f, const void *base);
/* Release what the fields own; leaves base itself. */
void profile_fields_done(const struct profile_field *fields, void *base);
/* Defaults of all fields into a zeroed object. */
int profile_fields_init(const struct profile_field *fields, void *base);
/* Grow a FIELD_LIST by one zeroed item with its defaults set; NULL without memory or at
 * the bound. */
void *profile_list_grow(const struct profile_field *f, void *base);
/* An object of all fields that are not empty; NULL without memory. */
json_t *profile_fields_json(const struct profile_field *fields, const void *base);
