/* generate: what chat, complete and embed share: their options, the model they find, one generation on it, and how text reaches the
 * terminal. SPDX-License-Identifier: Apache-2.0 */
#ifndef APP_GENERATE_H
#define APP_GENERATE_H
#include "app/app.h"
#include "app/local.h"
#include "app/paths.h"
#include "app/variants.h"
#include "base/buf.h"

/* Where the model is: loaded into this process, or behind a server. */
struct generate_source {
  const char *model, *models_dir, *compute, *kv, *kernels, *url;
  int64_t threads;
};

struct generate_sampling {
  double temperature, top_p, min_p, presence_penalty, frequency_penalty, repetition_penalty;
  int64_t top_k, seed, max_tokens, min_tokens;
  struct options_list stops, stop_id_texts, bias_texts;
  bool ignore_eos;
  /* Set by generate_settle. */
  bool seeded; /* --seed was given */
  int32_t stop_ids[ENGINE_STOP_IDS_MAX];
  size_t n_stop_ids;
  struct engine_bias biases[ENGINE_BIASES_MAX];
  size_t n_biases;
};

/* Rows for a struct type_ with a member of each kind. */
#define GENERATE_SOURCE_ROWS(type_, source_)                                                                                            \
  {.name = "model",                                                                                                                     \
   .letter = 'm',                                                                                                                       \
   OPTION_STRING_TO(type_, source_.model),                                                                                              \
   .metavar = "FILE|DIR|NAME",                                                                                                          \
   .fallback_note = "the first installed model that fits",                                                                              \
   .env = "PLINTH_MODEL",                                                                                                               \
   .help = "A GGUF file, a Hugging Face directory, or the name of an installed model. With --url: the name of the server's endpoint."}, \
      {.name = "url",                                                                                                                   \
       OPTION_STRING_TO(type_, source_.url),                                                                                            \
       .metavar = "URL",                                                                                                                \
       .env = "PLINTH_URL",                                                                                                             \
       .help =                                                                                                                          \
           "Ask the server at this address (http://localhost:8080) instead of loading a model. The environment variable "               \
           "PLINTH_TOKEN holds the token."},                                                                                            \
      PATHS_MODELS_DIR_ROW(type_, source_.models_dir, PATHS_SOUGHT),                                                                    \
      {.name = "compute",                                                                                                               \
       OPTION_STRING_TO(type_, source_.compute),                                                                                        \
       .metavar = "MODE",                                                                                                               \
       .fallback = "fast",                                                                                                              \
       .env = "PLINTH_COMPUTE",                                                                                                         \
       .choices = COMPUTE_MODE_CHOICES,                                                                                                 \
       .help = "fast: integer dot products with 8-bit activations. precise: with 16-bit ones. f32: everything in fp32."},               \
      OPTIONS_KV_ROW(type_, source_.kv), VARIANTS_ROW(type_, source_.kernels), OPTIONS_THREADS_ROW(type_, source_.threads)

