/* Sizes, times, kinds and identities of files and directories. */
#include "check.h"

int main(void) {
    __wasi_filestat_t stat, later;
    __wasi_timestamp_t now;
    char buffer[8];
    int fd = opened("f", CREATE, READ | WRITE);

    OK(__wasi_clock_time_get(__WASI_CLOCKID_REALTIME, 1, &now));
    OK(__wasi_fd_filestat_get(fd, &stat));
    HOLDS(stat.filetype == __WASI_FILETYPE_REGULAR_FILE && stat.size == 0 && stat.nlink == 1 && stat.mtim <= now);
    HOLDS(now - stat.mtim < 3600000000000ull);
    OK(__wasi_path_create_directory(ROOT, "d"));
    later = stat_of("d");
    HOLDS(later.filetype == __WASI_FILETYPE_DIRECTORY && later.dev == stat.dev && later.ino != stat.ino);
    HOLDS(stat_of("f").ino == stat.ino && stat_of("d/../f").ino == stat.ino);
    IS(__wasi_path_filestat_get(ROOT, 0, "none", &later), __WASI_ERRNO_NOENT);

    /* Sizes: cut, grown with zeros, made sure of. */
    put(fd, "content", 7);
    OK(__wasi_fd_filestat_set_size(fd, 3));
    OK(__wasi_fd_filestat_set_size(fd, 5));
    OK(__wasi_fd_seek(fd, 0, __WASI_WHENCE_SET, &now));
    HOLDS(get(fd, buffer, 8) == 5 && memcmp(buffer, "con\0\0", 5) == 0);
    OK(__wasi_fd_allocate(fd, 2, 2));
    HOLDS(stat_of("f").size == 5);
    OK(__wasi_fd_allocate(fd, 4, 4));
    HOLDS(stat_of("f").size == 8);
    HOLDS(__wasi_fd_allocate(fd, UINT64_MAX, 2) != 0);
    HOLDS(__wasi_fd_filestat_set_size(fd, UINT64_MAX) != 0);
    HOLDS(stat_of("f").size == 8);
    OK(__wasi_fd_advise(fd, 0, 8, __WASI_ADVICE_WILLNEED));
    OK(__wasi_fd_sync(fd));
    OK(__wasi_fd_datasync(fd));

    /* Times: only those that are named; one and its `now` exclude each other. */
    stat = stat_of("f");
    OK(__wasi_fd_filestat_set_times(fd, 11, 22, __WASI_FSTFLAGS_MTIM));
    HOLDS(stat_of("f").mtim == 22 && stat_of("f").atim == stat.atim);
    OK(__wasi_path_filestat_set_times(ROOT, 0, "f", 33, 44, __WASI_FSTFLAGS_ATIM));
    HOLDS(stat_of("f").mtim == 22 && stat_of("f").atim == 33);
    OK(__wasi_path_filestat_set_times(ROOT, 0, "d", 55, 66, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_MTIM));
    HOLDS(stat_of("d").mtim == 66);
    OK(__wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM_NOW));
    HOLDS(stat_of("f").mtim >= stat.mtim);
    IS(__wasi_fd_filestat_set_times(fd, 0, 0, __WASI_FSTFLAGS_MTIM | __WASI_FSTFLAGS_MTIM_NOW), __WASI_ERRNO_INVAL);
    IS(__wasi_path_filestat_set_times(ROOT, 0, "f", 0, 0, __WASI_FSTFLAGS_ATIM | __WASI_FSTFLAGS_ATIM_NOW), __WASI_ERRNO_INVAL);
    HOLDS(stat_of("f").atim == 33);
    return 0;
}
