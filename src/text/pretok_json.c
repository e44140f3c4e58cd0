/* pretok_json: reads the pre-tokenizers of tokenizer.json; see pretok.h. SPDX-License-Identifier: Apache-2.0 */
#include "text/option.h"
#include "text/pretok.h"
#include "text/uclass.h"

static int read_behavior(const struct js *json, enum pretok_behavior fallback, bool required, enum pretok_behavior *ret,
                         struct error *err) {
  static const char *const names[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"};
  struct slice name;
  *ret = fallback;
  if (!required && option_is_null(js_get(json, "behavior"))) return 0;
  if (option_str(json, "behavior", &name, err) < 0) return -1;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (!slice_eq(name, slice_cstr(names[i]))) continue;
    *ret = (enum pretok_behavior)i;
    return 0;
  }
  return option_unknown("split behaviour", name, err);
}

static int read_char(const struct js *json, const char *key, uint32_t *ret, struct error *err) {
  struct slice text;
  if (option_str(json, key, &text, err) < 0) return -1;
  if (text.len && uclass_get(text, ret) == text.len) return 0;
  return error_set(err, ERROR_CORRUPT, "The tokenizer's '%s' must be one character and is '%.*s'.", key, SLICE_ARG(text));
}

static int add_split(struct pretok *p, const struct js *json, struct error *err) {
  struct pretok_step step = {.kind = PRETOK_SPLIT};
  if (read_behavior(json, PRETOK_ISOLATED, true, &step.behavior, err) < 0 || option_bool(json, "invert", false, &step.invert, err) < 0)
    return -1;
  step.pattern = option_pattern(json, err);
  if (!step.pattern) return -1;
  pretok_add(p, step);
  return 0;
}

static int add_byte_level(struct pretok *p, const struct js *json, struct error *err) {
  bool prefix, cut;
  if (option_bool(json, "add_prefix_space", true, &prefix, err) < 0 || option_bool(json, "use_regex", true, &cut, err) < 0) return -1;
  if (prefix) pretok_add(p, (struct pretok_step){.kind = PRETOK_PREFIX_SPACE});
  if (cut) {
    struct regex *pattern = regex_compile(slice_cstr(regex_gpt2), err);
    if (!pattern) return -1;
    pretok_add(p, (struct pretok_step){.kind = PRETOK_SPLIT, .behavior = PRETOK_ISOLATED, .pattern = pattern});
  }
  pretok_add(p, (struct pretok_step){.kind = PRETOK_BYTE_MAP});
  return 0;
}

static int add_metaspace(struct pretok *p, const struct js *json, struct error *err) {
  struct pretok_step step = {.kind = PRETOK_METASPACE};
  bool legacy, split;
  struct slice scheme;
  if (read_char(json, "replacement", &step.character, err) < 0 || option_bool(json, "add_prefix_space", true, &legacy, err) < 0 ||
      option_bool(json, "split", true, &split, err) < 0 || option_str_maybe(json, "prepend_scheme", &scheme, err) < 0)
    return -1;
  step.prepend = legacy ? PRETOK_PREPEND_ALWAYS : PRETOK_PREPEND_NEVER;
  if (slice_eq(scheme, SLICE("always"))) step.prepend = PRETOK_PREPEND_ALWAYS;
  else if (slice_eq(scheme, SLICE("first"))) step.prepend = PRETOK_PREPEND_FIRST;
  else if (slice_eq(scheme, SLICE("never"))) step.prepend = PRETOK_PREPEND_NEVER;
  else if (scheme.len) return option_unknown("prepend scheme", scheme, err);
  pretok_add(p, step);
  if (split) pretok_add(p, (struct pretok_step){.kind = PRETOK_CHAR, .behavior = PRETOK_MERGED_NEXT, .character = step.character});
  return 0;
}

static int add_class(struct pretok *p, unsigned classes, enum pretok_behavior behavior) {
  pretok_add(p, (struct pretok_step){.kind = PRETOK_CLASS, .classes = classes, .behavior = behavior});
  return 0;
}

static int add_digits(struct pretok *p, const struct js *json, struct error *err) {
  bool individual;
  if (option_bool(json, "individual_digits", false, &individual, err) < 0) return -1;
  return add_class(p, UCLASS_NUMERIC, individual ? PRETOK_ISOLATED : PRETOK_CONTIGUOUS);
}

static int add_punctuation(struct pretok *p, const struct js *json, struct error *err) {
  enum pretok_behavior behavior;
  if (read_behavior(json, PRETOK_ISOLATED, false, &behavior, err) < 0) return -1;
  return add_class(p, UCLASS_PUNCT, behavior);
}

static int add_delimiter(struct pretok *p, const struct js *json, struct error *err) {
  struct pretok_step step = {.kind = PRETOK_CHAR, .behavior = PRETOK_REMOVED};
  if (read_char(json, "delimiter", &step.character, err) < 0) return -1;
  pretok_add(p, step);
  return 0;
}

static int add_length(struct pretok *p, const struct js *json, struct error *err) {
  struct pretok_step step = {.kind = PRETOK_LENGTH};
  if (option_int(json, "length", 5, 1, INT32_MAX, &step.length, err) < 0) return -1;
  pretok_add(p, step);
  return 0;
}

static int add_sequence(struct pretok *p, const struct js *json, struct error *err) {
  const struct js *list = js_get(json, "pretokenizers");
  if (js_type(list) != JS_ARRAY) return error_set(err, ERROR_CORRUPT, "The pre-tokenizer 'Sequence' has no list 'pretokenizers'.");
  for (size_t i = 0; i < js_len(list); i++)
    if (pretok_add_json(p, js_at(list, i), err) < 0) return -1;
  return 0;
}

int pretok_add_json(struct pretok *p, const struct js *json, struct error *err) {
  static const struct {
    const char *type;
    int (*add)(struct pretok *p, const struct js *json, struct error *err);
  } known[] = {{"Sequence", add_sequence},  {"ByteLevel", add_byte_level},        {"Split", add_split},
               {"Digits", add_digits},      {"Punctuation", add_punctuation},     {"Metaspace", add_metaspace},
               {"FixedLength", add_length}, {"CharDelimiterSplit", add_delimiter}};
  if (option_is_null(json)) return 0;
  struct slice type;
  if (option_type(json, "pre-tokenizer", &type, err) < 0) return -1;
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
    if (slice_eq(type, slice_cstr(known[i].type))) return known[i].add(p, json, err);
  if (slice_eq(type, SLICE("WhitespaceSplit"))) return add_class(p, UCLASS_SPACE, PRETOK_REMOVED);
  if (slice_eq(type, SLICE("Whitespace"))) {
    pretok_add(p, (struct pretok_step){.kind = PRETOK_WORDS});
    return 0;
  }
  if (slice_eq(type, SLICE("BertPreTokenizer"))) {
    add_class(p, UCLASS_SPACE, PRETOK_REMOVED);
    return add_class(p, UCLASS_PUNCT, PRETOK_ISOLATED);
  }
  return option_unknown("pre-tokenizer", type, err);
}
