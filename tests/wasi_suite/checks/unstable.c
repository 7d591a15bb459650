/* The WASI of 2019, `wasi_unstable`: the same descriptors, with records and numbers of its own. */
#include "check.h"

#define OF_2019(name) __attribute__((import_module("wasi_unstable"), import_name(#name))) extern int old_##name

typedef struct {
    uint64_t dev, ino;
    uint8_t filetype;
    uint32_t nlink;
    uint64_t size, atim, mtim, ctim;
} old_filestat;

typedef struct {
    uint64_t userdata;
    uint8_t type;
    union {
        struct {
            uint64_t identifier;
            uint32_t id;
            uint64_t timeout, precision;
            uint16_t flags;
        } clock;
        uint32_t fd;
    } u;
} old_subscription;

enum { OLD_CUR, OLD_END, OLD_SET };

OF_2019(fd_filestat_get)(int fd, old_filestat *stat);
OF_2019(path_filestat_get)(int fd, uint32_t flags, const char *path, size_t length, old_filestat *stat);
OF_2019(fd_seek)(int fd, int64_t offset, uint32_t whence, uint64_t *position);
OF_2019(poll_oneoff)(const old_subscription *wishes, __wasi_event_t *events, size_t count, size_t *happened);
OF_2019(path_open)(int fd, uint32_t lookup, const char *path, size_t length, uint32_t oflags, uint64_t base,
                   uint64_t inheriting, uint32_t fdflags, int *opened);
OF_2019(fd_write)(int fd, const __wasi_ciovec_t *parts, size_t count, size_t *written);

static int same(const old_filestat *old, const __wasi_filestat_t *now) {
    return old->dev == now->dev && old->ino == now->ino && old->filetype == now->filetype && old->nlink == now->nlink &&
           old->size == now->size && old->atim == now->atim && old->mtim == now->mtim && old->ctim == now->ctim;
}

int main(void) {
    struct {
        old_filestat stat;
        uint64_t behind;
    } old = {.behind = 0x5555555555555555};
    __wasi_ciovec_t part = {(const uint8_t *)"0123456789", 10};
    __wasi_event_t events[2];
    uint64_t at;
    size_t count;
    int fd;
    HOLDS(sizeof(old_filestat) == 56 && sizeof(old_subscription) == 56);

    OK(old_path_open(ROOT, 0, "f", 1, CREATE, READ | WRITE | __WASI_RIGHTS_POLL_FD_READWRITE, 0, 0, &fd));
    OK(old_fd_write(fd, &part, 1, &count));
    OK(__wasi_path_link(ROOT, 0, "f", ROOT, "g"));
    __wasi_filestat_t now = stat_of("f");
    OK(old_fd_filestat_get(fd, &old.stat));
    HOLDS(same(&old.stat, &now) && old.stat.nlink == 2 && old.stat.size == 10);
    memset(&old.stat, 0, sizeof old.stat);
    OK(old_path_filestat_get(ROOT, 0, "g", 1, &old.stat));
    HOLDS(same(&old.stat, &now) && old.behind == 0x5555555555555555);

    OK(old_fd_seek(fd, 4, OLD_SET, &at));
    HOLDS(at == 4);
    OK(old_fd_seek(fd, 2, OLD_CUR, &at));
    HOLDS(at == 6);
    OK(old_fd_seek(fd, -1, OLD_END, &at));
    HOLDS(at == 9);
    IS(old_fd_seek(fd, 0, 3, &at), __WASI_ERRNO_INVAL);
    IS(old_fd_seek(fd, 0, -1, &at), __WASI_ERRNO_INVAL);
    OK(__wasi_fd_seek(fd, -2, __WASI_WHENCE_CUR, &at));
    HOLDS(at == 7);

    old_subscription wishes[2] = {
        {.userdata = 1, .type = __WASI_EVENTTYPE_CLOCK,
         .u.clock = {.identifier = 77, .id = __WASI_CLOCKID_MONOTONIC, .timeout = 1000, .precision = 0, .flags = 0}},
        {.userdata = 2, .type = __WASI_EVENTTYPE_FD_READ, .u.fd = fd},
    };
    OK(old_poll_oneoff(wishes, events, 1, &count));
    HOLDS(count == 1 && events[0].userdata == 1 && events[0].error == 0 && events[0].type == __WASI_EVENTTYPE_CLOCK);
    wishes[0].u.clock.timeout = 3600000000000;
    OK(old_poll_oneoff(wishes, events, 2, &count));
    HOLDS(count == 1 && events[0].userdata == 2 && events[0].error == 0 && events[0].fd_readwrite.nbytes == 3);
    wishes[0].u.clock.id = 99;
    OK(old_poll_oneoff(wishes, events, 1, &count));
    HOLDS(count == 1 && events[0].userdata == 1 && events[0].error == __WASI_ERRNO_INVAL);
    return 0;
}
