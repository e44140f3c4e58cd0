/* options: see options.h. SPDX-License-Identifier: Apache-2.0 */
#include "app/options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "app/config.h"
#include "app/help.h"
#include "app/suggest.h"
#include "base/mem.h"

/* What getopt_long returns for options that every command has; rows are ROW_BASE and up. */
enum { FLAG_HELP = 256, FLAG_CONFIG, FLAG_PRINT_CONFIG, ROW_BASE };

/* ---- values ---- */

static size_t type_size(enum options_type type) {
  switch (type) {
    case OPTIONS_STRING: return sizeof(const char *);
    case OPTIONS_INT: return sizeof(int64_t);
    case OPTIONS_REAL: return sizeof(double);
    case OPTIONS_BOOL: return sizeof(bool);
    case OPTIONS_LIST: return sizeof(struct options_list);
  }
  return 0;
}

static bool is_choice(const char *choices, const char *text) {
  size_t len = strcspn(text, "|");
  if (text[len]) return false;
  for (const char *p = choices; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
    if (len && strncmp(p, text, len) == 0 && (p[len] == '|' || p[len] == '\0')) return true;
  }
  return false;
}

static int parse_bool(const char *text, bool *out) {
  static const char *const words[2][5] = {{"false", "0", "no", "off", "n"}, {"true", "1", "yes", "on", "y"}};
  for (int value = 0; value < 2; value++) {
    for (size_t i = 0; i < 5; i++) {
      if (strcasecmp(text, words[value][i]) == 0) {
        *out = value;
        return 0;
      }
    }
  }
  return -1;
}

static int check_range(const struct options_row *row, double value, const char *where, struct error *err) {
  if (!row->ranged || (value >= row->min && value <= row->max)) return 0;
  if (row->max >= 1e15) return error_set(err, ERROR_INVALID, "%s must be at least %.15g; it is %.15g.", where, row->min, value);
  return error_set(err, ERROR_INVALID, "%s must be between %.15g and %.15g; it is %.15g.", where, row->min, row->max, value);
}

static int set_int(const struct options_row *row, int64_t *to, const char *text, const char *where, struct error *err) {
  char *end;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (end == text || *end) return error_set(err, ERROR_INVALID, "%s must be a whole number; it is \"%.100s\".", where, text);
  if (errno == ERANGE) return error_set(err, ERROR_INVALID, "%s is out of range: \"%.100s\".", where, text);
  if (check_range(row, (double)value, where, err) < 0) return -1;
  *to = value;
  return 0;
}

static int set_real(const struct options_row *row, double *to, const char *text, const char *where, struct error *err) {
  char *end;
  double value = strtod(text, &end);
  if (end == text || *end || !isfinite(value)) return error_set(err, ERROR_INVALID, "%s must be a number; it is \"%.100s\".", where, text);
  if (check_range(row, value, where, err) < 0) return -1;
  *to = value;
  return 0;
}

static void list_add(struct options *o, struct options_list *list, const char *text) {
  const char **items = arena_array(&o->arena, list->n + 1, sizeof *items);
  if (list->n) memcpy(items, list->items, list->n * sizeof *items);
  items[list->n] = arena_cstr(&o->arena, slice_cstr(text));
  *list = (struct options_list){items, list->n + 1};
}

int options_set(struct options *o, size_t index, const char *text, enum options_source source, const char *where, struct error *err) {
  const struct options_row *row = &o->spec->rows[index];
  void *to = (char *)o->args + row->offset;
  assert(row->size == type_size(row->type));
  switch (row->type) {
    case OPTIONS_STRING:
      if (row->choices && !is_choice(row->choices, text))
        return error_set(err, ERROR_INVALID, "%s must be one of %s; it is \"%.100s\".", where, row->choices, text);
      *(const char **)to = arena_cstr(&o->arena, slice_cstr(text));
      break;
    case OPTIONS_INT:
      if (set_int(row, to, text, where, err) < 0) return -1;
      break;
    case OPTIONS_REAL:
      if (set_real(row, to, text, where, err) < 0) return -1;
      break;
    case OPTIONS_BOOL:
      if (parse_bool(text, to) < 0) return error_set(err, ERROR_INVALID, "%s must be true or false; it is \"%.100s\".", where, text);
      break;
    case OPTIONS_LIST:
      if (o->sources[index] != source) *(struct options_list *)to = (struct options_list){0};
      list_add(o, to, text);
      break;
  }
  o->sources[index] = source;
  return 0;
}

