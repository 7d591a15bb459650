/* What may take whose place, and that what is open lives on without a name. */
#include "check.h"

static int moved(const char *from, const char *to) { return __wasi_path_rename(ROOT, from, ROOT, to); }
static void directory(const char *path) { OK(__wasi_path_create_directory(ROOT, path)); }

int main(void) {
    char buffer[8];
    int fd;
    made("f", "first");
    uint64_t inode = stat_of("f").ino;
    OK(moved("f", "g"));
    IS(leads("f"), __WASI_ERRNO_NOENT);
    HOLDS(stat_of("g").ino == inode);
    OK(moved("g", "g"));
    IS(moved("none", "g"), __WASI_ERRNO_NOENT);
    IS(moved("g", "none/g"), __WASI_ERRNO_NOENT);

    /* A file replaces a file; the one that was there stays for those who have it open. */
    made("h", "second");
    fd = opened("g", 0, READ | WRITE);
    OK(moved("h", "g"));
    HOLDS(get(fd, buffer, 8) == 5 && memcmp(buffer, "first", 5) == 0 && stat_of("g").size == 6);
    OK(__wasi_path_unlink_file(ROOT, "g"));
    HOLDS(put(fd, "!", 1) == 1);
    IS(__wasi_path_unlink_file(ROOT, "g"), __WASI_ERRNO_NOENT);

    /* A directory takes all that is below it along, and replaces an empty directory only. */
    directory("a");
    directory("a/b");
    made("a/b/f", "deep");
    fd = opened("a/b/f", 0, READ);
    directory("empty");
    directory("full");
    made("full/f", "");
    made("file", "");
    IS(moved("a", "full"), __WASI_ERRNO_NOTEMPTY);
    IS(moved("a", "file"), __WASI_ERRNO_NOTDIR);
    IS(moved("file", "a"), __WASI_ERRNO_ISDIR);
    HOLDS(moved("file", "new/") != 0);
    IS(moved("a", "a/b/c"), __WASI_ERRNO_INVAL);
    OK(moved("a/", "empty/"));
    OK(moved("empty", "c/"));
    HOLDS(stat_of("c/b/f").size == 4 && get(fd, buffer, 8) == 4);
    IS(leads("a"), __WASI_ERRNO_NOENT);
    HOLDS(moved(".", "x") != 0);
    IN(moved("../x", "x"), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_PERM);
    IN(moved("file", "/x"), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_PERM);

    /* A slash at the end is for directories. */
    IN(__wasi_path_unlink_file(ROOT, "file/"), __WASI_ERRNO_NOTDIR, __WASI_ERRNO_NOENT);
    IN(__wasi_path_remove_directory(ROOT, "file/"), __WASI_ERRNO_NOTDIR, __WASI_ERRNO_NOENT);
    return 0;
}
