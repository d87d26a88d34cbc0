/* SPDX-License-Identifier: Apache-2.0 */
/* lodge-stage1: the first program of a guest, /init of its initramfs. It loads the
 * numbered modules beside it, finds its disks by their virtio serial, mounts the
 * read-only base and what is written over it, and hands over to the init that the
 * kernel command line names. It links no library, so that it is a few KiB:
 * stage1-sys.h has the system calls. Words of the command line:
 *
 *   lodge.root=erofs|squashfs|ext4   file system of the disk "lodge-root"
 *   lodge.rootdev=/dev/X             that disk by path instead (pmem)
 *   lodge.mode=tmpfs|scratch|plain   overlay on tmpfs, on the disk "lodge-scratch"
 *                                    (ext4), or the disk itself, writable
 *   lodge.tmpfs=SIZE                 of the overlay, as mount(8) takes it (75%)
 *   lodge.verity=HASH,BLOCKS,SALT[,full]  dm-verity; the tree follows the data; "full"
 *                                    reads all of it before going on
 *   lodge.init=PATH                  what becomes PID 1
 *   lodge.guest=no                   a host: no lodge-guest belongs beside the init
 *
 * Anything wrong is one line on the console and a power-off: never half a root. */
#include "guest/stage1-sys.h"

#include <linux/ioctl.h>

#include <linux/dm-ioctl.h>
#include <linux/reboot.h>

#define GUEST_PATH "/usr/lib/lodge/lodge-guest"
#define GUEST_RUN  "/run/lodge/lodge-guest"
#define SCRATCH_AT "/run/lodge/scratch"

enum { MODULES_MAX = 96, NAME_SIZE = 64, WAIT_MS = 20000 };

static struct {
    char line[4096];
    const char *root, *rootdev, *mode, *tmpfs, *verity, *init, *guest;
} words = {.mode = "tmpfs", .tmpfs = "75%", .init = GUEST_PATH, .guest = "yes"};

static void say(const char *a, const char *b, const char *c)
{
    char text[512];
    size_t n = join(text, sizeof text, "lodge-stage1: ", a);
    n += join(text + n, sizeof text - n, b ? b : "", c ? c : "");
    n += join(text + n, sizeof text - n, "\n", "");
    sys_write(2, text, n);
}

static void __attribute__((noreturn)) die(const char *what, const char *which, long r)
{
    char no[24];
    decimal(r < 0 ? -r : r, no);
    char tail[64];
    join(tail, sizeof tail, r ? ": error " : "", r ? no : "");
    say(what, which, tail);
    sys_sync();
    sys_sleep_ms(200); /* the console drains */
    sys_reboot(LINUX_REBOOT_CMD_POWER_OFF);
    for (;;)
        sys_sleep_ms(1000);
}

static void must(long r, const char *what, const char *which)
{
    if (r < 0)
        die(what, which, r);
}

static long mount_at(const char *dev, const char *dir, const char *type,
                     unsigned long flags, const char *data)
{
    sys_mkdir(dir, 0755);
    return sys_mount(dev, dir, type, flags, data);
}

/* ---- command line ------------------------------------------------------------- */

static void read_words(void)
{
    static const struct {
        const char *word;
        const char **to;
    } known[] = {
        {"lodge.root=", &words.root},     {"lodge.rootdev=", &words.rootdev},
        {"lodge.mode=", &words.mode},     {"lodge.tmpfs=", &words.tmpfs},
        {"lodge.verity=", &words.verity}, {"lodge.init=", &words.init},
        {"lodge.guest=", &words.guest},
    };
    long n = read_text("/proc/cmdline", words.line, sizeof words.line);
    must(n, "read /proc/cmdline", NULL);
    for (char *p = words.line; *p;) {
        while (*p == ' ' || *p == '\n')
            *p++ = '\0';
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (starts(p, known[i].word))
                *known[i].to = p + length(known[i].word);
        while (*p && *p != ' ' && *p != '\n')
            p++;
    }
    if (!words.root)
        die("lodge.root= is missing on the kernel command line", NULL, 0);
}

/* ---- modules ------------------------------------------------------------------ */

static void load_one(const char *dir, const char *name)
{
    char path[256];
    join3(path, sizeof path, dir, "/", name);
    long fd = sys_open(path, O_RDONLY_, 0);
    must(fd, "open module ", path);
    long r = sys_finit_module((int)fd, "", 0);
    sys_close((int)fd);
    if (r < 0 && r != -EEXIST_ && r != -ENODEV_)
        die("load module ", path, r);
}