#define GENERATE_SAMPLING_ROWS(type_, sampling_)                                                                                      \
  {.name = "temperature",                                                                                                             \
   .letter = 't',                                                                                                                     \
   OPTION_REAL_TO(type_, sampling_.temperature),                                                                                      \
   .metavar = "T",                                                                                                                    \
   .fallback = "0.7",                                                                                                                 \
   .ranged = true,                                                                                                                    \
   .min = 0,                                                                                                                          \
   .max = 2,                                                                                                                          \
   .help = "How freely tokens are drawn; 0 always takes the most likely one."},                                                       \
      {.name = "top-p",                                                                                                               \
       OPTION_REAL_TO(type_, sampling_.top_p),                                                                                        \
       .metavar = "P",                                                                                                                \
       .fallback = "0.95",                                                                                                            \
       .ranged = true,                                                                                                                \
       .min = 0.000001,                                                                                                               \
       .max = 1,                                                                                                                      \
       .help = "Draw from the most likely tokens that together have this probability."},                                              \
      {.name = "top-k",                                                                                                               \
       OPTION_INT_TO(type_, sampling_.top_k),                                                                                         \
       .metavar = "K",                                                                                                                \
       .fallback = "0",                                                                                                               \
       .ranged = true,                                                                                                                \
       .min = 0,                                                                                                                      \
       .max = 1 << 30,                                                                                                                \
       .help = "Draw from the K most likely tokens; 0: from all."},                                                                   \
      {.name = "min-p",                                                                                                               \
       OPTION_REAL_TO(type_, sampling_.min_p),                                                                                        \
       .metavar = "P",                                                                                                                \
       .fallback = "0",                                                                                                               \
       .ranged = true,                                                                                                                \
       .min = 0,                                                                                                                      \
       .max = 1,                                                                                                                      \
       .help = "Draw from tokens that are at least P times as likely as the most likely one."},                                       \
      {.name = "repetition-penalty",                                                                                                  \
       OPTION_REAL_TO(type_, sampling_.repetition_penalty),                                                                           \
       .metavar = "R",                                                                                                                \
       .fallback = "1",                                                                                                               \
       .ranged = true,                                                                                                                \
       .min = 0.01,                                                                                                                   \
       .max = 100,                                                                                                                    \
       .help = "Above 1 it makes tokens less likely that prompt or text has already."},                                               \
      {.name = "presence-penalty",                                                                                                    \
       OPTION_REAL_TO(type_, sampling_.presence_penalty),                                                                             \
       .metavar = "X",                                                                                                                \
       .fallback = "0",                                                                                                               \
       .ranged = true,                                                                                                                \
       .min = -2,                                                                                                                     \
       .max = 2,                                                                                                                      \
       .help = "Above 0 it makes tokens less likely that the generated text has already."},                                           \
      {.name = "frequency-penalty",                                                                                                   \
       OPTION_REAL_TO(type_, sampling_.frequency_penalty),                                                                            \
       .metavar = "X",                                                                                                                \
       .fallback = "0",                                                                                                               \
       .ranged = true,                                                                                                                \
       .min = -2,                                                                                                                     \
       .max = 2,                                                                                                                      \
       .help = "The same, for each time that the text has them."},                                                                    \
      {.name = "logit-bias",                                                                                                          \
       OPTION_LIST_TO(type_, sampling_.bias_texts),                                                                                   \
       .metavar = "ID=X",                                                                                                             \
       .help = "Add X (-100 to 100) to the logit of the token with this id; may be given several times. plinth tokenize shows ids."}, \
      {.name = "seed",                                                                                                                \
       OPTION_INT_TO(type_, sampling_.seed),                                                                                          \
       .metavar = "N",                                                                                                                \
       .fallback_note = "a random one",                                                                                               \
       .ranged = true,                                                                                                                \
       .min = 0,                                                                                                                      \
       .max = 0x1p63,                                                                                                                 \
       .help = "The same seed gives the same text."},                                                                                 \
      {.name = "max-tokens",                                                                                                          \
       .letter = 'n',                                                                                                                 \
       OPTION_INT_TO(type_, sampling_.max_tokens),                                                                                    \
       .metavar = "N",                                                                                                                \
       .fallback = "0",                                                                                                               \
       .ranged = true,                                                                                                                \
       .min = 0,                                                                                                                      \
       .max = 1 << 30,                                                                                                                \
       .help = "Stop after so many tokens; 0: when the model ends, or the context is full."},                                         \
      {.name = "min-tokens",                                                                                                          \
       OPTION_INT_TO(type_, sampling_.min_tokens),                                                                                    \
       .metavar = "N",                                                                                                                \
       .fallback = "0",                                                                                                               \
       .ranged = true,                                                                                                                \
       .min = 0,                                                                                                                      \
       .max = 1 << 30,                                                                                                                \
       .help = "The first N tokens end nothing."},                                                                                    \
      {.name = "ignore-eos", OPTION_BOOL_TO(type_, sampling_.ignore_eos), .help = "Go on when the model ends."},                      \
      {.name = "stop-token-id",                                                                                                       \
       OPTION_LIST_TO(type_, sampling_.stop_id_texts),                                                                                \
       .metavar = "ID",                                                                                                               \
       .help = "Stop at the token with this id; may be given several times."},                                                        \
      {.name = "stop",                                                                                                                \
       OPTION_LIST_TO(type_, sampling_.stops),                                                                                        \
       .metavar = "TEXT",                                                                                                             \
       .help = "Stop in front of this text; may be given several times."}

/* Draws a seed when none was given, and reads the lists. Fails for stop strings that are empty, ids that are none, values out of range, and
 * too many of them. */
int generate_settle(const struct options *o, struct generate_sampling *s, struct error *err);

/* Loads the model that the source names, or the first installed one of the task. */
int generate_open(struct local *l, const struct generate_source *s, enum model_task task, struct error *err);

/* Text on its way to standard output. On a terminal control characters other than newline and tab are shown as U+FFFD, so that a model
 * cannot play with the terminal. */
struct generate_printer {
  bool terminal;
  bool any;         /* something was printed */
  bool at_newline;  /* what was printed last */
  struct buf *copy; /* collects the text too, when not NULL */
};
void generate_printer_init(struct generate_printer *p, struct buf *copy);
void generate_print(struct generate_printer *p, struct slice text);

enum generate_end { GENERATE_STOP, GENERATE_LENGTH, GENERATE_INTERRUPTED };
/* One generation in this process, streamed to p. prompt: 1 … context tokens. Ends within one step after Ctrl-C. */
int generate_run(struct local *l, struct engine *e, const struct ids *prompt, const struct generate_sampling *s, struct generate_printer *p,
                 enum generate_end *ret_end, struct error *err);

#endif
