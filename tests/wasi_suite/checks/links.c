/* Symbolic links, which are followed when that is wished and never out of the directory; and further names of files. */
#include "check.h"

static int symlink_to(const char *target, const char *path) { return __wasi_path_symlink(target, ROOT, path); }

static int followed(const char *path) {
    int fd, number = __wasi_path_open(ROOT, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, path, 0, 0, 0, 0, &fd);
    if (!number) OK(__wasi_fd_close(fd));
    return number;
}

int main(void) {
    uint8_t text[8] = "#######";
    __wasi_size_t used;
    __wasi_filestat_t stat;
    char name[3] = "l0", target[3] = "l0";
    made("f", "content");
    OK(__wasi_path_create_directory(ROOT, "d"));
    made("d/g", "");

    /* At the end of a path a link is itself, unless it is to be followed; in its middle it is always followed. */
    OK(symlink_to("f", "link"));
    OK(symlink_to("../d/.", "d/again"));
    IS(leads("link"), __WASI_ERRNO_LOOP);
    OK(followed("link"));
    OK(leads("d/again/again/g"));
    HOLDS(stat_of("link").filetype == __WASI_FILETYPE_SYMBOLIC_LINK && stat_of("link").size == 1);
    OK(__wasi_path_filestat_get(ROOT, __WASI_LOOKUPFLAGS_SYMLINK_FOLLOW, "link", &stat));
    HOLDS(stat.ino == stat_of("f").ino);
    OK(__wasi_path_readlink(ROOT, "d/again", text, 4, &used));
    HOLDS(used == 4 && memcmp(text, "../d###", 7) == 0);
    IS(__wasi_path_readlink(ROOT, "f", text, 8, &used), __WASI_ERRNO_INVAL);
    IS(__wasi_path_readlink(ROOT, "none", text, 8, &used), __WASI_ERRNO_NOENT);

    /* Never out of the directory, never for ever. */
    HOLDS(symlink_to("/f", "absolute") != 0);
    OK(symlink_to("../../f", "out"));
    IN(followed("out"), __WASI_ERRNO_PERM, __WASI_ERRNO_NOTCAPABLE);
    OK(symlink_to("self", "self"));
    IS(followed("self"), __WASI_ERRNO_LOOP);
    OK(symlink_to("none", "dangling"));
    IS(followed("dangling"), __WASI_ERRNO_NOENT);
    OK(symlink_to("f", "l0"));
    for (char last = '1'; last <= 'p'; last++) {
        target[1] = last - 1, name[1] = last;
        OK(symlink_to(target, name));
    }
    IS(followed("lp"), __WASI_ERRNO_LOOP);

    /* A link takes nobody's place, and goes alone. */
    IS(symlink_to("f", "d"), __WASI_ERRNO_EXIST);
    IS(symlink_to("f", "link"), __WASI_ERRNO_EXIST);
    IS(symlink_to("f", "new/"), __WASI_ERRNO_NOENT);
    OK(__wasi_path_unlink_file(ROOT, "link"));
    OK(leads("f"));

    /* A second name is the same file, until the last one is gone. */
    OK(__wasi_path_link(ROOT, 0, "f", ROOT, "d/h"));
    HOLDS(stat_of("d/h").ino == stat_of("f").ino && stat_of("f").nlink == 2);
    made("d/h", "more than it was");
    HOLDS(stat_of("f").size == 16);
    OK(__wasi_path_unlink_file(ROOT, "f"));
    HOLDS(stat_of("d/h").size == 16 && stat_of("d/h").nlink == 1);
    IN(__wasi_path_link(ROOT, 0, "d", ROOT, "e"), __WASI_ERRNO_PERM, __WASI_ERRNO_ACCES);
    IS(__wasi_path_link(ROOT, 0, "d/h", ROOT, "d/g"), __WASI_ERRNO_EXIST);
    return 0;
}