/* Load every module of dir in the order of its name ("00-virtio.ko", ...). */
static void load_modules(const char *dir)
{
    static char names[MODULES_MAX][NAME_SIZE];
    static char buf[8192];
    size_t count = 0;
    long fd = sys_open(dir, O_RDONLY_ | O_DIRECTORY_, 0);
    if (fd < 0)
        return;
    for (long n; (n = sys_getdents((int)fd, buf, sizeof buf)) > 0;)
        for (long at = 0; at < n;) {
            struct dirent64_ *e = (struct dirent64_ *)(buf + at);
            at += e->reclen;
            if (e->name[0] == '.')
                continue;
            if (count == MODULES_MAX || length(e->name) >= NAME_SIZE)
                die("too many modules in ", dir, 0);
            size_t i = count++;
            for (; i > 0 && compare(names[i - 1], e->name) > 0; i--)
                copy_bytes(names[i], names[i - 1], NAME_SIZE);
            join(names[i], NAME_SIZE, e->name, "");
        }
    sys_close((int)fd);
    for (size_t i = 0; i < count; i++)
        load_one(dir, names[i]);
}

/* ---- disks -------------------------------------------------------------------- */

/* Put "/dev/vdX" of the disk with this serial into dev. */
static bool find_disk(const char *serial, char *dev, size_t size)
{
    char path[64] = "/sys/block/vdX/serial", got[64];
    for (int c = 'a'; c <= 'z'; c++) {
        path[13] = (char)c;
        long n = read_text(path, got, sizeof got);
        if (n <= 0)
            continue;
        if (got[n - 1] == '\n')
            got[n - 1] = '\0';
        if (compare(got, serial) == 0) {
            char letter[2] = {c, '\0'};
            join(dev, size, "/dev/vd", letter);
            return true;
        }
    }
    return false;
}

static bool is_there(const char *path)
{
    return sys_access(path, F_OK_) == 0;
}

static void wait_disk(const char *serial, char *dev, size_t size)
{
    for (int ms = 0; !find_disk(serial, dev, size) || !is_there(dev); ms += 10) {
        if (ms >= WAIT_MS)
            die("no disk with the serial ", serial, 0);
        sys_sleep_ms(10);
    }
}

/* ---- dm-verity ---------------------------------------------------------------- */

union dm {
    struct dm_ioctl io;
    char room[2048];
};

static void dm_call(int ctl, unsigned long cmd, union dm *dm, unsigned flags,
                    const char *what)
{
    dm->io.version[0] = 4;
    dm->io.data_size = sizeof *dm;
    dm->io.data_start = sizeof dm->io;
    dm->io.flags = flags;
    join(dm->io.name, sizeof dm->io.name, "lodge-root", "");
    must(sys_ioctl(ctl, cmd, dm), what, NULL);
}

/* Cut text at the next comma; the rest, or NULL at the end. */
static char *cut(char *text)
{
    for (; *text; text++)
        if (*text == ',') {
            *text = '\0';
            return text + 1;
        }
    return NULL;
}

static void read_all_of(const char *dev)
{
    static char buf[256 << 10];
    long fd = sys_open(dev, O_RDONLY_, 0), n;
    must(fd, "open ", dev);
    while ((n = sys_read((int)fd, buf, sizeof buf)) > 0)
        ;
    must(n, "verity: the root disk does not match its hash", NULL);
    sys_close((int)fd);
}

