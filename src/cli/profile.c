/* SPDX-License-Identifier: Apache-2.0 */
/* lodge profile: descriptions of machines. */
#include "cli/document.h"
#include "cli/explain.h"
#include "cli/nouns.h"

static const struct cli_verb verbs[] = {
    {"list", "[PROFILE...]", "list profiles you may use", 0, CLI_ANY,
     document_list_options, document_parse_option, &document_input, document_list},
    {"show", "PROFILE...", "show what is given in a profile, or all of it", 1, CLI_ANY,
     document_show_options, document_parse_option, &document_input, document_show},
    {"add", "FILE...", "take profiles in from XML files", 1, CLI_ANY,
     document_add_options, document_parse_option, &document_input, document_add},
    {"edit", "PROFILE", "change a profile in your editor", 1, 1, .run = document_edit},
    {"copy", "PROFILE NAME", "make a profile of your own from another", 2, 2,
     document_add_options, document_parse_option, &document_input, document_copy},
    {"check", "PROFILE|FILE...", "tell all that is wrong with profiles", 1, CLI_ANY,
     document_check_options, document_parse_option, &document_input, document_check},
    {"diff", "PROFILE [PROFILE]",
     "compare two profiles, or a profile and its last version", 1, 2,
     .run = document_diff},
    {"history", "PROFILE", "list the versions of a profile", 1, 1,
     .run = document_history},
    {"remove", "PROFILE...", "remove profiles; their versions are kept", 1, CLI_ANY,
     .run = document_remove},
    {"export", "PROFILE...", "write profiles as XML", 1, CLI_ANY,
     document_export_options, document_parse_option, &document_input, document_export},
    {"explain", "PROFILE|FILE", "print each stage from request to machine", 1, 1,
     explain_options, explain_parse, &explain_input, explain_run},
    {0},
};

const struct cli_noun cli_noun_profile = {"profile", "descriptions of machines", verbs};
