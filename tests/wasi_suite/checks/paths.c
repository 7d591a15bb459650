/* Where a path leads: through `.`, `..` and slashes, never above the directory that it begins in. */
#include "check.h"

enum { OUT = -1, NOWHERE = -2, BAD = -3 }; /* outside; no such thing; no text that a path may have */

static const struct {
    const char *path;
    int number;
} PATHS[] = {
    {".", 0}, {"a", 0}, {"a/", 0}, {"a//", 0}, {"./a/./b", 0}, {"a/b/../b/f", 0}, {"a//b///f", 0}, {"a/..", 0},
    {"a/../a/b/f", 0}, {"a/b/../../a", 0}, {"a/b/f", 0}, {"g", 0}, {"\xc3\xa4", 0},
    {"..", OUT}, {"a/../..", OUT}, {"a/../../a", OUT}, {"../a", OUT}, {"/", OUT}, {"/a", OUT}, {"/a/b/f", OUT}, {"//a", OUT},
    {"n", __WASI_ERRNO_NOENT}, {"a/n", __WASI_ERRNO_NOENT}, {"n/f", __WASI_ERRNO_NOENT}, {"n/", __WASI_ERRNO_NOENT},
    {"a/b/f/", NOWHERE}, {"a/b/f/.", NOWHERE}, {"g/x", NOWHERE}, {"g/../g", NOWHERE}, {"A", __WASI_ERRNO_NOENT},
    {"", BAD}, {"\xff", BAD},
};

int main(void) {
    static char longer[5001];
    int directory, fd;
    OK(__wasi_path_create_directory(ROOT, "a"));
    OK(__wasi_path_create_directory(ROOT, "a/b/"));
    made("a/b/f", "inside");
    made("g", "");
    made("\xc3\xa4", "");
    for (size_t i = 0; i < sizeof PATHS / sizeof *PATHS; i++) {
        int got = leads(PATHS[i].path), wanted = PATHS[i].number, fine = got == wanted;
        if (wanted == OUT) fine = got == __WASI_ERRNO_NOTCAPABLE || got == __WASI_ERRNO_PERM;
        if (wanted == NOWHERE) fine = got == __WASI_ERRNO_NOTDIR || got == __WASI_ERRNO_NOENT;
        if (wanted == BAD) fine = got == __WASI_ERRNO_NOENT || got == __WASI_ERRNO_ILSEQ || got == __WASI_ERRNO_INVAL;
        require(fine, PATHS[i].path, __LINE__, got);
    }
    /* A directory's own descriptor is as high as its paths reach, although what it was opened from is higher. */
    OK(__wasi_path_open(ROOT, 0, "a", DIRECTORY, __WASI_RIGHTS_PATH_OPEN, READ, 0, &directory));
    OK(open_at(directory, "b/../b/f", 0, READ, 0, &fd));
    IN(open_at(directory, "../g", 0, READ, 0, &fd), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_PERM);
    IN(open_at(directory, "b/../../g", 0, READ, 0, &fd), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_PERM);
    /* Nothing is below a file, also not from its descriptor. */
    IN(open_at(fd, "x", CREATE, READ, 0, &directory), __WASI_ERRNO_NOTDIR, __WASI_ERRNO_NOTCAPABLE);
    memset(longer, 'x', 5000);
    IN(leads(longer), __WASI_ERRNO_NAMETOOLONG, __WASI_ERRNO_NOENT);
    IN(__wasi_path_create_directory(ROOT, longer), __WASI_ERRNO_NAMETOOLONG, __WASI_ERRNO_INVAL);
    longer[300] = 0;
    IS(__wasi_path_create_directory(ROOT, longer), __WASI_ERRNO_NAMETOOLONG);
    return 0;
}
