/* Reading and writing: positions, appending, holes, several parts, several descriptors of one file. */
#include "check.h"

static uint64_t seek(int fd, int64_t by, int whence) {
    __wasi_filesize_t at = 12345;
    OK(__wasi_fd_seek(fd, by, whence, &at));
    return at;
}

int main(void) {
    char buffer[16] = {0};
    __wasi_filesize_t at;
    __wasi_size_t count;
    int fd = opened("f", CREATE, READ | WRITE), other;

    HOLDS(put(fd, "0123456789", 10) == 10);
    OK(__wasi_fd_tell(fd, &at));
    HOLDS(at == 10);
    HOLDS(seek(fd, -4, __WASI_WHENCE_CUR) == 6 && seek(fd, -1, __WASI_WHENCE_END) == 9 && seek(fd, 2, __WASI_WHENCE_SET) == 2);
    HOLDS(get(fd, buffer, 3) == 3 && memcmp(buffer, "234", 3) == 0);
    IS(__wasi_fd_seek(fd, -6, __WASI_WHENCE_CUR, &at), __WASI_ERRNO_INVAL);
    IS(__wasi_fd_seek(fd, 0, 3, &at), __WASI_ERRNO_INVAL);
    IS(__wasi_fd_seek(fd, INT64_MIN, __WASI_WHENCE_END, &at), __WASI_ERRNO_INVAL);
    OK(__wasi_fd_tell(fd, &at));
    HOLDS(at == 5);

    /* At a place of one's choice, without moving. */
    __wasi_iovec_t in[3] = {{(uint8_t *)buffer, 2}, {(uint8_t *)buffer + 8, 0}, {(uint8_t *)buffer + 4, 5}};
    OK(__wasi_fd_pread(fd, in, 3, 7, &count));
    HOLDS(count == 3 && memcmp(buffer, "78", 2) == 0 && buffer[4] == '9');
    OK(__wasi_fd_pread(fd, in, 3, 100, &count));
    HOLDS(count == 0);
    __wasi_ciovec_t out[2] = {{(const uint8_t *)"A", 1}, {(const uint8_t *)"BC", 2}};
    OK(__wasi_fd_pwrite(fd, out, 2, 9, &count));
    HOLDS(count == 3 && stat_of("f").size == 12);
    OK(__wasi_fd_tell(fd, &at));
    HOLDS(at == 5);

    /* What lies between an old end and something written behind it is zeros. */
    HOLDS(seek(fd, 16, __WASI_WHENCE_SET) == 16 && stat_of("f").size == 12);
    HOLDS(get(fd, buffer, 4) == 0 && put(fd, "z", 1) == 1 && stat_of("f").size == 17);
    OK(__wasi_fd_pread(fd, &(__wasi_iovec_t){(uint8_t *)buffer, 16}, 1, 10, &count));
    HOLDS(count == 7 && memcmp(buffer, "BC\0\0\0\0z", 7) == 0);

    /* Another descriptor has a position of its own, and sees what is written at once. */
    other = opened("f", 0, READ);
    HOLDS(get(other, buffer, 2) == 2 && memcmp(buffer, "01", 2) == 0);
    seek(fd, 2, __WASI_WHENCE_SET);
    put(fd, "x", 1);
    HOLDS(get(other, buffer, 1) == 1 && buffer[0] == 'x');

    /* Appending: wherever the position is, until the flag is taken away. */
    OK(open_at(ROOT, "log", CREATE, READ | WRITE, __WASI_FDFLAGS_APPEND, &fd));
    put(fd, "one", 3);
    seek(fd, 0, __WASI_WHENCE_SET);
    put(fd, "two", 3);
    HOLDS(seek(fd, 0, __WASI_WHENCE_CUR) == 6);
    OK(__wasi_fd_fdstat_set_flags(fd, 0));
    seek(fd, 0, __WASI_WHENCE_SET);
    put(fd, "ONE", 3);
    seek(fd, 0, __WASI_WHENCE_SET);
    HOLDS(get(fd, buffer, 16) == 6 && memcmp(buffer, "ONEtwo", 6) == 0);
    IS(__wasi_fd_fdstat_set_flags(fd, 1 << 9), __WASI_ERRNO_INVAL);
    return 0;
}
