/* The n-th open, write, fsync, mkdir or rename under one folder fails, once or from then on. Preloaded into a program
 * (LD_PRELOAD), so that every library in it meets the failure, whatever language it is written in. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN, WRITE, FSYNC, MKDIR, RENAME, KINDS };

static char folder[PATH_MAX];
static int kind = -1, nth, lasting, number;
static int counts[KINDS];

/* From now on. which < 0: nothing fails, all is counted. */
void faults_arm(const char *path, int which, int n, int error, int last) {
    snprintf(folder, sizeof folder, "%s", path);
    memset(counts, 0, sizeof counts);
    kind = which, nth = n, number = error, lasting = last;
}

int faults_count(int which) { return __atomic_load_n(&counts[which], __ATOMIC_SEQ_CST); }

static int under(const char *path) { return folder[0] && strncmp(path, folder, strlen(folder)) == 0; }

static int under_fd(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return under(path);
}

/* Whether this call, of which there are so many now, is one that fails. */
static int fails(int which) {
    int now = __atomic_add_fetch(&counts[which], 1, __ATOMIC_SEQ_CST);
    if (which != kind || now < nth || (now > nth && !lasting)) return 0;
    errno = number;
    return 1;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) {
    REAL(open);
    MODE
    return under(path) && fails(OPEN) ? -1 : real(path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    REAL(open64);
    MODE
    return under(path) && fails(OPEN) ? -1 : real(path, flags, mode);
}

int openat(int at, const char *path, int flags, ...) {
    REAL(openat);
    MODE
    return under(path) && fails(OPEN) ? -1 : real(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    REAL(openat64);
    MODE
    return under(path) && fails(OPEN) ? -1 : real(at, path, flags, mode);
}

FILE *fopen(const char *path, const char *how) {
    REAL(fopen);
    return under(path) && fails(OPEN) ? NULL : real(path, how);
}

FILE *fopen64(const char *path, const char *how) {
    REAL(fopen64);
    return under(path) && fails(OPEN) ? NULL : real(path, how);
}

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    return folder[0] && under_fd(fd) && fails(WRITE) ? -1 : real(fd, data, size);
}

ssize_t writev(int fd, const struct iovec *data, int count) {
    REAL(writev);
    return folder[0] && under_fd(fd) && fails(WRITE) ? -1 : real(fd, data, count);
}

int fsync(int fd) {
    REAL(fsync);
    return folder[0] && under_fd(fd) && fails(FSYNC) ? -1 : real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    return folder[0] && under_fd(fd) && fails(FSYNC) ? -1 : real(fd);
}

int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return under(path) && fails(MKDIR) ? -1 : real(path, mode);
}

int mkdirat(int at, const char *path, mode_t mode) {
    REAL(mkdirat);
    return under(path) && fails(MKDIR) ? -1 : real(at, path, mode);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    return under(to) && fails(RENAME) ? -1 : real(from, to);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    REAL(renameat);
    return under(to) && fails(RENAME) ? -1 : real(from_at, from, to_at, to);
}
