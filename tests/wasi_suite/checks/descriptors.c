/* Descriptors: numbers that change hands, a directory's where a file's is wanted, and waiting for files. */
#include "check.h"

int main(void) {
    __wasi_filesize_t at;
    __wasi_size_t count;
    uint8_t buffer[16];
    __wasi_iovec_t into = {buffer, 16};
    __wasi_ciovec_t from = {buffer, 16};
    __wasi_fdstat_t stat;
    int one = opened("one", CREATE, READ | WRITE), two = opened("two", CREATE, READ | WRITE);

    put(one, "1", 1);
    OK(__wasi_fd_renumber(one, two));
    IS(__wasi_fd_close(one), __WASI_ERRNO_BADF);
    IS(__wasi_fd_renumber(two, one), __WASI_ERRNO_BADF);
    OK(__wasi_fd_tell(two, &at));
    HOLDS(at == 1);
    OK(__wasi_fd_renumber(two, two));
    OK(__wasi_fd_renumber(1, two)); /* standard output has another number now */
    IS(__wasi_fd_fdstat_get(1, &stat), __WASI_ERRNO_BADF);
    HOLDS(put(two, "by another number\n", 18) == 18);

    OK(__wasi_path_create_directory(ROOT, "d"));
    OK(open_at(ROOT, "d", DIRECTORY, READ, 0, &one));
    HOLDS(__wasi_fd_read(one, &into, 1, &count) != 0 && __wasi_fd_pread(one, &into, 1, 0, &count) != 0);
    HOLDS(__wasi_fd_write(one, &from, 1, &count) != 0 && __wasi_fd_pwrite(one, &from, 1, 0, &count) != 0);
    HOLDS(__wasi_fd_seek(one, 0, __WASI_WHENCE_SET, &at) != 0 && __wasi_fd_tell(one, &at) != 0);
    HOLDS(__wasi_fd_allocate(one, 0, 1) != 0 && __wasi_fd_filestat_set_size(one, 0) != 0);
    IS(__wasi_sock_shutdown(one, __WASI_SDFLAGS_RD), __WASI_ERRNO_NOTSOCK);
    one = opened("one", 0, READ | WRITE);
    HOLDS(__wasi_fd_readdir(one, buffer, 16, 0, &count) != 0);

    /* A file is always ready. */
    __wasi_subscription_t wish = {.userdata = 9, .u.tag = __WASI_EVENTTYPE_FD_READ, .u.u.fd_read.file_descriptor = one};
    __wasi_event_t happened;
    OK(__wasi_poll_oneoff(&wish, &happened, 1, &count));
    HOLDS(count == 1 && happened.userdata == 9);
    return 0;
}