enum options_source options_source(const struct options *o, const char *name) {
  for (size_t i = 0; i < o->spec->n_rows; i++)
    if (strcmp(o->spec->rows[i].name, name) == 0) return o->sources[i];
  assert(!"an option of this name");
  return OPTIONS_NOWHERE;
}

/* ---- the four sources ---- */

static int apply_defaults(struct options *o, struct error *err) {
  for (size_t i = 0; i < o->spec->n_rows; i++) {
    const struct options_row *row = &o->spec->rows[i];
    if (row->fallback && options_set(o, i, row->fallback, OPTIONS_DEFAULT, row->name, err) < 0) return -1;
  }
  return 0;
}

/* A list is separated by commas there. */
static int apply_env_row(struct options *o, size_t index, const char *text, struct error *err) {
  const struct options_row *row = &o->spec->rows[index];
  char where[160];
  snprintf(where, sizeof where, "The environment variable %s", row->env);
  if (row->type != OPTIONS_LIST) return options_set(o, index, text, OPTIONS_ENV, where, err);
  char *copy = mem_strdup(text), *rest = copy;
  int result = 0;
  for (char *item; result == 0 && (item = strsep(&rest, ","));) {
    if (*item) result = options_set(o, index, item, OPTIONS_ENV, where, err);
  }
  free(copy);
  return result;
}

static int apply_env(struct options *o, struct error *err) {
  for (size_t i = 0; i < o->spec->n_rows; i++) {
    const char *text = o->spec->rows[i].env ? getenv(o->spec->rows[i].env) : NULL;
    if (text && *text && apply_env_row(o, i, text, err) < 0) return -1;
  }
  return 0;
}

/* ---- flags ---- */

struct flag_tables {
  struct option *longs; /* for getopt_long, ends in zeros */
  char *shorts;
};

/* Boolean flags take an optional value (--json=false), so that a flag can undo what a configuration file says. */
static struct flag_tables make_tables(struct options *o) {
  const struct options_spec *spec = o->spec;
  struct flag_tables t = {arena_array(&o->arena, spec->n_rows + 4, sizeof *t.longs), arena_alloc(&o->arena, 2 * spec->n_rows + 4)};
  size_t n = 0;
  char *s = t.shorts;
  *s++ = ':'; /* a missing value is told from an unknown option */
  *s++ = 'h';
  for (size_t i = 0; i < spec->n_rows; i++) {
    const struct options_row *row = &spec->rows[i];
    bool is_bool = row->type == OPTIONS_BOOL;
    t.longs[n++] = (struct option){row->name, is_bool ? optional_argument : required_argument, NULL, (int)(ROW_BASE + i)};
    if (!row->letter) continue;
    *s++ = row->letter;
    if (!is_bool) *s++ = ':';
  }
  t.longs[n++] = (struct option){"help", no_argument, NULL, FLAG_HELP};
  if (spec->has_config) {
    t.longs[n++] = (struct option){"config", required_argument, NULL, FLAG_CONFIG};
    t.longs[n++] = (struct option){"print-config", no_argument, NULL, FLAG_PRINT_CONFIG};
  }
  return t;
}

static int row_of(const struct options *o, int flag) {
  if (flag >= ROW_BASE) return flag - ROW_BASE;
  for (size_t i = 0; i < o->spec->n_rows; i++)
    if (o->spec->rows[i].letter == flag) return (int)i;
  return -1;
}

static int unknown_flag(const struct flag_tables *t, const char *text, struct error *err) {
  if (text[0] != '-' || text[1] != '-') return error_set(err, ERROR_INVALID, "There is no option -%c.", optopt ? optopt : '?');
  const char *names[128];
  size_t n = 0;
  while (t->longs[n].name && n < 128) names[n] = t->longs[n].name, n++;
  char word[64];
  snprintf(word, sizeof word, "%.*s", (int)strcspn(text + 2, "="), text + 2);
  for (size_t i = 0; i < n; i++)
    if (strcmp(names[i], word) == 0) return error_set(err, ERROR_INVALID, "Option --%s takes no value.", word);
  const char *nearest = suggest_nearest(word, names, n);
  if (nearest) return error_set(err, ERROR_INVALID, "There is no option --%s; did you mean --%s?", word, nearest);
  return error_set(err, ERROR_INVALID, "There is no option --%s.", word);
}

