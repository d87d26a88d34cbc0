/* SPDX-License-Identifier: Apache-2.0 */
/* lodge image import, export, exec, shell, copy, sign. */
#include "cli/image.h"

#include <string.h>
#include <unistd.h>

#include "base/own.h"
#include "base/str.h"
#include "image/port.h"

enum {
    KEY_KERNEL = 0x2200,
    KEY_INIT,
    KEY_MODE,
    KEY_AS_IS,
    KEY_OFFLINE,
    KEY_ROOTLESS,
    KEY_SIGNERS,
    KEY_WHO
};

static struct port_import import_input;
static bool import_offline, import_rootless;

const struct argp_option cli_image_import_argp[] = {
    {"kernel", KEY_KERNEL, "PACKAGE", 0,
     "Debian package of the kernel to boot it with (linux-image-cloud-amd64)"},
    {"init", KEY_INIT, "PATH", 0,
     "program that becomes PID 1; without it lodge-guest does"},
    {"mode", KEY_MODE, "MODE", 0, "where writes go: tmpfs, scratch or plain"},
    {"as-is", KEY_AS_IS, 0, 0, "keep a disk whole, to boot by its own boot loader"},
    {"offline", KEY_OFFLINE, 0, 0, "use only what the cache has"},
    {"rootless", KEY_ROOTLESS, 0, 0, "work in a user namespace, as without root"},
    {0}};

error_t cli_image_import_parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case KEY_KERNEL:
        return import_input.kernel = arg, 0;
    case KEY_INIT:
        return import_input.init = arg, 0;
    case KEY_MODE:
        if (strcmp(arg, "tmpfs") && strcmp(arg, "scratch") && strcmp(arg, "plain"))
            cli_wrong_option("--mode: '%s' is not tmpfs, scratch or plain", arg);
        return import_input.mode = arg, 0;
    case KEY_AS_IS:
        return import_input.as_is = true, 0;
    case KEY_OFFLINE:
        return import_offline = true, 0;
    case KEY_ROOTLESS:
        return import_rootless = true, 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cli_image_import(struct cli *cli, int nargs, char **args, struct err *err)
{
    const char *at = strchr(args[0], '@');
    AUTO_STR name = at ? strndup(args[0], at - args[0]) : strdup(args[0]);
    if (!name)
        return err_oom(err);
    import_input.name = name;
    import_input.version = at ? at + 1 : "1";
    import_input.source = args[1];
    const struct build_options opt = {.offline = import_offline,
                                      .rootless = import_rootless || geteuid() != 0};
    struct build_result r;
    if (port_import(&import_input, &opt, &r, err) < 0)
        return -1;
    char root[16];
    cli_say(cli, "image '%s@%s' %s: root %s, %s", name, r.version,
            r.same ? "is the same as before" : "imported",
            str_from_bytes(r.root_bytes, root, sizeof root), r.digest);
    build_result_done(&r);
    return 0;
}

int cli_image_export(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (port_export(args[0], args[1], geteuid() != 0, err) < 0)
        return -1;
    cli_say(cli, "image '%s' exported to %s", args[0], args[1]);
    return 0;
}

static int run_inside(const char *image, const char *const *argv, struct err *err)
{
    int status = 0;
    if (port_exec(image, argv, geteuid() != 0, &status, err) < 0)
        return -1;
    return status;
}

int cli_image_exec(struct cli *cli, int nargs, char **args, struct err *err)
{
    char **command = args + 1;
    if (nargs > 1 && !strcmp(command[0], "--"))
        command++;
    if (!*command)
        return err_set(err, E_USAGE, "a command is missing");
    return run_inside(args[0], (const char *const *)command, err);
}

int cli_image_shell(struct cli *cli, int nargs, char **args, struct err *err)
{
    return run_inside(args[0], (const char *const[]){"/bin/sh", "-i", NULL}, err);
}

int cli_image_copy(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (port_copy(args[0], args[1], err) < 0)
        return -1;
    cli_say(cli, "image '%s' copied to the store '%s'", args[0], args[1]);
    return 0;
}

static const char *sign_key, *sign_signers, *sign_who;

const struct argp_option cli_image_sign_argp[] = {
    {"key", 'k', "FILE", 0, "private SSH key to sign with"},
    {"check", KEY_SIGNERS, "FILE", 0,
     "check instead, by this file of allowed signers (see ssh-keygen(1))"},
    {"identity", KEY_WHO, "NAME", 0, "whose signature it has to be"},
    {0}};

error_t cli_image_sign_parse(int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'k':
        return sign_key = arg, 0;
    case KEY_SIGNERS:
        return sign_signers = arg, 0;
    case KEY_WHO:
        return sign_who = arg, 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cli_image_sign(struct cli *cli, int nargs, char **args, struct err *err)
{
    if (sign_signers) {
        if (!sign_who)
            return err_set(err, E_USAGE, "--check needs --identity");
        if (port_check_signature(args[0], sign_signers, sign_who, err) < 0)
            return -1;
        cli_say(cli, "image '%s' is signed by '%s'", args[0], sign_who);
        return 0;
    }
    if (!sign_key)
        return err_set(err, E_USAGE, "--key names the private SSH key to sign with");
    if (port_sign(args[0], sign_key, err) < 0)
        return -1;
    cli_say(cli, "image '%s' signed", args[0]);
    return 0;
}
