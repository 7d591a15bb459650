/* The same through a C library, as most programs have it: what is granted is read by name, beside it files are made. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"

int main(int count, char **arguments) {
    char line[64];
    struct stat stat_of_file;
    struct dirent *entry;
    int entries = 0, fd;
    HOLDS(count == 2);

    /* Granted: read by name, never changed. */
    FILE *file = fopen(arguments[1], "r");
    HOLDS(file && fgets(line, sizeof line, file) && strcmp(line, "a granted file\n") == 0);
    HOLDS(!fgets(line, sizeof line, file) && feof(file));
    HOLDS(fseek(file, 2, SEEK_SET) == 0 && fgetc(file) == 'g' && ftell(file) == 3 && fclose(file) == 0);
    HOLDS(!fopen(arguments[1], "w") && !fopen(arguments[1], "r+") && unlink(arguments[1]) != 0);
    HOLDS(stat(arguments[1], &stat_of_file) == 0 && stat_of_file.st_size == 15 && S_ISREG(stat_of_file.st_mode));

    /* Its own. */
    HOLDS(mkdir("/made", 0777) == 0 && access("/made/file", F_OK) != 0 && errno == ENOENT);
    file = fopen("/made/file", "w");
    HOLDS(file && fprintf(file, "%s %d\n", "line", 1) == 7 && fclose(file) == 0);
    file = fopen("/made/file", "a+");
    HOLDS(file && fputs("line 2\n", file) >= 0 && fclose(file) == 0);
    HOLDS((fd = open("/made/file", O_RDWR)) >= 0 && ftruncate(fd, 9) == 0 && isatty(fd) == 0);
    HOLDS(lseek(fd, 0, SEEK_END) == 9 && pread(fd, line, 4, 7) == 2 && memcmp(line, "li", 2) == 0 && close(fd) == 0);
    HOLDS(rename("/made/file", "/made/renamed") == 0);
    DIR *directory = opendir("/made");
    HOLDS(directory != NULL);
    while ((entry = readdir(directory)))
        if (entry->d_name[0] != '.') {
            entries++;
            HOLDS(strcmp(entry->d_name, "renamed") == 0 && entry->d_type == DT_REG);
        }
    HOLDS(closedir(directory) == 0 && entries == 1);
    HOLDS(rmdir("/made") != 0 && errno == ENOTEMPTY && remove("/made/renamed") == 0 && rmdir("/made") == 0);
    HOLDS(!fopen("../etc/passwd", "r") && !fopen("/etc/passwd", "r"));
    printf("done\n");
    return 0;
}
