/* place: a serving room of a test's own on fake_engine, and requests to it. SPDX-License-Identifier: Apache-2.0
 *
 * fake_engine.c is the real loop over engines that count. What it does is chosen by the last token of a prompt. */
#ifndef PLACE_H
#define PLACE_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <cmocka.h>

#include "net/net.h"
#include "serving/serving.h"

enum { DIE_AT_ONCE = 901, DIE_AFTER_3, NONSENSE_AFTER_3, HANG, REFUSE, BAD_TOKEN };

extern const char place_llama_tokenizer[];

struct place {
  char dir[64], chat[96], embed[96], broken[96], flag[96], pid_file[96];
  struct net *net;
  struct store *store;
  struct serving *s;
  bool (*until)(struct place *p);
  uint64_t deadline_ns;
  bool late;
  size_t n_done; /* for conditions */
  unsigned idle_calls;
  size_t wanted;
};

struct asked {
  struct place *p;
  struct generation *g;
  int32_t tokens[256];
  size_t n;
  float embedding[4];
  enum serving_finish finish;
  struct error error;
  bool done;
  void (*on_token)(struct asked *a);
  struct asked *other;
  bool resumes, goes_on;
};

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int setup(void **state);
int teardown(void **state);
void write_file(const char *dir, const char *name, const char *text);
/* Starts serving with these models (words, embed, broken) and arguments for the engine. */
void begin_with(struct place *p, const char *models, const char *const *args, struct serving_config extra);
void begin(struct place *p, const char *models, const char *const *args);
void run_until(struct place *p, bool (*until)(struct place *p));
bool is_ready(struct place *p);
bool is_not_alive(struct place *p);
pid_t engine_pid(const struct place *p);

void on_event(void *arg, const struct serving_event *e); /* arg: struct asked */
struct serving_request request_of(struct place *p, const char *endpoint, const int32_t *last, size_t max_tokens);
void ask(struct place *p, struct asked *a, const char *endpoint, int32_t last, size_t max_tokens);
void run_until_n_done(struct place *p, size_t n);
void assert_counted(const struct asked *a, int32_t last, size_t n);

#endif
