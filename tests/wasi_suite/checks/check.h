/* What the programs of this folder share: a check that ends the program and says where, short forms of calls with a
 * path, and the directory that everything happens in. Every program makes what it needs and leaves it there. */
#include <stdlib.h>
#include <string.h>
#include <wasi/api.h>

enum { ROOT = 3 }; /* the first preopened directory */

/* Not `fprintf`: it would be most of the program. */
static inline void require(int holds, const char *what, int line, int number) {
    if (holds) return;
    char text[] = "line 0000, errno 00: ";
    for (int at = 8; line; line /= 10) text[at--] = '0' + line % 10;
    text[17] = '0' + number / 10, text[18] = '0' + number % 10;
    __wasi_ciovec_t parts[] = {{(const uint8_t *)text, sizeof text - 1}, {(const uint8_t *)what, strlen(what)}};
    __wasi_size_t written;
    (void)!__wasi_fd_write(2, parts, 2, &written);
    exit(1);
}

/* The call answers this error number; `IN` allows a second one, where the interface leaves a choice. */
#define IS(call, wanted) IN(call, wanted, wanted)
#define IN(call, one, other) \
    do { \
        int got = (call); \
        require(got == (one) || got == (other), #call " is not " #one, __LINE__, got); \
    } while (0)
#define OK(call) IS(call, 0)
#define HOLDS(what) require((what), #what, __LINE__, 0)

#define READ (__WASI_RIGHTS_FD_READ | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_FILESTAT_GET)
#define WRITE \
    (__WASI_RIGHTS_FD_WRITE | __WASI_RIGHTS_FD_SEEK | __WASI_RIGHTS_FD_TELL | __WASI_RIGHTS_FD_FILESTAT_GET | \
     __WASI_RIGHTS_FD_FILESTAT_SET_SIZE | __WASI_RIGHTS_FD_FILESTAT_SET_TIMES | __WASI_RIGHTS_FD_ALLOCATE | \
     __WASI_RIGHTS_FD_ADVISE | __WASI_RIGHTS_FD_SYNC | __WASI_RIGHTS_FD_DATASYNC | \
     __WASI_RIGHTS_FD_FDSTAT_SET_FLAGS)
#define CREATE (__WASI_OFLAGS_CREAT)
#define ONLY_NEW (__WASI_OFLAGS_CREAT | __WASI_OFLAGS_EXCL)
#define DIRECTORY (__WASI_OFLAGS_DIRECTORY)

static inline int open_at(int directory, const char *path, int oflags, __wasi_rights_t rights, int flags, int *fd) {
    return __wasi_path_open(directory, 0, path, oflags, rights, 0, flags, fd);
}

/* A descriptor of what must open. */
static inline int opened(const char *path, int oflags, __wasi_rights_t rights) {
    int fd = -1;
    OK(open_at(ROOT, path, oflags, rights, 0, &fd));
    HOLDS(fd > ROOT);
    return fd;
}

/* The error number of opening with no rights at all: whether the path leads somewhere. */
static inline int leads(const char *path) {
    int fd, number = open_at(ROOT, path, 0, 0, 0, &fd);
    if (!number) OK(__wasi_fd_close(fd));
    return number;
}

static inline void made(const char *path, const char *content) {
    int fd = opened(path, CREATE | __WASI_OFLAGS_TRUNC, WRITE);
    __wasi_ciovec_t part = {(const uint8_t *)content, strlen(content)};
    __wasi_size_t written;
    OK(__wasi_fd_write(fd, &part, 1, &written));
    HOLDS(written == part.buf_len);
    OK(__wasi_fd_close(fd));
}

static inline __wasi_filestat_t stat_of(const char *path) {
    __wasi_filestat_t stat;
    OK(__wasi_path_filestat_get(ROOT, 0, path, &stat));
    return stat;
}

static inline __wasi_size_t put(int fd, const void *data, size_t length) {
    __wasi_ciovec_t part = {data, length};
    __wasi_size_t written = 0;
    OK(__wasi_fd_write(fd, &part, 1, &written));
    return written;
}

static inline __wasi_size_t get(int fd, void *data, size_t length) {
    __wasi_iovec_t part = {data, length};
    __wasi_size_t read = 0;
    OK(__wasi_fd_read(fd, &part, 1, &read));
    return read;
}
