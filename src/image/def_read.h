/* SPDX-License-Identifier: Apache-2.0 */
/* Reading a definition: what the functions for its elements (def_elements.c) have in
 * common. Inside src/image. */
#pragma once
#include "image/def.h"

#include <libxml/tree.h>

struct reader {
    struct image_def *def;
    struct err *err;
};

/* An element of the document. */
struct element {
    const char *name;
    int (*read)(struct reader *r, xmlNode *node);
    const char *attrs; /* allowed, blanks between, one at both ends */
    bool many;         /* may come more than once */
};
/* Ends with a NULL name. */
extern const struct element image_def_elements[];

/* An error with file and line. -1. */
int read_bad(struct reader *r, const xmlNode *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The text of an element without the blanks around it; the caller's. */
char *read_text_of(xmlNode *node);
int read_text(struct reader *r, xmlNode *node, char **to);
int read_split(struct reader *r, const char *text, struct words *w);
int read_words(struct reader *r, xmlNode *node, struct words *w);
/* Words that become arguments and file names. */
int read_names(struct reader *r, xmlNode *node, struct words *w);
/* One of a fixed set; `allowed` ends in NULL. */
int read_one_of(struct reader *r, xmlNode *node, const char *value,
                const char *const *allowed);
/* An optional attribute as a new string; 0 also when it is not there. */
int read_attr(struct reader *r, xmlNode *node, const char *name, char **to);
bool read_is_inside(const char *path);
bool read_is_word(const char *s);
