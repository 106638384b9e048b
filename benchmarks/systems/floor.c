/* The floor: what ending a terminal session costs when nothing but the kernel is in the way.
 *
 * A long-lived process that is told what to do on stdin: see external.py. It is started with
 * "leader" or "session".
 *
 * end: SIGHUP and SIGCONT to the leader, GRACE nanoseconds to die, SIGKILL. "session" then looks for
 * other members in the process table, while the leader's zombie still pins the session's number;
 * they get the same signals, and what the grace has left; and looks again, until there is nobody.
 *
 * churn: spawns a session and ends it, again and again, so many at a time; without a grace by
 * SIGKILL. Those that are dead at one wake-up share one look through the process table.
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

enum {
    ARGUMENTS = 64,
    SESSIONS = 2000,
    MEMBERS = 4000,
    ENDED = 100000, /* Sessions of one churn. */
    WAIT_PIDFD = 3 /* P_PIDFD: an old libc has no name for it */
};
static const int64_t SECOND = 1000000000, KILL_BOUND = 10 * SECOND;
extern char **environ;

static struct session {
    pid_t leader;
    int pidfd, master;
    int64_t asked; /* When its spawn was asked for. */
} sessions[SESSIONS], *last = sessions - 1;
static int whole_session;

static void require(int condition, const char *what)
{
    if (!condition) {
        perror(what);
        for (; last >= sessions; last--)
            kill(last->leader, SIGKILL); /* Not reaped, so the number is still its own. */
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
    const int64_t asked = now();
    const struct winsize window = {.ws_row = 24, .ws_col = 80};
    char slave[64];
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
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
    *++last = (struct session){.leader = child, .master = master, .asked = asked};
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    last->pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    require(last->pidfd >= 0, "pidfd_open");
}

static void read_terminal(int milliseconds)
{
    unsigned char data[4096];
    struct pollfd terminal = {.fd = last->master, .events = POLLIN};
    ssize_t length = 0;
    if (poll(&terminal, 1, milliseconds) > 0)
        length = read(last->master, data, sizeof data); /* EIO: nobody holds the slave. */
    for (ssize_t at = 0; at < length; at++)
        printf("%02x", data[at]);
    printf("\n");
}

static void deliver(int pidfd, int signal)
{
    require(!syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0) || errno == ESRCH, "signal");
}

static void hang_up(const struct session *one)
{
    deliver(one->pidfd, SIGHUP);
    deliver(one->pidfd, SIGCONT); /* A stopped process acts on it once it is continued. */
}

/* Wait until all of them are dead, or it is time; whoever is dead has -1 in its place. */
static int dead_by(struct pollfd *processes, int count, int64_t deadline)
{
    int64_t left;
    int alive = 0;
    for (int at = 0; at < count; at++)
        alive += processes[at].fd >= 0;
    while (alive && (left = deadline - now()) > 0) {
        struct timespec timeout = {.tv_sec = left / SECOND, .tv_nsec = left % SECOND};
        require(ppoll(processes, (nfds_t)count, &timeout, NULL) >= 0, "ppoll");
        for (int at = 0; at < count; at++)
            if (processes[at].fd >= 0 && processes[at].revents) {
                processes[at].fd = -1;
                alive--;
            }
    }
    return !alive;
}

/* Find living members beside the leaders. */
static int others(const struct session *first, struct pollfd *found)
{
    int count = 0;
    DIR *table = opendir("/proc");
    require(table != NULL, "/proc");
    for (struct dirent *entry; (entry = readdir(table)) && count < MEMBERS;)
        if (isdigit((unsigned char)entry->d_name[0])) {
            pid_t pid = (pid_t)atoi(entry->d_name), session = getsid(pid);
            for (const struct session *one = first; one <= last; one++)
                if (pid != one->leader && session == one->leader) {
                    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
                    struct pollfd member = {.fd = pidfd, .events = POLLIN};
                    if (pidfd >= 0 && !poll(&member, 1, 0) && getsid(pid) == session)
                        found[count++] = member;
                    else if (pidfd >= 0)
                        close(pidfd);
                }
        }
    closedir(table);
    return count;
}

/* SIGHUP until the deadline, then SIGKILL, to whoever is found; again, until nobody is. */
static void sweep(const struct session *first, int64_t deadline)
{
    static struct pollfd members[MEMBERS];
    static int pidfds[MEMBERS];
    for (int count, polite = 1; (count = others(first, members)); polite = 0) {
        for (int at = 0; at < count; at++) {
            pidfds[at] = members[at].fd;
            deliver(pidfds[at], polite ? SIGHUP : SIGKILL);
            deliver(pidfds[at], SIGCONT);
        }
        require(dead_by(members, count, polite ? deadline : now() + KILL_BOUND) || polite, "sweep");
        for (int at = 0; at < count; at++)
            close(pidfds[at]);
    }
}

