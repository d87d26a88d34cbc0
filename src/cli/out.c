/* SPDX-License-Identifier: Apache-2.0 */
/* How verbs print: one table helper over libsmartcols for all nouns. */
#include "cli/cli.h"

#include <libsmartcols/libsmartcols.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hostlist.h"
#include "base/own.h"
#include "base/str.h"
#include "cli/fit.h"

enum { COLUMNS_MAX = 64, NARROWEST = 20 };

OWN_CLEANUP(json_t, json_decref)
typedef struct libscols_table scols_table_t;
OWN_CLEANUP(scols_table_t, scols_unref_table)

bool cli_colour(FILE *to)
{
    const char *term = getenv("TERM");
    return isatty(fileno(to)) && str_empty(getenv("NO_COLOR")) &&
           (!term || strcmp(term, "dumb"));
}

void cli_text(FILE *to, int indent, const char *text)
{
    struct winsize size = {0};
    int room = INT_MAX;
    if (isatty(fileno(to)) && ioctl(fileno(to), TIOCGWINSZ, &size) == 0 &&
        size.ws_col > indent + NARROWEST)
        room = size.ws_col - indent;
    while ((int)strlen(text) > room) {
        int at = room;
        while (at > 0 && text[at] != ' ')
            at--;
        if (at == 0) /* a word that is longer than the line */
            break;
        fprintf(to, "%.*s\n%*s", at, text, indent, "");
        text += at + 1;
    }
    fprintf(to, "%s\n", text);
}

static char *list_text(const json_t *value)
{
    AUTO_BUF b = {0};
    size_t i;
    json_t *v;
    json_array_foreach (value, i, v) {
        if (i)
            str_buf_puts(&b, ",");
        if (json_is_string(v)) {
            str_buf_puts(&b, json_string_value(v));
        } else {
            AUTO_STR dumped = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
            str_buf_puts(&b, dumped ? dumped : "");
        }
    }
    return str_buf_take(&b);
}

static char *ms_text(json_int_t ms)
{
    if (ms < 10000 && ms % 1000)
        return str_printf("%" JSON_INTEGER_FORMAT "ms", ms);
    json_int_t s = ms / 1000;
    if (s < 600)
        return str_printf("%" JSON_INTEGER_FORMAT "s", s);
    if (s < 86400)
        return str_printf("%" JSON_INTEGER_FORMAT "h%02dm", s / 3600,
                          (int)(s / 60 % 60));
    return str_printf("%" JSON_INTEGER_FORMAT "d%02dh", s / 86400,
                      (int)(s / 3600 % 24));
}

/* A cell as people read it; the caller's to free. */
static char *cell_text(const struct cli_column *column, const json_t *value)
{
    char buf[64];
    if (!value || json_is_null(value))
        return str_printf("%s", "");
    if (json_is_boolean(value))
        return str_printf("%s", json_is_true(value) ? "yes" : "no");
    if (json_is_string(value))
        return str_printf("%s", json_string_value(value));
    if (json_is_array(value))
        return list_text(value);
    if (json_is_real(value))
        return str_printf("%.2f", json_real_value(value));
    if (!json_is_integer(value))
        return json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    json_int_t n = json_integer_value(value);
    if (column->kind == CLI_BYTES && n >= 0)
        return str_printf("%s", str_from_bytes((uint64_t)n, buf, sizeof buf));
    if (column->kind == CLI_MS && n >= 0)
        return ms_text(n);
    if (column->kind == CLI_TIME && n > 0)
        return str_printf("%s", clock_iso((uint64_t)n, buf, sizeof buf));
    if (column->kind == CLI_TIME)
        return str_printf("%s", "");
    return str_printf("%" JSON_INTEGER_FORMAT, n);
}

static const struct cli_column *find_column(const struct cli_column *columns,
                                            const char *name, struct err *err)
{
    const char *names[COLUMNS_MAX] = {NULL};
    AUTO_BUF all = {0};
    for (int i = 0; columns[i].name && i < COLUMNS_MAX - 1; i++) {
        if (!strcasecmp(columns[i].name, name))
            return &columns[i];
        names[i] = columns[i].name;
        str_buf_printf(&all, "%s%s", i ? ", " : "", names[i]);
    }
    const char *near = str_nearest(name, names);
    if (near)
        err_set(err, E_USAGE, "unknown column '%s'; did you mean '%s'?", name, near);
    else
        err_set(err, E_USAGE, "unknown column '%s'; there are %s", name,
                all.data ? all.data : "none");
    return NULL;
}

