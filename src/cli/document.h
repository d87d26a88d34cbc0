/* SPDX-License-Identifier: Apache-2.0 */
/* Inside src/cli: what nouns profile and cluster share. The kind of document is the
 * noun's name. */
#pragma once
#include "cli/cli.h"
#include "profile/problems.h"

enum { DOCUMENT_MAX = 1 << 20 };

/* A document somebody named on the command line, "NAME", "NAME@VERSION", a file's path
 * (with a '/' or ending in ".xml") or "-" for standard input. */
struct document {
    char *label; /* for messages */
    char *name;  /* NULL if it came from a file */
    char *text;
    json_t *row; /* of profile.show with raw, NULL if from a file */
};
int document_get(struct cli *cli, const char *ref, struct document *out,
                 struct err *err);
bool document_is_file(const char *ref);
void document_done(struct document *d);

/* The virtualization type of --type; -1 with what is wrong. */
int document_type(const char *word, struct err *err);
/* Parse and check text as the noun's kind; *resolved (may be NULL) is its JSON, *name
 * (may be NULL) its name. -1 if there are errors; all is in problems. */
int document_parse(struct cli *cli, const char *text, json_t **resolved, char **name,
                   struct profile_problems *problems);
/* Also what can only be seen on this machine: images, files. */
void document_check_host(const json_t *resolved, struct profile_problems *problems);
/* "FILE:LINE: ..." to stderr. */
void document_tell(const char *label, const struct profile_problems *problems);

int document_list(struct cli *cli, int nargs, char **args, struct err *err);
int document_show(struct cli *cli, int nargs, char **args, struct err *err);
int document_add(struct cli *cli, int nargs, char **args, struct err *err);
int document_edit(struct cli *cli, int nargs, char **args, struct err *err);
int document_copy(struct cli *cli, int nargs, char **args, struct err *err);
int document_check(struct cli *cli, int nargs, char **args, struct err *err);
int document_diff(struct cli *cli, int nargs, char **args, struct err *err);
int document_remove(struct cli *cli, int nargs, char **args, struct err *err);
int document_export(struct cli *cli, int nargs, char **args, struct err *err);
int document_history(struct cli *cli, int nargs, char **args, struct err *err);

/* The options of these verbs, all in one: each verb's table offers what it takes. */
struct document_options {
    bool all, resolved, xml, replace, offline, v3m;
    const char *type, *version, *dir;
};
extern const struct argp_option document_list_options[];
extern const struct argp_option document_show_options[];
extern const struct argp_option document_add_options[];
extern const struct argp_option document_check_options[];
extern const struct argp_option document_export_options[];
error_t document_parse_option(int key, char *arg, struct argp_state *state);
extern struct document_options document_input;

/* Replace the document's own <name> in text; the caller's, NULL without memory or when
 * there is none. */
char *document_rename(const char *text, const char *name);
/* Rows {field, value, default} of a resolved profile. */
json_t *document_field_rows(const json_t *profile);
