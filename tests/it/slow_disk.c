/* Runs a program on a disk that is slow to sync: each fsync, fdatasync and syncfs that it asks for takes
 * so much longer, whichever library makes the call.
 *
 *     slow_disk MIN_MS MAX_MS PROGRAM [ARGUMENT...]
 *
 * The kernel hands these calls to a helper process (seccomp_unotify(2), Linux 5.5 or later), which lets
 * each go on when its time is over. Calls wait beside each other, as they do on a real disk. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define WAITING_MAX 256

static long long now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void let_go(int fd, unsigned long long id) {
    struct seccomp_notif_resp go;
    memset(&go, 0, sizeof go);
    go.id = id;
    go.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &go);
}

static void supervise(int fd, int min_ms, int max_ms) {
    struct { unsigned long long id; long long due; } waiting[WAITING_MAX];
    int count = 0;
    srand((unsigned)(getpid() ^ now_ms()));
    for (;;) {
        long long now = now_ms(), next = -1;
        for (int n = 0; n < count;) {
            if (waiting[n].due <= now) {
                let_go(fd, waiting[n].id);
                waiting[n] = waiting[--count];
            } else {
                if (next < 0 || waiting[n].due < next) next = waiting[n].due;
                n++;
            }
        }
        struct pollfd p = {fd, count < WAITING_MAX ? POLLIN : 0, 0};
        poll(&p, 1, next < 0 ? -1 : (int)(next - now));
        if (p.revents & (POLLHUP | POLLERR)) _exit(0);
        if (!(p.revents & POLLIN)) continue;
        struct seccomp_notif call;
        memset(&call, 0, sizeof call);
        if (ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &call) != 0) continue;
        waiting[count].id = call.id;
        waiting[count++].due = now_ms() + min_ms + rand() % (max_ms - min_ms + 1);
    }
}

int main(int argc, char **argv) {
    if (argc < 4) return 64;
    int min_ms = atoi(argv[1]), max_ms = atoi(argv[2]), told[2];
    if (pipe2(told, O_CLOEXEC) != 0) return 70;
    /* It shares our files, so that it can hold what the kernel gives us for the calls. */
    long helper = syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
    if (helper < 0) return 70;
    if (helper == 0) {
        int fd;
        if (read(told[0], &fd, sizeof fd) != sizeof fd || unshare(CLONE_FILES) != 0) _exit(70);
        signal(SIGTERM, SIG_IGN);
        signal(SIGINT, SIG_IGN);
        for (int n = 0; n < 64; n++)
            if (n != fd) close(n);
        supervise(fd, min_ms, max_ms);
    }
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_fsync, 3, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_fdatasync, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_syncfs, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return 70;
    int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (fd < 0) {
        perror("seccomp");
        kill((pid_t)helper, SIGKILL);
        return 71;
    }
    if (write(told[1], &fd, sizeof fd) != sizeof fd) return 70;
    /* The program gets files of its own, and the helper keeps these. */
    execv(argv[3], argv + 3);
    perror(argv[3]);
    return 72;
}
