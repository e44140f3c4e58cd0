/* engine_loader: see engine_loader.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/engine_loader.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/mem.h"

/* Of the thread's share of a busy core; a tenth of what a thread that computes has. */
enum { NICE_BESIDE = 10 };

int engine_loader_init(struct engine_loader *l, void (*work)(void *ctx, struct engine_job *job), void *ctx, struct error *err) {
  *l = (struct engine_loader){.work = work, .ctx = ctx, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  return l->fd < 0 ? error_set(err, ERROR_IO, "Cannot make an event descriptor: %s.", strerror(errno)) : 0;
}

/* Threads that are started from here inherit the priority. */
static void *run(void *arg) {
  struct engine_loader *l = arg;
  if (l->job->beside) setpriority(PRIO_PROCESS, (id_t)gettid(), NICE_BESIDE);
  l->work(l->ctx, l->job);
  ssize_t n = write(l->fd, &(uint64_t){1}, sizeof(uint64_t));
  assert(n == sizeof(uint64_t));
  return NULL;
}

void engine_loader_start(struct engine_loader *l, struct engine_job *job) {
  assert(!l->job);
  l->job = job;
  if (pthread_create(&l->thread, NULL, run, l) == 0) return;
  job->beside = false; /* this thread's priority stays */
  run(l);
  l->thread = pthread_self();
}

static struct engine_job *take(struct engine_loader *l) {
  struct engine_job *job = l->job;
  if (!pthread_equal(l->thread, pthread_self())) pthread_join(l->thread, NULL);
  l->job = NULL;
  return job;
}

struct engine_job *engine_loader_take(struct engine_loader *l) {
  uint64_t count;
  if (!l->job || read(l->fd, &count, sizeof count) != sizeof count) return NULL;
  return take(l);
}

struct engine_job *engine_loader_deinit(struct engine_loader *l) {
  struct engine_job *job = NULL;
  if (l->job) {
    atomic_store(&l->job->cancelled, true);
    job = take(l);
  }
  if (l->fd >= 0) close(l->fd);
  l->fd = -1;
  return job;
}

struct engine_job *engine_job_create(const struct wire_load *load) {
  struct engine_job *job = mem_zalloc(1, sizeof *job);
  job->load = *load;
  job->load.path = slice_make(mem_dup(load->path.data, load->path.len), load->path.len);
  job->load.draft = slice_make(mem_dup(load->draft.data, load->draft.len), load->draft.len);
  return job;
}

void engine_job_free(struct engine_job *job) {
  if (!job) return;
  free((void *)job->load.path.data);
  free((void *)job->load.draft.data);
  free(job);
}
