/* options: one table per subcommand, from which come parsing, environment, configuration file, help and man page.
 * SPDX-License-Identifier: Apache-2.0
 *
 * A value comes from the first of these that has it: flag, environment variable, configuration file, default of the row.
 * An empty environment variable counts as unset. A list given in one place replaces the whole list of a lower one. */
#ifndef APP_OPTIONS_H
#define APP_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

enum options_type { OPTIONS_STRING, OPTIONS_INT, OPTIONS_REAL, OPTIONS_BOOL, OPTIONS_LIST };

struct options_list {
  const char **items; /* NULL-free; owned by the options */
  size_t n;
};

/* Where a row's value goes, with its type: one of these in every row. The member must have the C type named here. */
#define OPTION_STRING_TO(type_, member) .type = OPTIONS_STRING, OPTIONS_FIELD(type_, member) /* const char *: NULL without value */
#define OPTION_INT_TO(type_, member) .type = OPTIONS_INT, OPTIONS_FIELD(type_, member)       /* int64_t: 0 without value */
#define OPTION_REAL_TO(type_, member) .type = OPTIONS_REAL, OPTIONS_FIELD(type_, member)     /* double: 0 without value */
#define OPTION_BOOL_TO(type_, member) .type = OPTIONS_BOOL, OPTIONS_FIELD(type_, member)     /* bool */
#define OPTION_LIST_TO(type_, member) .type = OPTIONS_LIST, OPTIONS_FIELD(type_, member)     /* struct options_list */
#define OPTIONS_FIELD(type_, member) .offset = offsetof(type_, member), .size = sizeof(((type_ *)0)->member)

struct options_row {
  const char *name; /* long flag without its dashes: "models-dir" */
  char letter;      /* short flag, 0: none */
  enum options_type type;
  size_t offset, size;       /* from OPTION_…_TO */
  const char *metavar;       /* "DIR"; NULL for OPTIONS_BOOL */
  const char *fallback;      /* the default, as it would be written; NULL: none */
  const char *fallback_note; /* what the help says about a default that is computed ("a quarter of free memory") */
  const char *env;           /* "PLINTH_MODELS_DIR" or NULL */
  const char *key;           /* key in the configuration file, or NULL */
  const char *choices;       /* OPTIONS_STRING: "fast|f32"; NULL: anything */
  bool ranged;               /* OPTIONS_INT and OPTIONS_REAL: min <= value <= max is checked */
  double min, max;
  const char *help; /* full sentences */
};

struct options_spec {
  const char *command;  /* "serve" */
  const char *operands; /* "FILE|DIR" for the usage line; NULL: takes none */
  size_t operands_min, operands_max;
  const char *summary;     /* a few words for the list of commands, no full stop */
  const char *description; /* paragraphs, separated by empty lines; for help and man page */
  const char *examples;    /* lines "command", shown indented; may be NULL */
  const struct options_row *rows;
  size_t n_rows;
  size_t args_bytes; /* of the struct that the rows' members belong to */
  bool has_config;   /* --config FILE (PLINTH_CONFIG) and --print-config exist */
};
#define OPTIONS_ROWS(array) .rows = (array), .n_rows = sizeof(array) / sizeof((array)[0])

enum options_source { OPTIONS_NOWHERE, OPTIONS_DEFAULT, OPTIONS_CONFIG, OPTIONS_ENV, OPTIONS_FLAG };

struct options {
  const struct options_spec *spec;
  void *args;      /* owned; the subcommand's struct */
  char **operands; /* borrowed from argv */
  size_t n_operands;
  enum options_source *sources; /* one a row */
  const char *config_path;      /* the configuration file that was read, or NULL */
  struct arena arena;           /* owns the values */
};

enum options_result {
  OPTIONS_RUN,   /* go on */
  OPTIONS_PRINT, /* ret_text holds what was asked for (--help, --print-config): print it and be done */
  OPTIONS_ERROR, /* err says what is wrong with the command line, the environment or the configuration file */
};

/* argv[0] is the subcommand's name. options_free(o) afterwards, whatever the result. */
enum options_result options_parse(struct options *o, const struct options_spec *spec, int argc, char **argv, struct buf *ret_text,
                                  struct error *err);
void options_free(struct options *o);
/* Where the value of the row with this name came from (asserts that there is one). */
enum options_source options_source(const struct options *o, const char *name);

/* For config.c: sets row from text. where is the beginning of a message about it ("Option --port"). A list takes the first
 * value of a source in place of all earlier ones and appends the others. */
int options_set(struct options *o, size_t row, const char *text, enum options_source source, const char *where, struct error *err);

/* The option of every subcommand that computes. */
#define OPTIONS_THREADS_ROW(type_, member) \
  {.name = "threads",                      \
   OPTION_INT_TO(type_, member),           \
   .metavar = "N",                         \
   .fallback = "0",                        \
   .env = "PLINTH_THREADS",                \
   .ranged = true,                         \
   .min = 0,                               \
   .max = 1024,                            \
   .help = "Compute threads; 0 takes the cores that may be used."}

/* The option of every subcommand that generates or weighs; of tensor/tensor.h. */
#define OPTIONS_KV_HELP                                                                                                                    \
  "What keys and values of the context are held in. f16: 16 bits each (32 with --compute f32). bf16: 16 bits with the range of fp32, for " \
  "models whose values go beyond 65,504. q8: 8 bits, for nearly twice the context in the same memory."
#define OPTIONS_KV_ROW(type_, member) \
  {.name = "kv",                      \
   OPTION_STRING_TO(type_, member),   \
   .metavar = "TYPE",                 \
   .fallback = "f16",                 \
   .env = "PLINTH_KV",                \
   .choices = KV_TYPE_CHOICES,        \
   .help = OPTIONS_KV_HELP}

#endif
