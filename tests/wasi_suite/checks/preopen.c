/* A directory is there from the start, perhaps under several names. It has the rights to everything below it, and can be
 * closed and replaced. */
#include "check.h"

#define WHOLE_DIRECTORY \
    (__WASI_RIGHTS_PATH_CREATE_DIRECTORY | __WASI_RIGHTS_PATH_CREATE_FILE | __WASI_RIGHTS_PATH_OPEN | \
     __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_PATH_RENAME_SOURCE | __WASI_RIGHTS_PATH_RENAME_TARGET | \
     __WASI_RIGHTS_PATH_FILESTAT_GET | __WASI_RIGHTS_PATH_FILESTAT_SET_SIZE | __WASI_RIGHTS_PATH_FILESTAT_SET_TIMES | \
     __WASI_RIGHTS_FD_FILESTAT_GET | __WASI_RIGHTS_PATH_REMOVE_DIRECTORY | __WASI_RIGHTS_PATH_UNLINK_FILE)

int main(void) {
    __wasi_prestat_t prestat;
    __wasi_fdstat_t stat;
    __wasi_filestat_t before, after;
    uint8_t name[8] = "#######";
    int fd;

    OK(__wasi_fd_prestat_get(ROOT, &prestat));
    HOLDS(prestat.tag == __WASI_PREOPENTYPE_DIR && prestat.u.dir.pr_name_len == 1);
    IN(__wasi_fd_prestat_dir_name(ROOT, name, 0), __WASI_ERRNO_NAMETOOLONG, __WASI_ERRNO_INVAL);
    OK(__wasi_fd_prestat_dir_name(ROOT, name, 7));
    HOLDS(memcmp(name, "/######", 7) == 0);
    IN(__wasi_fd_prestat_get(0, &prestat), __WASI_ERRNO_BADF, __WASI_ERRNO_NOTSUP);

    OK(__wasi_fd_fdstat_get(ROOT, &stat));
    HOLDS(stat.fs_filetype == __WASI_FILETYPE_DIRECTORY && stat.fs_flags == 0);
    HOLDS((stat.fs_rights_base & WHOLE_DIRECTORY) == WHOLE_DIRECTORY);
    HOLDS((stat.fs_rights_inheriting & (READ | WRITE | WHOLE_DIRECTORY)) == (READ | WRITE | WHOLE_DIRECTORY));
    HOLDS(!(stat.fs_rights_base & (__WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_FILESTAT_SET_SIZE)));

    /* Under other names, too, it is this one; behind the last of them a C library finds the end. */
    OK(__wasi_fd_filestat_get(ROOT, &before));
    for (fd = ROOT + 1; __wasi_fd_prestat_get(fd, &prestat) == 0; fd++) {
        OK(__wasi_fd_filestat_get(fd, &after));
        HOLDS(before.ino == after.ino);
    }
    IS(__wasi_fd_prestat_get(fd, &prestat), __WASI_ERRNO_BADF);

    /* The directory opened as a part of itself is the same one, and no preopened one. */
    OK(__wasi_path_open(ROOT, 0, ".", DIRECTORY, stat.fs_rights_base, stat.fs_rights_inheriting, 0, &fd));
    OK(__wasi_fd_filestat_get(fd, &after));
    HOLDS(before.dev == after.dev && before.ino == after.ino && after.filetype == __WASI_FILETYPE_DIRECTORY);
    IN(__wasi_fd_prestat_get(fd, &prestat), __WASI_ERRNO_BADF, __WASI_ERRNO_NOTSUP);

    /* It can be replaced by another directory, and be closed for good. */
    OK(__wasi_path_create_directory(ROOT, "below"));
    OK(__wasi_path_open(fd, 0, "below", DIRECTORY, stat.fs_rights_base, stat.fs_rights_inheriting, 0, &fd));
    OK(__wasi_fd_filestat_get(fd, &before));
    OK(__wasi_fd_renumber(fd, ROOT));
    OK(__wasi_fd_filestat_get(ROOT, &after));
    HOLDS(before.ino == after.ino);
    IS(__wasi_fd_filestat_get(fd, &after), __WASI_ERRNO_BADF);
    OK(__wasi_fd_close(ROOT));
    IS(__wasi_fd_close(ROOT), __WASI_ERRNO_BADF);
    IS(leads("below"), __WASI_ERRNO_BADF);
    return 0;
}