static int apply_flag(struct options *o, int index, struct error *err) {
  char where[96];
  snprintf(where, sizeof where, "Option --%s", o->spec->rows[index].name);
  return options_set(o, (size_t)index, optarg ? optarg : "true", OPTIONS_FLAG, where, err);
}

/* One pass over argv. The first pass (applying false) only looks for --help, --config and --print-config and for mistakes. */
static enum options_result walk_flags(struct options *o, int argc, char **argv, bool applying, struct buf *ret_text, struct error *err) {
  struct flag_tables t = make_tables(o);
  opterr = 0;
  optind = 0; /* starts glibc's getopt afresh */
  for (int flag; (flag = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1;) {
    const char *text = argv[optind > 1 ? optind - 1 : 1];
    int row = row_of(o, flag);
    if (flag == FLAG_HELP || (flag == 'h' && row < 0)) {
      help_command(o->spec, ret_text);
      return OPTIONS_PRINT;
    } else if (flag == FLAG_PRINT_CONFIG) {
      help_config(o->spec, ret_text);
      return OPTIONS_PRINT;
    } else if (flag == FLAG_CONFIG) {
      o->config_path = optarg;
    } else if (flag == ':') {
      error_set(err, ERROR_INVALID, "Option %s needs a value.", text);
      return OPTIONS_ERROR;
    } else if (row < 0) {
      unknown_flag(&t, text, err);
      return OPTIONS_ERROR;
    } else if (applying && apply_flag(o, row, err) < 0) {
      return OPTIONS_ERROR;
    }
  }
  o->operands = argv + optind;
  o->n_operands = (size_t)(argc - optind);
  return OPTIONS_RUN;
}

/* The first of the required operands that was not given: they stand in `operands` with spaces between. */
static int missing_operand(const struct options *o, struct error *err) {
  const char *name = o->spec->operands;
  for (size_t i = 0; i < o->n_operands && strchr(name, ' '); i++) name = strchr(name, ' ') + 1;
  return error_set(err, ERROR_INVALID, "%.*s is missing.", (int)strcspn(name, " "), name);
}

static int check_operands(const struct options *o, struct error *err) {
  const struct options_spec *spec = o->spec;
  if (o->n_operands < spec->operands_min) return missing_operand(o, err);
  if (o->n_operands > spec->operands_max)
    return error_set(err, ERROR_INVALID, "\"%.100s\" is one argument too many.", o->operands[spec->operands_max]);
  return 0;
}

static int apply_all(struct options *o, int argc, char **argv, struct buf *ret_text, struct error *err) {
  if (apply_defaults(o, err) < 0) return -1;
  if (o->config_path && config_apply(o, o->config_path, err) < 0) return -1;
  if (apply_env(o, err) < 0) return -1;
  return walk_flags(o, argc, argv, true, ret_text, err) == OPTIONS_RUN ? 0 : -1;
}

enum options_result options_parse(struct options *o, const struct options_spec *spec, int argc, char **argv, struct buf *ret_text,
                                  struct error *err) {
  *o = (struct options){.spec = spec};
  o->args = mem_zalloc(1, spec->args_bytes);
  o->sources = mem_zalloc(spec->n_rows, sizeof *o->sources);
  enum options_result result = walk_flags(o, argc, argv, false, ret_text, err);
  if (result != OPTIONS_RUN) return result;
  if (check_operands(o, err) < 0) return OPTIONS_ERROR;
  const char *from_env = spec->has_config ? getenv("PLINTH_CONFIG") : NULL;
  if (!o->config_path && from_env && *from_env) o->config_path = from_env;
  return apply_all(o, argc, argv, ret_text, err) < 0 ? OPTIONS_ERROR : OPTIONS_RUN;
}

void options_free(struct options *o) {
  free(o->args);
  free(o->sources);
  arena_free(&o->arena);
  *o = (struct options){0};
}
