/* Making, reading and removing directories, through a buffer that holds few entries or less than one. */
#include "check.h"

enum { FILES = 200 };
static uint8_t seen[FILES];

/* Reads all of a directory through a buffer of this size; returns the number of entries. */
static int count_of(int fd, size_t size) {
    static uint8_t buffer[4096];
    __wasi_dircookie_t cookie = 0;
    int entries = 0;
    for (;;) {
        __wasi_size_t used, at = 0;
        OK(__wasi_fd_readdir(fd, buffer, size, cookie, &used));
        HOLDS(used <= size);
        while (used - at >= sizeof(__wasi_dirent_t)) {
            __wasi_dirent_t entry;
            memcpy(&entry, buffer + at, sizeof entry);
            if (used - at - sizeof entry < entry.d_namlen) break; /* cut: read again from the last cookie */
            char name[300] = {0};
            memcpy(name, buffer + at + sizeof entry, entry.d_namlen);
            at += sizeof entry + entry.d_namlen;
            cookie = entry.d_next;
            entries++;
            if (name[0] == '.') {
                HOLDS(entry.d_type == __WASI_FILETYPE_DIRECTORY);
                continue;
            }
            char path[310] = "d/";
            strcat(path, name);
            HOLDS(entry.d_ino == stat_of(path).ino && entry.d_type == stat_of(path).filetype);
            if (name[0] == 'n') seen[atoi(name + 1)]++;
        }
        if (used < size) return entries;
        HOLDS(at > 0 || size < 64);
        if (at == 0) return -1; /* not one entry fits */
    }
}

static void named(char *path, int number) {
    char digits[] = {'0' + number / 100, '0' + number / 10 % 10, '0' + number % 10, 0};
    strcpy(path, "d/n");
    strcat(path, digits);
}

int main(void) {
    __wasi_size_t used;
    char name[16];
    int fd;
    OK(__wasi_path_create_directory(ROOT, "d"));
    IS(__wasi_path_create_directory(ROOT, "d"), __WASI_ERRNO_EXIST);
    IS(__wasi_path_create_directory(ROOT, "none/d"), __WASI_ERRNO_NOENT);
    fd = opened("d", DIRECTORY, __WASI_RIGHTS_FD_READDIR | __WASI_RIGHTS_FD_FILESTAT_GET);
    HOLDS(count_of(fd, 4096) == 2);
    OK(__wasi_path_create_directory(ROOT, "d/sub"));
    for (int i = 0; i < FILES; i++) {
        named(name, i);
        made(name, "");
    }
    HOLDS(count_of(fd, 4096) == FILES + 3 && count_of(fd, 100) == FILES + 3 && count_of(fd, 26) == -1);
    for (int i = 0; i < FILES; i++) HOLDS(seen[i] == 2);
    OK(__wasi_fd_readdir(fd, (uint8_t *)name, 0, 0, &used));
    HOLDS(used == 0);

    IS(__wasi_path_remove_directory(ROOT, "d"), __WASI_ERRNO_NOTEMPTY);
    IS(__wasi_path_remove_directory(ROOT, "d/n001"), __WASI_ERRNO_NOTDIR);
    IS(__wasi_path_unlink_file(ROOT, "d/sub"), __WASI_ERRNO_ISDIR);
    IS(__wasi_path_remove_directory(ROOT, "none"), __WASI_ERRNO_NOENT);
    for (int i = 0; i < FILES; i++) {
        named(name, i);
        OK(__wasi_path_unlink_file(ROOT, name));
    }
    OK(__wasi_path_remove_directory(ROOT, "d/sub/"));
    OK(__wasi_path_remove_directory(ROOT, "d"));

    /* Removed while it is open: an empty place that nothing can be made in. */
    HOLDS(count_of(fd, 4096) <= 2);
    HOLDS(open_at(fd, "f", CREATE, READ, 0, &fd) != 0);
    IS(leads("d"), __WASI_ERRNO_NOENT);
    return 0;
}
