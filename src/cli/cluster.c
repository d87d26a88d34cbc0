/* SPDX-License-Identifier: Apache-2.0 */
/* lodge cluster: virtual clusters, their descriptions and their machines. */
#include "cli/cluster_run.h"
#include "cli/document.h"
#include "cli/nouns.h"

static const struct cli_verb verbs[] = {
    {"list", "[CLUSTER...]", "list clusters you may use", 0, CLI_ANY,
     (const struct argp_option[]){
         {"all", 'a', 0, 0, "also those that others or your own ones hide"}, {0}},
     document_parse_option, &document_input, document_list},
    {"show", "CLUSTER...", "show the machines of a cluster", 1, CLI_ANY,
     (const struct argp_option[]){{"xml", 'x', 0, 0, "the document as it was written"},
                                  {"version", 'V', "NUMBER", 0, "an earlier version"},
                                  {0}},
     document_parse_option, &document_input, document_show},
    {"add", "FILE...", "take clusters in from XML files", 1, CLI_ANY,
     document_add_options, document_parse_option, &document_input, document_add},
    {"edit", "CLUSTER", "change a cluster in your editor", 1, 1, .run = document_edit},
    {"copy", "CLUSTER NAME", "make a cluster of your own from another", 2, 2,
     document_add_options, document_parse_option, &document_input, document_copy},
    {"check", "CLUSTER|FILE...", "tell all that is wrong with clusters", 1, CLI_ANY,
     document_check_options, document_parse_option, &document_input, document_check},
    {"history", "CLUSTER", "list the versions of a cluster", 1, 1,
     .run = document_history},
    {"remove", "CLUSTER...", "remove clusters; their versions are kept", 1, CLI_ANY,
     .run = document_remove},
    {"export", "CLUSTER...", "write clusters as XML", 1, CLI_ANY,
     (const struct argp_option[]){
         {"dir", 'd', "DIR", 0, "a file NAME.xml for each, in this folder"},
         {"version", 'V', "NUMBER", 0, "an earlier version"},
         {0}},
     document_parse_option, &document_input, document_export},
    {"start", "CLUSTER", "boot all machines of a cluster, or none", 1, 1,
     cluster_run_options, cluster_run_parse, &cluster_run_input, cluster_run_start},
    {"stop", "CLUSTER", "end and remove all machines of a cluster", 1, 1,
     cluster_run_options, cluster_run_parse, &cluster_run_input, cluster_run_stop},
    {"status", "[CLUSTER]", "where machines of clusters are, and how", 0, 1,
     .run = cluster_run_status},
    {0},
};

const struct cli_noun cli_noun_cluster = {
    "cluster", "virtual clusters: profiles with counts and networks", verbs};
