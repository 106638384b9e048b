/* The floor: what ending a terminal session costs when nothing but the kernel is in the way.
 *
 * A long-lived process that is told what to do on stdin, fields between tabs, and answers each
 * line with one of its own. It holds one session at a time.
 *
 *     spawn ARGV...             -> pid
 *     read MILLISECONDS         -> the terminal's output, in hex; empty when there is none
 *     end leader|session GRACE  -> nanoseconds from the call until the leader is dead and reaped,
 *                                  and the number of other members found (session only)
 *
 * end: SIGHUP and SIGCONT to the leader, GRACE nanoseconds to die, SIGKILL. "session" looks for
 * members in the process table while the leader's zombie still pins the session's number.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ARGUMENTS = 64, WAIT_PIDFD = 3 /* P_PIDFD: an old libc has no name for it */ };
static const int64_t SECOND = 1000000000, KILL_BOUND = 10 * SECOND;
extern char **environ;

static pid_t leader; /* 0: there is no session */
static int pidfd, master;

static void require(int condition, const char *what)
{
    if (!condition) {
        perror(what);
        if (leader)
            kill(leader, SIGKILL); /* Not reaped, so the number is still its own. */
        exit(1);
    }
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static void spawn(char **argv)
{
    const struct winsize window = {.ws_row = 24, .ws_col = 80};
    char slave[64];
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    require(master >= 0 && !grantpt(master) && !unlockpt(master), "posix_openpt");
    require(!ptsname_r(master, slave, sizeof slave), "ptsname_r");
    require(!ioctl(master, TIOCSWINSZ, &window), "TIOCSWINSZ");

    /* A session leader without a controlling terminal gets the first terminal it opens. */
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, slave, O_RDWR, 0);
    posix_spawn_file_actions_adddup2(&actions, 0, 1);
    posix_spawn_file_actions_adddup2(&actions, 0, 2);

    /* An ignored SIGHUP would be inherited, and the session deaf. */
    posix_spawnattr_t attributes;
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

    pid_t child;
    errno = posix_spawnp(&child, argv[0], &actions, &attributes, argv, environ);
    require(!errno, argv[0]);
    leader = child;
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    pidfd = (int)syscall(SYS_pidfd_open, leader, 0);
    require(pidfd >= 0, "pidfd_open");
    printf("%d\n", (int)leader);
}

static void read_terminal(int milliseconds)
{
    unsigned char data[4096];
    struct pollfd terminal = {.fd = master, .events = POLLIN};
    ssize_t length = 0;
    if (poll(&terminal, 1, milliseconds) > 0)
        length = read(master, data, sizeof data); /* EIO: nobody holds the slave. */
    for (ssize_t at = 0; at < length; at++)
        printf("%02x", data[at]);
    printf("\n");
}

static void deliver(int signal)
{
    require(!syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0), "pidfd_send_signal");
}

static int dead_by(int64_t deadline)
{
    int64_t left;
    while ((left = deadline - now()) > 0) {
        struct pollfd process = {.fd = pidfd, .events = POLLIN};
        struct timespec timeout = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
        int ready = ppoll(&process, 1, &timeout, NULL);
        require(ready >= 0, "ppoll");
        if (ready)
            return 1;
    }
    return 0;
}

static int other_members(void)
{
    int found = 0;
    DIR *table = opendir("/proc");
    require(table != NULL, "/proc");
    for (struct dirent *entry; (entry = readdir(table));)
        if (isdigit((unsigned char)entry->d_name[0])) {
            pid_t pid = (pid_t)atoi(entry->d_name);
            found += pid != leader && getsid(pid) == leader;
        }
    closedir(table);
    return found;
}

static void end(int whole_session, int64_t grace)
{
    siginfo_t status;
    int others = 0;
    int64_t start = now();
    deliver(SIGHUP);
    deliver(SIGCONT); /* A stopped process acts on a SIGHUP only once it is continued. */
    if (!dead_by(start + grace)) {
        deliver(SIGKILL);
        require(dead_by(now() + KILL_BOUND), "the leader outlives SIGKILL");
    }
    if (whole_session)
        others = other_members();
    require(!waitid((idtype_t)WAIT_PIDFD, (id_t)pidfd, &status, WEXITED), "waitid");
    int64_t took = now() - start;
    leader = 0;
    close(pidfd);
    close(master);
    printf("%" PRId64 "\t%d\n", took, others);
}

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    for (ssize_t length; (length = getline(&line, &size, stdin)) > 0; fflush(stdout)) {
        char *argv[ARGUMENTS + 1] = {NULL};
        int count = 0;
        line[length - 1] = '\0';
        for (char *word = strtok(line, "\t"); word && count < ARGUMENTS; word = strtok(NULL, "\t"))
            argv[count++] = word;
        if (count > 1 && !strcmp(argv[0], "spawn") && !leader)
            spawn(argv + 1);
        else if (count == 2 && !strcmp(argv[0], "read") && leader)
            read_terminal(atoi(argv[1]));
        else if (count == 3 && !strcmp(argv[0], "end") && leader)
            end(!strcmp(argv[1], "session"), atoll(argv[2]));
        else
            require(0, "not a command, or not now");
    }
    if (leader)
        kill(leader, SIGKILL);
    return 0;
}