/* Which columns -o asks for: "a,b" only these, "+c" the usual ones and c. */
static int choose(const struct cli *cli, const struct cli_column *columns,
                  const struct cli_column **out, size_t *count, struct err *err)
{
    const char *want = cli->columns;
    size_t n = 0;
    if (!want || *want == '+')
        for (const struct cli_column *c = columns; c->name && n < COLUMNS_MAX; c++)
            if (!c->extra)
                out[n++] = c;
    if (want && *want == '+')
        want++;
    while (want && *want && n < COLUMNS_MAX) {
        size_t len = strcspn(want, ",");
        AUTO_STR name = strndup(want, len);
        if (!name)
            return err_oom(err);
        const struct cli_column *c = find_column(columns, name, err);
        if (!c)
            return -1;
        out[n++] = c;
        want += len;
        want += *want == ',';
    }
    *count = n;
    return 0;
}

static const char *state_colour(const char *state)
{
    static const struct {
        const char *state, *colour;
    } colours[] = {
        {"running", "green"}, {"done", "green"},      {"ok", "green"},
        {"failed", "red"},    {"down", "red"},        {"drained", "red"},
        {"gone", "gray"},     {"paused", "yellow"},   {"booting", "cyan"},
        {"staging", "cyan"},  {"stopping", "yellow"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(colours); i++)
        if (!strcmp(colours[i].state, state))
            return colours[i].colour;
    return NULL;
}

/* What control characters there are, from whomever, shown and not sent. */
static char *one_line(const char *text)
{
    size_t len = strlen(text), size = len * 4 + 1;
    char *plain = malloc(size);
    if (plain) {
        memcpy(plain, text, len + 1);
        str_one_line(plain, size);
    }
    return plain;
}

/* The cell, in lines that fit. It is gone where there is no memory. */
static int fold(char **text, size_t width)
{
    AUTO_STR was = *text;
    AUTO_STR plain = one_line(was);
    *text = plain ? fit_fold(plain, width) : NULL;
    return *text ? 0 : -1;
}

static int add_row(struct libscols_table *table, const struct cli_column *const *chosen,
                   const size_t *widths, size_t count, const json_t *row,
                   struct err *err)
{
    struct libscols_line *line = scols_table_new_line(table, NULL);
    if (!line)
        return err_oom(err);
    for (size_t i = 0; i < count; i++) {
        char *text = cell_text(chosen[i], json_object_get(row, chosen[i]->name));
        if (!text)
            return err_oom(err);
        if (widths[i] != SIZE_MAX && fold(&text, widths[i]) < 0)
            return err_oom(err);
        const char *colour = chosen[i]->kind == CLI_STATE ? state_colour(text) : NULL;
        if (scols_line_refer_data(line, i, text) < 0) {
            free(text);
            return err_oom(err);
        }
        if (colour)
            scols_cell_set_color(scols_line_get_cell(line, i), colour);
    }
    return 0;
}

static bool is_number(enum cli_kind kind)
{
    return kind == CLI_NUM || kind == CLI_BYTES || kind == CLI_MS;
}

/* "memory_bytes" is MEMORY: the unit stands in the cell. */
static void header_of(const char *name, char *out, size_t size)
{
    size_t n = strlen(name);
    if (str_ends(name, "_bytes"))
        n -= 6;
    else if (str_ends(name, "_ms"))
        n -= 3;
    size_t k = 0;
    for (; k < n && k < size - 1; k++)
        out[k] = name[k] >= 'a' && name[k] <= 'z' ? (char)(name[k] - 32) : name[k];
    out[k] = '\0';
}

/* How wide each column may be; none is folded but on a terminal. */
static int plan_widths(const struct cli *cli, const struct cli_column *const *chosen,
                       size_t count, const json_t *rows, size_t *widths,
                       struct err *err)
{
    struct winsize size = {0};
    bool words[COLUMNS_MAX];
    for (size_t c = 0; c < count; c++)
        widths[c] = SIZE_MAX;
    if (cli->raw || cli->parsable || !isatty(STDOUT_FILENO) ||
        ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) < 0 || !size.ws_col)
        return 0;
    for (size_t c = 0; c < count; c++) {
        size_t i;
        json_t *row;
        char header[64];
        header_of(chosen[c]->name, header, sizeof header);
        words[c] = chosen[c]->kind == CLI_TEXT;
        widths[c] = strlen(header);
        json_array_foreach (rows, i, row) {
            AUTO_STR text = cell_text(chosen[c], json_object_get(row, chosen[c]->name));
            if (!text)
                return err_oom(err);
            size_t width = fit_width(text);
            widths[c] = width > widths[c] ? width : widths[c];
        }
    }
    fit_columns(widths, words, count, size.ws_col);
    return 0;
}