/* Put /dev/dm-0, verified, in the place of dev. */
static void verity_open(char *spec, char *dev, size_t size)
{
    char *blocks = cut(spec), *salt = blocks ? cut(blocks) : NULL;
    char *option = salt ? cut(salt) : NULL, number[24];
    unsigned long count;
    if (!salt || !to_number(blocks, &count))
        die("lodge.verity= is not HASH,BLOCKS,SALT", NULL, 0);
    long ctl = -1;
    for (int ms = 0; ms < WAIT_MS && ctl < 0; ms += 10) {
        if ((ctl = sys_open("/dev/mapper/control", O_RDWR_, 0)) < 0)
            sys_sleep_ms(10);
    }
    must(ctl, "open /dev/mapper/control", NULL);
    static union dm dm;
    dm_call((int)ctl, DM_DEV_CREATE, &dm, 0, "verity: create the device");
    clear(&dm, sizeof dm);
    struct dm_target_spec *t = (void *)(dm.room + sizeof dm.io);
    t->length = count * 8;
    join(t->target_type, sizeof t->target_type, "verity", "");
    char *p = (char *)(t + 1);
    size_t room = sizeof dm - (p - dm.room);
    decimal(count + 1, number); /* a superblock stands between data and tree */
    size_t n = join3(p, room, "1 ", dev, " ");
    n += join3(p + n, room - n, dev, " 4096 4096 ", blocks);
    n += join3(p + n, room - n, " ", number, " sha256 ");
    n += join3(p + n, room - n, spec, " ", salt);
    join(p + n, room - n, " 1 panic_on_corruption", "");
    dm.io.target_count = 1;
    if (option && !compare(option, "full")) /* read errors come to us, not a panic */
        p[n] = '\0';
    dm_call((int)ctl, DM_TABLE_LOAD, &dm, DM_READONLY_FLAG, "verity: load the table");
    clear(&dm, sizeof dm);
    dm_call((int)ctl, DM_DEV_SUSPEND, &dm, 0, "verity: start the device");
    sys_close((int)ctl);
    join(dev, size, "/dev/dm-0", "");
    if (option && !compare(option, "full"))
        read_all_of(dev);
}

/* ---- mounts ------------------------------------------------------------------- */

static void mount_over(const char *base, const char *layer, const char *to)
{
    char data[256], up[64], work[64];
    join(up, sizeof up, layer, "/up");
    join(work, sizeof work, layer, "/work");
    long r = sys_mkdir(up, 0755);
    if (r != -EEXIST_)
        must(r, "make ", up);
    sys_mkdir(work, 0755);
    size_t n = join3(data, sizeof data, "lowerdir=", base, ",upperdir=");
    join3(data + n, sizeof data - n, up, ",workdir=", work);
    must(mount_at("overlay", to, "overlay", 0, data), "mount the overlay on ", to);
}

static void mount_root(void)
{
    char dev[64], scratch[64], options[64];
    if (words.rootdev)
        join(dev, sizeof dev, words.rootdev, "");
    else
        wait_disk("lodge-root", dev, sizeof dev);
    if (words.verity)
        verity_open((char *)words.verity, dev, sizeof dev);
    if (!compare(words.mode, "plain")) {
        must(mount_at(dev, "/root", words.root, words.verity ? MS_RDONLY_ : 0, NULL),
             "mount the root disk as ", words.root);
        return;
    }
    must(mount_at(dev, "/base", words.root, MS_RDONLY_, NULL),
         "mount the root disk as ", words.root);
    load_modules("/base/usr/lib/lodge/modules");
    if (!compare(words.mode, "tmpfs")) {
        join3(options, sizeof options, "mode=0755,size=", words.tmpfs, "");
        must(mount_at("lodge", "/over", "tmpfs", 0, options), "mount a tmpfs, size ",
             words.tmpfs);
    } else if (!compare(words.mode, "scratch")) {
        load_modules("/base/usr/lib/lodge/scratch");
        wait_disk("lodge-scratch", scratch, sizeof scratch);
        must(mount_at(scratch, "/over", "ext4", 0, NULL),
             "mount the scratch disk as ext4: ", scratch);
        sys_chmod("/over", 0700); /* nobody goes behind the overlay */
    } else {
        die("lodge.mode= is not tmpfs, scratch or plain: ", words.mode, 0);
    }
    mount_over("/base", "/over", "/root");
}

