/* process: one engine process with the socket to it. SPDX-License-Identifier: Apache-2.0
 *
 * posix_spawn keeps the start cheap and safe in a program with threads, and tells at once when the program cannot be run. The child gets
 * its end of the pair as descriptor 3, no other descriptor of ours but the standard ones, and default signals. */
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "serving/state.h"

extern char **environ;

enum { CHILD_FD = 3 };

static int spawn(pid_t *pid, const char *program, char *const argv[], int fd) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, fd, CHILD_FD); /* with fd == CHILD_FD too it is kept open over the exec */
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  int code = posix_spawn(pid, program, &actions, &attributes, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  return code;
}

int process_start(struct process *p, const char *program, char *const argv[], struct error *err) {
  int fds[2];
  *p = (struct process){.fd = -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
    return error_set(err, ERROR_IO, "Cannot make a socket for the engine process: %s.", strerror(errno));
  int code = spawn(&p->pid, program, argv, fds[1]);
  close(fds[1]);
  if (code != 0) {
    close(fds[0]);
    *p = (struct process){.fd = -1};
    return error_set(err, ERROR_IO, "Cannot start %s as the engine process: %s.", program, strerror(code));
  }
  p->fd = fds[0];
  return 0;
}

void process_kill(struct process *p) {
  if (p->fd >= 0) close(p->fd);
  p->fd = -1;
  if (p->pid) kill(p->pid, SIGKILL);
}

static void describe(int status, char *how, size_t size) {
  if (WIFSIGNALED(status)) snprintf(how, size, "was ended by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
  else snprintf(how, size, "ended with exit code %d", WEXITSTATUS(status));
}

bool process_collect(struct process *p, char *ret_how, size_t how_size) {
  int status;
  if (!p->pid) return true;
  pid_t got = waitpid(p->pid, &status, WNOHANG);
  if (got == 0 || (got < 0 && errno == EINTR)) return false;
  if (got == p->pid) describe(status, ret_how, how_size);
  else snprintf(ret_how, how_size, "is gone");
  p->pid = 0;
  return true;
}

void process_end(struct process *p) {
  process_kill(p);
  while (p->pid && waitpid(p->pid, NULL, 0) < 0 && errno == EINTR) continue;
  p->pid = 0;
}