static int print_table(struct cli *cli, const struct cli_column *const *chosen,
                       size_t count, const json_t *rows, struct err *err)
{
    AUTO_T(scols_table_t) table = scols_new_table();
    if (!table)
        return err_oom(err);
    scols_table_set_name(table, "lodge");
    scols_table_enable_export(table, cli->parsable);
    scols_table_enable_raw(table, cli->raw && !cli->parsable);
    scols_table_enable_noheadings(table, cli->noheader);
    scols_table_enable_colors(table, cli_colour(stdout));
    scols_table_enable_nowrap(table, true);
    size_t widths[COLUMNS_MAX];
    if (plan_widths(cli, chosen, count, rows, widths, err) < 0)
        return -1;
    for (size_t i = 0; i < count; i++) {
        char header[64];
        header_of(chosen[i]->name, header, sizeof header);
        bool right = is_number(chosen[i]->kind),
             folds = widths[i] != SIZE_MAX && !right;
        struct libscols_column *column = scols_table_new_column(table, header, 0,
                                                                right   ? SCOLS_FL_RIGHT
                                                                : folds ? SCOLS_FL_WRAP
                                                                        : 0);
        if (!column)
            return err_oom(err);
        if (folds) {
            scols_column_set_safechars(column, "\n");
            scols_column_set_wrapfunc(column, scols_wrapnl_chunksize,
                                      scols_wrapnl_nextchunk, NULL);
        }
    }
    size_t i;
    json_t *row;
    json_array_foreach (rows, i, row)
        if (add_row(table, chosen, widths, count, row, err) < 0)
            return -1;
    fflush(stdout);
    if (scols_print_table(table) < 0)
        return err_sys(err, "standard output");
    /* A header is wanted also where there are no rows: scripts count lines. Beside an
     * error it would only look like an answer. */
    if (!json_array_size(rows) && !cli->status && !cli->noheader && !cli->parsable &&
        !cli->raw)
        for (size_t c = 0; c < count; c++) {
            const char *title = scols_cell_get_data(
                scols_column_get_header(scols_table_get_column(table, c)));
            printf("%s%s", title, c + 1 < count ? " " : "\n");
        }
    if (!json_array_size(rows) && !cli->status && !cli->parsable && !cli->raw &&
        isatty(STDOUT_FILENO))
        puts("(none)");
    return 0;
}

/* Rows for --json: as they are, but times as ISO texts. */
static int keep_rows(struct cli *cli, const struct cli_column *columns,
                     const json_t *rows, struct err *err)
{
    size_t i;
    json_t *row;
    if (!cli->data && !(cli->data = json_array()))
        return err_oom(err);
    json_array_foreach (rows, i, row) {
        json_t *copy = json_copy(row);
        for (const struct cli_column *c = columns; copy && c->name; c++) {
            json_t *value = json_object_get(copy, c->name);
            if (c->kind != CLI_TIME || !json_is_integer(value))
                continue;
            AUTO_STR text = cell_text(c, value);
            json_object_set_new(copy, c->name,
                                text && *text ? json_string(text) : json_null());
        }
        if (json_array_append_new(cli->data, copy) < 0)
            return err_oom(err);
    }
    return 0;
}