/* ---- handing over ------------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
    static char buf[64 << 10];
    long in = sys_open(from, O_RDONLY_, 0);
    long out = sys_open(to, O_WRONLY_ | O_CREAT_ | O_TRUNC_, 0755);
    must(in, "open ", from);
    must(out, "create ", to);
    for (long n; (n = sys_read((int)in, buf, sizeof buf)) > 0;)
        if (sys_write((int)out, buf, n) != n)
            die("write ", to, 0);
    sys_close((int)in);
    sys_close((int)out);
}

/* Every clone has its own: an empty or missing machine-id gets a random one. */
static void make_machine_id(void)
{
    static const char path[] = "/root/etc/machine-id";
    char old[64], text[33];
    unsigned char id[16] = {0};
    if (read_text(path, old, sizeof old) >= 32)
        return;
    if (sys_getrandom(id, sizeof id) != sizeof id)
        return; /* the init makes one */
    id[6] = (id[6] & 0x0f) | 0x40;
    id[8] = (id[8] & 0x3f) | 0x80;
    for (int i = 0; i < 16; i++) {
        text[2 * i] = "0123456789abcdef"[id[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[id[i] & 15];
    }
    text[32] = '\n';
    long fd = sys_open(path, O_WRONLY_ | O_CREAT_ | O_TRUNC_, 0444);
    if (fd < 0)
        return;
    sys_write((int)fd, text, sizeof text);
    sys_close((int)fd);
}

static void enter_root(void)
{
    static const char *const move[] = {"/dev", "/proc", "/sys"};
    char to[64];
    for (size_t i = 0; i < sizeof move / sizeof *move; i++) {
        join(to, sizeof to, "/root", move[i]);
        sys_mkdir(to, 0755);
        must(sys_mount(move[i], to, NULL, MS_MOVE_, NULL), "move ", move[i]);
    }
    must(mount_at("run", "/root/run", "tmpfs", MS_NOSUID_ | MS_NODEV_, "mode=0755"),
         "mount a tmpfs on ", "/run");
    sys_mkdir("/root/run/lodge", 0755);
    if (is_there("/lodge-guest"))
        copy_file("/lodge-guest", "/root" GUEST_RUN);
    /* An overlay cannot be frozen for a checkpoint; what it writes to can, if it can
     * be reached (src/guest/freeze.c). */
    if (!compare(words.mode, "scratch")) {
        sys_mkdir("/root" SCRATCH_AT, 0700);
        must(sys_mount("/over", "/root" SCRATCH_AT, NULL, MS_MOVE_, NULL), "move ",
             "/over");
    }
    make_machine_id();
    sys_unlink("/lodge-guest");
    sys_unlink("/init");
    must(sys_chdir("/root"), "enter ", "/root");
    must(sys_mount(".", "/", NULL, MS_MOVE_, NULL), "move the root", NULL);
    must(sys_chroot("."), "chroot", NULL);
    must(sys_chdir("/"), "enter ", "/");
}

static const char *const env[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/",
    "TERM=linux", NULL};

/* The guest program beside somebody else's init. '@': systemd leaves it alone. */
static void start_guest(const char *guest)
{
    if (sys_fork() != 0)
        return;
    sys_setsid();
    const char *const argv[] = {"@lodge-guest", "--daemon", NULL};
    long r = sys_execve(guest, argv, env);
    char no[24];
    decimal(-r, no);
    say("cannot start lodge-guest: error ", no, NULL);
    sys_exit(127);
}

static void hand_over(void)
{
    const char *guest = is_there(GUEST_RUN) ? GUEST_RUN : GUEST_PATH;
    const char *init = words.init;
    if (!compare(init, GUEST_PATH))
        init = guest;
    else if (is_there(guest))
        start_guest(guest);
    else if (compare(words.guest, "no"))
        say("this image has no lodge-guest: nobody can run commands in it", NULL, NULL);
    const char *const argv[] = {init, NULL};
    say("root is up, starting ", init, NULL);
    die("cannot start ", init, sys_execve(init, argv, env));
}

void stage1_main(void) __attribute__((noreturn, used));
void stage1_main(void)
{
    must(mount_at("dev", "/dev", "devtmpfs", MS_NOSUID_, "mode=0755"), "mount ",
         "/dev");
    long fd = sys_open("/dev/console", O_RDWR_, 0);
    for (int i = 0; fd >= 0 && i < 3; i++)
        sys_dup2((int)fd, i);
    if (fd > 2)
        sys_close((int)fd);
    must(mount_at("proc", "/proc", "proc", MS_NOSUID_ | MS_NODEV_ | MS_NOEXEC_, NULL),
         "mount ", "/proc");
    must(mount_at("sys", "/sys", "sysfs", MS_NOSUID_ | MS_NODEV_ | MS_NOEXEC_, NULL),
         "mount ", "/sys");
    read_words();
    load_modules("/modules");
    mount_root();
    enter_root();
    hand_over();
    for (;;)
        ;
}

/* The kernel enters with the stack aligned; arguments are of no interest. */
__asm__(
    ".globl _start\n_start:\n\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall stage1_main\n");
