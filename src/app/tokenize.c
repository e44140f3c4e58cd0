/* tokenize: `plinth tokenize` turns text into token ids and back. SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "app/app.h"
#include "app/input.h"
#include "app/paths.h"
#include "base/fs.h"
#include "base/js.h"
#include "base/jsonw.h"
#include "base/utf8.h"
#include "text/text.h"

enum { FILE_BYTES_MAX = 256 << 20, INPUT_BYTES_MAX = 1 << 30 };

struct tokenize_args {
  const char *model, *models_dir;
  bool no_special, plain, decode, jsonl;
};

static const struct options_row rows[] = {
    {.name = "model",
     .letter = 'm',
     OPTION_STRING_TO(struct tokenize_args, model),
     .metavar = "FILE|DIR|NAME",
     .help =
         "The model whose tokenizer to use: a GGUF file (one that holds only a vocabulary will do), a tokenizer.json, a SentencePiece or "
         "tiktoken file (.model, .tiktoken), a Hugging Face directory, or the name of an installed model."},
    {.name = "no-special",
     OPTION_BOOL_TO(struct tokenize_args, no_special),
     .help = "Add no BOS, EOS, CLS or SEP. With --decode: leave special tokens out of the text."},
    {.name = "plain",
     OPTION_BOOL_TO(struct tokenize_args, plain),
     .help = "Take control tokens that are written out in the text as plain text."},
    {.name = "decode", .letter = 'd', OPTION_BOOL_TO(struct tokenize_args, decode), .help = "Turn ids back into text."},
    {.name = "jsonl",
     OPTION_BOOL_TO(struct tokenize_args, jsonl),
     .help = "Read one JSON string a line and write one array of ids a line; with --decode the other way round."},
    PATHS_MODELS_DIR_ROW(struct tokenize_args, models_dir, PATHS_SOUGHT),
};

/* ---- the tokenizer ---- */

static struct tokenizer *open_file(const char *path, bool json, struct error *err) {
  struct buf bytes = {0};
  struct tokenizer *t = NULL;
  if (fs_read_any(path, FILE_BYTES_MAX, &bytes, err) == 0) {
    t = json ? tokenizer_open_json(buf_view(&bytes), SLICE(""), err) : tokenizer_open_vocabulary(buf_view(&bytes), SLICE(""), err);
    if (!t) error_prefix(err, "%s", path);
  }
  buf_free(&bytes);
  return t;
}

/* A directory with a tokenizer and no model is fine here. */
static bool only_tokenizer(const char *dir) {
  static const char *const names[] = {"tokenizer.json", "tokenizer.model", "tiktoken.model", "cl100k_base.tiktoken"};
  bool only = false;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char *path = fs_join(dir, names[i]);
    only = only || fs_exists(path);
    free(path);
  }
  char *config = fs_join(dir, "config.json");
  only = only && !fs_exists(config);
  free(config);
  return only;
}

static struct tokenizer *open_path(const char *path, struct error *err) {
  struct tokenizer *t = NULL;
  struct slice name = slice_cstr(path);
  if (fs_is_dir(path)) {
    if (only_tokenizer(path)) return tokenizer_open_dir(path, err);
  } else if (slice_ends(name, SLICE(".json"))) {
    return open_file(path, true, err);
  } else if (slice_ends(name, SLICE(".model")) || slice_ends(name, SLICE(".tiktoken"))) {
    return open_file(path, false, err);
  }
  struct file_model *m = file_model_open_text(path, err);
  if (m) t = tokenizer_open(m, err);
  file_model_close(m);
  return t;
}

/* ---- one text ---- */

static unsigned encode_flags(const struct tokenize_args *a) {
  return (a->no_special ? 0 : TOKENIZER_ADD_SPECIAL) | (a->plain ? 0 : TOKENIZER_MATCH_SPECIAL);
}

static int encode_whole(const struct tokenize_args *a, const struct tokenizer *t, struct buf *out, struct error *err) {
  struct buf in = {0};
  struct ids ids = {0};
  int rc = input_read(INPUT_BYTES_MAX, &in, err);
  if (rc == 0) rc = input_check(buf_view(&in), err);
  if (rc == 0) rc = tokenizer_encode(t, buf_view(&in), encode_flags(a), &ids, err);
  for (size_t i = 0; rc == 0 && i < ids.len; i++) buf_printf(out, i ? " %d" : "%d", (int)ids.data[i]);
  if (rc == 0) buf_add_byte(out, '\n');
  buf_free(&in);
  ids_free(&ids);
  return rc;
}

static int check_id(const struct tokenizer *t, long long id, struct error *err) {
  if (id >= 0 && id < tokenizer_n_vocab(t)) return 0;
  return error_set(err, ERROR_INVALID, "The id %lld is not in the vocabulary, which has %d tokens.", id, (int)tokenizer_n_vocab(t));
}

/* Ids as the other direction prints them; commas and brackets do no harm. */
static int parse_ids(const struct tokenizer *t, const char *text, struct ids *ids, struct error *err) {
  for (;;) {
    text += strspn(text, " \t\r\n,[]");
    if (*text == '\0') return 0;
    char *end;
    errno = 0;
    long long id = strtoll(text, &end, 10);
    if (end == text || errno)
      return error_set(err, ERROR_INVALID, "\"%.*s\" is no token id; ids are whole numbers with spaces between them.",
                       (int)strcspn(text, " \t\r\n,[]"), text);
    if (check_id(t, id, err) < 0) return -1;
    ids_add(ids, (int32_t)id);
    text = end;
  }
}

