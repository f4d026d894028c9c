// What the fault tests preload into a server, because a machine cannot be asked for it: another wall clock, and the
// files as a power cut would leave them. Nothing in coda knows of it.
//
//   CODA_TEST_CLOCK=FILE   eight bytes, native order, signed: nanoseconds that the wall clock is off. Read at each look.
//   CODA_TEST_SYNCED=DIR   for coda.db and coda.db-wal, DIR holds a copy with what was synced, and nothing else: every
//                          byte written since the last fsync or fdatasync of the file is missing from it.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define FILES 2
#define FDS 4096
#define RANGES 65536

static const char *const NAMES[FILES] = {"coda.db", "coda.db-wal"};

struct range {
    off_t at;
    size_t len;
};

static struct file {
    int copy; // 0 until it is opened
    size_t count;
    struct range written[RANGES];
} files[FILES];

static unsigned char of_fd[FDS]; // index into `files`, plus one
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}
#define REAL(type, name) \
    static __typeof__(type) next; \
    if (!next) next = (__typeof__(type))real(name)

// ---- the clock

static const volatile int64_t *offset_ns(void) {
    static const volatile int64_t *mapped;
    static int looked;
    if (!looked) {
        const char *path = getenv("CODA_TEST_CLOCK");
        if (path) {
            REAL(int (*)(const char *, int, ...), "open");
            int fd = next(path, O_RDONLY | O_CLOEXEC);
            void *at = fd < 0 ? MAP_FAILED : mmap(0, 8, PROT_READ, MAP_SHARED, fd, 0);
            if (at == MAP_FAILED) abort();
            mapped = at;
        }
        looked = 1;
    }
    return mapped;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int (*)(clockid_t, struct timespec *), "clock_gettime");
    int done = next(clock, now);
    const volatile int64_t *offset = offset_ns();
    if (done == 0 && offset && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + *offset;
        now->tv_sec = ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return done;
}

// ---- what was synced

static size_t copy_range(int from, int to, off_t at, size_t len) {
    static char buffer[1 << 16];
    size_t done = 0;
    while (done < len) {
        size_t want = len - done < sizeof buffer ? len - done : sizeof buffer;
        ssize_t got = pread(from, buffer, want, at + (off_t)done);
        if (got <= 0) break;
        REAL(ssize_t (*)(int, const void *, size_t, off_t), "pwrite64");
        if (next(to, buffer, (size_t)got, at + (off_t)done) != got) abort();
        done += (size_t)got;
    }
    return done;
}

static void opened(const char *path, int fd) {
    const char *dir = getenv("CODA_TEST_SYNCED");
    if (!dir || fd < 0 || fd >= FDS) return;
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    pthread_mutex_lock(&lock);
    of_fd[fd] = 0;
    for (int i = 0; i < FILES; i++) {
        if (strcmp(name, NAMES[i]) != 0) continue;
        if (!files[i].copy) {
            // Under its name only when it is whole: a kill may come while it is copied. What the file holds before
            // this process writes to it counts as synced.
            char whole[4096], begun[4096];
            snprintf(whole, sizeof whole, "%s/%s", dir, name);
            snprintf(begun, sizeof begun, "%s/%s.new", dir, name);
            REAL(int (*)(const char *, int, ...), "open");
            files[i].copy = next(begun, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
            struct stat now;
            if (files[i].copy < 0 || fstat(fd, &now) != 0) abort();
            copy_range(fd, files[i].copy, 0, (size_t)now.st_size);
            if (rename(begun, whole) != 0) abort();
        }
        of_fd[fd] = (unsigned char)(i + 1);
    }
    pthread_mutex_unlock(&lock);
}

static struct file *file_of(int fd) {
    return fd >= 0 && fd < FDS && of_fd[fd] ? &files[of_fd[fd] - 1] : 0;
}

static void wrote(int fd, off_t at, ssize_t len) {
    struct file *file = file_of(fd);
    if (!file || len <= 0) return;
    pthread_mutex_lock(&lock);
    if (file->count == RANGES) abort();
    file->written[file->count++] = (struct range){at, (size_t)len};
    pthread_mutex_unlock(&lock);
}

static void synced(int fd) {
    struct file *file = file_of(fd);
    if (!file) return;
    pthread_mutex_lock(&lock);
    struct stat now;
    if (fstat(fd, &now) != 0) abort();
    for (size_t i = 0; i < file->count; i++) copy_range(fd, file->copy, file->written[i].at, file->written[i].len);
    if (ftruncate(file->copy, now.st_size) != 0) abort();
    file->count = 0;
    pthread_mutex_unlock(&lock);
}

static int opens(const char *which, const char *path, int flags, mode_t mode) {
    int (*next)(const char *, int, ...) = (int (*)(const char *, int, ...))real(which);
    int fd = next(path, flags, mode);
    opened(path, fd);
    return fd;
}

static mode_t mode_in(int flags, va_list rest) {
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(rest, int) : 0;
}

int open(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_in(flags, rest);
    va_end(rest);
    return opens("open", path, flags, mode);
}

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_in(flags, rest);
    va_end(rest);
    return opens("open64", path, flags, mode);
}

int close(int fd) {
    REAL(int (*)(int), "close");
    if (fd >= 0 && fd < FDS) of_fd[fd] = 0;
    return next(fd);
}

ssize_t write(int fd, const void *bytes, size_t len) {
    REAL(ssize_t (*)(int, const void *, size_t), "write");
    off_t at = file_of(fd) ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = next(fd, bytes, len);
    wrote(fd, at, done);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    REAL(ssize_t (*)(int, const void *, size_t, off64_t), "pwrite64");
    ssize_t done = next(fd, bytes, len, at);
    wrote(fd, at, done);
    return done;
}

int fsync(int fd) {
    REAL(int (*)(int), "fsync");
    int done = next(fd);
    if (done == 0) synced(fd);
    return done;
}

int fdatasync(int fd) {
    REAL(int (*)(int), "fdatasync");
    int done = next(fd);
    if (done == 0) synced(fd);
    return done;
}