/* Reap the leaders from this one on. */
static void reap(const struct session *first)
{
    siginfo_t status;
    for (; first <= last; first++)
        require(!waitid((idtype_t)WAIT_PIDFD, (id_t)first->pidfd, &status, WEXITED), "waitid");
}

/* Release what is held of the last session. */
static void release_last(void)
{
    close(last->pidfd);
    close(last->master);
    last--;
}

/* End all from this one on. */
static void end(struct session *first, int64_t grace)
{
    static struct pollfd processes[SESSIONS];
    int count = (int)(last + 1 - first);
    int64_t start = now(), deadline = start + grace;
    for (int at = 0; at < count; at++) {
        hang_up(first + at);
        processes[at] = (struct pollfd){.fd = first[at].pidfd, .events = POLLIN};
    }
    if (!dead_by(processes, count, deadline)) {
        for (int at = 0; at < count; at++)
            if (processes[at].fd >= 0)
                deliver(first[at].pidfd, SIGKILL);
        require(dead_by(processes, count, now() + KILL_BOUND), "a leader outlives SIGKILL");
    }
    if (whole_session)
        sweep(first, deadline);
    reap(first);
    int64_t stop = now();
    while (last >= first)
        release_last();
    printf("%" PRId64 "\t%" PRId64 "\n", start, stop);
}

/* Wait until one is dead or more; move those to the end of the table, and return the first. */
static struct session *wait_dead(int64_t grace)
{
    static struct pollfd processes[SESSIONS];
    const struct timespec timeout = {.tv_sec = grace / SECOND, .tv_nsec = grace % SECOND};
    struct session *dead = last + 1;
    int count = (int)(last + 1 - sessions);
    for (int at = 0; at < count; at++)
        processes[at] = (struct pollfd){.fd = sessions[at].pidfd, .events = POLLIN};
    require(ppoll(processes, (nfds_t)count, &timeout, NULL) > 0, "nobody dies");
    for (int at = count - 1; at >= 0; at--)
        if (processes[at].revents) {
            struct session one = sessions[at];
            sessions[at] = *--dead;
            *dead = one;
        }
    return dead;
}

/* Spawn sessions and end them for so long, so many at a time. */
static void churn(int64_t duration, int at_once, int64_t grace, char **argv)
{
    static struct ended {
        pid_t leader;
        int64_t took;
    } ended[ENDED];
    int count = 0;
    int64_t start = now(), stop = start;
    require(last < sessions && at_once > 0 && at_once <= SESSIONS, "churn");
    for (;;) {
        while (last + 1 < sessions + at_once && now() < start + duration) {
            spawn(argv);
            if (grace)
                hang_up(last);
            else
                deliver(last->pidfd, SIGKILL);
        }
        if (last < sessions)
            break;
        struct session *dead = wait_dead(grace ? grace : KILL_BOUND);
        if (whole_session)
            sweep(dead, now() + grace);
        reap(dead);
        for (; last >= dead; release_last()) {
            require(count < ENDED, "too many sessions");
            stop = now();
            ended[count++] = (struct ended){last->leader, stop - last->asked};
        }
    }
    printf("%" PRId64 "\t%" PRId64, start, stop);
    for (int at = 0; at < count; at++)
        printf("\t%d\t%" PRId64, (int)ended[at].leader, ended[at].took);
    printf("\n");
}

int main(int argc, char **mode)
{
    char *line = NULL;
    size_t size = 0;
    whole_session = argc > 1 && !strcmp(mode[1], "session");
    for (ssize_t length; (length = getline(&line, &size, stdin)) > 0; fflush(stdout)) {
        char *argv[ARGUMENTS + 1] = {NULL};
        int count = 0, held = last >= sessions;
        line[length - 1] = '\0';
        for (char *word = strtok(line, "\t"); word && count < ARGUMENTS; word = strtok(NULL, "\t"))
            argv[count++] = word;
        if (count > 1 && !strcmp(argv[0], "spawn") && last + 1 < sessions + SESSIONS)
            spawn(argv + 1), printf("%d\n", (int)last->leader);
        else if (count == 2 && !strcmp(argv[0], "read") && held)
            read_terminal(atoi(argv[1]));
        else if (count == 2 && !strcmp(argv[0], "end") && held)
            end(last, atoll(argv[1]));
        else if (count == 2 && !strcmp(argv[0], "endall") && held)
            end(sessions, atoll(argv[1]));
        else if (count > 4 && !strcmp(argv[0], "churn") && !held)
            churn(atoll(argv[1]), atoi(argv[2]), atoll(argv[3]), argv + 4);
        else
            require(0, "not a command, or not now");
    }
    for (; last >= sessions; last--)
        kill(last->leader, SIGKILL);
    return 0;
}
