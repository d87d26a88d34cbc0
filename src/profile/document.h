/* SPDX-License-Identifier: Apache-2.0 */
/* Profiles as XML documents: text to structure and back, and the checks between. All
 * functions only compute; what a document names is not looked for (host.h does). */
#pragma once
#include "profile/problems.h"
#include "profile/profile.h"

/* Parse, check and validate a whole document. NULL in *out if there is any error in
 * *problems (which may hold warnings all the same). -1 then, else 0. *out is the
 * caller's. The document is not trusted. */
int profile_parse(const char *text, size_t len, struct profile **out,
                  struct profile_problems *problems);
/* Without the validation against the schema: for what was validated when it came in. */
int profile_parse_stored(const char *text, size_t len, struct profile **out,
                         struct profile_problems *problems);
/* The same from a file, whose name goes in front of what err says; err is for what is
 * not in the document: reading it. */
int profile_parse_file(const char *path, struct profile **out,
                       struct profile_problems *problems, struct err *err);

/* What is wrong beyond the kinds of single values: with addresses, sizes, what the type
 * can do, what contradicts. */
void profile_check(const struct profile *p, struct profile_problems *problems);

/* The shortest document that means p, or NULL without memory; the caller's. */
char *profile_to_xml(const struct profile *p);
/* In V3M's own language, valid against v3m_profile.dtd. E_INPUT names the first thing
 * that V3M could not say. */
int profile_to_v3m(const struct profile *p, char **out, struct err *err);

/* Is the document's first element <cluster>? Only looks; never fails. */
bool profile_is_cluster(const char *text, size_t len);
