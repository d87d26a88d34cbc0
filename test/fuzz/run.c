/* SPDX-License-Identifier: Apache-2.0 */
/* Plain runner of a fuzz target, for make check: each input of its corpus and seeds as
 * it is, then cut short and with bytes changed, always in the same way. One TAP line a
 * folder. LODGE_FUZZ_RUNS sets how many mutations an input gets (usually 40); with
 * files as arguments only these are run. */
#include "fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"
#include "base/str.h"

enum { INPUT_MAX = 4 << 20 };

static uint64_t random_state = 1;

static uint32_t next_random(void)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(random_state >> 33);
}

/* A copy of its own size, so that sanitizers see each byte beyond. */
static void run_copy(const char *data, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    if (!copy)
        abort();
    memcpy(copy, data, len);
    LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void mutate(char *data, size_t len, unsigned runs)
{
    for (unsigned i = 0; i < runs && len; i++) {
        size_t at = next_random() % len;
        char old = data[at];
        switch (next_random() % 4) {
        case 0:
            run_copy(data, at);
            break;
        case 1:
            data[at] = (char)(data[at] ^ (1 << next_random() % 8));
            run_copy(data, len);
            break;
        case 2:
            data[at] = (char)next_random();
            run_copy(data, len);
            break;
        default:
            run_copy(data + at, len - at);
        }
        data[at] = old;
    }
}

static bool run_file(const char *path, unsigned runs)
{
    AUTO_STR data = NULL;
    size_t len;
    struct err err = {0};
    if (fd_read_file(path, INPUT_MAX, &data, &len, &err) < 0) {
        printf("# %s\n", err.text);
        return false;
    }
    run_copy(data, len);
    mutate(data, len, runs);
    return true;
}

static int run_folder(const char *top, const char *folder, int number, unsigned runs)
{
    AUTO_STR path = str_printf("%s/%s", top, folder);
    struct dirent **entries = NULL;
    int n = path ? scandir(path, &entries, NULL, alphasort) : -1, done = 0;
    bool ok = n >= 0;
    for (int i = 0; i < n; i++) {
        AUTO_STR file = str_printf("%s/%s", path, entries[i]->d_name);
        if (file && *entries[i]->d_name != '.' && entries[i]->d_type != DT_DIR) {
            ok = run_file(file, runs) && ok;
            done++;
        }
        free(entries[i]);
    }
    free(entries);
    printf("%sok %d - %s: %d inputs of %s\n", ok && done ? "" : "not ", number,
           fuzz_name, done, folder);
    return ok && done;
}

int main(int argc, char **argv)
{
    const char *top = getenv("LODGE_TOP_SRCDIR"), *count = getenv("LODGE_FUZZ_RUNS");
    uint64_t runs = 40;
    int number = 0, good = 0;
    if (count && !str_to_u64(count, &runs))
        return 64;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc > 1) {
        for (int i = 1; i < argc; i++)
            good += run_file(argv[i], 0);
        return good == argc - 1 ? 0 : 1;
    }
    AUTO_STR own = str_printf("test/data/fuzz/%s", fuzz_name);
    AUTO_STR path = str_printf("%s/%s", top ? top : ".", own);
    DIR *dir = path ? opendir(path) : NULL;
    if (dir) {
        closedir(dir);
        good += run_folder(top ? top : ".", own, ++number, (unsigned)runs);
    }
    for (int i = 0; fuzz_seeds[i]; i++)
        good += run_folder(top ? top : ".", fuzz_seeds[i], ++number, (unsigned)runs);
    printf("1..%d\n", number);
    return good == number && number ? 0 : 1;
}