int cli_table(struct cli *cli, const struct cli_column *columns, json_t *rows,
              struct err *err)
{
    const struct cli_column *chosen[COLUMNS_MAX];
    size_t count;
    if (choose(cli, columns, chosen, &count, err) < 0)
        return -1;
    if (cli->json)
        return keep_rows(cli, columns, rows, err);
    return print_table(cli, chosen, count, rows, err);
}

int cli_show(struct cli *cli, const struct cli_column *columns, json_t *row,
             struct err *err)
{
    const struct cli_column *chosen[COLUMNS_MAX];
    size_t count;
    AUTO_T(json_t) rows = json_pack("[O]", row);
    if (!rows)
        return err_oom(err);
    if (cli->json || cli->parsable || cli->raw)
        return cli_table(cli, columns, rows, err);
    if (choose(cli, columns, chosen, &count, err) < 0)
        return -1;
    int width = 0;
    for (size_t i = 0; i < count; i++)
        if ((int)strlen(chosen[i]->name) > width)
            width = (int)strlen(chosen[i]->name);
    for (size_t i = 0; i < count; i++) {
        AUTO_STR text = cell_text(chosen[i], json_object_get(row, chosen[i]->name));
        if (!text)
            return err_oom(err);
        AUTO_STR plain = one_line(text);
        if (!plain)
            return err_oom(err);
        if (*plain)
            printf("%-*s  %s\n", width, chosen[i]->name, plain);
    }
    return 0;
}

static void keep_error(struct cli *cli, const struct err *err)
{
    if (!cli->errors)
        cli->errors = json_array();
    json_array_append_new(
        cli->errors,
        json_pack("{s:s, s:s}", "code", err_code_name(err->code), "text", err->text));
}

void cli_error(struct cli *cli, struct err *err)
{
    fflush(stdout);
    fprintf(stderr, "lodge: %s\n", err->text);
    if (!cli->status)
        cli->status = err_exit_status(err);
    keep_error(cli, err);
    *err = (struct err){0};
}

void cli_wrong_option(const char *fmt, ...)
{
    struct err err;
    va_list ap;
    va_start(ap, fmt);
    err_vset(&err, E_USAGE, fmt, ap);
    va_end(ap);
    fprintf(stderr, "lodge: %s\n", err.text);
    exit(err_exit_status(&err));
}

void cli_say(struct cli *cli, const char *fmt, ...)
{
    if (cli->json || cli->parsable)
        return;
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
}

bool cli_confirm(struct cli *cli, const char *fmt, ...)
{
    if (cli->force || !isatty(STDIN_FILENO) || !isatty(STDERR_FILENO))
        return true;
    va_list ap;
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputs(" [y/N] ", stderr);
    char answer[16] = "";
    return fgets(answer, sizeof answer, stdin) && (*answer == 'y' || *answer == 'Y');
}

int cli_names(int nargs, char **args, struct hostlist **out, struct err *err)
{
    AUTO_BUF all = {0};
    for (int i = 0; i < nargs; i++)
        str_buf_printf(&all, "%s%s", i ? "," : "", args[i]);
    AUTO_STR text = str_buf_take(&all);
    if (!text)
        return err_oom(err);
    return hostlist_parse(text, out, err);
}

int cli_finish(struct cli *cli, int r, const struct err *err)
{
    if (r < 0) {
        fflush(stdout);
        fprintf(stderr, "lodge: %s\n", err->text);
        keep_error(cli, err);
    }
    if (cli->json && (cli->data || cli->errors)) {
        AUTO_T(json_t)
        all = json_pack("{s:i, s:O, s:O}", "schema", 1, "data",
                        cli->data ? cli->data : (cli->data = json_array()), "errors",
                        cli->errors ? cli->errors : (cli->errors = json_array()));
        if (all && json_dumpf(all, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER) == 0)
            putchar('\n');
    }
    if ((fflush(stdout) || ferror(stdout)) && r >= 0) {
        fprintf(stderr, "lodge: standard output: cannot write\n");
        return err_exit_status(&(struct err){.code = E_IO});
    }
    if (r < 0)
        return err_exit_status(err);
    return r ? r : cli->status;
}