static int decode_whole(const struct tokenize_args *a, const struct tokenizer *t, struct buf *out, struct error *err) {
  struct buf in = {0};
  struct ids ids = {0};
  int rc = input_read(INPUT_BYTES_MAX, &in, err);
  if (rc == 0) rc = parse_ids(t, in.data ? in.data : "", &ids, err);
  if (rc == 0) tokenizer_decode(t, ids.data, ids.len, a->no_special, out);
  buf_free(&in);
  ids_free(&ids);
  return rc;
}

/* ---- one JSON value a line ---- */

static int encode_line(const struct tokenize_args *a, const struct tokenizer *t, const struct js *json, struct buf *out,
                       struct error *err) {
  struct slice text;
  struct ids ids = {0};
  if (!js_str(json, &text)) return error_set(err, ERROR_INVALID, "A JSON string is wanted; this is %s.", js_type_name(json));
  int rc = tokenizer_encode(t, text, encode_flags(a), &ids, err);
  struct jsonw w = {.out = out};
  if (rc == 0) {
    jsonw_array_begin(&w);
    for (size_t i = 0; i < ids.len; i++) jsonw_int(&w, ids.data[i]);
    jsonw_array_end(&w);
  }
  ids_free(&ids);
  return rc;
}

static int decode_line(const struct tokenize_args *a, const struct tokenizer *t, const struct js *json, struct buf *out,
                       struct error *err) {
  struct ids ids = {0};
  struct buf text = {0};
  int rc = js_type(json) == JS_ARRAY ? 0 : error_set(err, ERROR_INVALID, "A JSON array of ids is wanted; this is %s.", js_type_name(json));
  for (size_t i = 0; rc == 0 && i < js_len(json); i++) {
    int64_t id;
    if (!js_int(js_at(json, i), &id)) rc = error_set(err, ERROR_INVALID, "Element %zu of the array is no whole number.", i);
    else if ((rc = check_id(t, id, err)) == 0) ids_add(&ids, (int32_t)id);
  }
  if (rc == 0) {
    struct jsonw w = {.out = out};
    tokenizer_decode(t, ids.data, ids.len, a->no_special, &text);
    jsonw_str(&w, buf_view(&text));
  }
  buf_free(&text);
  ids_free(&ids);
  return rc;
}

static int convert_line(const struct tokenize_args *a, const struct tokenizer *t, struct slice line, struct buf *out, struct error *err) {
  struct js *json = js_parse(line, err);
  if (!json) return -1;
  int rc = a->decode ? decode_line(a, t, json, out, err) : encode_line(a, t, json, out, err);
  js_free(json);
  if (rc == 0) buf_add_byte(out, '\n');
  return rc;
}

/* Lines are answered as they come. */
static int convert_lines(const struct tokenize_args *a, const struct tokenizer *t, struct error *err) {
  char *line = NULL;
  size_t cap = 0;
  struct buf out = {0};
  int rc = 0;
  ssize_t n;
  for (unsigned long long number = 1; rc == 0 && (n = getline(&line, &cap, stdin)) >= 0; number++) {
    buf_clear(&out);
    rc = convert_line(a, t, slice_make(line, (size_t)n), &out, err);
    if (rc < 0) error_prefix(err, "Line %llu", number);
    else if (fwrite(out.data, 1, out.len, stdout) != out.len)
      rc = error_set(err, ERROR_IO, "Cannot write to standard output: %s.", strerror(errno));
  }
  if (rc == 0 && ferror(stdin)) rc = error_set(err, ERROR_IO, "Cannot read standard input: %s.", strerror(errno));
  if (fflush(stdout) != 0 && rc == 0) rc = error_set(err, ERROR_IO, "Cannot write to standard output: %s.", strerror(errno));
  free(line);
  buf_free(&out);
  return rc;
}

static int convert(const struct tokenize_args *a, const struct tokenizer *t) {
  struct error err = {0};
  if (a->jsonl) return convert_lines(a, t, &err) < 0 ? app_fail(&err) : APP_OK;
  struct buf out = {0};
  int rc = a->decode ? decode_whole(a, t, &out, &err) : encode_whole(a, t, &out, &err);
  int code = rc < 0 ? app_fail(&err) : app_print(&out);
  buf_free(&out);
  return code;
}

static int run(const struct options *o) {
  const struct tokenize_args *a = o->args;
  struct error err = {0};
  if (!a->model) {
    error_set(&err, ERROR_INVALID, "Name a model with --model.");
    return app_usage("tokenize", &err);
  }
  char *path = paths_find_model(a->models_dir, a->model, &err);
  struct tokenizer *t = path ? open_path(path, &err) : NULL;
  int code = t ? convert(a, t) : app_fail(&err);
  tokenizer_close(t);
  free(path);
  return code;
}

const struct app_command tokenize_command = {
    .spec = {.command = "tokenize",
             .summary = "Turn text into token ids, and back",
             .description =
                 "Reads text from standard input and writes its token ids in one line, with spaces between them. The ids are those "
                 "that the model gets: special tokens are added around the text where the tokenizer does so, and control tokens "
                 "that are written out in the text become their ids, as Hugging Face does.",
             .examples = "printf 'Hello, world' | plinth tokenize --model smollm2-135m-instruct\n"
                         "echo 19556 28 905 | plinth tokenize --model smollm2-135m-instruct --decode\n"
                         "plinth tokenize --model tokenizer.json --jsonl < strings.jsonl > ids.jsonl",
             OPTIONS_ROWS(rows),
             .args_bytes = sizeof(struct tokenize_args)},
    .run = run,
};
