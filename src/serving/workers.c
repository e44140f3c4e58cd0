/* workers: threads for templates and tokenizing, so that the loop never waits for them. SPDX-License-Identifier: Apache-2.0
 *
 * A job goes to `todo`, a worker runs work(arg), it goes to `finished`, the loop runs done(arg). Jobs start in order; two may finish out of
 * order. One lock guards both lists. A post to the loop is under way while `posted`. */
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "serving/state.h"

struct job {
  struct job *next;
  void (*work)(void *arg);
  void (*done)(void *arg);
  void *arg;
};

struct queue {
  struct job *first, **end;
};

struct workers {
  struct loop *loop;
  pthread_t *threads;
  unsigned n_threads;
  pthread_mutex_t lock; /* guards all below */
  pthread_cond_t more;
  struct queue todo, finished;
  bool stopping, posted;
};

static void push(struct queue *q, struct job *job) {
  job->next = NULL;
  *q->end = job;
  q->end = &job->next;
}

static struct job *pop(struct queue *q) {
  struct job *job = q->first;
  if (job && !(q->first = job->next)) q->end = &q->first;
  return job;
}

/* Loop thread: completes what is finished, one after the other; done may add more jobs. */
static void complete(void *arg) {
  struct workers *w = arg;
  pthread_mutex_lock(&w->lock);
  w->posted = false;
  for (struct job *job; (job = pop(&w->finished));) {
    pthread_mutex_unlock(&w->lock);
    job->done(job->arg);
    free(job);
    pthread_mutex_lock(&w->lock);
  }
  pthread_mutex_unlock(&w->lock);
}

static void *run(void *arg) {
  struct workers *w = arg;
  pthread_mutex_lock(&w->lock);
  for (;;) {
    struct job *job = pop(&w->todo);
    if (!job && w->stopping) break;
    if (!job) {
      pthread_cond_wait(&w->more, &w->lock);
      continue;
    }
    pthread_mutex_unlock(&w->lock);
    job->work(job->arg);
    pthread_mutex_lock(&w->lock);
    push(&w->finished, job);
    if (!w->posted && !w->stopping) {
      w->posted = true;
      loop_post(w->loop, complete, w); /* under the lock: after workers_stop nobody posts */
    }
  }
  pthread_mutex_unlock(&w->lock);
  return NULL;
}

struct workers *workers_create(struct loop *loop, unsigned n_threads) {
  struct workers *w = mem_zalloc(1, sizeof *w);
  w->loop = loop;
  w->todo.end = &w->todo.first;
  w->finished.end = &w->finished.first;
  pthread_mutex_init(&w->lock, NULL);
  pthread_cond_init(&w->more, NULL);
  w->threads = mem_zalloc(n_threads, sizeof *w->threads);
  while (w->n_threads < n_threads && pthread_create(&w->threads[w->n_threads], NULL, run, w) == 0) w->n_threads++;
  return w;
}

void workers_add(struct workers *w, void (*work)(void *arg), void (*done)(void *arg), void *arg) {
  struct job *job = mem_alloc(sizeof *job);
  *job = (struct job){.work = work, .done = done, .arg = arg};
  pthread_mutex_lock(&w->lock);
  bool inline_run = w->stopping || w->n_threads == 0;
  if (!inline_run) {
    push(&w->todo, job);
    pthread_cond_signal(&w->more);
  }
  pthread_mutex_unlock(&w->lock);
  if (!inline_run) return;
  work(arg); /* no threads any more, or none could be made: slower, but done */
  pthread_mutex_lock(&w->lock);
  push(&w->finished, job);
  bool post = !w->posted && !w->stopping;
  w->posted |= post;
  pthread_mutex_unlock(&w->lock);
  if (post) loop_post(w->loop, complete, w);
}

void workers_stop(struct workers *w) {
  pthread_mutex_lock(&w->lock);
  w->stopping = true;
  pthread_cond_broadcast(&w->more);
  pthread_mutex_unlock(&w->lock);
  for (unsigned i = 0; i < w->n_threads; i++) pthread_join(w->threads[i], NULL);
  w->n_threads = 0;
  complete(w);
}

void workers_destroy(struct workers *w) {
  if (!w) return;
  workers_stop(w);
  pthread_cond_destroy(&w->more);
  pthread_mutex_destroy(&w->lock);
  free(w->threads);
  free(w);
}
