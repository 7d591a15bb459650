/* What path_open makes of its flags and of the rights that are asked for. */
#include "check.h"

int main(void) {
    __wasi_fdstat_t stat;
    __wasi_size_t count;
    uint8_t byte = 7;
    __wasi_ciovec_t from = {&byte, 1};
    __wasi_iovec_t into = {&byte, 1};
    int fd;

    /* Creating: only where nothing is, if so wished; never a directory. */
    fd = opened("f", ONLY_NEW, READ | WRITE);
    HOLDS(put(fd, "abc", 3) == 3);
    IS(open_at(ROOT, "f", ONLY_NEW, READ, 0, &fd), __WASI_ERRNO_EXIST);
    IS(open_at(ROOT, "none/f", CREATE, READ, 0, &fd), __WASI_ERRNO_NOENT);
    IS(open_at(ROOT, "f/f", CREATE, READ, 0, &fd), __WASI_ERRNO_NOTDIR);
    HOLDS(open_at(ROOT, "new/", CREATE, READ, 0, &fd) != 0);
    HOLDS(stat_of("f").size == 3);
    OK(__wasi_path_create_directory(ROOT, "d"));
    IS(open_at(ROOT, "d", ONLY_NEW, READ, 0, &fd), __WASI_ERRNO_EXIST);
    IS(open_at(ROOT, "f", DIRECTORY, 0, 0, &fd), __WASI_ERRNO_NOTDIR);
    IS(open_at(ROOT, "d", DIRECTORY, READ | WRITE, 0, &fd), __WASI_ERRNO_ISDIR);
    OK(open_at(ROOT, "d", DIRECTORY, READ, 0, &fd));
    OK(open_at(ROOT, "d", 0, 0, __WASI_FDFLAGS_NONBLOCK, &fd));

    /* A descriptor has the rights that were asked for, as far as they are of use to what was opened. */
    fd = opened("f", 0, __WASI_RIGHTS_FD_READ);
    OK(__wasi_fd_fdstat_get(fd, &stat));
    HOLDS(stat.fs_filetype == __WASI_FILETYPE_REGULAR_FILE && stat.fs_rights_base == __WASI_RIGHTS_FD_READ);
    OK(__wasi_fd_read(fd, &into, 1, &count));
    HOLDS(count == 1 && byte == 'a');
    IN(__wasi_fd_write(fd, &from, 1, &count), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_BADF);
    IN(__wasi_fd_filestat_set_size(fd, 0), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_BADF);
    fd = opened("f", 0, __WASI_RIGHTS_FD_WRITE);
    IN(__wasi_fd_read(fd, &into, 1, &count), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_BADF);
    OK(__wasi_fd_write(fd, &from, 1, &count));
    OK(open_at(ROOT, "d", DIRECTORY, __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_READDIR, 0, &fd));
    OK(__wasi_fd_fdstat_get(fd, &stat));
    HOLDS(stat.fs_rights_base == __WASI_RIGHTS_FD_READDIR);

    /* Rights can be given up, and not be taken back. */
    fd = opened("f", 0, READ | WRITE);
    OK(__wasi_fd_fdstat_set_rights(fd, READ, 0));
    IN(__wasi_fd_write(fd, &from, 1, &count), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_BADF);
    OK(__wasi_fd_read(fd, &into, 1, &count));
    IS(__wasi_fd_fdstat_set_rights(fd, READ | WRITE, 0), __WASI_ERRNO_NOTCAPABLE);

    /* A directory hands on no more than it may, and does no more than it may. */
    OK(__wasi_path_open(ROOT, 0, "d", DIRECTORY, __WASI_RIGHTS_PATH_OPEN, __WASI_RIGHTS_FD_READ, 0, &fd));
    IN(__wasi_path_create_directory(fd, "e"), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_PERM);
    IN(open_at(fd, "e", CREATE, __WASI_RIGHTS_FD_READ, 0, &fd), __WASI_ERRNO_NOTCAPABLE, __WASI_ERRNO_PERM);
    IN(leads("d/e"), __WASI_ERRNO_NOENT, __WASI_ERRNO_NOENT);

    /* Truncating. */
    fd = opened("f", __WASI_OFLAGS_TRUNC, 0);
    HOLDS(stat_of("f").size == 0);
    return 0;
}
